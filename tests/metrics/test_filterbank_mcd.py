import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.stats

from lib.metrics import MetricError
from lib.metrics import filterbank_mcd as mcd


def with_noise(wave: np.ndarray, decibels: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(len(wave))
    return (wave + noise * wave.std() * 10 ** (-decibels / 20)).astype(np.float32)


@pytest.fixture(scope="module")
def distorted(speech):
    """Pairs (heard, reference) of real speech: noise, stretching, another utterance."""
    pairs = []
    for index in range(2):
        wave = speech[index]
        pairs += [(with_noise(wave, level), wave) for level in (40, 25, 10)]
        pairs.append((librosa.effects.time_stretch(wave, rate=1.2), wave))
        pairs.append((speech[index + 4], wave))
    return pairs


def test_a_signal_with_itself_is_zero(speech):
    scores = mcd.score(speech, speech)
    assert (scores["mcd_filterbank"] == 0).all()


def test_it_agrees_with_librosas_dtw_on_real_speech(distorted):
    scores = mcd.score(*map(list, zip(*distorted, strict=True)))
    for index, (heard, reference) in enumerate(distorted):
        one, other = (mcd.cepstra([wave])[0][0].numpy() for wave in (reference, heard))
        _, path = librosa.sequence.dtw(one.T, other.T, metric="euclidean")
        expected = mcd.DECIBEL * np.linalg.norm(one[path[:, 0]] - other[path[:, 1]], axis=1).mean()
        assert scores["mcd_filterbank"][index] == pytest.approx(expected, abs=1e-6)


def test_cepstra_are_the_cosine_transform_of_librosas_log_mel(speech):
    wave = speech[0].astype(np.float64)
    magnitudes = np.abs(
        librosa.stft(wave, n_fft=512, hop_length=160, win_length=400, pad_mode="constant", dtype=np.complex128)
    )
    mel = librosa.filters.mel(sr=16000, n_fft=512, n_mels=40, dtype=np.float64) @ magnitudes
    expected = scipy.fft.dct(np.log(np.maximum(mel, mel.max() * 1e-4)), axis=0)[1:26].T / 40
    found, frames = mcd.cepstra([speech[0]])
    assert int(frames[0]) == len(expected)
    assert np.allclose(found[0].numpy(), expected, atol=1e-4)


def test_mcd_is_the_rms_difference_in_db_of_smooth_spectra(speech):
    found, _ = mcd.cepstra([speech[0]])
    one, other = found[0, 40].numpy(), found[0, 80].numpy()
    bands = np.arange(40) + 0.5
    spectra = [
        20 / np.log(10) * sum(c * np.cos(np.pi * (k + 1) * bands / 40) for k, c in enumerate(x)) for x in (one, other)
    ]
    rms = np.sqrt(np.mean((spectra[0] - spectra[1]) ** 2))
    assert mcd.DECIBEL * np.linalg.norm(one - other) == pytest.approx(rms, rel=1e-9)


def test_more_noise_is_more_distortion(speech):
    levels = [with_noise(speech[0], decibels) for decibels in (50, 40, 30, 20, 10)]
    assert (np.diff(mcd.score(levels, speech[:1] * 5)["mcd_filterbank"]) > 0).all()


def test_level_does_not_matter(speech):
    assert mcd.score([speech[0] * 0.25], [speech[0]])["mcd_filterbank"][0] == pytest.approx(0, abs=1e-6)


def test_a_batch_of_one_equals_a_batch_of_many(distorted):
    many = mcd.score(*map(list, zip(*distorted, strict=True)))
    for index, (heard, reference) in enumerate(distorted):
        one = mcd.score([heard], [reference])
        for name, values in many.items():
            assert values.dtype == np.float64
            assert one[name][0] == pytest.approx(values[index], abs=1e-9)


def test_an_alignment_made_before_gives_the_same_scores(distorted):
    heard, reference = map(list, zip(*distorted[:3], strict=True))
    alignment = mcd.align(heard, reference)
    for name, values in mcd.score(heard, reference).items():
        assert np.array_equal(mcd.score(heard, reference, alignment=alignment)[name], values)
    assert alignment.speech[0][0] == alignment.reference[0][0] == 0
    assert alignment.reference[0][-1] == len(reference[0]) // 160


def test_no_waves_give_no_scores():
    assert mcd.score([], [])["mcd_filterbank"].shape == (0,)


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
