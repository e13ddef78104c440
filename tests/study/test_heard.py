"""What a laboratory shows: transcripts, pictures, and any sentence in any voice."""

from pathlib import Path

import numpy as np
import pytest

from lib.corpora.corpus import Corpus, Utterance
from lib.models.mel import MelDims
from lib.study import heard
from lib.study.heard import ExploreError, Heard, Panel, Word

DIMS = MelDims()
WAVE = 0.3 * np.sin(2 * np.pi * 150 * np.arange(8000) / 16000).astype(np.float32)


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


def test_any_text_is_spoken_as_a_sentence_that_was_never_recorded():
    facts = ("|a|", (0.1, 0.2, 0.2), "adaptation", "test", "typical", "a.wav", 0.5)
    items = [Utterance(f"a-{i}", "a", said, *facts) for i, said in enumerate(("A map.", "A lake."))]
    corpus = Corpus(Path(), "two", "0", items)
    said = heard.sentence(corpus, "a", said="Good morning.")
    assert said.text == "Good morning." and said.seconds == 0 and said.speaker == "a"
    assert heard.sentence(corpus, "a", 1, "  ").text == "A lake."
    with pytest.raises(ExploreError, match="a has 2 test sentences: choose a number from 0 to 1"):
        heard.sentence(corpus, "a", 2)
    with pytest.raises(ValueError, match="no speakable symbol"):
        heard.sentence(corpus, "a", said="!?")


def test_players_are_named_by_what_is_said():
    assert 'aria-label="speech: A map."' in page(Heard("x", WAVE, "A map.", [[Panel("weights", "W", np.eye(2))]]))
