"""The loss on unseen sentences while a training runs, by which its plateau is told.

A batch's training loss tells which utterances are in the batch, and hides whether training has reached its plateau.
Training does not depend on what is watched.
"""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

WATCHED = 64  # most utterances of which a validation loss is the mean
BATCHES = 4  # of as many as a training's, where they are drawn
DUE = (0.2, 0.4, 0.6, 0.8, 0.84, 0.88, 0.92, 0.96, 1.0)  # of a training, when it is measured


class Watch:
    """`mean`, the loss on unseen sentences, now and then and more often in the last fifth; None: never."""

    def __init__(self, steps: int, mean: Callable[[], float] | None):
        self.steps, self.mean, self.due = steps, mean, list(DUE)

    def __call__(self, step: int) -> dict[str, float]:
        if self.mean is None or not self.due or step < self.due[0] * self.steps:
            return {}
        self.due = [share for share in self.due if share * self.steps > step]
        return {"validation": self.mean()}


def some(items: list) -> list:
    """At most `WATCHED` of them, evenly spaced."""
    return items[:: -(-len(items) // WATCHED) or 1]


def mean_loss(
    model: nn.Module,
    loss: Callable[[dict], dict[str, torch.Tensor]],
    batches: Callable[[], Iterable[dict]],
    device: torch.device | str,
) -> Callable[[], float]:
    """The mean "total" of some batches in evaluation mode, always with the same random numbers."""

    def mean() -> float:
        with _evaluating(model), torch.no_grad(), torch.random.fork_rng(_devices(device)):
            torch.manual_seed(0)
            found = [float(loss(_on(batch, device))["total"]) for batch in batches()]
        return sum(found) / len(found)

    return mean


def on_features(study: Any, utterances: list) -> Callable[..., Callable[[], float] | None]:
    """`lib.study.part.Part.unseen` of a training on a study's features: at most `WATCHED` of some utterances."""

    def unseen(model: nn.Module, loss: Callable[[dict], dict[str, torch.Tensor]]) -> Callable[[], float] | None:
        rows = study.features.rows(some(utterances))
        return mean_loss(model, loss, lambda: study.features.batches(rows), study.device) if len(rows) else None

    return unseen


@torch.no_grad()
def mean_losses(study: Any, model: nn.Module, loss: Callable, utterances: list) -> dict[str, float]:
    """The mean of each loss over batches of all of some utterances, in evaluation mode; thetas are none."""
    rows = study.features.rows(utterances)
    model.eval()
    found = [loss(model(batch), batch) for batch in study.features.batches(rows, study.device)]
    names = [name for name in found[0] if not name.startswith("theta")] if found else []
    return {name: float(np.mean([float(each[name]) for each in found])) for name in names}


def drawn(batch_at: Callable[[int, str], dict], device: torch.device | str) -> Callable[..., Callable[[], float]]:
    """`lib.study.part.Part.unseen` of a training whose batches are drawn: the same few of the validation split."""

    def unseen(model: nn.Module, loss: Callable[[dict], dict[str, torch.Tensor]]) -> Callable[[], float]:
        return mean_loss(model, loss, lambda: (batch_at(step, "validation") for step in range(BATCHES)), device)

    return unseen


@contextmanager
def _evaluating(model: nn.Module):
    """Evaluation mode, and afterwards each module's own mode."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _on(batch: dict, device: torch.device | str) -> dict:
    return {name: v.to(device) if isinstance(v, torch.Tensor) else v for name, v in batch.items()}


def _devices(device: torch.device | str) -> list[torch.device]:
    return [torch.device(device)] if torch.device(device).type == "cuda" else []
