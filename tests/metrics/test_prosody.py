import numpy as np
import pytest
import torch

from lib.metrics import MetricError, prosody, voice_quality

RATE = 16000


def pulses(times: np.ndarray, heights: np.ndarray, seconds: float) -> np.ndarray:
    """Band-limited pulses at `times` (s, not on the sampling grid), through one damped resonance at 700 Hz."""
    size = int(seconds * RATE)
    frequencies = np.fft.rfftfreq(2 * size, 1 / RATE)
    spectrum = np.zeros(len(frequencies), dtype=complex)
    for time, height in zip(times, heights, strict=True):
        spectrum += height * np.exp(-2j * np.pi * frequencies * time)
    resonance = 1 / ((700**2 - frequencies**2) + 200j * frequencies)
    wave = np.fft.irfft(spectrum * resonance * (frequencies < 6000), 2 * size)[:size]
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def voice(f0: float, jitter: float = 0.0, shimmer: float = 0.0, seconds: float = 0.8, seed: int = 0):
    """A voice, and its own local jitter and shimmer in percent."""
    random = np.random.default_rng(seed)
    count = int(seconds * f0) - 20
    periods = (1 + jitter * random.uniform(-1, 1, count)) / f0
    heights = 1 + shimmer * random.uniform(-1, 1, count + 1)
    times = 0.05 + np.concatenate([[0.0], periods.cumsum()])
    true = [100 * np.abs(np.diff(values)).mean() / values.mean() for values in (periods, heights)]
    return pulses(times, heights, seconds), *true


def harmonic(f0: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return sum(np.cos(2 * np.pi * f0 * k * time + k * k) / k for k in range(1, 12)) / 4


@pytest.mark.parametrize("f0", [95.0, 143.7, 231.3])
def test_a_steady_voice_has_its_f0_and_neither_jitter_nor_shimmer(f0):
    wave, _, _ = voice(f0)
    found = prosody.score([wave])
    assert found["f0_mean"][0] == pytest.approx(f0, rel=2e-3)
    assert found["f0_mean_semitones"][0] == pytest.approx(12 * np.log2(f0 / 100), abs=0.04)
    assert found["f0_range"][0] < 0.1 and abs(found["f0_slope"][0]) < 0.05
    assert found["jitter"][0] < 0.05 and found["shimmer"][0] < 0.6
    assert found["hnr"][0] > 25


@pytest.mark.parametrize("f0", [110.0, 200.0])
def test_known_jitter_is_measured(f0):
    for amount in (0.01, 0.03):
        wave, jitter, _ = voice(f0, jitter=amount)
        assert prosody.score([wave])["jitter"][0] == pytest.approx(jitter, rel=0.15)


@pytest.mark.parametrize("f0", [110.0, 200.0])
def test_known_shimmer_is_measured(f0):
    for amount in (0.05, 0.15):
        wave, _, shimmer = voice(f0, shimmer=amount)
        assert prosody.score([wave])["shimmer"][0] == pytest.approx(shimmer, rel=0.2)


@pytest.mark.parametrize("decibels", [5, 10, 20, 30])
def test_hnr_is_the_ratio_of_harmonics_to_added_noise(decibels):
    tone = harmonic(160.0)
    noise = np.random.default_rng(0).standard_normal(len(tone)) * tone.std() * 10 ** (-decibels / 20)
    f0 = torch.full((1, 101), 160.0)
    f0[:, :5] = f0[:, -5:] = 0
    found = voice_quality.harmonics_to_noise(torch.from_numpy(tone + noise)[None], f0)
    assert float(found) == pytest.approx(decibels, abs=0.6)


def test_the_slope_of_a_glide_and_its_range_are_found():
    time = np.arange(2 * RATE) / RATE
    f0 = 120 * 2 ** (4 * time / 12)
    wave = sum(np.sin(k * 2 * np.pi * f0.cumsum() / RATE) / k for k in range(1, 6)).astype(np.float32) / 4
    found = prosody.score([wave])
    assert found["f0_slope"][0] == pytest.approx(4, rel=0.02)
    assert found["f0_range"][0] == pytest.approx(0.9 * 8, rel=0.03)


def test_energy_is_the_level_of_a_tone_and_pauses_are_counted():
    tone = (0.1 * np.sin(2 * np.pi * 200 * np.arange(8000) / RATE)).astype(np.float32)
    gap, short = np.zeros(8000, np.float32), np.zeros(1600, np.float32)
    found = prosody.score([np.concatenate([tone, gap, tone, short, tone, gap, tone]), tone])
    assert found["pauses"].tolist() == [2, 0]
    assert found["pause_seconds"][0] == pytest.approx(1.0, abs=0.15)
    assert found["pause_share"][0] == pytest.approx(1.0 / 3.1, abs=0.05)
    assert found["energy_mean"][1] == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.5)
    assert found["pause_seconds"][1] == found["pause_share"][1] == 0


def test_the_rate_counts_swells_of_energy():
    time = np.arange(3 * RATE) / RATE
    wave = (np.sin(2 * np.pi * 150 * time) * (0.3 + 0.25 * np.cos(2 * np.pi * 4 * time + np.pi))).astype(np.float32)
    assert prosody.timing([wave])["rate"][0] == pytest.approx(4, rel=0.05)


def test_mean_f0_is_that_of_pyworld_on_real_speech(librispeech, speech):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyworld
    tracks = [pyworld.harvest(wave.astype(np.float64), RATE, f0_floor=65, f0_ceil=600)[0] for wave in speech[:6]]
    theirs = np.array([np.mean(12 * np.log2(track[track > 0] / 100)) for track in tracks])
    difference = np.abs(prosody.score(speech[:6])["f0_mean_semitones"] - theirs)
    assert np.median(difference) < 1
    assert difference.max() < 3


def test_jitter_shimmer_and_hnr_agree_with_praat_on_real_speech(speech):
    parselmouth = pytest.importorskip("parselmouth", reason="praat-parselmouth is not installed")
    from parselmouth.praat import call

    ours, theirs = [], []
    for wave in speech:
        sound = parselmouth.Sound(wave.astype(np.float64), RATE)
        pitch = call(sound, "To Pitch", 0.0, 65, 600)
        marks = call([sound, pitch], "To PointProcess (cc)")
        times = np.arange(1 + len(wave) // 160) * 0.01
        f0 = np.nan_to_num([call(pitch, "Get value at time", t, "Hertz", "linear") for t in times])
        found = voice_quality.measure(torch.from_numpy(wave)[None], torch.from_numpy(f0)[None])
        ours.append([float(found[name]) for name in ("jitter", "shimmer", "hnr")])
        harmonicity = call(sound, "To Harmonicity (ac)", 0.01, 75, 0.1, 4.5)
        ratios = [call(harmonicity, "Get value at time", t, "nearest") for t in times[f0 > 0]]
        limits = (0, 0, 1e-4, 0.02, 1.3)
        theirs.append(
            [
                100 * call(marks, "Get jitter (local)", *limits),
                100 * call([sound, marks], "Get shimmer (local)", *limits, 1.6),
                np.mean([ratio for ratio in ratios if ratio > -100]),
            ]
        )
    ours, theirs = np.array(ours), np.array(theirs)
    for column, (correlation, difference) in enumerate([(0.95, 0.25), (0.97, 0.8), (0.9, 1.0)]):
        assert np.corrcoef(ours[:, column], theirs[:, column])[0, 1] > correlation
        assert np.abs(ours[:, column] - theirs[:, column]).mean() < difference


def test_unvoiced_speech_is_named_and_has_a_timing():
    noise = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    wave, _, _ = voice(150.0)
    with pytest.raises(MetricError, match="Speech 1 has too few voiced cycles"):
        prosody.score([wave, noise])
    found = prosody.timing([wave, noise])
    assert found["rate"][1] == 0
    assert all(np.isfinite(values).all() for values in found.values())


def test_a_reference_is_refused():
    wave, _, _ = voice(150.0, seconds=0.5)
    with pytest.raises(MetricError, match="takes no reference"):
        prosody.score([wave], reference=[np.ones(1)])


def test_no_waves_give_no_scores():
    assert all(values.shape == (0,) for values in prosody.score([]).values())
    assert set(prosody.score([])) == {*prosody.TIMING, *prosody.VOICE}
