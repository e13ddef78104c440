"""What the laboratory shows: transcripts, pictures, voices, and one sentence where something is not there."""

import numpy as np
import pytest
import torch

from lib.corpora.corpus import Corpus, Utterance
from lib.models.fft_block import FFTBlock, SelfAttention
from lib.models.mel import MelDims
from lib.papers.common import heard, widgets
from lib.papers.common.heard import ExploreError, Heard, Note, Panel, Word
from lib.papers.ht import lab as explore
from lib.papers.ht import study as tts

DIMS = MelDims()
WAVE = 0.3 * np.sin(2 * np.pi * 150 * np.arange(8000) / 16000).astype(np.float32)
PROFILE = {
    "name": "demo",
    "seeds": [0],
    "systems": {
        "reference": {"method": "recording"},
        "tts_0": {"method": "none"},
        "hypertts_d": {"method": "hypernetwork", "modules": "d", "d_s": 8},
        "hypertts_d_ds2": {"method": "hypernetwork", "modules": "d", "d_s": 2},
        "hypertts_d_nolayer": {"method": "hypernetwork", "modules": "d", "d_s": 8, "layer_embedding": False},
        "adaptertts_d": {"method": "adapter", "modules": "d"},
    },
}


def utterance(name="a-0", speaker="a", text="A map.", split="test"):
    return Utterance(name, speaker, text, "|a|", (0.1, 0.2, 0.2), "adaptation", split, "typical", "a.wav", 0.5)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A bench of a profile in which nothing has been trained, with two sentences of one speaker."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    made = tts.Bench(PROFILE, "cpu", cores=1)
    made.corpus = Corpus(tmp_path, "two", "0", [utterance(), utterance("a-1", text="A lake.")])
    return made


def page(shown) -> str:
    return shown._repr_html_()


def test_a_transcript_is_aligned_word_by_word_with_the_text():
    found = heard.against("The cat sat quietly on the.", "The cat sat on the mat", "Whisper")
    kinds = [word.kind for word in found.words]
    assert kinds == ["equal", "equal", "equal", "insert", "equal", "equal", "delete"]
    assert found.words[3] == Word("insert", "", "quietly") and found.words[6] == Word("delete", "mat", "")
    assert found.wer == pytest.approx(2 / 6)


def test_word_errors_are_marked_and_named_and_text_is_escaped():
    shown = page(heard.against("a bat sat", "a cat sat here", "A & B"))
    assert shown.count("<span") == 2 and "“cat” was expected" in shown and "<small>(cat)</small>" in shown
    assert "A &amp; B" in shown and "line-through" in shown


def test_a_silent_wave_is_transcribed_as_nothing():
    found = heard.transcript(np.zeros(16000, np.float32), "A map.")
    assert [word.kind for word in found.words] == ["delete", "delete"] and found.wer == 1.0


def test_what_is_heard_shows_players_facts_and_a_picture_with_an_alternative_text():
    panels = [[heard.speech_panel(WAVE, DIMS, "tone")], [Panel("weights", "W", np.eye(3))]]
    panels.append([Panel("attention", "block", np.full((4, 4), 0.25), names=("key", "query"))])
    panels.append([Panel("curve", "path", np.array([[0.0, 1.0], [1.0, 2.0]]), names=("x", "y"))])
    shown = Heard("TTS <0>", WAVE, "A map.", panels, beside={"recording": WAVE}, facts={"COS": "71.2"})
    assert page(shown).count("<audio") == 2 and "TTS &lt;0&gt;" in page(shown) and "COS 71.2" in page(shown)
    assert 'alt="Log-mel' in page(shown) and "n = 1" in shown.figure.description["caption"]


def test_f0_of_a_tone_is_drawn_where_it_is():
    panel = heard.speech_panel(WAVE, DIMS, "tone")
    assert np.nanmedian(panel.f0) == pytest.approx(150, abs=1) and panel.values.shape[1] == DIMS.n_mels


def test_a_row_of_many_pictures_is_cut_after_four():
    figure = heard.draw([[Panel("weights", str(i), np.eye(2)) for i in range(6)]], DIMS, "Six.")
    assert [len(part.axes) for part in figure.subfigs] == [8, 4]  # each picture has its colour bar
    with pytest.raises(ExploreError, match="at least one panel"):
        heard.draw([], DIMS, "None.")


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
    assert explore.sizes(PROFILE, "hypertts_d") == [2, 8] and explore.sizes(PROFILE, "adaptertts_d") == []
    assert explore.with_d_s(PROFILE, "hypertts_d", 2) == "hypertts_d_ds2"
    with pytest.raises(ExploreError, match="d_s = 5: choose one of 2, 8"):
        explore.with_d_s(PROFILE, "hypertts_d", 5)


def test_any_text_is_spoken_as_a_sentence_that_was_never_recorded(bench):
    said = explore.sentence(bench, "a", said="Good morning.")
    assert said.text == "Good morning." and said.seconds == 0 and said.speaker == "a"
    assert explore.sentence(bench, "a", 1, "  ").text == "A lake."
    with pytest.raises(ExploreError, match="a has 2 test sentences: choose a number from 0 to 1"):
        explore.sentence(bench, "a", 2)
    with pytest.raises(ValueError, match="no speakable symbol"):
        explore.sentence(bench, "a", said="!?")


def test_what_has_not_been_trained_is_said_in_one_sentence(bench):
    note = heard.attempt(explore.speak_hypertts, bench, "hypertts_d", 0, utterance())
    assert isinstance(note, Note) and "backbone, seed 0, has not been trained in the profile demo" in note.sentence
    assert "./run_all.sh --profile demo" in page(note) and explore.trained(bench) == []


def test_recordings_and_unknown_systems_are_refused(bench):
    assert "reads the recordings" in heard.attempt(explore.load, bench, "reference", 0).sentence
    assert "there is no system 'hyper'" in heard.attempt(explore.load, bench, "hyper", 0).sentence


def test_no_widgets_where_nobody_could_move_them(bench):
    assert not widgets.available()
    assert isinstance(widgets.hypertts(bench), Note) and "JupyterLab" in page(widgets.hypertts(bench))


def test_no_widgets_without_their_package(monkeypatch):
    monkeypatch.setattr(widgets, "find_spec", lambda name: None)
    assert widgets.unavailable() == widgets.NO_PACKAGE


def test_a_kernel_tells_a_reader_from_an_executor():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        found = {}
        for asked in (True, False):
            said = []
            client.execute_interactive(
                "from lib import widgets; print(widgets.available())",
                allow_stdin=asked,
                stdin_hook=lambda message: None,
                output_hook=lambda message, said=said: said.append(message["content"].get("text", "")),
                timeout=120,
            )
            found[asked] = "".join(said).strip()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert found == {True: "True", False: "False"}


def test_widgets_show_what_is_chosen(bench, monkeypatch):
    monkeypatch.setattr(widgets, "_has_reader", lambda: True)
    monkeypatch.setattr(explore, "missing", lambda *_: "")
    asked = []
    monkeypatch.setattr(explore, "speak_hypertts", lambda *chosen: asked.append(chosen[1:]) or Note("spoken"))
    box = widgets.hypertts(bench)
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


def test_players_are_named_by_what_is_said():
    assert 'aria-label="speech: A map."' in page(Heard("x", WAVE, "A map.", [[Panel("weights", "W", np.eye(2))]]))
