"""Mel inversion and Griffin-Lim on real speech; HiFi-GAN's file formats on a small stand-in."""

import pytest
import torch

from lib.models import vocoder
from lib.models.mel import MelDims, filterbank, log_mel


def test_magnitudes_of_a_mel_have_that_mel(speech):
    mel = log_mel(torch.from_numpy(speech[0]).unsqueeze(0))
    magnitude = vocoder.mel_to_magnitude(mel)
    assert (magnitude >= 0).all()
    back = (magnitude @ filterbank(MelDims()).T).clamp_min(1e-5).log()
    assert (back - mel).abs().mean() < 0.1  # natural-log units


def test_griffin_lim_keeps_the_mel_and_is_the_same_each_time(speech):
    wave = torch.from_numpy(speech[0]).unsqueeze(0)
    mel = log_mel(wave)
    speak = vocoder.GriffinLim()
    first, second = (speak(mel, torch.tensor([mel.shape[1]]))[0] for _ in range(2))
    assert (first == second).all()
    assert len(first) == (mel.shape[1] - 1) * 256
    back = log_mel(torch.from_numpy(first).unsqueeze(0))
    assert (back[0] - mel[0, : back.shape[1]]).abs().mean() < 0.35


def test_missing_hifigan_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no HiFi-GAN checkpoint g_1.pt"):
        vocoder.load({"hifigan": tmp_path / "g_1.pt"})


def weight_normed(state):
    out = {}
    for name, value in state.items():
        if name.endswith("weight"):
            norm = value.flatten(1).norm(dim=1).view(-1, *[1] * (value.ndim - 1))
            out[name + "_g"], out[name + "_v"] = norm, value * 3.0
        else:
            out[name] = value
    return out


def test_hifigan_folds_weight_norm_of_the_authors_file(tmp_path):
    torch.manual_seed(0)
    generator = vocoder.HiFiGANGenerator().eval()
    torch.save({"generator": weight_normed(generator.state_dict())}, tmp_path / "g.pt")
    loaded = vocoder.load({"hifigan": tmp_path / "g.pt"})
    mel = torch.randn(1, 7, 80)
    expected = generator(mel.transpose(1, 2))[0].detach().numpy()
    assert loaded(mel, torch.tensor([7]))[0] == pytest.approx(expected, abs=1e-5)
    assert len(expected) == 7 * 256


def test_hifigan_of_other_sizes_is_refused(tmp_path):
    torch.save({"generator": {"conv_pre.weight": torch.zeros(2, 2)}}, tmp_path / "g.pt")
    with pytest.raises(ValueError, match="is not a HiFi-GAN V1 generator"):
        vocoder.load({"hifigan": tmp_path / "g.pt"})
