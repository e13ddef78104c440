import numpy as np
import pytest
import torch

from lib.metrics import MetricError, ffe
from lib.metrics import filterbank_mcd as mcd
from lib.pitch import yin


def stretched(wave: np.ndarray) -> np.ndarray:
    import librosa

    return librosa.effects.time_stretch(wave, rate=0.8)


@pytest.fixture(scope="module")
def pairs(speech):
    heard = [stretched(wave) if index % 2 else speech[index - 4] for index, wave in enumerate(speech[:6])]
    return heard, list(speech[:6])


def test_a_signal_with_itself_has_no_errors(speech):
    for name, values in ffe.score(speech, speech).items():
        assert np.allclose(values, 1 if name == "f0_correlation" else 0), name
        assert values.shape == (len(speech),) and values.dtype == np.float64


def test_errors_of_known_tracks_are_counted():
    target = np.array([100.0, 100.0, 100.0, 0.0, 0.0, 200.0, 200.0, 0.0])
    heard = np.array([119.0, 121.0, 0.0, 0.0, 90.0, 161.0, 150.0, 0.0])
    found = ffe.errors(heard, target)
    assert (found["ffe"], found["gpe"], found["vde"]) == (50.0, 50.0, 25.0)


def test_gpe_is_zero_where_nothing_is_voiced_on_both_sides():
    found = ffe.errors(np.zeros(4), np.full(4, 100.0))
    assert (found["ffe"], found["gpe"], found["vde"]) == (100.0, 0.0, 100.0)


def test_ffe_is_counted_along_the_path_of_the_mel_cepstra(pairs):
    heard, reference = pairs
    alignment = mcd.align(heard, reference)
    found = ffe.score(heard, reference)
    for index in range(len(heard)):
        one = yin(torch.from_numpy(heard[index])[None])[0][0].numpy()[alignment.speech[index]]
        other = yin(torch.from_numpy(reference[index])[None])[0][0].numpy()[alignment.reference[index]]
        wrong = 0
        for a, b in zip(one, other, strict=True):
            wrong += (a > 0) != (b > 0) or (a > 0 and abs(a - b) > 0.2 * b)
        assert found["ffe"][index] == pytest.approx(100 * wrong / len(one), abs=1e-9)


def test_the_released_variant_compares_frame_by_frame_up_to_the_shorter(pairs):
    heard, reference = pairs
    found = ffe.score(heard, reference)["ffe_as_released"]
    settings = {"frame": 400, "f0_min": 100, "f0_max": 500, "threshold": 0.1, "voicing": 0.1, "centred": False}
    for index in range(len(heard)):
        tracks = [yin(torch.from_numpy(w)[None], **settings)[0][0].numpy() for w in (heard[index], reference[index])]
        one, other = (track[: min(map(len, tracks))] for track in tracks)
        voiced = (one > 0) & (other > 0)
        wrong = ((one > 0) != (other > 0)) | (voiced & (np.abs(one - other) > 0.2 * other))
        assert found[index] == pytest.approx(100 * wrong.mean(), abs=1e-9)


def test_a_stretched_signal_is_forgiven_along_the_path_only(speech):
    scores = ffe.score([stretched(speech[0])], [speech[0]])
    assert scores["ffe"][0] < 25
    assert scores["ffe_as_released"][0] > scores["ffe"][0]


def test_a_shift_of_the_pitch_by_a_third_is_a_gross_error(speech):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyworld
    wave = speech[0].astype(np.float64)
    f0, times = pyworld.harvest(wave, 16000)
    parts = pyworld.cheaptrick(wave, f0, times, 16000), pyworld.d4c(wave, f0, times, 16000)
    same, higher = (
        pyworld.synthesize(f0 * factor, *parts, 16000).astype(np.float32)[: len(wave)] for factor in (1.0, 1.33)
    )
    gpe = ffe.score([same, higher], [speech[0]] * 2)["gpe"]
    assert gpe[0] < 15
    assert gpe[1] > 85


def test_a_batch_of_one_equals_a_batch_of_many(pairs):
    many = ffe.score(*pairs)
    for index, (heard, reference) in enumerate(zip(*pairs, strict=True)):
        one = ffe.score([heard], [reference])
        for name, values in many.items():
            assert one[name][0] == pytest.approx(values[index], abs=1e-5)


def test_a_given_alignment_gives_the_same_scores(pairs):
    alignment = mcd.align(*pairs)
    expected = ffe.score(*pairs)
    for name, values in ffe.score(*pairs, alignment=alignment).items():
        assert np.array_equal(values, expected[name])


def test_silence_is_named(speech):
    with pytest.raises(MetricError, match="Speech 1 is silent"):
        ffe.score([speech[0], np.zeros(16000, np.float32)], speech[:2])


def test_log_f0_is_compared_in_cents_over_steps_voiced_on_both_sides():
    target = np.array([0.0, 100, 110, 120, 130, 140, 0])
    found = ffe.errors(np.array([90.0, 200, 220, 240, 260, 280, 0]), target)
    assert found["f0_rmse"] == pytest.approx(1200)
    assert found["f0_correlation"] == pytest.approx(1)
    turned = ffe.errors(np.array([0.0, 140, 130, 120, 110, 100, 0]), target)
    assert turned["f0_correlation"] < -0.99
    assert np.isnan(ffe.errors(np.zeros(7), target)["f0_rmse"])
    assert np.isnan(ffe.errors(np.full(7, 100.0), target)["f0_correlation"])
