import numpy as np
import pytest
import torch

from lib.metrics import MetricError, mos


@pytest.fixture(scope="module")
def distillmos():
    from distillmos import ConvTransformerSQAModel

    model = ConvTransformerSQAModel().eval()

    def score(wave):
        with torch.inference_mode():
            return float(model(torch.from_numpy(wave)[None]).flatten()[0])

    return score


def test_scores_are_those_of_distillmos_at_every_length(recordings, distillmos):
    long = np.concatenate([r.wave for r in recordings[:12]])
    waves = [long[:141000], long[:121000], long[:43000], long[:2000]]
    found = mos.score(waves)["mos_predicted"]
    assert np.allclose(found, [distillmos(wave) for wave in waves], atol=1e-4)


def test_a_batch_of_one_equals_a_batch_of_many(speech):
    many = mos.score(speech[:4])["mos_predicted"]
    assert many.shape == (4,) and many.dtype == np.float64
    assert np.allclose(many, [mos.score([wave])["mos_predicted"][0] for wave in speech[:4]], atol=1e-5)


def test_noise_lowers_the_score_and_level_does_not_matter(speech):
    noise = np.random.default_rng(0).standard_normal(len(speech[0])).astype(np.float32)
    clean, quiet, noisy = mos.score([speech[0], speech[0] * 0.25, speech[0] + 0.1 * noise])["mos_predicted"]
    assert quiet == pytest.approx(clean, abs=1e-3)
    assert 1 <= noisy < clean - 0.5 < 5


def test_no_waves_give_no_scores():
    assert mos.score([])["mos_predicted"].shape == (0,)


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.zeros(16000, np.float32), "Speech 0 is silent"),
        (np.full(16000, np.nan, np.float32), "Speech 0 holds NaN"),
        (np.zeros(0, np.float32), "Speech 0 has 0 samples"),
    ],
)
def test_bad_speech_is_named(wave, sentence):
    with pytest.raises(MetricError, match=sentence):
        mos.score([wave])


def test_a_reference_is_refused(speech):
    with pytest.raises(MetricError, match="takes no reference"):
        mos.score(speech[:1], speech[:1])


def test_dnsmos_has_the_names_and_scores_of_speechmos_below_and_above_one_segment(recordings):
    from speechmos import dnsmos

    long = np.concatenate([recordings[0].wave, recordings[1].wave, recordings[2].wave])
    waves = [recordings[10].wave[:20000], long[: 16000 * 10 + 77]]
    found = mos.dnsmos(waves)
    assert all(values.shape == (2,) and values.dtype == np.float64 for values in found.values())
    for index, wave in enumerate(waves):
        theirs = dnsmos.run(wave, 16000)
        assert found["dnsmos_overall_predicted"][index] == pytest.approx(theirs["ovrl_mos"], abs=1e-4)
        assert found["dnsmos_p808_predicted"][index] == pytest.approx(theirs["p808_mos"], abs=1e-4)


def test_dnsmos_hears_noise(speech):
    noise = np.random.default_rng(0).standard_normal(len(speech[0])).astype(np.float32)
    found = mos.dnsmos([speech[0], speech[0] + 0.05 * noise])
    for name in ("dnsmos_overall_predicted", "dnsmos_background_predicted", "dnsmos_p808_predicted"):
        assert found[name][1] < found[name][0] - 0.3, name


def test_dnsmos_refuses_what_it_cannot_score(speech):
    with pytest.raises(MetricError, match="Speech 1 leaves \\[-1, 1\\]"):
        mos.dnsmos([speech[0], speech[0] * (2 / np.abs(speech[0]).max())])
    with pytest.raises(MetricError, match="takes no reference"):
        mos.dnsmos(speech[:1], speech[:1])
    assert mos.dnsmos([])["dnsmos_p808_predicted"].shape == (0,)
