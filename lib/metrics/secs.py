"""SECS: cosine similarity of CAM++ speaker embeddings, between -1 and 1; 1 is the same voice.

SECS = e(speech) . e(reference), with e the unit-norm embedding of `lib.models.campplus`. Papers take ECAPA-TDNN or
GE2E for it; `cos` is the same with GE2E, times 100, which HyperTTS is also conditioned on. A gain in both is a gain
in voice. Recordings of one speaker have 0.82 on average, those of two 0.36 (LibriSpeech test-other, five speakers).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.metrics import check_pairs, check_waves
from lib.models import campplus


def score(
    speech: Sequence[np.ndarray], reference: Sequence[np.ndarray], *, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """`secs` (batch,) between waves and their references, all mono at 16 kHz and at least 0.1 s long.

    Silence around the speech is heard, too, and the level a little. Raises MetricError for silent, NaN or too short
    waves, PretrainedError where the weights are missing, saying how to get them.
    """
    waves = check_waves(speech, "Speech", campplus.SHORTEST)
    expected = check_waves(reference, "Reference", campplus.SHORTEST)
    check_pairs(waves, expected)
    embedded = campplus.embed(waves + expected, device).astype(np.float64)
    return {"secs": np.sum(embedded[: len(waves)] * embedded[len(waves) :], axis=1)}
