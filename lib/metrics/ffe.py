"""FFE: F0 frame error along the dynamic time warping path, with its two parts, and as HyperTTS released it.

Chu and Alwan, "Reducing F0 frame error of F0 tracking algorithms under noisy conditions with an
unvoiced/voiced classification frontend", ICASSP 2009. Of the N steps of the path, V are voiced on one side
only (voicing decision errors), B are voiced on both, and in G of those F0 is more than 20 % off the
reference's (gross pitch errors): VDE = 100 V / N, GPE = 100 G / B, FFE = 100 (V + G) / N. Percent,
0 is best and 100 the worst. Over the B steps, too: the root mean square difference of log F0 in cents, and the
correlation of log F0, which a shift of the whole voice leaves as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from lib.audio import RATE
from lib.metrics import check_pairs, check_waves
from lib.metrics.filterbank_mcd import SHORTEST, Alignment, align
from lib.pitch import yin

HOP = 160
TOLERANCE = 0.2
FEWEST = 5
NAMES = ("ffe", "gpe", "vde", "f0_rmse", "f0_correlation")
CPU_BATCH = 4  # waves at once: the frames of 32 leave the cache and take four times as long per wave
RELEASED_FRAME = 400
RELEASED = {"frame": RELEASED_FRAME, "f0_min": 100.0, "f0_max": 500.0, "threshold": 0.1, "voicing": 0.1}


def score(
    speech: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    *,
    device: str = "cpu",
    batch_size: int = 32,
    alignment: Alignment | None = None,
) -> dict[str, np.ndarray]:
    """`ffe`, `gpe`, `vde` and `ffe_as_released` (batch,) in percent, `f0_rmse` (cents) and `f0_correlation`, of waves.

    The waves are mono, at 16 kHz and of at least 40 ms; `f0_rmse` and `f0_correlation` are NaN where fewer than
    `FEWEST` steps are voiced on both sides.

    F0 is `lib.pitch.yin` every 10 ms; the path is that of the mel cepstra (`filterbank_mcd.align`, or `alignment` where
    the caller has it for the same waves). `ffe_as_released` compares frame t with frame t until the shorter
    wave ends: 25 ms frames every 10 ms, F0 100 to 500 Hz, voiced below 0.1 of the normalised difference.
    GPE is 0 where no step is voiced on both sides. Raises MetricError for silent, NaN or too short waves.
    """
    waves = check_waves(speech, "Speech", SHORTEST)
    expected = check_waves(reference, "Reference", SHORTEST)
    check_pairs(waves, expected)
    if alignment is None:
        alignment = align(waves, expected, device=device, batch_size=batch_size)
    heard, target = f0(waves, device, batch_size), f0(expected, device, batch_size)
    rows = [
        errors(one[path], other[other_path])
        for one, path, other, other_path in zip(heard, alignment.speech, target, alignment.reference, strict=True)
    ]
    values = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in NAMES}
    heard, target = f0(waves, device, batch_size, True), f0(expected, device, batch_size, True)
    released = [errors(one[: len(other)], other[: len(one)])["ffe"] for one, other in zip(heard, target, strict=True)]
    return values | {"ffe_as_released": np.array(released, dtype=np.float64)}


def errors(heard: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """FFE, GPE and VDE in percent, RMSE in cents and correlation of log F0.

    heard, target: aligned F0 tracks (frames,) in Hz, 0 where unvoiced.
    """
    voiced = (heard > 0) & (target > 0)
    decisions = (heard > 0) != (target > 0)
    gross = np.abs(heard[voiced] - target[voiced]) > TOLERANCE * target[voiced]
    cents = [1200 * np.log2(track[voiced] / 100) for track in (heard, target)]
    enough = voiced.sum() >= FEWEST
    moves = enough and min(np.ptp(track) for track in cents) > 0
    return {
        "f0_rmse": float(np.sqrt(np.mean((cents[0] - cents[1]) ** 2))) if enough else np.nan,
        "f0_correlation": float(np.corrcoef(*cents)[0, 1]) if moves else np.nan,
        "ffe": 100.0 * float(decisions.sum() + gross.sum()) / len(target),
        "gpe": 100.0 * float(gross.mean()) if len(gross) else 0.0,
        "vde": 100.0 * float(decisions.mean()),
    }


@torch.inference_mode()
def f0(
    waves: Sequence[np.ndarray], device: str = "cpu", batch_size: int = 32, released: bool = False
) -> list[np.ndarray]:
    """F0 (frames,) in Hz of each wave, 0 where unvoiced: every 10 ms, or in the released frames."""
    tracks: list[np.ndarray] = [np.zeros(0)] * len(waves)
    order = np.argsort([len(wave) for wave in waves])
    if torch.device(device).type == "cpu":
        batch_size = min(batch_size, CPU_BATCH)
    for start in range(0, len(waves), batch_size):
        batch = [int(index) for index in order[start : start + batch_size]]
        padded = pad_sequence([torch.from_numpy(waves[index]) for index in batch], batch_first=True)
        settings = {**RELEASED, "centred": False} if released else {}
        values = yin(padded.to(device), RATE, HOP, **settings)[0].cpu().numpy()
        for row, index in enumerate(batch):
            samples = len(waves[index])
            frames = 1 + (samples - RELEASED_FRAME) // HOP if released else 1 + samples // HOP
            tracks[index] = values[row, :frames].astype(np.float64)
    return tracks
