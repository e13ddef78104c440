"""Adapting Whisper: systems, budgets, training, rows and bad input, on a few seconds of synthetic speech."""

import json
from dataclasses import replace

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
from lib.models.whisper import sizes as whisper
from lib.models.whisper.model import Decoder
from lib.papers.ha import measure, systems
from lib.papers.ha.data import AsrError, check_english
from lib.papers.ha.study import Study
from lib.papers.ha.systems import Adaptations, size_for
from lib.study import protocol, watch

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
def asr(corpus, profile, places):
    made = study_of(profile, corpus)
    made.fill()
    return made


def study_of(profile: dict, corpus: Corpus) -> Study:
    made = Study(profile, "cpu", 1)
    made.corpus = corpus
    return made


def altered(asr, **changes) -> Study:
    return study_of(asr.profile | {"ha": SETTINGS | changes}, asr.corpus)


def trained_on(asr, utterances) -> Study:
    return study_of(asr.profile, Corpus(asr.corpus.root, "part", "ffffffffffff", list(utterances)))


def test_the_unadapted_run_writes_errors_and_probes_of_every_test_utterance(asr):
    rows = asr.run("whisper_0", 0)
    tested = {item.utterance for item in asr.select(split="test")}
    assert set(rows[rows["metric"] == "wer"]["utterance"]) == tested
    assert {"probe_accuracy", "probe_r2", "probe_chance", "cer", "wer_hallucinated"} <= set(rows["metric"])
    assert np.isfinite(rows["value"]).all()
    kept = json.loads((asr.root / "transcripts" / "ha-whisper_0-s0.json").read_text())
    assert set(kept) == tested and {"reference", "hypothesis"} <= set(next(iter(kept.values())))
    assert list((asr.root / "audio" / "ha-whisper_0-s0").glob("*.wav"))
    assert study.read_manifests(asr.profile, "HA")["ha-whisper_0-s0"]["data_hash"] == asr.corpus.hash


def test_the_same_seed_gives_the_same_rows(asr):
    first = asr.run("hyper", 0)
    for path in (asr.root / "checkpoints").glob("ha-hyper-s0.*"):
        path.unlink()
    second = asr.run("hyper", 0)
    timed = first["metric"] == "seconds_trained"
    assert first[~timed].equals(second[~timed])


def test_a_finished_system_is_not_trained_again(asr, monkeypatch):
    asr.train("lora_w1", 0)
    monkeypatch.setattr(protocol, "fit", None)
    asr.train("lora_w1", 0)


def test_an_interrupted_training_ends_with_the_same_weights(asr, monkeypatch):
    whole = asr.restore("hyper_mlp", 3).state_dict()
    path = asr.root / "checkpoints" / "ha-hyper_mlp-s3.safetensors"
    path.unlink()
    real = systems.loss
    calls = []

    def stop(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(systems, "loss", stop)
    with pytest.raises(KeyboardInterrupt):
        asr.train("hyper_mlp", 3)
    monkeypatch.setattr(systems, "loss", real)
    again = asr.restore("hyper_mlp", 3).state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_training_lowers_the_loss_and_leaves_whisper_as_it_was(asr):
    before = {name: value.clone() for name, value in asr.model.network.state_dict().items()}
    longer = altered(asr, train=SETTINGS["train"] | {"steps": 12})
    longer.train("lora_w1", 7)
    history = json.loads((asr.root / "checkpoints" / "ha-lora_w1-s7.json").read_text())["history"]
    assert history[-1]["total"] < history[0]["total"]
    assert all(torch.equal(before[name], value) for name, value in asr.model.network.state_dict().items())


def untrained(asr, name: str) -> Adaptations:
    system = asr.system(name)
    return asr.build(system, asr.training_groups(system))


def test_the_loss_on_unseen_sentences_is_watched_and_changes_no_weight(asr, monkeypatch):
    watched = asr.restore("cohort_lora", 4).state_dict()
    curve = [record["validation"] for record in asr.trained("cohort_lora", 4)["history"]]
    assert len(curve) == SETTINGS["train"]["steps"] and all(loss > 0 for loss in curve)
    monkeypatch.setattr(watch.Watch, "__call__", lambda self, step: {})
    asr.checkpoint("cohort_lora", 4).unlink()
    unwatched = asr.restore("cohort_lora", 4).state_dict()
    assert "validation" not in asr.trained("cohort_lora", 4)["history"][-1]
    assert all(torch.equal(watched[name], weights) for name, weights in unwatched.items())


@pytest.mark.parametrize("name", ["lora_w1", "cohort_lora", "individual", "hyper_without_dysarthria"])
def test_a_system_hears_the_utterances_it_is_for(asr, name):
    items, texts = measure.recognise(asr, asr.system(name), untrained(asr, name))
    wanted = {
        "lora_w1": asr.select(split="test"),
        "cohort_lora": [u for u in asr.select(split="test") if u.condition in COHORTS],
        "individual": [u for u in asr.select("adaptation", "test") if u.speaker in asr.individuals()],
        "hyper_without_dysarthria": [u for u in asr.select(split="test") if u.condition == "dysarthria"],
    }[name]
    assert {u.utterance for u in items} == {u.utterance for u in wanted}
    assert len(texts) == len(items) == len(wanted) > 0


def test_an_untrained_system_writes_what_whisper_writes(asr):
    _, plain = measure.recognise(asr, {"name": "whisper_0", "method": "none"}, None)
    _, texts = measure.recognise(asr, asr.system("lora_w1"), untrained(asr, "lora_w1"))
    assert texts == plain


def test_only_what_changes_the_encoder_encodes_again(asr):
    assert untrained(asr, "lora_encoder").of("all").changes_encoder
    assert not untrained(asr, "hyper").of("all").changes_encoder


def test_a_cohorts_lora_learns_from_its_cohort_only(asr):
    system = asr.system("cohort_lora")
    groups = asr.training_groups(system)
    assert set(groups) == set(COHORTS)
    assert all(item.condition == cohort for cohort, items in groups.items() for item in items)


def test_never_seen_speakers_are_never_trained_on(asr):
    for name in SYSTEMS:
        if name != "whisper_0":
            groups = asr.training_groups(asr.system(name))
            assert {u.role for items in groups.values() for u in items} == {"adaptation"}
            assert {u.split for items in groups.values() for u in items} == {"train"}


@pytest.mark.parametrize(("percent", "weights"), [(0.1, 38400), (0.03, 11520), (0.01, 3840), (0.001, 384), (1e-9, 384)])
def test_a_budget_becomes_the_nearest_size_that_the_shapes_allow(asr, percent, weights):
    assert size_for(asr.model.network, ["decoder.W1"], percent).weights == weights


def test_a_budget_is_what_the_adaptation_generates(asr):
    assert untrained(asr, "lora_w1").parts[0].adapted == size_for(asr.model.network, ["decoder.W1"], 0.03).weights


def test_the_exported_adapter_gives_the_same_logits_in_peft(asr, tmp_path):
    import copy

    from peft import PeftModel

    trained = asr.restore("hyper", 0)
    folder = measure.export(asr, trained, tmp_path / "adapter")
    first = asr.select(split="test")[0].utterance
    example = asr.examples[first]
    encoded = asr.cache.read([example])
    tokens = torch.tensor([[asr.model.start, asr.model.no_timestamps, *example.tokens]])
    own = asr.embeddings("whisper")[first][None]
    with torch.no_grad():
        with trained.of("all").applied(asr.model.network, own):
            ours = Decoder(asr.model.network, encoded).read(tokens)
        loaded = PeftModel.from_pretrained(copy.deepcopy(asr.model.network), folder)
        theirs = Decoder(loaded.base_model.model, encoded).read(tokens)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_every_cohorts_adapter_is_exported(asr, tmp_path):
    folder = measure.export(asr, untrained(asr, "cohort_lora"), tmp_path)
    assert sorted(path.parent.name for path in folder.glob("*/adapter_config.json")) == sorted(COHORTS)
    biases = Adaptations({}, {"all": hyperlora.bias_only(asr.model.network)})
    assert measure.export(asr, biases, tmp_path) is None


def test_a_whisper_of_another_size_is_adapted_and_its_adapter_loads_on_it(asr, tmp_path):
    from peft import PeftConfig, PeftModel
    from transformers import WhisperForConditionalGeneration

    folder = save_whisper(tmp_path / "own", MULTILINGUAL)
    given = altered(asr, whisper={"name": "own", "path": str(folder)}, systems={"lora_own": SYSTEMS["lora_encoder"]})
    trained = given.restore("lora_own", 0)
    items, texts = measure.recognise(given, given.system("lora_own"), trained)
    assert len(items) == len(texts) == len(asr.select(split="test"))
    adapter = measure.export(given, trained, tmp_path / "adapter")
    assert PeftConfig.from_pretrained(adapter).base_model_name_or_path == str(folder)
    loaded = PeftModel.from_pretrained(WhisperForConditionalGeneration.from_pretrained(folder), adapter)
    assert [name for name, _ in loaded.named_parameters() if "encoder.layers.0.fc1.lora_A" in name]


def test_an_adapter_names_the_hubs_model():
    assert measure.base_model({"name": "base.en"}) == "openai/whisper-base.en"
    assert measure.base_model({"name": "lab/whisper@abc", "path": None}) == "lab/whisper"


def test_a_speakers_embedding_is_the_mean_over_the_speakers_utterances(asr):
    single, mean = asr.embeddings("ge2e"), asr.embeddings("ge2e", "speaker")
    item = asr.select(split="test")[0]
    mine = [u.utterance for u in asr.utterances if (u.speaker, u.split) == (item.speaker, item.split)]
    assert torch.allclose(mean[item.utterance], torch.stack([single[name] for name in mine]).mean(0))


# Bad input: one sentence each.


def test_a_recording_longer_than_whisper_hears_is_set_aside_with_its_length(asr, monkeypatch):
    part = trained_on(asr, asr.corpus.utterances[:2])
    long = part.corpus.utterances[0]
    noise = np.random.default_rng(0).standard_normal(31 * audio.RATE).astype(np.float32) * 0.1
    whole = Corpus.wave
    monkeypatch.setattr(Corpus, "wave", lambda self, u: noise if u == long else whole(self, u))
    assert len(part.examples) == 1
    assert "lasts 31.0 s, longer than Whisper's 30 s" in part.set_aside[0]["reason"]


def test_a_silent_recording_is_set_aside(asr, monkeypatch):
    part = trained_on(asr, asr.corpus.utterances[:2])
    silent = part.corpus.utterances[0]
    whole = Corpus.wave
    monkeypatch.setattr(Corpus, "wave", lambda self, u: 0 * whole(self, u) if u == silent else whole(self, u))
    assert list(part.examples) == [part.corpus.utterances[1].utterance]
    assert "silent" in part.set_aside[0]["reason"]


@pytest.mark.parametrize(
    ("text", "said"), [("", "has no transcript"), (" …", "has no transcript"), ("Привет, как дела?", "is not English")]
)
def test_a_missing_or_foreign_transcript_is_refused(asr, text, said):
    with pytest.raises(AsrError, match=said):
        check_english("clip_7", text)
    part = trained_on(asr, [replace(asr.corpus.utterances[0], text=text), asr.corpus.utterances[1]])
    assert len(part.examples) == 1 and "clip" not in part.set_aside[0]["reason"]


def test_accented_letters_are_english_enough():
    check_english("clip", "A café in Zürich")


def test_a_corpus_without_a_usable_utterance_is_refused_with_the_reason(asr):
    part = trained_on(asr, [replace(asr.corpus.utterances[0], text="")])
    with pytest.raises(AsrError, match="no utterance can be used: .* has no transcript"):
        _ = part.examples


def test_another_language_is_refused(asr):
    with pytest.raises(AsrError, match="'de' is not English"):
        altered(asr, language="de")


def test_a_cohort_with_one_speaker_is_refused(asr):
    speakers = {u.condition: u.speaker for u in asr.select("adaptation")}
    part = trained_on(asr, [u for u in asr.corpus.utterances if u.speaker in speakers.values()])
    with pytest.raises(AsrError, match=r"The cohort \w+ has one training speaker \(\w+\)"):
        part.training_groups(part.system("cohort_lora"))


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
def test_a_system_that_cannot_be_built_is_refused(asr, spec, error, said):
    given = altered(asr, systems={"wrong": spec})
    with pytest.raises(error, match=said):
        given.train("wrong", 0)


def test_an_unknown_system_is_refused(asr):
    with pytest.raises(AsrError, match="no system 'lora_w9' in this profile: choose one of whisper_0"):
        asr.system("lora_w9")


def test_whisper_itself_is_not_loaded_twice(asr):
    assert whisper.load("tiny.en", "cpu", None, False) is asr.model


def test_a_system_with_a_whisper_of_its_own_is_trained_and_measured_on_it_beside_the_others(asr, tmp_path):
    own = {"name": "mine", "path": str(save_whisper(tmp_path / "mine", MULTILINGUAL, multilingual=True))}
    larger = {f"{name}_base": SYSTEMS[name] | {"whisper": own} for name in ("whisper_0", "lora_w1", "hyper")}
    larger["lora_w1_base"] = larger["lora_w1_base"] | {"rank": 1}
    del larger["lora_w1_base"]["budget"]
    mine = altered(asr, systems=SYSTEMS | larger)
    mine.prepare()
    other = mine.study_of("hyper_base")
    assert other is mine.study_of("lora_w1_base") is not mine.study_of("hyper") and mine.study_of("hyper") is mine
    assert all(other.cache.path(example).exists() for example in other.examples.values())
    rows = {name: mine.run(name, 0) for name in larger}
    for name, table in rows.items():
        manifest = study.read_manifests(mine.profile, "HA")[f"ha-{name}-s0"]
        assert manifest["pretrained"]["whisper"]["source"].startswith("local path")
        assert set(table["system"]) == {name} and (table["metric"] == "wer").any()
    widths = [len(mine.restore(name, 0).of("all").mean) for name in ("hyper_base", "hyper")]
    assert widths == [each.model.network.config.d_model for each in (other, mine)] and widths[0] != widths[1]
    assert not (mine.root / "audio" / "ha-whisper_0_base-s0").exists()
