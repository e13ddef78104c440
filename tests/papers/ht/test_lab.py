"""What the laboratory shows: transcripts, pictures, voices, and one sentence where something is not there."""

import numpy as np
import pytest
import torch

from lib.corpora.corpus import Corpus, Utterance
from lib.models.fft_block import FFTBlock, SelfAttention
from lib.models.mel import MelDims
from lib.papers.ht import lab as explore
from lib.papers.ht import widget
from lib.papers.ht.study import Study
from lib.study import heard, widgets
from lib.study.heard import ExploreError, Note

DIMS = MelDims()
WAVE = 0.3 * np.sin(2 * np.pi * 150 * np.arange(8000) / 16000).astype(np.float32)
PROFILE = {
    "name": "demo",
    "ht": {
        "seeds": [0],
        "systems": {
            "reference": {"method": "recording"},
            "tts_0": {"method": "none"},
            "hypertts_d": {"method": "hypernetwork", "modules": "d", "d_s": 8},
            "hypertts_d_ds2": {"method": "hypernetwork", "modules": "d", "d_s": 2},
            "hypertts_d_nolayer": {"method": "hypernetwork", "modules": "d", "d_s": 8, "layer_embedding": False},
            "adaptertts_d": {"method": "adapter", "modules": "d"},
        },
    },
}


def utterance(name="a-0", speaker="a", text="A map.", split="test"):
    return Utterance(name, speaker, text, "|a|", (0.1, 0.2, 0.2), "adaptation", split, "typical", "a.wav", 0.5)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A bench of a profile in which nothing has been trained, with two sentences of one speaker."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    made = Study(PROFILE, "cpu", cores=1)
    made.corpus = Corpus(tmp_path, "two", "0", [utterance(), utterance("a-1", text="A lake.")])
    return made


def page(shown) -> str:
    return shown._repr_html_()


def test_attention_seen_from_outside_is_what_the_block_multiplies_its_values_with():
    torch.manual_seed(0)
    block = FFTBlock(8, 2, 12, (3, 1), 0.1).eval()
    x, mask = torch.randn(1, 5, 8), torch.tensor([[True, True, True, True, False]])
    with explore.watched({"block": block.attention}) as seen, torch.no_grad():
        block(x, mask)
    weights = seen["block"]
    values = block.attention.value(x).unflatten(-1, (2, -1)).transpose(1, 2)
    out = block.attention.out((weights[None] @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, block.attention(x, mask))
    assert weights.shape == (2, 5, 5) and weights[..., 4].abs().max() == 0
    assert not block.attention._forward_hooks


def test_attention_with_a_prefix_has_its_keys_first():
    torch.manual_seed(0)
    attention, x = SelfAttention(8, 2), torch.randn(1, 5, 8)
    prefix, mask = (torch.randn(1, 3, 8), torch.randn(1, 3, 8)), torch.ones(1, 5, dtype=torch.bool)
    weights = explore.self_attention(attention, x, mask, prefix)
    values = torch.cat([prefix[1], attention.value(x)], 1).unflatten(-1, (2, -1)).transpose(1, 2)
    out = attention.out((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, attention(x, mask, prefix))
    assert weights.shape == (1, 2, 5, 8)


def test_d_s_is_chosen_among_systems_that_differ_in_nothing_else():
    assert explore.sizes(Study(PROFILE), "hypertts_d") == [2, 8] and explore.sizes(Study(PROFILE), "adaptertts_d") == []
    assert explore.with_d_s(Study(PROFILE), "hypertts_d", 2) == "hypertts_d_ds2"
    with pytest.raises(ExploreError, match="d_s = 5: choose one of 2, 8"):
        explore.with_d_s(Study(PROFILE), "hypertts_d", 5)


def test_what_has_not_been_trained_is_said_in_one_sentence(bench):
    note = heard.attempt(explore.speak_hypertts, bench, "hypertts_d", 0, utterance())
    assert isinstance(note, Note) and "backbone, seed 0, has not been trained in the profile demo" in note.sentence
    assert "./run_all.sh --profile demo" in page(note) and explore.trained(bench) == []


def test_recordings_and_unknown_systems_are_refused(bench):
    assert "reads the recordings" in heard.attempt(explore.load, bench, "reference", 0).sentence
    assert "there is no system 'hyper'" in heard.attempt(explore.load, bench, "hyper", 0).sentence


def test_no_widgets_where_nobody_could_move_them(bench):
    assert widget.laboratory(bench).sentence == widgets.NO_READER


def test_widgets_show_what_is_chosen(bench, monkeypatch):
    monkeypatch.setattr(widgets, "_has_reader", lambda: True)
    monkeypatch.setattr(explore, "missing", lambda *_: "")
    asked = []
    monkeypatch.setattr(explore, "speak_hypertts", lambda *chosen: asked.append(chosen[1:]) or Note("spoken"))
    box = widget.laboratory(bench)
    controls = {control.description: control for control in box.children[0].children}
    assert asked[-1][0] == "hypertts_d" and asked[-1][2].text == "A map."
    controls["d_s"].value = 2
    assert asked[-1][0] == "hypertts_d_ds2"
    controls["system"].value = "adaptertts_d"
    assert asked[-1][0] == "adaptertts_d" and controls["d_s"].value is None
    controls["sentence"].value = 1
    controls["by"].value = 0.5
    assert asked[-1][2].text == "A lake." and asked[-1][3:] == ("a", 0.5)
    controls["or say"].value = "Good morning."
    assert asked[-1][2].text == "Good morning."
