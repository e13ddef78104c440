"""The moving average of the weights over a training, which diffusions are sampled from."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

RAMP = 10  # the average reaches over about a ninth of the steps until its decay is the one asked for


class Average:
    """The exponential moving average of a model's weights over its training steps (Polyak & Juditsky 1992), where
    `decay` is above 0; else nothing. Diffusions are sampled from it (Ho et al. 2020), in place of a falling rate. At
    first the decay is smaller, as a `RAMP` of the steps made, so that the weights of the start are soon forgotten.

    weights: those of an interrupted training, to go on from; None: the average begins at the model's.
    """

    def __init__(self, parameters: list[nn.Parameter], decay: float, weights: list[Tensor] | None = None):
        self.parameters, self.decay = parameters, decay
        self.weights = weights if weights or not decay else [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the weights after so many steps."""
        if self.decay:
            decay = min(self.decay, (1 + steps) / (RAMP + steps))
            torch._foreach_lerp_(self.weights, self.parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the average as its weights, and afterwards with its own again."""
        own = [p.detach().clone() for p in self.parameters] if self.decay else None
        self.keep()
        try:
            yield
        finally:
            self._set(own)

    def keep(self) -> None:
        """Leave the average in the model."""
        self._set(self.weights if self.decay else None)

    @torch.no_grad()
    def _set(self, weights: list[Tensor] | None) -> None:
        if weights is not None:
            torch._foreach_copy_(self.parameters, weights)
