"""Every manipulation on a synthetic consonant-vowel recording with a known alignment, and on real speech."""

from dataclasses import replace

import numpy as np
import pytest

from lib import audio
from lib.corpora.disorders.profile import COHORTS, RANGES, SEVERITIES, Profile, draw_profile
from lib.corpora.disorders.segments import AtypicalError, syllables, words
from lib.corpora.disorders.simulate import simulate
from lib.corpora.world import analyse
from lib.metrics import prosody

RATE = audio.RATE
PHONEMES = "|sˈɑ mˈidə ʃˈu nˈɑ.|"
SECONDS = {"|": 0.1, " ": 0.03, ".": 0.05, "ˈ": 0.02, "s": 0.09, "ʃ": 0.1, "m": 0.08, "n": 0.08, "d": 0.04}
FORMANTS = {"ɑ": (750, 1150), "i": (300, 2300), "u": (320, 900), "ə": (500, 1500), "m": (250, 1100), "n": (250, 1500)}


@pytest.fixture(scope="module")
def spoken() -> tuple[np.ndarray, str, tuple[float, ...]]:
    """Harmonics of a falling, moving F0 through two formants; noise for s and ʃ; 1.6 s."""
    random = np.random.default_rng(0)
    durations = [SECONDS.get(symbol, 0.16) for symbol in PHONEMES]
    pieces, phase, clock = [], 0.0, 0.0
    for place, (symbol, seconds) in enumerate(zip(PHONEMES, durations, strict=True)):
        sound = PHONEMES[place + 1] if symbol == "ˈ" else symbol
        time = np.arange(round(seconds * RATE)) / RATE
        if sound in FORMANTS:
            f0 = 140 + 30 * np.sin(2 * np.pi * 0.9 * (clock + time))
            angle = phase + np.cumsum(2 * np.pi * f0 / RATE)
            phase = angle[-1]
            piece = sum(
                np.sin(k * angle) / k * (0.1 + sum(np.exp(-(((140 * k - f) / 150) ** 2)) for f in FORMANTS[sound]))
                for k in range(1, 40)
            )
            pieces.append(piece * (0.25 if sound in "mn" else 0.5))
        else:
            loud = {"s": 0.06, "ʃ": 0.08, "d": 0.03}.get(sound, 1e-4)
            pieces.append(random.standard_normal(len(time)) * loud)
        clock += seconds
    wave = np.concatenate(pieces)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32), PHONEMES, tuple(durations)


def speaker(**parameters) -> Profile:
    return Profile("stuttering", "mild", **parameters)


def said(spoken, seed: int = 0, **parameters):
    return simulate(*spoken, [speaker(**parameters)], seed)


def f0(wave: np.ndarray) -> np.ndarray:
    return analyse(wave).f0


def semitone_spread(wave: np.ndarray) -> float:
    """Interquartile range of F0, which a few octave errors at voice onsets do not move."""
    track = f0(wave)
    low, high = np.quantile(12 * np.log2(track[track > 0]), (0.25, 0.75))
    return float(high - low)


def decibels(wave: np.ndarray) -> float:
    return 10 * np.log10((wave.astype(np.float64) ** 2).mean())


def part(made, first: int, last: int) -> np.ndarray:
    edges = np.round(np.cumsum([0.0, *made.durations]) * RATE).astype(int)
    return made.wave[edges[first] : edges[last]]


def vowel(symbol: str = "ɑ") -> tuple[np.ndarray, str, tuple[float, ...]]:
    """One steady vowel of 2 s."""
    time = np.arange(2 * RATE) / RATE
    wave = sum(np.sin(2 * np.pi * 150 * k * time) / k**1.3 for k in range(1, 30))
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32), symbol, (2.0,)


def test_words_and_syllables_follow_the_phonemes():
    assert [PHONEMES[a:b] for a, b in words(PHONEMES)] == ["sˈɑ", "mˈidə", "ʃˈu", "nˈɑ"]
    assert [("kˈɪʧᵊn")[a:b] for a, b in syllables("kˈɪʧᵊn")] == ["kˈɪ", "ʧᵊn"]
    assert syllables("hm") == [(0, 2)]


def test_a_profile_that_changes_nothing_returns_the_recording(spoken):
    made = said(spoken)
    assert np.array_equal(made.wave, spoken[0]) and made.phonemes == PHONEMES and made.events == ()
    assert made.durations == pytest.approx(spoken[2], abs=1e-4)


@pytest.mark.parametrize("kind", ["sound_repetition", "syllable_repetition", "word_repetition"])
def test_a_repetition_holds_the_samples_it_repeats_and_lengthens_the_recording_by_its_events(spoken, kind):
    made = said(spoken, **{kind: 1.0, "repetitions": 3, "gap": 0.05})
    events = [event for event in made.events if event.kind == kind]
    others = [event for event in made.events if event.kind != kind]
    assert len(events) >= 3 and {event.kind for event in others} <= {"syllable_repetition"}
    added = sum(event.end - event.start for event in made.events)
    assert len(made.wave) / RATE == pytest.approx(len(spoken[0]) / RATE + added, abs=1e-6)
    unit = {"sound_repetition": "s", "syllable_repetition": "sˈɑ", "word_repetition": "sˈɑ"}[kind]
    first = events[0].first
    assert made.phonemes[first:].startswith(f"{unit}|")
    copy, original = part(made, first, first + len(unit)), part(said(spoken), 1, 1 + len(unit))
    assert np.array_equal(copy[:-80], original[:-80]) and not np.array_equal(copy[-80:], original[-80:])


def test_a_word_of_two_syllables_repeats_its_first_instead_of_itself(spoken):
    assert "mˈi|mˈidə" in said(spoken, word_repetition=1.0, gap=0.05).phonemes


def test_prolongation_holds_a_continuant_for_its_seconds_at_the_same_pitch(spoken):
    made = said(spoken, prolongation=1.0, prolongation_seconds=0.6)
    assert [made.phonemes[event.first] for event in made.events] == ["s", "m", "ʃ", "n"]
    assert made.phonemes == PHONEMES and sum(made.durations) == pytest.approx(sum(spoken[2]) + 4 * 0.6, abs=1e-3)
    event = made.events[1]
    start = sum(spoken[2][: event.first])
    before = f0(spoken[0])[round(start / 0.005) : round((start + spoken[2][event.first]) / 0.005)]
    held = f0(made.wave)[round(event.start / 0.005) : round(event.end / 0.005)]
    assert np.median(held[held > 0]) == pytest.approx(np.median(before[before > 0]), rel=0.06)


def test_a_block_is_silent_and_the_onset_after_it_is_higher(spoken):
    made = said(spoken, block=1.0, block_seconds=0.5, onset_tension=0.2)
    blocks = [event for event in made.events if event.kind == "block"]
    tense = [event for event in made.events if event.kind == "tense_onset"]
    assert len(blocks) == len(tense) == 4
    for block, onset in zip(blocks, tense, strict=True):
        assert block.end == pytest.approx(onset.start) and block.end - block.start == pytest.approx(0.5)
        assert decibels(part(made, block.first, block.last)) < decibels(spoken[0]) - 40
    without = said(spoken, block=1.0, block_seconds=0.5)
    onset = slice(int(tense[1].start * RATE), int(tense[1].end * RATE))
    calm, high = f0(without.wave[onset]), f0(made.wave[onset])
    both = (calm > 0) & (high > 0)
    assert 1.05 < np.median(high[both] / calm[both]) < 1.2


def test_an_interjection_is_the_speakers_own_neutral_vowel(spoken):
    made = said(spoken, interjection=1.0, interjection_seconds=0.4, gap=0.1)
    assert made.phonemes == "|ə|sˈɑ ə|mˈidə ə|ʃˈu ə|nˈɑ.|"
    first = made.events[0]
    assert first.kind == "interjection" and first.end - first.start == pytest.approx(0.5, abs=1e-3)
    assert (f0(part(made, first.first, first.first + 1)) > 0).mean() > 0.7


def test_cluttering_leaves_out_unstressed_syllables_only(spoken):
    made = said(spoken, deletion=1.0)
    assert made.phonemes == "|sˈɑ mˈi ʃˈu nˈɑ.|"
    (event,) = made.events
    assert event.kind == "deleted_syllable" and event.start == event.end == pytest.approx(sum(made.durations[:8]))
    assert sum(made.durations) == pytest.approx(sum(spoken[2]) - SECONDS["d"] - 0.16, abs=1e-4)


def test_disfluencies_come_as_often_as_their_probability():
    phonemes, durations = "|" + "sɑ " * 400, (0.02, *([0.01, 0.015, 0.01] * 400))
    time = np.arange(round(sum(durations) * RATE)) / RATE
    wave = (0.3 * np.sin(2 * np.pi * 150 * time)).astype(np.float32)
    made = simulate(wave, phonemes, durations, [speaker(sound_repetition=0.15, word_repetition=0.05)], 2)
    kinds = [event.kind for event in made.events]
    assert kinds.count("sound_repetition") / 400 == pytest.approx(0.15, abs=0.05)
    assert kinds.count("word_repetition") / 400 == pytest.approx(0.05, abs=0.03)


def test_slow_speech_lasts_as_much_longer_and_keeps_its_pitch(spoken):
    made = said(spoken, slowness=1.8)
    assert len(made.wave) / len(spoken[0]) == pytest.approx(1.8, rel=1e-3)
    assert np.array(made.durations) == pytest.approx(1.8 * np.array(spoken[2]), abs=2e-4)
    before, after = f0(spoken[0]), f0(made.wave)
    assert np.median(after[after > 0]) == pytest.approx(np.median(before[before > 0]), rel=0.03)


def test_irregular_rate_spreads_the_syllables_factors(spoken):
    spread = []
    for irregularity in (0.0, 0.1, 0.3):
        made = said(spoken, slowness=1.3, irregularity=irregularity)
        spread.append(np.std(np.log(np.array(made.durations) / spoken[2])))
    assert spread[0] < 1e-3 and spread[0] < spread[1] < spread[2]


def test_a_rush_is_faster_by_its_factor_and_nothing_else_is(spoken):
    made = said(spoken, rush=0.4, rush_words=2, rush_speed=1.5, seed=1)
    inside = np.zeros(len(PHONEMES), bool)
    for event in made.events:
        assert event.kind == "rush"
        inside[event.first : event.last] = True
    assert inside.any() and not inside.all()
    factor = np.array(made.durations) / spoken[2]
    assert factor[inside] == pytest.approx(1 / 1.5, abs=0.01) and factor[~inside] == pytest.approx(1, abs=0.01)


def test_imprecise_consonants_look_more_like_their_surroundings_and_vowels_do_not_change(spoken):
    plain, blurred = said(spoken, level=-0.001), said(spoken, level=-0.001, imprecision=0.9)
    high = []
    for made in (plain, blurred):
        power = np.abs(np.fft.rfft(part(made, 1, 2))) ** 2
        high.append(power[len(power) // 2 :].sum() / power.sum())
        assert made.durations == plain.durations
    assert high[1] < high[0] - 0.02
    middle = slice(int(0.27 * RATE), int(0.33 * RATE))
    assert decibels(blurred.wave[middle]) == pytest.approx(decibels(plain.wave[middle]), abs=1.5)
    marked = {made_at for event in blurred.events if event.kind == "imprecise_consonant" for made_at in (event.first,)}
    assert {blurred.phonemes[place] for place in marked} == set("smdʃn")


def test_nasal_vowels_gain_below_400_and_lose_around_650_hz(spoken):
    open_vowel = vowel()
    change = analyse(said(open_vowel, nasality=1.0).wave).envelope.mean(0)
    change = 10 * np.log10(change / analyse(said(open_vowel, level=-0.001).wave).envelope.mean(0))
    hertz = np.linspace(0, RATE / 2, len(change))
    nasal, anti = change[np.argmin(abs(hertz - 280))], change[np.argmin(abs(hertz - 650))]
    assert nasal - anti > 10


@pytest.mark.parametrize(("tilt", "sign"), [(-4.0, -1), (4.0, 1)])
def test_a_weak_voice_falls_and_a_strained_one_rises_towards_high_frequencies(spoken, tilt, sign):
    def slope(made):
        level = 10 * np.log10(analyse(made.wave).envelope.mean(0))
        return level[256] - level[64]  # 4 kHz against 1 kHz: two octaves

    moved = slope(said(vowel(), tilt=tilt)) - slope(said(vowel(), level=-0.001))
    assert sign * moved == pytest.approx(8, abs=3)


def test_breathiness_lowers_the_harmonics_to_noise_ratio_step_by_step(spoken):
    hnr = [prosody.score([said(spoken, breathiness=b, level=-0.001).wave])["hnr"][0] for b in (0, 0.1, 0.4)]
    assert hnr[0] > hnr[1] + 1 > hnr[2] + 2


def test_monopitch_scales_the_spread_of_f0(spoken):
    plain, flat = semitone_spread(spoken[0]), semitone_spread(said(spoken, pitch_range=0.3).wave)
    assert flat < 0.5 * plain


def test_monoloudness_brings_soft_and_loud_syllables_together(spoken):
    def contrast(made):
        return decibels(part(made, 3, 4)) - decibels(part(made, 9, 10))

    wave = spoken[0].copy()
    wave[: int(0.45 * RATE)] *= 4
    loud = (wave / 4, *spoken[1:])
    assert contrast(said(loud, level_range=0.3)) < contrast(said(loud, level=-0.001)) - 4


def test_hypophonia_lowers_the_level_by_its_decibels(spoken):
    assert decibels(said(spoken, level=-9.0).wave) == pytest.approx(decibels(spoken[0]) - 9, abs=0.1)


def test_tremor_is_the_peak_of_the_spectrum_of_f0_and_of_the_amplitude(spoken):
    made = said(vowel(), tremor_rate=5.5, tremor_f0=0.03, tremor_amplitude=0.2)
    track = f0(made.wave)[20:-20]
    level = np.sqrt((made.wave[: 2 * RATE].reshape(-1, 80).astype(np.float64) ** 2).mean(1))[20:-20]
    for contour in (track, level):
        spectrum = np.abs(np.fft.rfft((contour - contour.mean()) * np.hanning(len(contour)), 4096))
        rate = np.fft.rfftfreq(4096, 0.005)
        search = (rate > 2) & (rate < 20)
        assert rate[search][spectrum[search].argmax()] == pytest.approx(5.5, abs=0.4)


def test_jitter_and_shimmer_rise_with_their_parameters(spoken):
    plain, rough = (
        prosody.score([said(vowel(), jitter=j, shimmer=s, level=-0.001).wave]) for j, s in ((0, 0), (0.03, 0.2))
    )
    assert rough["jitter"][0] > 2 * plain["jitter"][0] and rough["shimmer"][0] > 2 * plain["shimmer"][0]


@pytest.mark.parametrize("cohort", COHORTS)
def test_drawn_profiles_get_worse_with_severity_and_stay_in_their_ranges(cohort):
    neutral = speaker()
    for seed in range(5):
        drawn = [draw_profile(cohort, severity, seed) for severity in SEVERITIES]
        assert drawn == [draw_profile(cohort, severity, seed) for severity in SEVERITIES]
        for name, ranges in RANGES[cohort].items():
            values = [getattr(profile, name) for profile in drawn]
            weak = cohort == "dysarthria" and name == "tilt"
            for value, (low, high) in zip(map(abs, values) if weak else values, ranges, strict=True):
                assert low - 1e-4 <= value <= high + 1e-4
            if name in ("gap", "rush_words", "interjection_seconds", "tremor_rate"):
                continue
            far = [abs(value - (0 if weak else getattr(neutral, name))) for value in values]
            if "seconds" not in name:
                assert far[0] < far[1] < far[2] or name == "repetitions"
    assert draw_profile(cohort, "mild", 0) != draw_profile(cohort, "mild", 1)


def test_the_same_seed_gives_the_same_samples_and_another_does_not(spoken):
    profiles = [draw_profile("stuttering", "severe", 1), draw_profile("parkinsons", "severe", 1)]
    one, same, other = (simulate(*spoken, profiles, seed) for seed in (4, 4, 5))
    assert np.array_equal(one.wave, same.wave) and one.events == same.events
    assert len(one.wave) != len(other.wave) or not np.array_equal(one.wave, other.wave)


def test_mixed_conditions_keep_the_first_ones_events_in_the_new_time(spoken):
    first = speaker(block=1.0, block_seconds=0.5, deletion=1.0)
    alone = simulate(*spoken, [first], 0)
    made = simulate(*spoken, (first, replace(speaker(), slowness=2.0)), 0)
    for kind in ("block", "deleted_syllable"):
        before = [(2 * event.start, 2 * event.end) for event in alone.events if event.kind == kind]
        after = [(event.start, event.end) for event in made.events if event.kind == kind]
        assert before and np.array(after) == pytest.approx(np.array(before), abs=2e-3)
    assert made.phonemes == alone.phonemes and sum(made.durations) == pytest.approx(len(made.wave) / RATE, abs=1e-6)


def test_real_speech_with_a_crude_alignment_goes_through_every_cohort(recordings):
    wave, phonemes = recordings[0].wave[: 2 * RATE], "|ðɪs ɪz sˈʌm spˈiʧ.|"
    durations = (len(wave) / RATE / len(phonemes),) * len(phonemes)
    for cohort in COHORTS:
        made = simulate(wave, phonemes, durations, [draw_profile(cohort, "severe", 0)], 0)
        assert made.wave.dtype == np.float32 and np.isfinite(made.wave).all() and np.abs(made.wave).max() <= 1
        assert sum(made.durations) == pytest.approx(len(made.wave) / RATE, abs=1e-6)
        assert len(made.durations) == len(made.phonemes) and made.events


def test_bad_input_is_named_in_one_sentence(spoken):
    wave, phonemes, durations = spoken
    silent, whisper = np.zeros_like(wave), np.zeros_like(wave)
    whisper[8000:8008] = 0.1
    slow = speaker(slowness=1.5)
    for call, words_of in (
        (lambda: simulate(wave, phonemes, [2 * s for s in durations], [slow], 0), "durations sum to"),
        (lambda: simulate(wave, phonemes, durations[1:], [slow], 0), "one per symbol"),
        (lambda: simulate(wave, phonemes, (-0.1, *durations[1:]), [slow], 0), "negative"),
        (lambda: simulate(wave, "|" * len(phonemes), durations, [slow], 0), "no phone"),
        (lambda: simulate(silent, phonemes, durations, [slow], 0), "silent"),
        (lambda: simulate(whisper, phonemes, durations, [slow], 0), "no voiced frame"),
        (lambda: simulate(wave, phonemes, durations, (), 0), "No profile"),
        (lambda: draw_profile("lisp", "mild", 0), "cohort 'lisp' is unknown"),
        (lambda: draw_profile("stuttering", "awful", 0), "severity 'awful' is unknown"),
        (lambda: speaker(slowness=9.0), "slowness"),
        (lambda: speaker(block=0.7, prolongation=0.7), "more than 1"),
    ):
        with pytest.raises((AtypicalError, audio.AudioError), match=words_of):
            call()
