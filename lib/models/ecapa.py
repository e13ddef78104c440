"""ECAPA-TDNN speaker embeddings with SpeechBrain's weights, batched over utterances on any device.

Desplanques et al., "ECAPA-TDNN: emphasized channel attention, propagation and aggregation in TDNN based speaker
verification", Interspeech 2020. Sizes, features and parameter names are those of speechbrain/spkrec-ecapa-voxceleb,
whose `embedding_model.ckpt` loads strictly.
"""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib.pretrained import PretrainedError

RATE = 16000
HOP = 160
WINDOW = 400
BANDS = 80
SIZE = 192
RANGE = 80.0
REPOSITORY = "speechbrain/spkrec-ecapa-voxceleb"
FILE = "embedding_model.ckpt"
GET = (
    f"fetch it once with `hf download {REPOSITORY} {FILE}`, or download that file from "
    f"https://huggingface.co/{REPOSITORY} and give its path"
)


class Convolution(nn.Module):
    """A one-dimensional convolution, reflected at the ends so that the number of frames stays."""

    def __init__(self, inside: int, outside: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv1d(inside, outside, kernel, padding=padding, dilation=dilation, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inside, frames) to (batch, outside, frames)."""
        return self.conv(x)


class Normalisation(nn.Module):
    """Batch normalisation of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames), normalised."""
        return self.norm(x)


class TDNN(nn.Module):
    """Convolution, ReLU, normalisation."""

    def __init__(self, inside: int, outside: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = Convolution(inside, outside, kernel, dilation)
        self.norm = Normalisation(outside)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inside, frames) to (batch, outside, frames)."""
        return self.norm(self.conv(x).relu())


class Res2Net(nn.Module):
    """Channels in groups; each group sees the output of the one before it (Gao et al. 2021)."""

    def __init__(self, channels: int, dilation: int, scale: int = 8, kernel: int = 3) -> None:
        super().__init__()
        self.scale, width = scale, channels // scale
        self.blocks = nn.ModuleList(TDNN(width, width, kernel, dilation) for _ in range(scale - 1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same shape."""
        first, *others = x.chunk(self.scale, dim=1)
        outputs = [first]
        for number, (block, group) in enumerate(zip(self.blocks, others, strict=True)):
            outputs.append(block(group if number == 0 else group + outputs[-1]))
        return torch.cat(outputs, dim=1)


class SqueezeExcitation(nn.Module):
    """Each channel scaled by what all channels are on average."""

    def __init__(self, channels: int, bottleneck: int = 128) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, bottleneck)
        self.conv2 = Convolution(bottleneck, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same shape."""
        return x * self.conv2(self.conv1(x.mean(dim=2, keepdim=True)).relu()).sigmoid()


class Block(nn.Module):
    """SE-Res2Block (figure 2 of the paper)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = TDNN(channels, channels)
        self.res2net_block = Res2Net(channels, dilation)
        self.tdnn2 = TDNN(channels, channels)
        self.se_block = SqueezeExcitation(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same shape."""
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class AttentivePooling(nn.Module):
    """Attentive statistics with global context (section 3.1)."""

    def __init__(self, channels: int, attention: int = 128) -> None:
        super().__init__()
        self.tdnn = TDNN(3 * channels, attention)
        self.conv = Convolution(attention, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Weighted means and standard deviations (batch, 2 channels, 1) of (batch, channels, frames)."""
        plain = _statistics(x, torch.full_like(x[:, :1], 1 / x.shape[2]))
        context = torch.cat([x, *(each.expand_as(x) for each in plain)], dim=1)
        weights = self.conv(self.tdnn(context).tanh()).softmax(dim=2)
        return torch.cat(_statistics(x, weights), dim=1)


class ECAPA(nn.Module):
    """Speaker embeddings of log-mel features: five convolutions, three of them SE-Res2Blocks, pooled over time."""

    def __init__(self, channels: int = 1024, size: int = SIZE) -> None:
        super().__init__()
        blocks = [Block(channels, dilation) for dilation in (2, 3, 4)]
        self.blocks = nn.ModuleList([TDNN(BANDS, channels, 5), *blocks])
        self.mfa = TDNN(3 * channels, 3 * channels)
        self.asp = AttentivePooling(3 * channels)
        self.asp_bn = Normalisation(6 * channels)
        self.fc = Convolution(6 * channels, size)

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings (batch, size), not of unit norm, of features (batch, frames, 80) of equally long utterances."""
        x, outputs = features.transpose(1, 2), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        pooled = self.asp(self.mfa(torch.cat(outputs[1:], dim=1)))
        return self.fc(self.asp_bn(pooled))[:, :, 0]


def resolve(path: str | Path | None = None) -> Path:
    """The checkpoint: `path` (the file or its folder) or the copy in the hub's cache; nothing is downloaded.

    Raises PretrainedError, saying how to get it, where there is none.
    """
    if path is not None:
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise PretrainedError(f"The ECAPA-TDNN weights are not at {file}: {GET}.")
        return file
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(REPOSITORY, FILE)
    if not isinstance(found, str):
        raise PretrainedError(f"The ECAPA-TDNN weights are not in the hub's cache: {GET}.")
    return Path(found)


@lru_cache(maxsize=2)
def load(path: str | Path | None = None, device: str = "cpu") -> ECAPA:
    """The encoder on `device` with the weights that `resolve` finds; its sizes are those of the file.

    Raises PretrainedError for a missing file or one that does not hold an ECAPA-TDNN's parameters.
    """
    file = resolve(path)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        encoder = ECAPA(state["blocks.0.conv.conv.weight"].shape[0], state["fc.conv.weight"].shape[0])
        encoder.load_state_dict(state)
    except (RuntimeError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise PretrainedError(f"{file} does not hold the parameters of ECAPA-TDNN: {GET}.") from error
    return encoder.to(device).eval().requires_grad_(False)


@torch.inference_mode()
def embed(
    waves: list[np.ndarray], path: str | Path | None = None, device: str = "cpu", batch_size: int = 16
) -> np.ndarray:
    """Embeddings (batch, 192), float32 and of unit norm, of mono 16 kHz `waves` of at least 25 ms.

    Only waves of one length share a batch, so that no value depends on padding.
    """
    encoder = load(path, str(device))
    found = np.zeros((len(waves), encoder.fc.conv.out_channels), dtype=np.float32)
    order = sorted(range(len(waves)), key=lambda index: len(waves[index]))
    while order:
        length = len(waves[order[0]])
        batch = [index for index in order[:batch_size] if len(waves[index]) == length]
        order = order[len(batch) :]
        stacked = torch.from_numpy(np.stack([waves[index] for index in batch])).float().to(device)
        found[batch] = nn.functional.normalize(encoder(features(stacked)), dim=1).cpu().numpy()
    return found


def features(waves: Tensor) -> Tensor:
    """Log-mel energies (batch, frames, 80) in dB, each band of mean 0, of `waves` (batch, samples).

    Hamming windows of 25 ms every 10 ms, triangles between 0 and 8 kHz on the mel scale of O'Shaughnessy, at most
    80 dB below the loudest of the utterance; as SpeechBrain's Fbank and its normalisation by sentence.
    """
    window = torch.hamming_window(WINDOW, device=waves.device)
    spectrum = torch.stft(waves, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    mel = spectrum.abs().square().transpose(1, 2) @ _filters().to(waves.device)
    decibels = 10 * mel.clamp(min=1e-10).log10()
    floor = decibels.amax(dim=(1, 2), keepdim=True) - RANGE
    decibels = torch.maximum(decibels, floor)
    return decibels - decibels.mean(dim=1, keepdim=True)


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    """Triangles (201, 80); both sides of each are as wide as the step below its centre."""
    mel = torch.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    width, centre = hertz.diff()[:-1], hertz[1:-1]
    frequencies = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)
    return (1 - ((frequencies[:, None] - centre) / width).abs()).clamp(min=0)


def _statistics(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    mean = (weights * x).sum(dim=2, keepdim=True)
    variance = (weights * (x - mean).square()).sum(dim=2, keepdim=True)
    return mean, variance.clamp(min=1e-12).sqrt()
