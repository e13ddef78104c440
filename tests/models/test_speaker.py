import warnings

import numpy as np
import pytest

from lib.models import speaker
from lib.models.speaker import SpeakerError


@pytest.fixture(scope="module")
def resemblyzer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from resemblyzer import VoiceEncoder, audio
    encoder = VoiceEncoder("cpu", verbose=False)

    def embed(wave):
        return encoder.embed_utterance(audio.normalize_volume(wave, -30, increase_only=True))

    return embed


def test_embeddings_agree_with_resemblyzer_on_real_speech(recordings, resemblyzer):
    waves = [r.wave for r in recordings[::5]]
    ours = speaker.embed(waves)
    theirs = np.stack([resemblyzer(wave) for wave in waves])
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize("samples", [400, 3000, 25599, 25600, 25601, 40000, 47359])
def test_embeddings_agree_with_resemblyzer_at_awkward_lengths(recordings, resemblyzer, samples):
    wave = recordings[0].wave[:samples] + 1e-4
    assert np.abs(speaker.embed([wave])[0] - resemblyzer(wave)).max() < 1e-5


def test_a_batch_of_one_equals_a_batch_of_many(speech):
    many = speaker.embed(speech)
    one = np.concatenate([speaker.embed([wave]) for wave in speech])
    assert np.abs(many - one).max() < 1e-5
    assert np.abs(speaker.embed(speech, batch_size=3) - many).max() < 1e-5


def test_embeddings_are_unit_vectors_and_do_not_depend_on_a_quiet_waves_level(speech):
    embeddings = speaker.embed([speech[0] * 0.01, speech[0] * 0.001])
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert np.abs(embeddings[0] - embeddings[1]).max() < 1e-4


def test_utterances_of_one_speaker_are_closer_than_those_of_two(recordings):
    chosen = recordings[::5]
    embeddings = speaker.embed([r.wave for r in chosen])
    same = np.equal.outer([r.speaker for r in chosen], [r.speaker for r in chosen])
    similarity = embeddings @ embeddings.T
    other = similarity[~same]
    own = similarity[same & ~np.eye(len(chosen), dtype=bool)]
    assert own.min() > other.mean() + 0.15


def test_no_waves_give_no_embeddings():
    assert speaker.embed([]).shape == (0, 256)


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.zeros(16000, np.float32), "Audio 1 is silent"),
        (np.full(16000, np.nan, np.float32), "Audio 1 holds NaN"),
        (np.zeros((16000, 2), np.float32), "Audio 1 is not a one-dimensional"),
    ],
)
def test_bad_audio_is_named(wave, sentence):
    tone = np.sin(np.arange(16000) / 20).astype(np.float32)
    with pytest.raises(SpeakerError, match=sentence):
        speaker.embed([tone, wave])
