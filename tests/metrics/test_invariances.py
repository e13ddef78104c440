"""What every metric promises about identical signals, level, silence around the speech, batches and bad input."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.metrics import MetricError, check_waves, cos, ffe, filterbank_mcd, mcd, mos, prosody, subspace, wer

FEW = settings(
    max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PAIRED = {"cos": cos.score, "ffe": ffe.score, "mcd": mcd.score, "filterbank": filterbank_mcd.score}
SINGLE = {"prosody": prosody.score, "timing": prosody.timing, "mos": mos.score, "dnsmos": mos.dnsmos}
PERFECT = {"cos": 100.0} | dict.fromkeys(["ffe", "gpe", "vde", "ffe_as_released", "mcd", "mcd_filterbank"], 0.0)

gains = st.floats(0.05, 0.9)
silences = st.integers(1, 40).map(lambda frames: np.zeros(160 * frames, np.float32))


@pytest.fixture(scope="module")
def waves(speech):
    """Three real waves of different lengths, at most 1 s, loud enough for a gain to leave them audible."""
    return [
        (0.5 * wave[: 16000 - 1000 * i] / np.abs(wave).max()).astype(np.float32) for i, wave in enumerate(speech[:3])
    ]


@pytest.mark.parametrize("name", PAIRED)
def test_a_signal_with_itself_is_perfect(name, waves):
    for metric, values in PAIRED[name](waves, waves).items():
        if metric in PERFECT:
            assert np.allclose(values, PERFECT[metric], atol=1e-4), metric


@FEW
@given(gain=gains)
@pytest.mark.parametrize("name", ["ffe", "mcd", "filterbank"])
def test_a_gain_changes_no_paired_metric(name, gain, waves):
    scaled = [(gain * wave).astype(np.float32) for wave in waves[:2]]
    expected = PAIRED[name](waves[:2], waves[1:])
    for metric, values in PAIRED[name](scaled, waves[1:]).items():
        if metric == "mcd_as_released":  # adds a constant to the power
            continue
        assert np.allclose(values, expected[metric], rtol=1e-3, atol=1e-3), metric


@FEW
@given(gain=st.floats(0.001, 0.03))
def test_cos_does_not_hear_a_gain_that_stays_below_its_level(gain, waves):
    quiet = [(0.03 * wave).astype(np.float32) for wave in waves[:2]]
    quieter = [(gain * wave).astype(np.float32) for wave in waves[:2]]
    assert np.allclose(cos.score(quieter, waves[1:])["cos"], cos.score(quiet, waves[1:])["cos"], atol=1e-2)


@FEW
@given(gain=gains)
def test_a_gain_moves_only_the_energy_of_prosody_and_by_its_decibels(gain, waves):
    scaled = prosody.score([(gain * waves[0]).astype(np.float32)])
    for metric, values in prosody.score(waves[:1]).items():
        moved = 20 * np.log10(gain) if metric == "energy_mean" else 0.0
        assert scaled[metric][0] == pytest.approx(values[0] + moved, rel=1e-3, abs=1e-3), metric


@FEW
@given(before=silences, after=silences)
def test_silence_around_speech_does_not_change_its_prosody(before, after, waves):
    edge = np.zeros(800, np.float32)
    speech = np.concatenate([edge, waves[0], edge])
    expected = prosody.score([speech])
    for metric, values in prosody.score([np.concatenate([before, speech, after])]).items():
        assert values[0] == pytest.approx(expected[metric][0], rel=1e-3, abs=1e-3), metric


@FEW
@given(silence=silences)
def test_silence_in_both_signals_does_not_make_them_differ(silence, waves):
    longer = [np.concatenate([silence, waves[0], silence])]
    for score in PAIRED.values():
        for metric, values in score(longer, longer).items():
            if metric in PERFECT:
                assert values[0] == pytest.approx(PERFECT[metric], abs=1e-4), metric


def test_leading_silence_on_one_side_is_forgiven_along_the_path_only(waves):
    late = [np.concatenate([np.zeros(4800, np.float32), waves[0]])]
    found = mcd.score(late, waves[:1]) | ffe.score(late, waves[:1])
    assert found["ffe"][0] < found["ffe_as_released"][0]
    cepstra = [mcd.mel_cepstra(wave) for wave in (late[0], waves[0])]
    shorter = min(map(len, cepstra))
    plain = mcd.DECIBEL * np.linalg.norm(cepstra[0][:shorter] - cepstra[1][:shorter], axis=1).mean()
    assert found["mcd"][0] < plain


@pytest.mark.parametrize("name", [*PAIRED, "prosody", "timing", "mos"])
def test_a_batch_of_one_equals_a_batch_of_many(name, waves):
    if name in PAIRED:
        reference = waves[::-1]
        many = PAIRED[name](waves, reference)
        ones = [PAIRED[name]([a], [b]) for a, b in zip(waves, reference, strict=True)]
    else:
        many, ones = SINGLE[name](waves), [SINGLE[name]([wave]) for wave in waves]
    for metric, values in many.items():
        assert values.dtype == np.float64 and values.shape == (3,) and np.isfinite(values).all(), metric
        alone = [one[metric][0] for one in ones]
        assert np.allclose(values, alone, rtol=1e-5, atol=1e-5), metric


@pytest.mark.parametrize("name", [*PAIRED, *SINGLE])
@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.zeros(16000, np.float32), "Speech 1 is silent"),
        (np.full(16000, np.nan, np.float32), "Speech 1 holds NaN"),
        (np.zeros(0, np.float32), "Speech 1 has 0 samples"),
        (np.ones((16000, 2), np.float32), "Speech 1 is not a one-dimensional array"),
    ],
)
def test_bad_speech_is_named(name, wave, sentence, waves):
    speech = [waves[0], wave]
    with pytest.raises(MetricError, match=sentence):
        PAIRED[name](speech, waves[:2]) if name in PAIRED else SINGLE[name](speech)


@pytest.mark.parametrize("name", [*PAIRED, "prosody", "timing"])
def test_one_frame_is_too_short(name, waves):
    frame = waves[0][4000:4160]
    with pytest.raises(MetricError, match="Speech 0 has 160 samples, fewer than"):
        PAIRED[name]([frame], waves[:1]) if name in PAIRED else SINGLE[name]([frame])


@pytest.mark.parametrize("name", ["mos", "dnsmos"])
def test_predicted_quality_of_one_frame_is_a_number_on_its_scale(name, waves):
    for metric, values in SINGLE[name]([waves[0][4000:4160]]).items():
        assert 0.5 < values[0] < 5.5, metric


words = st.lists(st.sampled_from(["the", "cat", "dog", "sat", "on", "mat", "and", "ran"]), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(said=words, heard=words)
def test_errors_of_transcripts_add_up(said, heard):
    found = wer.compare([" ".join(heard), " ".join(said)], [" ".join(said)] * 2)
    assert found["wer"][1] == found["cer"][1] == 0
    kinds = sum(found[f"wer_{kind}"][0] for kind in ("insertions", "deletions", "substitutions"))
    assert found["wer"][0] == pytest.approx(kinds / found["wer_words"][0])
    assert found["wer_words"][0] - found["wer_deletions"][0] + found["wer_insertions"][0] == len(heard)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 12), columns=st.integers(1, 8), gain=st.floats(0.01, 100))
def test_angles_are_symmetric_and_depend_on_the_column_space_only(seed, rows, columns, gain):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 1, rows, columns, generator=generator, dtype=torch.float64)
    angles, count = subspace.principal_angles(first, second)
    assert count[0] == min(rows, columns)
    assert ((angles >= 0) & (angles <= np.pi / 2 + 1e-12)).all() and (angles.diff() <= 1e-9).all()
    mixed = gain * first[:, :, torch.randperm(columns, generator=generator)]
    assert torch.allclose(subspace.principal_angles(mixed, second)[0], angles, atol=1e-7)
    assert torch.allclose(subspace.principal_angles(second, first)[0], angles, atol=1e-7)
    assert subspace.principal_angles(first, mixed)[0].max() < 1e-7


@pytest.mark.parametrize("form", ["reversed", "read-only", "big-endian", "float16", "memory map"])
def test_arrays_are_scored_in_every_form_that_libraries_hand_over(form, tmp_path):
    wave = (np.random.default_rng(0).standard_normal(16000) / 8).astype(np.float16).astype(np.float32)
    np.save(tmp_path / "wave.npy", wave)
    forms = {
        "reversed": wave[::-1].copy()[::-1],
        "read-only": np.frombuffer(wave.tobytes(), np.float32),
        "big-endian": wave.astype(">f4"),
        "float16": wave.astype(np.float16),
        "memory map": np.load(tmp_path / "wave.npy", mmap_mode="r"),
    }
    checked = check_waves([forms[form]], "speech")[0]
    assert checked.dtype == np.float32 and checked.flags.c_contiguous and checked.flags.writeable
    np.testing.assert_array_equal(checked, wave)


def test_samples_counted_as_integers_are_named():
    with pytest.raises(MetricError, match="speech 0 reaches 32000, where full scale is 1"):
        check_waves([np.array([0.0, -32000.0], np.float32)], "speech")
