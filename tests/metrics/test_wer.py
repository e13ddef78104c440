import jiwer
import numpy as np
import pytest

from lib.metrics import MetricError, wer


class Deaf:
    """A recogniser that heard whatever it is given to say."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def transcribe(self, waves, *_, **__):
        return self.texts[: len(waves)]


TONE = np.sin(np.arange(16000) / 20).astype(np.float32)


def test_equal_texts_have_no_errors_whatever_their_spelling():
    found = wer.compare(["Mr. Smith paid $20, didn't he?"], ["mister smith paid twenty dollars did not he"])
    assert found["wer"][0] == found["cer"][0] == 0


def test_counts_are_those_of_a_hand_made_example():
    found = wer.compare(["the cat sat on on mat"], ["the dog sat on the mat today"])
    assert found["wer_words"][0] == 7
    assert found["wer_substitutions"][0] + found["wer_insertions"][0] + found["wer_deletions"][0] == 3
    assert found["wer"][0] == pytest.approx(3 / 7)


def test_rates_are_those_of_jiwer():
    hypotheses, references = ["a b c d", "one too three"], ["a c d e", "one two three four"]
    found = wer.compare(hypotheses, references)
    normal = [[wer.normalise(text) for text in texts] for texts in (references, hypotheses)]
    for index, (reference, hypothesis) in enumerate(zip(*normal, strict=True)):
        assert found["wer"][index] == jiwer.wer(reference, hypothesis)
        assert found["cer"][index] == jiwer.cer(reference, hypothesis)
    assert all(values.dtype == np.float64 and values.shape == (2,) for values in found.values())


def test_an_empty_transcript_deletes_every_word():
    found = wer.compare([""], ["three words here"])
    assert found["wer"][0] == 1
    assert found["wer_deletions"][0] == 3


def test_real_speech_is_recognised_and_silence_is_an_empty_transcript(recordings):
    chosen = sorted(recordings, key=lambda r: len(r.wave))[:4]
    waves = [r.wave for r in chosen] + [np.zeros(16000, np.float32)]
    found = wer.score(waves, [r.text for r in chosen] + ["some words"])
    assert found["wer"][:4].mean() < 0.35
    assert found["wer"][4] == 1
    assert not found["wer_hallucinated"].any()


def test_a_given_recogniser_is_used():
    found = wer.score([TONE, TONE], ["hello", "world"], recogniser=Deaf("hello", "word"))
    assert found["wer"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I was a little bit scared and " * 10, True),
        ("Lobsters and lobsters. " * 4, True),
        ("no no no no", True),
        ("had had had a", False),
        ("There's iron, they say, in all our blood, and a grain or two perhaps is good.", False),
        ("", False),
    ],
)
def test_repetition_is_flagged_as_hallucination(text, expected):
    assert wer.hallucinated(text) is expected


@pytest.mark.parametrize("text", ["", "...", None, 3])
def test_a_reference_without_words_is_named(text):
    with pytest.raises(MetricError, match="Reference 1 has no words"):
        wer.score([TONE, TONE], ["fine", text], recogniser=Deaf("fine", "fine"))


def test_references_must_be_as_many_as_utterances():
    with pytest.raises(MetricError, match="2 utterances and 1 references"):
        wer.score([TONE, TONE], ["fine"], recogniser=Deaf())


def test_nan_is_named():
    with pytest.raises(MetricError, match="Speech 0 holds NaN"):
        wer.score([TONE * np.nan], ["fine"], recogniser=Deaf("fine"))
