"""What a study trains and what it measures: the two things that a paper's room hands to `lib.study.protocol`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from lib.training.loop import TrainConfig


@dataclass
class Part:
    """Something that is trained: a backbone, a system's adapters, a posterior encoder.

    build: makes the untrained model, in the mode that it trains in, after the seed is set. start(model): the batches,
    a function of the micro-batch, and the losses of one, of which "total" is minimised. depends: everything that the
    weights depend on; its fingerprint is theirs. at_step(model): called before each step, and once more with the number
    of steps; where it returns True, training ends. unseen(model, losses): the loss on unseen sentences now, watched
    for the plateau. saved(model): what of it is in the file. details(model): what else its .json says, after training.
    """

    config: TrainConfig
    depends: tuple
    build: Callable[[], nn.Module]
    start: Callable[[nn.Module], tuple[Callable[[int], Any], Callable[[Any], dict[str, Tensor]]]]
    at_step: Callable[[nn.Module], Callable[[int], bool | None]] = lambda model: lambda step: None
    saved: Callable[[nn.Module], nn.Module] = lambda model: model
    details: Callable[[nn.Module], dict] = lambda model: {}
    unseen: Callable[[nn.Module, Callable], Callable[[], float] | None] = lambda model, losses: None


@dataclass
class Measured:
    """What a run found: rows (metric, value, unit and the factors that differ within the run), waves by utterance
    that may be kept for listening, and facts for the manifest."""

    rows: pd.DataFrame
    waves: dict[str, np.ndarray] = field(default_factory=dict)
    facts: dict = field(default_factory=dict)


def with_factors(rows: pd.DataFrame, shared: dict) -> pd.DataFrame:
    """The rows with the columns that all of a system share; its x only where a row has none of its own."""
    if "x" not in shared:
        return rows.assign(**shared)
    x = rows["x"].astype("float64") if "x" in rows else pd.Series(float("nan"), rows.index)
    return rows.assign(**{**shared, "x": x if shared["x"] is None else x.fillna(shared["x"])})
