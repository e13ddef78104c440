"""Speaking styles with known truth: what each change does to a recording, and the prompts that name them."""

import numpy as np
import pytest

from lib.corpora.styled import styles
from lib.corpora.styled.styles import Change, StyleError

RATE = 22050


def vowel(f0: float = 120.0, seconds: float = 0.6) -> np.ndarray:
    """A buzz with a slow F0 movement of two semitones around f0."""
    time = np.arange(round(RATE * seconds)) / RATE
    track = f0 * 2 ** (np.sin(2 * np.pi * 2 * time) / 12)
    phase = 2 * np.pi * np.cumsum(track) / RATE
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 20))).astype(np.float32)


def median_f0(wave: np.ndarray) -> float:
    f0 = styles.analyse(wave, RATE).f0
    return float(np.median(f0[f0 > 0]))


@pytest.fixture(scope="module")
def analysis():
    return styles.analyse(vowel(), RATE)


def test_a_pitch_change_shifts_f0_by_its_semitones(analysis):
    wave = styles.restyle(analysis, Change(pitch=4.0), RATE)
    assert median_f0(wave) / median_f0(vowel()) == pytest.approx(2 ** (4 / 12), rel=0.02)


def test_a_range_change_scales_f0s_movement_and_keeps_its_mean():
    f0 = np.array([0.0, 100.0, 120.0, 144.0])
    moved = styles.restyled_f0(f0, Change(range=0.5))
    assert moved[0] == 0
    assert np.log2(moved[1:]).mean() == pytest.approx(np.log2(f0[1:]).mean())
    assert np.log2(moved[3] / moved[1]) == pytest.approx(0.5 * np.log2(f0[3] / f0[1]))


def test_an_energy_change_is_its_decibels(analysis):
    plain, soft = (styles.restyle(analysis, Change(energy=e), RATE) for e in (0.0, -8.0))
    assert 10 * np.log10((soft**2).mean() / (plain**2).mean()) == pytest.approx(-8.0, abs=0.01)


def test_a_rate_change_shortens_and_keeps_f0(analysis):
    fast = styles.restyle(analysis, Change(rate=1.25), RATE)
    assert len(fast) == round(analysis.samples / 1.25)
    assert median_f0(fast) == pytest.approx(median_f0(vowel()), rel=0.03)


def test_breath_makes_speech_noisier(analysis):
    clear, breathy = (styles.restyle(analysis, Change(breath=b), RATE) for b in (0.0, 0.8))
    noise = [styles.analyse(wave, RATE).aperiodicity.mean() for wave in (clear, breathy)]
    assert noise[1] > noise[0]


def test_a_pause_is_silence_of_its_length():
    wave = np.ones(1000, np.float32)
    longer = styles.add_pause(wave, 400, 300)
    assert len(longer) == 1300 and not longer[400:700].any() and longer[:300].all()


def test_prompts_name_the_levels_and_held_out_wordings_differ():
    levels = {"pitch": "high", "range": "lively"}
    assert styles.prompt(levels) == "a high voice, lively intonation"
    assert styles.prompt(levels) != styles.prompt(levels, 3)


def test_an_unknown_level_and_an_empty_style_are_refused():
    with pytest.raises(StyleError, match="pitch 'huge': choose from low, middle, high"):
        styles.levels_of({"pitch": "huge"})
    with pytest.raises(StyleError, match="no prompt"):
        styles.prompt({})
