"""SECS: cosine similarity of ECAPA-TDNN speaker embeddings, as zero-shot speech synthesis is evaluated with it.

SECS = e(speech) . e(reference), with e the unit-norm embedding of `lib.models.ecapa`. It lies between -1 and 1;
1 is the same voice. (`cos` is the same with GE2E embeddings, times 100.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.metrics import check_pairs, check_waves
from lib.models import ecapa

SHORTEST = 1600


def score(
    speech: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    *,
    device: str = "cpu",
    batch_size: int = 16,
    weights: str | Path | None = None,
) -> dict[str, np.ndarray]:
    """`secs` (batch,) between waves and their references, all mono at 16 kHz and at least 0.1 s long.

    `weights` is the path of SpeechBrain's checkpoint; without it the hub's cache is asked (`ecapa.resolve`). Level
    does not matter; silence around the speech does, for nothing removes it. Raises MetricError for silent, NaN or
    too short waves, PretrainedError where the weights are missing, saying how to get them.
    """
    waves, expected = check_waves(speech, "Speech", SHORTEST), check_waves(reference, "Reference", SHORTEST)
    check_pairs(waves, expected)
    embedded = ecapa.embed(waves + expected, weights, device, batch_size).astype(np.float64)
    return {"secs": np.sum(embedded[: len(waves)] * embedded[len(waves) :], axis=1)}
