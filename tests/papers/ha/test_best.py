"""The best step of a training by its validation loss: kept, restored, and training stopped after it."""

import pytest
import torch
from torch import nn

from lib.papers.ha import best
from lib.papers.ha.best import Best
from lib.training.loop import TrainConfig, fit


class Losses:
    """Validation losses by a table; training moves the weight by 1 a step."""

    def __init__(self, given, model, *_):
        self.given, self.model = given, model

    def mean(self):
        return self.given[round(self.model.weight.item())]


class Watched(Best):
    def __init__(self, losses, path):
        super().__init__(losses, [], TrainConfig(len(losses) - 1, 1, 1.0), path, "mark")
        self.every = 1


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(best, "Batches", Losses)
    made = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(made.weight)
    return made


def trained(watch, model, tmp_path):
    """How many steps were made; at the end `model` is what is kept."""
    check, config = watch.at_step(model), watch.config

    def step(batch):
        loss = -model.weight.sum()
        return {"total": loss}

    fit(model, step, lambda step: step, config, tmp_path / "resume.pt", "mark", label="", at_step=check)
    made = round(model.weight.item())
    check(config.steps)
    return made


@pytest.mark.parametrize(
    ("losses", "made", "kept"),
    [
        ([3.0, 2.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], 6, 2),
        ([3.0, 2.0, 1.5, 1.0], 3, 3),
        ([1.0, 2.0, 2.0, 2.0, 2.0, 0.0], 4, 0),
    ],
)
def test_the_step_with_the_lowest_loss_is_kept_and_training_stops_after_it(model, tmp_path, losses, made, kept):
    watch = Watched(losses, tmp_path / "best.pt")
    assert trained(watch, model, tmp_path) == made
    assert watch.step == kept and round(model.weight.item()) == kept


def test_a_training_that_goes_on_knows_the_best_step_before(model, tmp_path):
    losses = [3.0, 1.0, 2.0, 2.0]
    first = Watched(losses, tmp_path / "best.pt").at_step(model)
    for step in range(2):
        first(step)
        nn.init.constant_(model.weight, step + 1.0)
    again = Watched(losses, tmp_path / "best.pt")
    check = again.at_step(model)
    assert not check(2)
    check(3)
    assert again.step == 1 and model.weight.item() == 1.0
    assert torch.load(tmp_path / "best.pt", weights_only=True)["step"] == 1
