"""Objective metrics of synthesised speech, one module each, all with the same `score`.

`score(speech, reference, *, device="cpu", **options)` takes lists of mono 16 kHz float waves (for `wer` the
reference is a list of texts, for `mos` None) and returns float64 arrays of shape (batch,) by metric name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.audio import LOUDEST, SILENCE


class MetricError(ValueError):
    """Input a metric has no value for; the sentence names the utterance by its place in the list."""


def check_waves(waves: Sequence[np.ndarray], name: str, shortest: int = 1, silence: bool = False) -> list[np.ndarray]:
    """`waves` as float32 arrays, each one-dimensional, contiguous, writable, finite, at most `LOUDEST`,
    at least `shortest` samples and not silent.

    `silence=True` accepts silent waves. Raises MetricError naming `name` and the index otherwise.
    """
    if isinstance(waves, np.ndarray) or not isinstance(waves, Sequence) or isinstance(waves, str):
        raise MetricError(f"{name} is not a list of waves: put each wave, even a single one, in a list.")
    checked = []
    for index, wave in enumerate(waves):
        who = f"{name} {index}"
        if not isinstance(wave, np.ndarray) or wave.ndim != 1 or not np.issubdtype(wave.dtype, np.floating):
            raise MetricError(f"{who} is not a one-dimensional array of floats: give mono audio in [-1, 1] at 16 kHz.")
        if not np.isfinite(wave).all():
            raise MetricError(f"{who} holds NaN or infinite samples: repair or drop it.")
        if len(wave) < shortest:
            raise MetricError(f"{who} has {len(wave)} samples, fewer than the {shortest} the metric needs: drop it.")
        if not silence and is_silent(wave):
            raise MetricError(f"{who} is silent (below -80 dBFS): the metric has no value for it, so drop it.")
        if (peak := np.abs(wave).max(initial=0)) > LOUDEST:
            raise MetricError(f"{who} reaches {peak:.6g}, where full scale is 1: divide it by its scale (32768?).")
        checked.append(np.require(wave, np.float32, ["C", "W"]))
    return checked


def is_silent(wave: np.ndarray) -> bool:
    """Whether no sample of `wave` reaches -80 dBFS."""
    return not (np.abs(wave) >= SILENCE).any()


def check_pairs(speech: Sequence[object], reference: Sequence[object]) -> None:
    """Raise MetricError unless there is one reference for each utterance."""
    if len(speech) != len(reference):
        raise MetricError(f"There are {len(speech)} utterances and {len(reference)} references: give one for each.")
