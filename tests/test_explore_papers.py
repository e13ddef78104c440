"""The laboratory's other sections, on tiny models that were never trained and on synthetic speech."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from synthetic_corpus import source as synthetic_source
from synthetic_zero_shot import make_study

from lib import audio, study
from lib.corpora.styled.styles import StyleError
from lib.models.whisper.states import prepare
from lib.papers.ha import lab as explore_asr
from lib.papers.ha import widget as ha_widget
from lib.papers.ha.data import Bench as AsrBench
from lib.papers.ha.systems import EVERYBODY, Systems, build, system_of
from lib.papers.ht import study as tts
from lib.papers.ld import lab as explore_latents
from lib.papers.ld import widget as ld_widget
from lib.papers.ld.data import Lab
from lib.papers.sp import lab as explore_pruned
from lib.papers.sp import widget as sp_widget
from lib.study import heard, widgets
from lib.study.heard import ExploreError, Note
from lib.training.weights import saved_state

SYSTEMS = {
    "whisper_0": {"method": "none"},
    "hyper": {"method": "hyper", "targets": ["decoder.W1"], "rank": 2},
    "cohort_lora": {"method": "lora", "targets": ["decoder.cross"], "budget": 0.03, "level": "cohort"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDY_RESULTS", str(folder / "results"))
    patch.setenv("STUDY_CACHE", str(folder / "cache"))
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def zero_shot(place):
    """A bench with untrained checkpoints of the unpruned model and of one pruned one."""
    bench = make_study(place / "zero_shot")
    torch.manual_seed(0)
    for name in ("baseline", "dp_r45"):
        bench.checkpoint(name, 0).parent.mkdir(parents=True, exist_ok=True)
        model = bench.build(name)
        torch.nn.init.constant_(model.backbone.duration.out.bias, 1.5)  # 3 or 4 frames a symbol
        if model.theta is not None:
            torch.nn.init.constant_(model.theta, 1 / bench.settings["theta_scale"])
        save_file(saved_state(model), bench.checkpoint(name, 0))
    for utterance in bench.corpus.utterances:
        wave = 0.1 * np.random.default_rng(0).standard_normal(round(16000 * utterance.seconds))
        audio.write(bench.corpus.root / utterance.path, wave.astype(np.float32))
    return bench


def test_pruning_shows_what_is_left_of_attention(zero_shot):
    utterance = zero_shot.corpus.select(split="test", speaker="new_c")[0]
    shown = explore_pruned.speak_pruned(zero_shot, "dp_r45", 0, utterance)
    titles = [[panel.title for panel in row] for row in shown.panels]
    assert titles[0] == ["dp_r45 as new_c"] and titles[1] == ["recording of new_c"]
    assert titles[2][0] == "block 1" and titles[3][0] == "block 1, pruned"
    dense, pruned = shown.panels[2][0].values, shown.panels[3][0].values
    np.testing.assert_allclose(dense.sum(1), 1, atol=1e-5)
    assert (pruned <= dense + 1e-7).all() and set(shown.beside) == {"reference", "recording"}
    assert "connections kept in each block" in shown.facts and "θ of each block" in shown.facts


def test_the_unpruned_model_has_one_row_of_maps_and_another_voice_has_no_recording(zero_shot):
    utterance = zero_shot.corpus.select(split="test", speaker="new_c")[0]
    shown = explore_pruned.speak_pruned(zero_shot, "baseline", 0, utterance, "new_d", 0.5)
    assert [row[0].kind for row in shown.panels] == ["mel", "attention"]
    assert set(shown.beside) == {"reference"} and "after 0.5 s of new_d" in shown.title


def test_pruned_systems_without_a_checkpoint_are_named(zero_shot):
    utterance = zero_shot.corpus.select(split="test", speaker="new_c")[0]
    assert explore_pruned.trained(zero_shot) == ["baseline", "dp_r45"]
    note = heard.attempt(explore_pruned.speak_pruned, zero_shot, "vp", 0, utterance)
    assert isinstance(note, Note) and "vp, seed 0, has not been trained in the profile tiny" in note.sentence
    cost = heard.attempt(explore_pruned.load, zero_shot, "attention_cost", 0)
    assert "cannot speak" in cost.sentence
    assert "there is no system 'vq'" in heard.attempt(explore_pruned.load, zero_shot, "vq", 0).sentence


def test_r_is_chosen_among_systems_that_differ_in_nothing_else(zero_shot):
    assert explore_pruned.ratios(zero_shot) == {0.3: "dp_r30", 0.45: "dp_r45"}


def test_kept_connections_are_counted_by_the_mask_or_by_weights_above_zero():
    weights = torch.tensor([[[[0.7, 0.3], [0.0, 1.0]]]])
    assert explore_pruned.kept_share(weights, None) == 0.75
    assert explore_pruned.kept_share(weights, torch.tensor([[[[True, False], [False, False]]]])) == 0.25


@pytest.fixture(scope="module")
def recogniser(place):
    """A recogniser's bench on the synthetic corpus, with a checkpoint of a hypernetwork that was never trained."""
    source = synthetic_source(place / "source")
    patch = pytest.MonkeyPatch()
    patch.setattr(tts.Bench, "corpus", source)
    profile = study.load_profile("smoke")
    bench = AsrBench(profile | {"ha": profile["ha"] | {"systems": SYSTEMS}}, "cpu", 1, source)
    torch.manual_seed(0)
    trained = bench.corpus.select(role="adaptation", split="train")
    made = build(bench, system_of(bench.settings, "hyper"), {EVERYBODY: trained})
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    path = bench.root / "checkpoints" / "ha-hyper-s0.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(saved_state(made), path)
    yield bench
    patch.undo()


@pytest.fixture
def sentence(recogniser):
    return recogniser.corpus.select(split="test", speaker="new_one")[0]


def test_a_sentence_made_atypical_is_heard_and_read_with_and_without_adaptation(recogniser, sentence):
    shown = explore_asr.hear_atypical(recogniser, "hyper", 0, sentence, "stuttering", "severe")
    assert [t.name for t in shown.transcripts] == ["Whisper tiny.en heard", "with hyper"]
    assert len(shown.wave) > len(shown.beside["recording"]) and shown.facts["rank"] == "2"
    assert "severe stuttering (simulated)" in shown.title
    kinds = [row[0].kind for row in shown.panels]
    assert kinds == ["mel", "mel", "attention", "weights", "weights"]
    assert [panel.title for panel in shown.panels[2]] == [
        "where Whisper tiny.en listens",
        "where Whisper with hyper listens",
    ]
    assert "own part" in shown.panels[-1][0].title


def test_the_decoder_listens_to_the_utterance_and_no_further(recogniser, sentence):
    shown = explore_asr.hear_atypical(recogniser, "whisper_0", 0, sentence, "typical")
    (row,) = [row for row in shown.panels if row[0].kind == "attention"]
    weights = row[0].values
    assert weights.shape[1] == -(-len(shown.wave) // 320)
    assert (weights >= 0).all() and (weights.sum(1) <= 1 + 1e-5).all()
    assert not recogniser.model.network.model.decoder.layers[-1].encoder_attn.q_proj._forward_hooks
    assert len(shown.transcripts) == 1


def test_the_same_draw_gives_the_same_speech_and_another_one_other_speech(recogniser, sentence):
    one, two, other = (
        explore_asr.make(recogniser.corpus, sentence, "parkinsons", "moderate", draw)[0] for draw in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert len(other) != len(one) or not np.array_equal(one, other)


def test_an_unknown_condition_is_refused(recogniser, sentence):
    with pytest.raises(ExploreError, match="There is no severe whisper: choose one of typical"):
        explore_asr.make(recogniser.corpus, sentence, "whisper", "severe")


def test_a_cohorts_adaptation_is_for_its_cohort(recogniser, sentence):
    systems = Systems({"name": "cohort_lora", "level": "cohort"}, {"dysarthria": torch.nn.Identity()})
    item = explore_asr.make(recogniser.corpus, sentence, "stuttering", "mild")[1]
    with pytest.raises(ExploreError, match="cohort_lora has no adaptation for stuttering: choose one of dysarthria"):
        explore_asr.part_for(systems, item)


def test_an_update_is_shown_as_it_is_applied(recogniser):
    systems = explore_asr.load(recogniser, "hyper", 0)
    adaptation = systems.parts[0]
    own = torch.randn(1, len(adaptation.mean))
    with torch.no_grad():
        path, update = next(iter(explore_asr.updates(adaptation, own).items()))
        linear, x = recogniser.model.network.get_submodule(path), torch.randn(1, 3, update.shape[1])
        plain = linear(x)
        with adaptation.applied(recogniser.model.network, own):
            changed = linear(x)
    torch.testing.assert_close(changed - plain, x @ update.T, atol=1e-4, rtol=1e-3)


def test_a_large_matrix_is_drawn_by_the_largest_entry_of_each_block():
    matrix = torch.tensor([[1.0, -3.0, 0.5], [2.0, 0.0, -0.1], [0.0, 0.2, 0.0]])
    assert explore_asr.coarse(matrix, 2).tolist() == [[-3.0, 0.5], [pytest.approx(0.2), 0.0]]
    assert torch.equal(explore_asr.coarse(matrix), matrix)


def test_recognisers_without_a_checkpoint_are_named(recogniser, sentence):
    assert explore_asr.trained(recogniser, 1) == ["whisper_0"]
    note = heard.attempt(explore_asr.hear_atypical, recogniser, "hyper", 1, sentence)
    assert "hyper, seed 1, has not been trained in the profile smoke" in note.sentence
    assert explore_asr.ranks(recogniser)["cohort_lora"] == "lora, 0.03 %, cohort"


def test_an_example_for_listening_has_the_embedding_its_system_asks_for(recogniser, sentence, tmp_path):
    example = prepare(recogniser.model, "x", recogniser.corpus.wave(sentence), None, 5.0)
    cache = explore_asr.EncoderStates(recogniser.model, tmp_path)
    given = {kind: {"method": "hyper", "conditioning": kind} for kind in ("whisper", "ge2e")}
    shapes = {k: tuple(explore_asr.embedding(s, cache, example, "cpu").shape) for k, s in given.items()}
    assert shapes == {"whisper": (1, 384), "ge2e": (1, 256)}
    assert explore_asr.embedding({"method": "lora"}, cache, example, "cpu") is None


@pytest.fixture(scope="module")
def lab(place):
    return Lab(study.load_profile("smoke"), "cpu", 1)


def test_diffusions_that_have_not_been_trained_are_named(lab):
    note = heard.attempt(explore_latents.speak_latents, lab, "i2sb", 0, 0, "a high voice")
    assert "i2sb, seed 0, has not been trained in the profile smoke" in note.sentence
    assert explore_latents.trained(lab) == []
    assert "takes no prompt" in heard.attempt(explore_latents.speak_latents, lab, "text", 0).sentence


def test_a_prompt_names_every_factor_of_the_style():
    words = explore_latents.prompt(pitch="high", rate="slow")
    assert "high voice" in words and "slow" in words and words.count(",") == 4
    with pytest.raises(StyleError, match="pitch 'higher'"):
        explore_latents.prompt(pitch="higher")


def test_a_profile_without_the_study_is_refused():
    with pytest.raises(ExploreError, match="no section ld"):
        explore_latents.lab_of({"name": "old"})


def test_no_widgets_without_a_reader(zero_shot, recogniser, lab):
    notes = [sp_widget.laboratory(zero_shot), ha_widget.laboratory(recogniser), ld_widget.laboratory(lab)]
    assert all(isinstance(note, Note) and "JupyterLab" in note.sentence for note in notes)


def test_widgets_of_pruning_and_of_atypical_speech_show_what_is_chosen(zero_shot, recogniser, monkeypatch):
    monkeypatch.setattr(widgets, "_has_reader", lambda: True)
    asked = []
    monkeypatch.setattr(explore_pruned, "speak_pruned", lambda *chosen: asked.append(chosen[1:]) or Note("spoken"))
    monkeypatch.setattr(explore_asr, "hear_atypical", lambda *chosen: asked.append(chosen[1:]) or Note("read"))
    controls = {c.description: c for c in sp_widget.laboratory(zero_shot).children[0].children}
    controls["system"].value, controls["seconds of it"].value = "dp_r45", 1.5
    assert asked[-1][0] == "dp_r45" and asked[-1][-1] == 1.5
    controls = {c.description: c for c in ha_widget.laboratory(recogniser).children[0].children}
    controls["condition"].value, controls["severity"].value, controls["draw"].value = "mixed", "severe", 3
    assert asked[-1][3:] == ("mixed", "severe", 3)
