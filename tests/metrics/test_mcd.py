"""MCD as papers mean it: beside WORLD, SPTK and librosa computed by hand, and as HyperTTS released it."""

import warnings

import librosa
import numpy as np
import pytest
import scipy.stats
import soundfile
import torch

from lib.metrics import MetricError, mcd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pysptk
    import pyworld


@pytest.fixture(scope="module")
def pairs(speech):
    """(heard, reference) of real speech: noise, stretching, another utterance."""
    noise = np.random.default_rng(0).standard_normal(len(speech[0])).astype(np.float32)
    return [
        (speech[0] + 0.1 * speech[0].std() * noise, speech[0]),
        (librosa.effects.time_stretch(speech[1], rate=1.2), speech[1]),
        (speech[4], speech[2]),
    ]


def along_the_path(one: np.ndarray, other: np.ndarray) -> float:
    total, path = librosa.sequence.dtw(one.T, other.T)
    return mcd.DECIBEL * total[-1, -1] / len(path)


def test_it_is_the_mean_distance_of_sptks_mel_cepstra_of_worlds_envelope(pairs):
    found = mcd.score(*map(list, zip(*pairs, strict=True)))["mcd"]
    for value, pair in zip(found, pairs, strict=True):
        cepstra = []
        for wave in pair[::-1]:
            samples = wave.astype(np.float64)
            f0, times = pyworld.dio(samples, 16000, frame_period=5.0)
            f0 = pyworld.stonemask(samples, f0, times, 16000)
            cepstra.append(pysptk.sp2mc(pyworld.cheaptrick(samples, f0, times, 16000), 24, 0.42)[:, 1:])
        assert value == pytest.approx(along_the_path(*cepstra), rel=1e-4)


def test_as_released_it_is_the_mean_of_the_accumulated_costs_over_the_references_frames(pairs):
    found = mcd.score(*map(list, zip(*pairs, strict=True)))["mcd_as_released"]
    settings = {"order": 25, "alpha": 0.65, "maxiter": 0, "etype": 1, "eps": 1e-8, "min_det": 0.0, "itype": 3}
    for value, pair in zip(found, pairs, strict=True):
        worlds = [pyworld.wav2world(w.astype(np.float64), 16000, frame_period=5.0, fft_size=512) for w in pair[::-1]]
        one, other = (pysptk.sptk.mcep(envelope, **settings)[:, 1:] for _, envelope, _ in worlds)
        total, _ = librosa.sequence.dtw(one.T, other.T)
        assert value == pytest.approx(mcd.DECIBEL * total.mean() / len(one), rel=1e-6)


def test_a_recording_with_itself_is_at_zero_but_not_as_released(speech):
    found = mcd.score(speech[:4], speech[:4])
    assert (found["mcd"] == 0).all()
    assert (found["mcd_as_released"] > 1.5).all() and (found["mcd_as_released"] < 7).all()


def test_vctks_recordings_with_themselves_are_about_five_decibels_as_released(recordings_of):
    waves = recordings_of("vctk", 12)
    found = mcd.score(waves, waves)
    assert (found["mcd"] == 0).all()
    assert 3.5 < found["mcd_as_released"].mean() < 6


def test_pairs_are_ranked_as_pymcd_ranks_them(speech, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymcd.mcd import Calculate_MCD
    pairs = []
    for index in range(3):
        wave = speech[index]
        spectrum = np.abs(librosa.stft(wave, n_fft=1024, hop_length=256))
        pairs.append((librosa.griffinlim(spectrum, hop_length=256, n_iter=16, random_state=0), wave))
        pairs += [(librosa.effects.time_stretch(wave, rate=1.2), wave), (speech[index + 4], wave)]
    theirs = []
    for pair in pairs:
        files = [str(tmp_path / name) for name in ("heard.wav", "reference.wav")]
        for file, wave in zip(files, pair, strict=True):
            soundfile.write(file, wave, 16000, subtype="FLOAT")
        theirs.append(Calculate_MCD("dtw").calculate_mcd(files[1], files[0]))
    heard = [[np.asarray(wave, np.float32) for wave in side] for side in zip(*pairs, strict=True)]
    assert scipy.stats.spearmanr(mcd.score(*heard)["mcd"], theirs).statistic > 0.8


def test_level_does_not_matter(speech):
    assert mcd.score([0.25 * speech[0]], speech[:1])["mcd"][0] == pytest.approx(0, abs=1e-3)


def test_threads_and_batches_change_nothing(pairs):
    heard, reference = map(list, zip(*pairs, strict=True))
    alone = [mcd.score([a], [b]) for a, b in pairs]
    many, before = mcd.score(heard, reference), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        spread = mcd.score(heard * 4, reference * 4)
    finally:
        torch.set_num_threads(before)
    assert mcd.score(heard, reference, released=False).keys() == {"mcd"}
    for name, values in many.items():
        assert values.tolist() == pytest.approx([each[name][0] for each in alone], abs=1e-9)
        assert spread[name].tolist() == pytest.approx(values.tolist() * 4, abs=1e-9)


def test_no_waves_give_no_scores():
    assert mcd.score([], [])["mcd"].shape == (0,)


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.zeros(16000, np.float32), "Reference 0 is silent"),
        (np.full(16000, np.inf, np.float32), "Reference 0 holds NaN or infinite"),
        (np.ones(100, np.float32), "Reference 0 has 100 samples"),
        (np.ones(16000, np.int16), "Reference 0 is not a one-dimensional"),
    ],
)
def test_a_bad_reference_is_named(wave, sentence):
    tone = np.sin(np.arange(16000) / 20).astype(np.float32)
    with pytest.raises(MetricError, match=sentence):
        mcd.score([tone], [wave])
