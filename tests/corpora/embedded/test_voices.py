import numpy as np
import pytest

from lib import audio, text
from lib.corpora import world
from lib.corpora.embedded import voices

SENTENCE = "The captain is looking for the island on a very old map."
PHONEMES = text.phonemize(SENTENCE)
SONORANT = text.VOWELS + "mnŋlɹw"
VOICELESS = "fhkpstʃʧθ" + text.PUNCTUATION + text.SILENCE
RECIPES = {
    "hibari": {"voice": "hibari"},
    "joe": {"voice": "joe"},
    "kokoro": {"voice": "kokoro", "timbre": {"jf_alpha": 0.7, "jm_kumo": 0.3}},
}


@pytest.fixture(scope="module")
def spoken() -> dict[str, voices.Speech]:
    return {name: voices.speak(PHONEMES, recipe, seed=1) for name, recipe in RECIPES.items()}


@pytest.mark.parametrize("voice", RECIPES)
def test_lengths_sum_to_the_audio_and_silence_is_short_at_both_ends(spoken, voice):
    speech = spoken[voice]
    assert len(speech.lengths) == len(PHONEMES)
    assert speech.lengths.min() > 0
    assert speech.lengths.sum() == len(speech.wave)
    start, end = audio.active(speech.wave)
    assert start <= 0.1 * audio.RATE
    assert len(speech.wave) - end <= 0.16 * audio.RATE


def agreement(speech: voices.Speech, shift: int) -> float:
    """How often sonorants are voiced and voiceless symbols not, boundaries moved by `shift` 5 ms frames."""
    voiced = world.analyse(speech.wave).f0 > 0
    labels = [1 if s in SONORANT else -1 if s in VOICELESS else 0 for s in PHONEMES]
    frames = np.roll(np.repeat(labels, speech.lengths)[::80], shift)[: len(voiced)]
    voiced = voiced[: len(frames)]
    return (voiced[frames == 1].mean() + (~voiced[frames == -1]).mean()) / 2


@pytest.mark.parametrize("voice", RECIPES)
def test_durations_are_where_the_sounds_are(spoken, voice):
    here = agreement(spoken[voice], 0)
    assert here > 0.6
    assert here > max(agreement(spoken[voice], shift) for shift in (-10, 10))


@pytest.mark.parametrize("voice", ["hibari", "joe"])
def test_the_seed_alone_decides_the_noise(spoken, voice):
    voices.speak(text.phonemize("Something else."), RECIPES[voice], seed=5)
    again = voices.speak(PHONEMES, RECIPES[voice], seed=1)
    np.testing.assert_array_equal(again.wave, spoken[voice].wave)
    other = voices.speak(PHONEMES, RECIPES[voice], seed=2)
    assert not np.array_equal(other.wave, spoken[voice].wave)


def test_a_slower_rate_makes_longer_speech(spoken):
    slow = voices.speak(PHONEMES, {**RECIPES["hibari"], "rate": 0.8}, seed=1)
    assert len(slow.wave) > 1.1 * len(spoken["hibari"].wave)


def test_every_symbol_can_be_spoken_by_joe():
    everything = text.SILENCE + "".join(text.SYMBOLS[2:]) + text.SILENCE
    assert len(voices.speak(everything, RECIPES["joe"], seed=0).lengths) == len(everything)


def test_wrong_voices_rates_and_mixtures_are_refused():
    for recipe, words in (
        ({"voice": "robot"}, "robot"),
        ({"voice": "joe", "rate": 9}, "rate 9"),
        ({"voice": "kokoro", "timbre": {"stranger": 1.0}}, "stranger"),
        ({"voice": "kokoro", "timbre": {"jm_kumo": -1.0}}, "positive"),
        ({"voice": "kokoro"}, "mixture"),
        ({"voice": "flite", "speaker": "nobody"}, "kal, awb, rms, slt"),
    ):
        with pytest.raises(voices.VoiceError, match=words):
            voices.speak(PHONEMES, recipe, seed=0)


def test_mixing_is_convex_and_separate_for_timbre_and_prosody():
    styles = {name: np.full(256, place) for place, name in enumerate(voices.JAPANESE)}
    style = voices.mix({"jf_alpha": 1, "jm_kumo": 1}, {"jf_gongitsune": 2}, styles)
    assert set(style[:128]) == {2.0}
    assert set(style[128:]) == {1.0}


def test_british_speech_is_written_in_the_symbols_that_models_know():
    spoken = voices.Speech(np.zeros(80), np.array([10, 10, 20, 10, 10, 10, 10]), "|hˈɑːQ|")
    known = voices.in_known_symbols(spoken)
    assert known.phonemes == "|hˈɑO|"
    assert known.lengths.tolist() == [10, 10, 20, 20, 10, 10]
    assert "ː" in text.phonemize("Start.", british=True) and "ː" not in text.phonemize("Start.")


@pytest.mark.parametrize("lengths", [[8000, 8000, 4000, 4000], [8000, 15_000, 500, 500], [8000, 7600, 4400, 4000]])
def test_trimming_gives_the_final_silence_to_punctuation_and_leaves_the_phone_its_sound(lengths):
    wave = np.concatenate([np.zeros(8000), np.sin(np.arange(8000) / 5), np.zeros(8000)])
    trimmed, lengths = voices.trim(wave, np.array(lengths), "|a.|")
    kept = voices.KEPT_SILENCE * audio.RATE
    assert lengths.sum() == len(trimmed) == pytest.approx(8000 + 2 * kept, abs=320)
    assert lengths[0] == pytest.approx(kept, abs=160)
    assert 7600 <= lengths[1] <= 8160
    assert lengths[2] == pytest.approx(lengths[3], abs=1)


def test_a_warp_moves_a_spectral_peak_by_its_factor():
    bins = np.arange(513)
    envelope = np.exp(-(((bins - 200) / 10.0) ** 2))[None]
    for factor in (0.8, 1.0, 1.25):
        assert world.warp_envelope(envelope, factor)[0].argmax() == pytest.approx(200 * factor, abs=1)


def test_a_shift_scales_f0_and_keeps_the_length(spoken):
    analysis = world.analyse(spoken["hibari"].wave)
    shifted = world.shift(analysis, 1.0, 1.3)
    assert len(shifted) == len(spoken["hibari"].wave)
    before, after = analysis.f0, world.analyse(shifted).f0
    both = (before > 0) & (after > 0)
    assert np.median(after[both] / before[both]) == pytest.approx(1.3, abs=0.03)


def test_impossible_shifts_are_refused(spoken):
    analysis = world.analyse(spoken["hibari"].wave)
    with pytest.raises(ValueError, match="warp 3"):
        world.shift(analysis, 3, 1.0)
    with pytest.raises(ValueError, match="F0 scale 9"):
        world.shift(analysis, 1.0, 9)
