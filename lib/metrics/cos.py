"""COS: cosine similarity of GE2E speaker embeddings, times 100 (HyperTTS, section 5; also called SECS).

COS = 100 e(speech) . e(reference), with e the unit-norm embedding of `lib.models.speaker`. Embeddings are not
negative, so it lies between 0 and 100; 100 is the same voice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.metrics import check_pairs, check_waves
from lib.models import speaker

SHORTEST = 400


def score(
    speech: Sequence[np.ndarray], reference: Sequence[np.ndarray], *, device: str = "cpu", batch_size: int | None = None
) -> dict[str, np.ndarray]:
    """`cos` (batch,) between waves and their references, all mono at 16 kHz and at least 25 ms long.

    Loudness does not matter below -30 dBFS, where it is normalised. Raises MetricError for silent, NaN or too
    short waves.
    """
    check_pairs(speech, reference)
    embeddings = speaker.embed(check_waves(reference, "Reference", SHORTEST), device, batch_size)
    return {"cos": between(embed(speech, device, batch_size), embeddings)}


def embed(speech: Sequence[np.ndarray], device: str = "cpu", batch_size: int | None = None) -> np.ndarray:
    """Embeddings (batch, 256) of waves that `score` takes, to be compared with several others by `between`."""
    return speaker.embed(check_waves(speech, "Speech", SHORTEST), device, batch_size)


def against(speech: Sequence[np.ndarray], embeddings: np.ndarray, device: str = "cpu") -> np.ndarray:
    """COS (batch,) between waves and `embeddings`, as `between` takes them. Errors as `score` and `between`."""
    return between(embed(speech, device), embeddings)


def between(embedded: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """COS (batch,) between embeddings of speech and unit-norm `embeddings`, both (batch, 256).

    The latter are those of reference utterances, computed before, or of speakers (`Features.centroid`).
    """
    check_pairs(embedded, embeddings)
    return 100.0 * np.sum(_unit(embedded) * _unit(embeddings), axis=1)


def _unit(embeddings: np.ndarray) -> np.ndarray:
    embeddings = embeddings.astype(np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
