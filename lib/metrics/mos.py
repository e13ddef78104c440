"""Predicted mean opinion score: DistillMOS, a distilled XLS-R speech quality model.

Stahl and Gamper, "Distillation and pruning for scalable self-supervised representation-based speech quality
assessment", ICASSP 2025. The value predicts how listeners would rate quality from 1 (bad) to 5 (excellent); no
listener is involved, so it is always called predicted.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from lib.metrics import MetricError, check_waves
from lib.pretrained import PretrainedError, resolve

SEGMENT = 122880
LARGEST_HOP = 16000


def score(
    speech: Sequence[np.ndarray], reference: None = None, *, device: str = "cpu", batch_size: int = 16
) -> dict[str, np.ndarray]:
    """`mos_predicted` (batch,) of mono 16 kHz waves, 1 to 5, higher is better.

    The model hears segments of 7.68 s: a shorter wave is padded with zeros at its end, a longer one is the
    mean over overlapping segments, exactly as its authors do it. All segments have one length, so they are
    batched without changing any score. Raises MetricError for silent, NaN or empty waves.
    """
    if reference is not None:
        raise MetricError("Predicted MOS takes no reference: give None.")
    waves = check_waves(speech, "Speech")
    cuts = [segments(torch.from_numpy(wave)) for wave in waves]
    model = load(str(device))
    values = []
    with torch.inference_mode():
        for batch in torch.cat(cuts).split(batch_size) if cuts else []:
            values.append(model(batch.to(device)).flatten().cpu())
    parts = torch.cat(values).split([len(cut) for cut in cuts]) if cuts else []
    return {"mos_predicted": np.array([float(part.mean()) for part in parts], dtype=np.float64)}


def segments(wave: Tensor) -> Tensor:
    """`wave` (samples,) as the segments (count, 122880) that DistillMOS scores, at most 1 s apart."""
    excess = len(wave) - SEGMENT
    if excess <= 0:
        return nn.functional.pad(wave, (0, -excess))[None]
    count = -(-excess // LARGEST_HOP) + 1
    starts = [int(place * excess) for place in np.linspace(0, 1, count)]
    return torch.stack([wave[start : start + SEGMENT] for start in starts])


@lru_cache(maxsize=2)
def load(device: str = "cpu") -> nn.Module:
    """DistillMOS on `device`, for segments of 122880 samples; weights from `lib.pretrained`."""
    weights = resolve("distillmos")
    try:
        from distillmos import ConvTransformerSQAModel
    except ImportError as error:
        raise PretrainedError("DistillMOS is not installed: run `pip install distillmos`.") from error
    with contextlib.redirect_stdout(io.StringIO()):
        model = ConvTransformerSQAModel(load_weights=False, segmenting_in_forward=False)
    state = torch.load(weights.path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    return model.to(device).eval().requires_grad_(False)
