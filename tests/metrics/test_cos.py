import numpy as np
import pytest

from lib.metrics import MetricError, cos
from lib.models import speaker


def test_cos_of_a_signal_with_itself_is_100(speech):
    assert np.allclose(cos.score(speech, speech)["cos"], 100.0, atol=1e-4)


def test_cos_is_the_cosine_of_resemblyzers_embeddings(recordings):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from resemblyzer import VoiceEncoder, audio
    encoder = VoiceEncoder("cpu", verbose=False)
    one, other = recordings[2].wave, recordings[13].wave
    expected = np.dot(
        *(encoder.embed_utterance(audio.normalize_volume(w, -30, increase_only=True)) for w in (one, other))
    )
    assert cos.score([one], [other])["cos"][0] == pytest.approx(100 * expected, abs=1e-3)


def test_the_same_speaker_scores_above_another(recordings):
    first, own, other = recordings[0].wave, recordings[1].wave, recordings[30].wave
    same, different = cos.score([first, first], [own, other])["cos"]
    assert same > different + 10


def test_precomputed_embeddings_give_the_same_scores(speech):
    embeddings = speaker.embed(speech[1:])
    expected = cos.score(speech[:-1], speech[1:])["cos"]
    assert np.allclose(cos.against(speech[:-1], embeddings), expected, atol=1e-9)


def test_a_batch_of_one_equals_a_batch_of_many(speech):
    many = cos.score(speech[:-1], speech[1:])["cos"]
    one = [cos.score([a], [b])["cos"][0] for a, b in zip(speech[:-1], speech[1:], strict=True)]
    assert many.shape == (len(speech) - 1,) and many.dtype == np.float64
    assert np.allclose(many, one, atol=1e-4)


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.zeros(16000, np.float32), "Speech 1 is silent"),
        (np.full(16000, np.nan, np.float32), "Speech 1 holds NaN"),
        (np.ones(100, np.float32), "Speech 1 has 100 samples, fewer than the 400"),
        (np.ones((2, 16000), np.float32), "Speech 1 is not a one-dimensional"),
        (np.ones(16000, np.int16), "Speech 1 is not a one-dimensional"),
        ([0.1] * 16000, "Speech 1 is not a one-dimensional"),
    ],
)
def test_bad_speech_is_named(wave, sentence):
    tone = np.sin(np.arange(16000) / 20).astype(np.float32)
    with pytest.raises(MetricError, match=sentence):
        cos.score([tone, wave], [tone, tone])


def test_a_missing_reference_is_counted():
    tone = np.sin(np.arange(16000) / 20).astype(np.float32)
    with pytest.raises(MetricError, match="2 utterances and 1 references"):
        cos.score([tone, tone], [tone])


def test_a_single_wave_must_be_in_a_list():
    tone = np.sin(np.arange(16000) / 20).astype(np.float32)
    with pytest.raises(MetricError, match="Reference is not a list of waves"):
        cos.score(tone, tone)
