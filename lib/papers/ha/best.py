"""The best step of a training: the loss on validation utterances is watched, and training stops when it has risen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lib.corpora.corpus import Utterance
from lib.papers.ha.systems import EVERYBODY, Adaptations, Batches, Systems
from lib.training.loop import History, TrainConfig, read_checkpoint, save_checkpoint
from lib.training.weights import saved_state

CHECKS = 20  # in a whole training, and one before it
PATIENCE = 4  # checks without a lower loss, after which training stops


class Best:
    """Keeps, in the file `path`, the weights of the step with the lowest validation loss, the untrained ones' included.

    losses: mean cross-entropy of the validation utterances (nats a token) by step; step: the best one.
    """

    def __init__(self, study: Systems, items: list[Utterance], config: TrainConfig, path: Path, mark: str):
        self.study, self.items, self.config, self.path, self.mark = study, items, config, path, mark
        self.every = max(1, config.steps // CHECKS)
        self.losses: dict[int, float] = {}

    @property
    def step(self) -> int:
        return min(self.losses, key=self.losses.get)

    def at_step(self, model: Adaptations) -> Callable[[int], bool]:
        """What a training calls before each step: True where it is to stop; after the last, `model` is the best."""
        batches = Batches(self.study, model, {EVERYBODY: self.items}, self.config)
        if kept := read_checkpoint(self.path, self.mark):
            self.losses = dict(kept["losses"])

        def check(step: int) -> bool:
            if step % self.every and step != self.config.steps:
                return False
            self.losses = {at: loss for at, loss in self.losses.items() if at < step}
            self.losses[step] = batches.mean()
            if self.step == step:
                state = {"model": saved_state(model), "losses": list(self.losses.items())}
                save_checkpoint(self.path, self.mark, step, History(), 0.0, state)
            if step == self.config.steps:
                model.load_state_dict(read_checkpoint(self.path, self.mark)["model"], strict=False)
            return step - self.step >= PATIENCE * self.every

        return check
