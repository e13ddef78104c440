"""MCD by cepstra of a mel filter bank, along the dynamic time warping path, in dB: fast, batched, on any device.

Its path is what FFE and F0 errors are aligned by. Papers mean another form, by WORLD and SPTK: `lib.metrics.mcd`.

Kubichek, "Mel-cepstral distance measure for objective speech quality assessment", 1993:
MCD = 10 sqrt(2) / ln 10 * mean over the path of |c_speech - c_reference|. The cepstra are
c_k = 2/M sum_m ln S_m cos(pi k (m + 1/2) / M), k = 1 ... 25, of M = 40 mel magnitudes S_m (25 ms Hann windows
every 10 ms, 0 to 8 kHz, Slaney's scale), so the distance is the RMS difference in dB of two smoothed log-mel
spectra; k = 0, the level, is left out. 0 dB is identical; it has no upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lib.audio import RATE
from lib.metrics import check_pairs, check_waves
from lib.metrics.dtw import warp
from lib.workers import map_in_threads

HOP = 160
WINDOW = 400
FFT = 512
BANDS = 40
ORDER = 25
RANGE = 80.0
SHORTEST = 640
DECIBEL = 10.0 * math.sqrt(2.0) / math.log(10.0)
ROUNDING = 1e-9
CPU_BATCH = 1  # waves of a thread at once: the spectra of more leave the cache and take up to twice the time


@dataclass(frozen=True)
class Alignment:
    """Speech aligned with its reference: the distortion (batch,) in dB, and the path of each pair.

    speech[i] and reference[i] are the frames (10 ms, centred) that the steps of pair i's path match, in time.
    """

    mcd: np.ndarray
    speech: list[np.ndarray]
    reference: list[np.ndarray]


def score(
    speech: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    *,
    device: str = "cpu",
    batch_size: int = 32,
    alignment: Alignment | None = None,
) -> dict[str, np.ndarray]:
    """`mcd_filterbank` (batch,) in dB of mono 16 kHz waves of at least 40 ms.

    It does not depend on the level of the waves.
    `alignment` is what `align` returned for the same waves, where the caller has it.
    Raises MetricError for silent, NaN or too short waves.
    """
    if alignment is None:
        alignment = align(speech, reference, device=device, batch_size=batch_size)
    return {"mcd_filterbank": alignment.mcd}


def align(
    speech: Sequence[np.ndarray], reference: Sequence[np.ndarray], *, device: str = "cpu", batch_size: int = 32
) -> Alignment:
    """Dynamic time warping of mel cepstra; `score` and `ffe.score` take the result. Errors as `score`."""
    waves = check_waves(speech, "Speech", SHORTEST)
    expected = check_waves(reference, "Reference", SHORTEST)
    check_pairs(waves, expected)
    order = np.argsort([len(wave) + len(other) for wave, other in zip(waves, expected, strict=True)])
    size = CPU_BATCH if torch.device(device).type == "cpu" else batch_size
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    frames = []
    for side in (expected, waves):
        made = map_in_threads(partial(_frames, device=device), [[side[i] for i in batch] for batch in batches])
        found = [each for batch in made for each in batch]
        frames.append([found[place] for place in np.argsort(order)])
    warpings = warp(*frames)
    distortion = np.array([DECIBEL * path.total / len(path.rows) for path in warpings])
    distortion[distortion < ROUNDING] = 0.0
    return Alignment(distortion, [path.columns for path in warpings], [path.rows for path in warpings])


@torch.inference_mode()
def _frames(waves: list[np.ndarray], device: str) -> list[np.ndarray]:
    found, counts = cepstra(waves, device)
    return [one[:count] for one, count in zip(found.cpu().numpy(), counts.tolist(), strict=True)]


def cepstra(waves: Sequence[np.ndarray], device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Mel cepstra c_1 ... c_25 (batch, frames, 25) in float64 and the number of frames (batch,) of each wave.

    Frame t is centred on sample 160 t; mel magnitudes are floored 80 dB below the wave's largest one.
    """
    lengths = torch.tensor([len(wave) for wave in waves], device=device)
    padded = pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True)
    window = torch.hann_window(WINDOW, device=device)
    spectrum = torch.stft(padded.to(device), FFT, HOP, WINDOW, window, pad_mode="constant", return_complex=True)
    filters, cosines = _matrices(device)
    magnitude = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).sqrt_()  # a third of abs()'s time
    mel = (magnitude.transpose(1, 2) @ filters).double()
    floor = 10 ** (-RANGE / 20) * mel.amax(dim=(1, 2), keepdim=True)
    return torch.maximum(mel, floor).log() @ cosines, 1 + lengths // HOP


@lru_cache(maxsize=4)
def _matrices(device: str) -> tuple[Tensor, Tensor]:
    """Mel filters (bins, 40) and the cosine transform (40, 25)."""
    from torchaudio.functional import melscale_fbanks

    filters = melscale_fbanks(FFT // 2 + 1, 0.0, RATE / 2, BANDS, RATE, norm="slaney", mel_scale="slaney")
    centres = (torch.arange(BANDS, dtype=torch.float64) + 0.5) / BANDS
    quefrencies = torch.arange(1, ORDER + 1, dtype=torch.float64)
    cosines = 2.0 / BANDS * torch.cos(math.pi * centres[:, None] * quefrencies)
    return filters.to(device), cosines.to(device)
