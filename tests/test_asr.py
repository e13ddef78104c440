"""Adapting Whisper: systems, budgets, training, rows and bad input, on a few seconds of synthetic speech."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from synthetic_corpus import source as synthetic_source
from synthetic_whisper import MULTILINGUAL
from synthetic_whisper import save as save_whisper

from lib import audio, study
from lib.corpora.corpus import Corpus
from lib.corpora.disorders import corpus as simulated
from lib.methods import hyperlora
from lib.methods.low_rank import HyperLoraError
from lib.models.whisper import model as whisper
from lib.models.whisper.training import decoder_logits
from lib.papers.ha import measure as asr_measure
from lib.papers.ha import study as asr
from lib.papers.ha import systems as asr_systems
from lib.papers.ha.data import AsrError, Bench, check_english, fill

SYSTEMS = {
    "whisper_0": {"method": "none"},
    "full": {"method": "full", "side": "decoder"},
    "lora_w1": {"method": "lora", "targets": ["decoder.W1"], "budget": 0.03},
    "lora_encoder": {"method": "lora", "targets": ["encoder.W1"], "rank": 1},
    "cohort_lora": {"method": "lora", "targets": ["decoder.W1"], "rank": 1, "level": "cohort"},
    "individual": {"method": "lora", "targets": ["decoder.W1"], "rank": 1, "level": "speaker"},
    "hyper": {"method": "hyper", "targets": ["decoder.W1"], "rank": 1},
    "hyper_mlp": {"method": "hyper", "targets": ["decoder.W1"], "rank": 1, "hidden": 4, "conditioning": "ge2e"},
    "hyper_without_dysarthria": {
        "method": "hyper",
        "targets": ["decoder.W1"],
        "rank": 1,
        "without": "dysarthria",
        "embedding": "speaker",
    },
}
COHORTS = ["stuttering", "dysarthria"]
SETTINGS = {
    "whisper": {"name": "tiny.en", "path": None},
    "context": 5,
    "language": "en",
    "corpus": {
        "seed": 0,
        "snr": 15,
        "severities": ["mild", "severe"],
        "mixtures": ["stuttering", "dysarthria"],
        "groups": {
            "trained": {"role": "adaptation", "conditions": COHORTS, "speakers": 2, "train": 1, "test": 1},
            "unseen": {"role": "never_seen", "conditions": COHORTS, "speakers": 1, "test": 1},
            "typical": {"role": "never_seen", "conditions": ["typical"], "speakers": 1, "test": 1},
        },
    },
    "train": {
        "steps": 2,
        "batch_size": 2,
        "checkpoint_every": 1,
        "rates": {"lora": 0.01, "hyper_linear": 0.01, "hyper_mlp": 0.01, "full": 1e-4, "bias": 0.01},
    },
    "systems": SYSTEMS,
    "seeds": [0],
    "headline": [],
    "evaluate": {
        "beams": 1,
        "angles": {"rank": 4, "systems": []},
        "probes": {"c": 0.1, "ridge": 10.0},
        "individual": 1,
        "players": 1,
    },
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    source = synthetic_source(tmp_path_factory.mktemp("source"))
    return simulated.build(SETTINGS["corpus"], source, tmp_path_factory.mktemp("built"), cores=1)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
    patch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def profile():
    return study.load_profile("smoke") | {"ha": SETTINGS}


@pytest.fixture(scope="module")
def bench(corpus, profile, places):
    bench = Bench(profile, "cpu", 1, corpus)
    fill(bench)
    return bench


@pytest.fixture
def run(bench, monkeypatch):
    """`asr.run` on the synthetic corpus."""
    monkeypatch.setattr(asr, "Bench", partial(Bench, cores=1, given=bench.corpus))
    return lambda system, seed=0: asr.run(bench.profile, system, seed, "cpu")


def altered(bench, **changes) -> Bench:
    return Bench(bench.profile | {"ha": SETTINGS | changes}, "cpu", 1, bench.corpus)


def trained_on(bench, utterances) -> Bench:
    given = Corpus(bench.corpus.root, "part", "ffffffffffff", list(utterances))
    return Bench(bench.profile, "cpu", 1, given)


def test_the_unadapted_run_writes_errors_and_probes_of_every_test_utterance(bench, run):
    rows = run("whisper_0")
    tested = {item.utterance for item in bench.select(split="test")}
    assert set(rows[rows["metric"] == "wer"]["utterance"]) == tested
    assert {"probe_accuracy", "probe_r2", "probe_chance", "cer", "wer_hallucinated"} <= set(rows["metric"])
    assert np.isfinite(rows["value"]).all()
    kept = json.loads((bench.root / "transcripts" / "ha-whisper_0-s0.json").read_text())
    assert set(kept) == tested and {"reference", "hypothesis"} <= set(next(iter(kept.values())))
    assert list((bench.root / "audio" / "ha-whisper_0-s0").glob("*.wav"))
    assert study.read_manifests(bench.profile, "HA")["ha-whisper_0-s0"]["data_hash"] == bench.corpus.hash


def test_the_same_seed_gives_the_same_rows(bench, run):
    first = run("hyper")
    for path in (bench.root / "checkpoints").glob("ha-hyper-s0.*"):
        path.unlink()
    second = run("hyper")
    timed = first["metric"] == "seconds_trained"
    assert first[~timed].equals(second[~timed])


def test_a_finished_system_is_not_trained_again(bench, monkeypatch):
    asr.train(bench, "lora_w1", 0)
    monkeypatch.setattr(asr, "fit", None)
    asr.train(bench, "lora_w1", 0)


def test_an_interrupted_training_ends_with_the_same_weights(bench, monkeypatch):
    whole = asr.train(bench, "hyper_mlp", 3).state_dict()
    path = bench.root / "checkpoints" / "ha-hyper_mlp-s3.safetensors"
    path.unlink()
    real = asr.loss
    calls = []

    def stop(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(asr, "loss", stop)
    with pytest.raises(KeyboardInterrupt):
        asr.train(bench, "hyper_mlp", 3)
    monkeypatch.setattr(asr, "loss", real)
    again = asr.train(bench, "hyper_mlp", 3).state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_training_lowers_the_loss_and_leaves_whisper_as_it_was(bench):
    before = {name: value.clone() for name, value in bench.model.network.state_dict().items()}
    longer = altered(bench, train=SETTINGS["train"] | {"steps": 12})
    asr.train(longer, "lora_w1", 7)
    history = json.loads((bench.root / "checkpoints" / "ha-lora_w1-s7.json").read_text())["history"]
    assert history[-1]["total"] < history[0]["total"]
    assert all(torch.equal(before[name], value) for name, value in bench.model.network.state_dict().items())


def untrained(bench, name: str) -> asr_systems.Systems:
    system = asr_systems.system_of(SETTINGS, name)
    return asr_systems.build(bench, system, asr_systems.training_groups(bench, system))


@pytest.mark.parametrize("name", ["lora_w1", "cohort_lora", "individual", "hyper_without_dysarthria"])
def test_a_system_hears_the_utterances_it_is_for(bench, name):
    items, texts = asr.recognise(bench, asr_systems.system_of(SETTINGS, name), untrained(bench, name))
    wanted = {
        "lora_w1": bench.select(split="test"),
        "cohort_lora": [u for u in bench.select(split="test") if u.condition in COHORTS],
        "individual": [u for u in bench.select("adaptation", "test") if u.speaker in asr_systems.individuals(bench)],
        "hyper_without_dysarthria": [u for u in bench.select(split="test") if u.condition == "dysarthria"],
    }[name]
    assert {u.utterance for u in items} == {u.utterance for u in wanted}
    assert len(texts) == len(items) == len(wanted) > 0


def test_an_untrained_system_writes_what_whisper_writes(bench):
    _, plain = asr.recognise(bench, {"name": "whisper_0", "method": "none"}, None)
    _, texts = asr.recognise(bench, asr_systems.system_of(SETTINGS, "lora_w1"), untrained(bench, "lora_w1"))
    assert texts == plain


def test_only_what_changes_the_encoder_encodes_again(bench):
    assert untrained(bench, "lora_encoder").of("all").changes_encoder
    assert not untrained(bench, "hyper").of("all").changes_encoder


def test_a_cohorts_lora_learns_from_its_cohort_only(bench):
    system = asr_systems.system_of(SETTINGS, "cohort_lora")
    groups = asr_systems.training_groups(bench, system)
    assert set(groups) == set(COHORTS)
    assert all(item.condition == cohort for cohort, items in groups.items() for item in items)


def test_never_seen_speakers_are_never_trained_on(bench):
    for name in SYSTEMS:
        if name != "whisper_0":
            groups = asr_systems.training_groups(bench, asr_systems.system_of(SETTINGS, name))
            assert {u.role for items in groups.values() for u in items} == {"adaptation"}
            assert {u.split for items in groups.values() for u in items} == {"train"}


def test_angles_are_zero_by_shape_for_square_matrices_and_not_for_w1(bench):
    names = ["decoder.W1", "decoder.W2", "decoder.self.q"]
    tuned = hyperlora.matrix_fine_tuning(bench.model.network, names, layers=[0])
    with torch.no_grad():
        for value in tuned.values:
            value.add_(0.01 * torch.randn_like(value))
    rows = asr_measure.angles(bench, tuned)
    mean = rows[rows["metric"] == "angle_mean"].groupby(["variant", "target"])["value"].mean()
    assert mean["columns", "decoder.self.q"] == 0 and mean["columns", "decoder.W2"] == 0
    assert mean["columns", "decoder.W1"] > 0 and mean["rows", "decoder.W2"] > 0 and mean["rows", "decoder.W1"] == 0
    assert mean["leading", "decoder.self.q"] > 0
    change = rows[rows["metric"] == "relative_change"]
    assert len(change) == 3 and (change["value"] > 0).all()


def test_parameters_are_grouped_by_type():
    path = "model.decoder.layers.3"
    assert asr_measure.kind_of(f"{path}.fc1.weight") == ("decoder.W1", "3")
    assert asr_measure.kind_of(f"{path}.encoder_attn.v_proj.weight") == ("decoder.cross.v", "3")
    assert asr_measure.kind_of(f"{path}.self_attn.out_proj.bias") == ("decoder.bias", "3")
    assert asr_measure.kind_of(f"{path}.final_layer_norm.weight") == ("decoder.layer_norm", "3")


def test_angles_of_a_method_that_changes_no_whole_weight_are_refused(bench):
    with pytest.raises(AsrError, match="give a system of the method full"):
        asr_measure.angles(bench, untrained(bench, "lora_w1").of("all"))


@pytest.mark.parametrize(("percent", "weights"), [(0.1, 38400), (0.03, 11520), (0.01, 3840), (0.001, 384), (1e-9, 384)])
def test_a_budget_becomes_the_nearest_size_that_the_shapes_allow(bench, percent, weights):
    assert asr_systems.size_for(bench.model.network, ["decoder.W1"], percent).weights == weights


def test_a_budget_is_what_the_adaptation_generates(bench):
    assert (
        untrained(bench, "lora_w1").adapted == asr_systems.size_for(bench.model.network, ["decoder.W1"], 0.03).weights
    )


def test_the_exported_adapter_gives_the_same_logits_in_peft(bench, tmp_path):
    import copy

    from peft import PeftModel

    trained = asr.train(bench, "hyper", 0)
    folder = asr.export(bench, trained, tmp_path / "adapter")
    first = bench.select(split="test")[0].utterance
    example = bench.examples[first]
    encoded = bench.cache.read([example])
    tokens = torch.tensor([[bench.model.start, bench.model.no_timestamps, *example.tokens]])
    own = bench.embeddings("whisper")[first][None]
    with torch.no_grad():
        with trained.of("all").applied(bench.model.network, own):
            ours = decoder_logits(bench.model.network, tokens, encoded)
        loaded = PeftModel.from_pretrained(copy.deepcopy(bench.model.network), folder)
        theirs = decoder_logits(loaded.base_model.model, tokens, encoded)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_every_cohorts_adapter_is_exported(bench, tmp_path):
    folder = asr.export(bench, untrained(bench, "cohort_lora"), tmp_path)
    assert sorted(path.parent.name for path in folder.glob("*/adapter_config.json")) == sorted(COHORTS)
    biases = asr_systems.Systems({}, {"all": hyperlora.bias_only(bench.model.network)})
    assert asr.export(bench, biases, tmp_path) is None


def test_a_whisper_of_another_size_is_adapted_and_its_adapter_loads_on_it(bench, tmp_path):
    from peft import PeftConfig, PeftModel
    from transformers import WhisperForConditionalGeneration

    folder = save_whisper(tmp_path / "own", MULTILINGUAL)
    given = altered(bench, whisper={"name": "own", "path": str(folder)}, systems={"lora_own": SYSTEMS["lora_encoder"]})
    trained = asr.train(given, "lora_own", 0)
    items, texts = asr.recognise(given, asr_systems.system_of(given.settings, "lora_own"), trained)
    assert len(items) == len(texts) == len(bench.select(split="test"))
    adapter = asr.export(given, trained, tmp_path / "adapter")
    assert PeftConfig.from_pretrained(adapter).base_model_name_or_path == str(folder)
    loaded = PeftModel.from_pretrained(WhisperForConditionalGeneration.from_pretrained(folder), adapter)
    assert [name for name, _ in loaded.named_parameters() if "encoder.layers.0.fc1.lora_A" in name]


def test_an_adapter_names_the_hubs_model():
    assert asr.base_model({"name": "base.en"}) == "openai/whisper-base.en"
    assert asr.base_model({"name": "lab/whisper@abc", "path": None}) == "lab/whisper"


def test_a_speakers_embedding_is_the_mean_over_the_speakers_utterances(bench):
    single, mean = bench.embeddings("ge2e"), bench.embeddings("ge2e", "speaker")
    item = bench.select(split="test")[0]
    mine = [u.utterance for u in bench.utterances if (u.speaker, u.split) == (item.speaker, item.split)]
    assert torch.allclose(mean[item.utterance], torch.stack([single[name] for name in mine]).mean(0))


def test_f0_is_read_in_semitones():
    time = np.arange(16000) / 16000
    tone = sum(np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 8)).astype(np.float32)
    assert asr_measure.f0_level(tone) == pytest.approx(12, abs=0.3)


# Bad input: one sentence each.


def test_a_recording_longer_than_whisper_hears_is_set_aside_with_its_length(bench, monkeypatch):
    part = trained_on(bench, bench.corpus.utterances[:2])
    long = part.corpus.utterances[0]
    noise = np.random.default_rng(0).standard_normal(31 * audio.RATE).astype(np.float32) * 0.1
    whole = Corpus.wave
    monkeypatch.setattr(Corpus, "wave", lambda self, u: noise if u == long else whole(self, u))
    assert len(part.examples) == 1
    assert "lasts 31.0 s, longer than Whisper's 30 s" in part.set_aside[0]["reason"]


def test_a_silent_recording_is_set_aside(bench, monkeypatch):
    part = trained_on(bench, bench.corpus.utterances[:2])
    silent = part.corpus.utterances[0]
    whole = Corpus.wave
    monkeypatch.setattr(Corpus, "wave", lambda self, u: 0 * whole(self, u) if u == silent else whole(self, u))
    assert list(part.examples) == [part.corpus.utterances[1].utterance]
    assert "silent" in part.set_aside[0]["reason"]


@pytest.mark.parametrize(
    ("text", "said"), [("", "has no transcript"), (" …", "has no transcript"), ("Привет, как дела?", "is not English")]
)
def test_a_missing_or_foreign_transcript_is_refused(bench, text, said):
    with pytest.raises(AsrError, match=said):
        check_english("clip_7", text)
    part = trained_on(bench, [replace(bench.corpus.utterances[0], text=text), bench.corpus.utterances[1]])
    assert len(part.examples) == 1 and "clip" not in part.set_aside[0]["reason"]


def test_accented_letters_are_english_enough():
    check_english("clip", "A café in Zürich")


def test_a_corpus_without_a_usable_utterance_is_refused_with_the_reason(bench):
    part = trained_on(bench, [replace(bench.corpus.utterances[0], text="")])
    with pytest.raises(AsrError, match="no utterance can be used: .* has no transcript"):
        _ = part.examples


def test_another_language_is_refused(bench):
    with pytest.raises(AsrError, match="'de' is not English"):
        altered(bench, language="de")


def test_a_cohort_with_one_speaker_is_refused(bench):
    speakers = {u.condition: u.speaker for u in bench.select("adaptation")}
    part = trained_on(bench, [u for u in bench.corpus.utterances if u.speaker in speakers.values()])
    with pytest.raises(AsrError, match=r"The cohort \w+ has one training speaker \(\w+\)"):
        asr_systems.training_groups(part, asr_systems.system_of(SETTINGS, "cohort_lora"))


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ({"method": "lora", "targets": ["decoder.W1"], "rank": 999}, HyperLoraError, "Rank 999 does not fit"),
        ({"method": "lora", "targets": ["decoder.W9"], "rank": 1}, HyperLoraError, "No matrix of Whisper is called"),
        ({"method": "lora", "targets": ["decoder.W9"], "budget": 1}, HyperLoraError, "No matrix of Whisper is called"),
        ({"method": "magic"}, AsrError, "magic, level all is unknown"),
        ({"method": "lora", "targets": ["decoder.W1"]}, AsrError, "either a budget .* or a rank"),
        ({"method": "lora", "targets": ["decoder.W1"], "rank": 1, "colour": 3}, AsrError, "colour is unknown"),
        ({"method": "hyper", "targets": ["decoder.W1"], "rank": 1, "conditioning": "x"}, AsrError, "no conditioning"),
    ],
)
def test_a_system_that_cannot_be_built_is_refused(bench, spec, error, said):
    given = altered(bench, systems={"wrong": spec})
    with pytest.raises(error, match=said):
        asr.train(given, "wrong", 0)


def test_an_unknown_system_is_refused(bench):
    with pytest.raises(AsrError, match="no system 'lora_w9': choose one of whisper_0"):
        asr_systems.system_of(SETTINGS, "lora_w9")


def test_whisper_itself_is_not_loaded_twice(bench):
    assert whisper.load("tiny.en", "cpu", None) is bench.model
