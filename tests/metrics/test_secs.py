import numpy as np
import pytest
import torch

from lib.metrics import MetricError, secs
from lib.models import ecapa
from lib.pretrained import PretrainedError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small random encoder in the layout of SpeechBrain's checkpoint."""
    torch.manual_seed(0)
    encoder = ecapa.ECAPA(channels=16, size=12)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    folder = tmp_path_factory.mktemp("ecapa")
    torch.save(encoder.state_dict(), folder / ecapa.FILE)
    return folder


def tones(count: int, samples: int = 12000) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    time = np.arange(samples) / 16000
    waves = [
        np.sin(2 * np.pi * f * time) + 0.1 * random.standard_normal(samples) for f in range(100, 100 + 70 * count, 70)
    ]
    return [(0.2 * wave).astype(np.float32) for wave in waves]


def test_a_signal_with_itself_scores_one_at_any_level(weights):
    waves = tones(3)
    assert np.allclose(secs.score(waves, waves, weights=weights)["secs"], 1, atol=1e-6)
    quiet = [wave * 0.1 for wave in waves]
    assert np.allclose(secs.score(quiet, waves, weights=weights)["secs"], 1, atol=1e-5)


def test_a_batch_of_one_equals_a_batch_of_many_of_several_lengths(weights):
    waves = [wave[: 12000 - 1000 * (index // 2)] for index, wave in enumerate(tones(6))]
    many = secs.score(waves[:-1], waves[1:], weights=weights)["secs"]
    assert many.dtype == np.float64 and many.shape == (5,)
    for index in range(5):
        one = secs.score([waves[index]], [waves[index + 1]], weights=weights)["secs"][0]
        assert one == pytest.approx(many[index], abs=1e-5)


def test_the_layout_is_that_of_speechbrains_published_checkpoint():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in ecapa.ECAPA().state_dict().items()}
    assert shapes["blocks.0.conv.conv.weight"] == (1024, 80, 5)
    assert shapes["blocks.3.res2net_block.blocks.6.norm.norm.running_var"] == (128,)
    assert shapes["blocks.1.se_block.conv2.conv.bias"] == (1024,)
    assert shapes["mfa.conv.conv.weight"] == (3072, 3072, 1)
    assert shapes["asp.tdnn.conv.conv.weight"] == (128, 9216, 1)
    assert shapes["asp_bn.norm.weight"] == (6144,)
    assert shapes["fc.conv.weight"] == (192, 6144, 1)


def test_model_and_features_are_speechbrains():
    lobes = pytest.importorskip("speechbrain.lobes", reason="speechbrain is not installed")
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    assert lobes
    torch.manual_seed(1)
    theirs = ECAPA_TDNN(80, channels=[16, 16, 16, 16, 48], lin_neurons=12).eval()
    ours = ecapa.ECAPA(16, 12).eval()
    ours.load_state_dict(theirs.state_dict())
    waves = torch.from_numpy(np.stack(tones(2)))
    expected = Fbank(n_mels=80)(waves)
    expected = expected - expected.mean(dim=1, keepdim=True)
    assert torch.allclose(ecapa.features(waves), expected, atol=1e-3)
    with torch.inference_mode():
        assert torch.allclose(ours(expected), theirs(expected)[:, 0], atol=1e-5)


def test_missing_and_foreign_weights_say_how_to_get_them(tmp_path, monkeypatch):
    with pytest.raises(PretrainedError, match="not at .*nothing.ckpt: fetch it once with `hf download"):
        secs.score(tones(1), tones(1), weights=tmp_path / "nothing.ckpt")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(PretrainedError, match="not in the hub's cache: fetch it once"):
        ecapa.resolve()
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    for name in ("other.ckpt", "text.ckpt"):
        with pytest.raises(PretrainedError, match=f"{name} does not hold the parameters"):
            secs.score(tones(1), tones(1), weights=tmp_path / name)


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.zeros(16000, np.float32), "Speech 0 is silent"),
        (np.full(16000, np.nan, np.float32), "Speech 0 holds NaN"),
        (np.ones(160, np.float32), "Speech 0 has 160 samples"),
    ],
)
def test_bad_speech_is_named(wave, sentence, weights):
    with pytest.raises(MetricError, match=sentence):
        secs.score([wave], tones(1), weights=weights)
