"""COS: cosine similarity of GE2E speaker embeddings, times 100 (HyperTTS, section 5; also called SECS).

COS = 100 e(speech) . e(reference), with e the unit-norm embedding of `lib.models.speaker`. Embeddings are not
negative, so it lies between 0 and 100; 100 is the same voice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.metrics import MetricError, check_pairs, check_waves
from lib.models import speaker

SHORTEST = 400


def score(
    speech: Sequence[np.ndarray],
    reference: Sequence[np.ndarray] | np.ndarray,
    *,
    device: str = "cpu",
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """`cos` (batch,) between waves and their references, mono at 16 kHz, at least 25 ms long.

    `reference` is a list of waves, or embeddings (batch, 256) from `speaker.embed`: of the same utterances, or
    of speakers' centroids. Loudness does not matter below -30 dBFS, where it is normalised.
    Raises MetricError for silent, NaN or too short waves, and for embeddings of another shape.
    """
    waves = check_waves(speech, "Speech", SHORTEST)
    check_pairs(waves, reference)
    if isinstance(reference, np.ndarray):
        expected = _check_embeddings(reference)
    else:
        expected = speaker.embed(check_waves(reference, "Reference", SHORTEST), device, batch_size)
    found = speaker.embed(waves, device, batch_size)
    return {"cos": 100.0 * np.sum(_unit(found) * _unit(expected), axis=1)}


def _unit(embeddings: np.ndarray) -> np.ndarray:
    embeddings = embeddings.astype(np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def _check_embeddings(embeddings: np.ndarray) -> np.ndarray:
    if embeddings.ndim != 2 or embeddings.shape[1] != speaker.SIZE:
        raise MetricError(
            f"The reference is an array of shape {embeddings.shape}: give a list of waves, or embeddings of "
            f"shape (batch, {speaker.SIZE})."
        )
    norms = np.linalg.norm(embeddings, axis=1)
    if not np.allclose(norms, 1.0, atol=1e-3):
        raise MetricError(
            f"Reference embedding {int(np.abs(norms - 1).argmax())} is not of unit norm: normalise it."
        )
    return embeddings
