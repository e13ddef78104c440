"""Phoneme errors: the common alphabet, known distances, real speech against its own and another text."""

import numpy as np
import pytest

from lib.metrics import MetricError, per

TONE = 0.1 * np.sin(np.arange(16000) / 20).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("How now, cow?", "h aʊ n aʊ k aʊ"),
        ("Joy, age, go, my.", "d͡ʒ ɔɪ eɪ d͡ʒ g oʊ m aɪ"),
        ("Much church.", "m ʌ t͡ʃ t͡ʃ ɝ t͡ʃ"),
    ],
)
def test_texts_and_what_is_heard_are_written_alike(text, heard):
    assert per.phonemes_of(text) == per.spelled(heard.replace(" ", ""))


def test_every_phoneme_has_one_character_and_the_rest_is_left_out():
    assert per.spelled("|ˈhəlˈO,| wˈɜɹld!") == "həlOwɝld"
    assert set(per.spelled("eɪaɪoʊaʊɔɪt͡ʃd͡ʒ")) <= per.PHONEMES


@pytest.mark.parametrize(("heard", "rate"), [("kæt", 0), ("kət", 1 / 3), ("kt", 1 / 3), ("kæts", 1 / 3), ("", 1)])
def test_the_rate_counts_edits_over_the_references_phonemes(monkeypatch, heard, rate):
    monkeypatch.setattr(per, "heard", lambda wave: heard)
    assert per.score([TONE], ["Cat."])["per"][0] == pytest.approx(rate)


def test_real_speech_is_nearer_to_its_own_text_than_to_another(recordings):
    chosen = [each for each in recordings if len(each.wave) < 160000][::8]
    waves, texts = [each.wave for each in chosen], [each.text.capitalize() for each in chosen]
    own, other = per.score(waves, texts)["per"], per.score(waves, texts[1:] + texts[:1])["per"]
    assert own.mean() < 0.35 and other.mean() > 0.7
    assert per.score(waves[:1], texts[:1])["per"][0] == own[0]


@pytest.mark.parametrize("text", ["", "..."])
def test_a_text_that_cannot_be_spoken_is_named(text):
    with pytest.raises(MetricError, match="Reference 1"):
        per.score([TONE, TONE], ["Cat.", text])
