import warnings

import numpy as np
import pytest
import torch

from lib.pitch import PitchError, yin


@pytest.fixture(scope="module")
def waves(recordings):
    return [r.wave[:48000] for r in recordings[2::10]]


@pytest.fixture(scope="module")
def harvest(waves):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyworld

    def track(wave):
        coarse, times = pyworld.harvest(wave, 16000, f0_floor=65, f0_ceil=600, frame_period=10)
        return pyworld.stonemask(wave, coarse, times, 16000)

    return [track(wave.astype(np.float64)) for wave in waves]


@pytest.fixture(scope="module")
def pyin(waves):
    import librosa

    settings = {"fmin": 65, "fmax": 600, "sr": 16000, "frame_length": 1024, "hop_length": 160}
    return [np.nan_to_num(librosa.pyin(wave, **settings)[0]) for wave in waves]


def track(wave, **options):
    return yin(torch.from_numpy(wave)[None], **options)[0][0].numpy()


def agreement(ours, theirs) -> tuple[float, float, float]:
    """Share of equal voicing; of the frames voiced in both, the share within 20 % and the median cents."""
    pairs = [(a[: len(b)], b[: len(a)]) for a, b in zip(ours, theirs, strict=True)]
    a, b = (np.concatenate(tracks) for tracks in zip(*pairs, strict=True))
    both = (a > 0) & (b > 0)
    ratio = a[both] / b[both]
    cents = 1200 * np.abs(np.log2(ratio))
    return np.mean((a > 0) == (b > 0)), np.mean(np.abs(ratio - 1) < 0.2), np.median(cents)


def test_f0_agrees_with_librosa_pyin_on_real_speech(waves, pyin):
    voicing, close, cents = agreement([track(wave) for wave in waves], pyin)
    assert voicing > 0.72
    assert close > 0.95
    assert cents < 10


def test_f0_agrees_with_world_harvest_better_than_librosa_pyin_does(librispeech, waves, harvest, pyin):
    voicing, close, cents = agreement([track(wave) for wave in waves], harvest)
    pyin_voicing, pyin_close, pyin_cents = agreement(pyin, harvest)
    assert voicing > pyin_voicing
    assert close > pyin_close
    assert cents < pyin_cents


@pytest.mark.parametrize("frequency", [70.0, 110.3, 220.0, 441.0, 590.0])
def test_f0_of_a_tone_is_its_frequency(frequency):
    tone = torch.sin(2 * torch.pi * frequency * torch.arange(8000, dtype=torch.float64) / 16000)[None]
    f0, voiced = yin(tone)
    inner = f0[0, 5:-5]
    assert voiced[0, 5:-5].all()
    assert torch.allclose(inner, torch.full_like(inner, frequency), rtol=1e-3)


def test_f0_of_a_harmonic_tone_is_the_fundamental():
    time = torch.arange(8000, dtype=torch.float64) / 16000
    tone = sum(torch.sin(2 * torch.pi * 150 * k * time) / k for k in range(1, 8))[None]
    assert torch.allclose(yin(tone)[0][0, 5:-5], torch.tensor(150.0, dtype=torch.float64), rtol=1e-3)


def test_frames_within_the_signal_equal_the_literal_sum(speech):
    wave = speech[0][8000:12000].astype(np.float64)
    frames = [wave[start : start + 400] for start in range(0, len(wave) - 399, 160)]
    expected = []
    for frame in frames:
        difference = np.array([np.sum((frame[: 400 - lag] - frame[lag:]) ** 2) for lag in range(162)])
        normalised = np.ones(162)
        normalised[1:] = difference[1:] * np.arange(1, 162) / np.cumsum(difference[1:])
        lag = next((lag for lag in range(32, 161) if normalised[lag] < 0.1), None)
        while lag is not None and lag < 160 and normalised[lag + 1] < normalised[lag]:
            lag += 1
        expected.append(16000 / lag if lag else 0.0)
    found = track(wave, frame=400, f0_min=100, f0_max=500, threshold=0.1, voicing=0.1, centred=False)
    assert len(found) == len(expected)
    assert ((found > 0) == (np.array(expected) > 0)).all()
    assert np.mean(found > 0) > 0.2
    assert np.allclose(found, expected, rtol=0.01)


def test_a_batch_of_one_equals_a_batch_of_many(speech):
    padded = torch.zeros(len(speech), max(map(len, speech)))
    for row, wave in enumerate(speech):
        padded[row, : len(wave)] = torch.from_numpy(wave)
    many = yin(padded)[0].numpy()
    for row, wave in enumerate(speech):
        one = track(wave)
        assert np.allclose(many[row, : len(one)], one, atol=1e-3)


def test_level_does_not_matter(speech):
    assert np.allclose(track(speech[0]), track(speech[0] * 0.125), rtol=1e-5)


def test_silence_and_a_single_frame_are_unvoiced():
    assert not yin(torch.zeros(1, 1600))[1].any()
    assert yin(torch.zeros(1, 10))[0].shape == (1, 1)


def test_noise_is_mostly_unvoiced():
    noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    assert yin(noise)[1].float().mean() < 0.05


@pytest.mark.parametrize(
    ("waves", "options", "sentence"),
    [
        (torch.zeros(100), {}, "batch of waves"),
        (torch.zeros(1, 100, dtype=torch.int16), {}, "batch of waves"),
        (torch.zeros(1, 1600), {"f0_min": 700.0}, "No F0 between 700 and 600 Hz"),
        (torch.zeros(1, 1600), {"frame": 200, "centred": False}, "lengthen the frame"),
    ],
)
def test_impossible_settings_are_refused(waves, options, sentence):
    with pytest.raises(PitchError, match=sentence):
        yin(waves, **options)
