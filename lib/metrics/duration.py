"""Duration error: how far predicted durations of phones are from those of the recording, in ms.

The mean of |d_predicted - d_recorded| over an utterance's phones, both from one known alignment of the text; pauses,
punctuation and marks of stress do not count. 0 is the recording's own rhythm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib import text
from lib.metrics import MetricError, check_pairs

PHONES = torch.tensor([symbol in text.PHONES for symbol in text.SYMBOLS])


def score(
    speech: Sequence[np.ndarray], reference: Sequence[np.ndarray], *, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """`duration_error` (batch,) in ms, of durations (phones,) in seconds of the same phones in speech and reference.

    Raises MetricError for an utterance without phones, with another number of them, or with NaN or negative durations.
    """
    check_pairs(speech, reference)
    found = []
    for index, (spoken, wanted) in enumerate(zip(speech, reference, strict=True)):
        if len(spoken) == 0 or np.shape(spoken) != np.shape(wanted):
            raise MetricError(
                f"Utterance {index} has {len(spoken)} durations and its reference {len(wanted)}: give one for a phone."
            )
        if not (np.minimum(spoken, wanted) >= 0).all():
            raise MetricError(f"Utterance {index} has a duration that is negative or NaN: give seconds.")
        found.append(1000 * np.abs(np.asarray(spoken, np.float64) - wanted).mean())
    return {"duration_error": np.array(found, dtype=np.float64)}


def of_batch(batch: dict[str, Tensor], predicted: Tensor, frames_per_second: float) -> np.ndarray:
    """`duration_error` (batch,) of what a duration predictor says, log(1 + frames) (batch, symbols), before rounding.

    batch: symbols (batch, symbols) and durations in frames, as `lib.corpora.features.Features.batch` has them.
    """
    spoken = predicted.double().expm1().clamp(min=0).cpu() / frames_per_second
    wanted, phones = batch["durations"].double().cpu() / frames_per_second, PHONES[batch["symbols"].cpu()]
    pairs = [(a[keep].numpy(), b[keep].numpy()) for a, b, keep in zip(spoken, wanted, phones, strict=True)]
    return score(*map(list, zip(*pairs, strict=True)))["duration_error"]
