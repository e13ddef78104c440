"""SECS by CAM++: its network beside the package's own features, voices told apart, and input that it refuses."""

from itertools import combinations, product

import numpy as np
import pytest

from lib.metrics import MetricError, secs
from lib.models import campplus


@pytest.fixture(scope="module")
def voices(recordings) -> dict[str, list[np.ndarray]]:
    """Four recordings of each of five speakers."""
    found: dict[str, list[np.ndarray]] = {}
    for each in recordings:
        found.setdefault(each.speaker, []).append(each.wave[:80000])
    return {speaker: waves[:4] for speaker, waves in found.items()}


def test_recordings_of_one_speaker_are_closer_than_those_of_two(voices):
    embedded = {speaker: campplus.embed(waves) for speaker, waves in voices.items()}
    own = [float(a @ b) for each in embedded.values() for a, b in combinations(each, 2)]
    others = [float(a @ b) for one, two in combinations(embedded.values(), 2) for a, b in product(one, two)]
    assert np.mean(own) > 0.7 and np.mean(others) < 0.45
    assert min(own) > np.mean(others)


def test_a_signal_with_itself_scores_one_and_less_than_a_tenth_less_at_a_tenth_of_the_level(speech):
    assert np.allclose(secs.score(speech[:3], speech[:3])["secs"], 1, atol=1e-6)
    quiet = [0.1 * wave for wave in speech[:3]]
    assert (secs.score(quiet, speech[:3])["secs"] > 0.9).all()


def test_a_batch_of_one_equals_a_batch_of_many_of_several_lengths(speech):
    many = secs.score(speech[:3], speech[1:4])["secs"]
    ones = [secs.score([a], [b])["secs"][0] for a, b in zip(speech[:3], speech[1:4], strict=True)]
    assert many.dtype == np.float64 and np.allclose(many, ones, atol=1e-6)


def test_features_are_kaldis_with_each_bands_mean_taken_out(speech):
    found = campplus.features(speech[0])
    assert found.shape == (1 + (len(speech[0]) - 400) // 160, 80)
    assert np.allclose(found.mean(0), 0, atol=1e-4)


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.zeros(16000, np.float32), "Reference 0 is silent"),
        (np.full(16000, np.nan, np.float32), "Reference 0 holds NaN"),
        (np.ones(100, np.float32), "Reference 0 has 100 samples"),
    ],
)
def test_a_bad_reference_is_named(wave, sentence):
    tone = np.sin(np.arange(16000) / 20).astype(np.float32)
    with pytest.raises(MetricError, match=sentence):
        secs.score([tone], [wave])


def test_no_waves_give_no_scores():
    assert secs.score([], [])["secs"].shape == (0,)
