"""The laboratory of pruned self-attention, on tiny models that were never trained and on synthetic speech."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from synthetic_zero_shot import make_study

from lib import audio
from lib.papers.sp import lab, widget
from lib.study import heard, widgets
from lib.study.heard import Note
from lib.training.weights import saved_state


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory):
    """A study with untrained checkpoints of the unpruned model and of one pruned one."""
    folder = tmp_path_factory.mktemp("zero_shot")
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDY_RESULTS", str(folder / "results"))
    made = make_study(folder)
    torch.manual_seed(0)
    for name in ("baseline", "dp_r45"):
        made.checkpoint(name, 0).parent.mkdir(parents=True, exist_ok=True)
        model = made.build(name)
        torch.nn.init.constant_(model.backbone.duration.out.bias, 1.5)  # 3 or 4 frames a symbol
        if model.theta is not None:
            torch.nn.init.constant_(model.theta, 1 / made.settings["theta_scale"])
        save_file(saved_state(model), made.checkpoint(name, 0))
    for utterance in made.corpus.utterances:
        wave = 0.1 * np.random.default_rng(0).standard_normal(round(16000 * utterance.seconds))
        audio.write(made.corpus.root / utterance.path, wave.astype(np.float32))
    yield made
    patch.undo()


def test_pruning_shows_what_is_left_of_attention(zero_shot):
    utterance = zero_shot.corpus.select(split="test", speaker="new_c")[0]
    shown = lab.speak_pruned(zero_shot, "dp_r45", 0, utterance)
    titles = [[panel.title for panel in row] for row in shown.panels]
    assert titles[0] == ["dp_r45 as new_c"] and titles[1] == ["recording of new_c"]
    assert titles[2][0] == "block 1" and titles[3][0] == "block 1, pruned"
    dense, pruned = shown.panels[2][0].values, shown.panels[3][0].values
    np.testing.assert_allclose(dense.sum(1), 1, atol=1e-5)
    assert (pruned <= dense + 1e-7).all() and set(shown.beside) == {"reference", "recording"}
    assert "connections kept in each block" in shown.facts and "θ of each block" in shown.facts


def test_the_unpruned_model_has_one_row_of_maps_and_another_voice_has_no_recording(zero_shot):
    utterance = zero_shot.corpus.select(split="test", speaker="new_c")[0]
    shown = lab.speak_pruned(zero_shot, "baseline", 0, utterance, "new_d", 0.5)
    assert [row[0].kind for row in shown.panels] == ["mel", "attention"]
    assert set(shown.beside) == {"reference"} and "after 0.5 s of new_d" in shown.title


def test_pruned_systems_without_a_checkpoint_are_named(zero_shot):
    utterance = zero_shot.corpus.select(split="test", speaker="new_c")[0]
    assert lab.trained(zero_shot) == ["baseline", "dp_r45"]
    note = heard.attempt(lab.speak_pruned, zero_shot, "vp", 0, utterance)
    assert isinstance(note, Note) and "vp, seed 0, has not been trained in the profile tiny" in note.sentence
    cost = heard.attempt(lab.load, zero_shot, "attention_cost", 0)
    assert "cannot speak" in cost.sentence
    assert "there is no system 'vq'" in heard.attempt(lab.load, zero_shot, "vq", 0).sentence


def test_r_is_chosen_among_systems_that_differ_in_nothing_else(zero_shot):
    assert lab.ratios(zero_shot) == {0.3: "dp_r30", 0.45: "dp_r45"}


def test_no_widgets_without_a_reader(zero_shot):
    assert widget.laboratory(zero_shot).sentence == widgets.NO_READER


def test_widgets_show_what_is_chosen(zero_shot, monkeypatch):
    monkeypatch.setattr(widgets, "_has_reader", lambda: True)
    asked = []
    monkeypatch.setattr(lab, "speak_pruned", lambda *chosen: asked.append(chosen[1:]) or Note("spoken"))
    controls = {c.description: c for c in widget.laboratory(zero_shot).children[0].children}
    controls["system"].value, controls["seconds of it"].value = "dp_r45", 1.5
    assert asked[-1][0] == "dp_r45" and asked[-1][-1] == 1.5
