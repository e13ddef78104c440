"""The same multiples of its own rate for every method: the best is found, and nothing is tried twice."""

import math

import pytest
import torch
from torch import nn

from lib import study
from lib.study import protocol, rates
from lib.study.part import Part
from lib.study.profile import StudyError
from lib.training.loop import TrainConfig


class Lines(protocol.Study):
    """Fits y = 3x; `blind` has no validation sentences."""

    made = 0

    def part(self, name, seed):
        config = TrainConfig(steps=40, batch_size=4, learning_rate=0.01, warmup=8, seed=seed)
        x = torch.linspace(-1, 1, 8).unsqueeze(1)

        def losses(model):
            def of(batch):
                self.made += 1
                error = ((model(batch) - 3 * batch) ** 2).mean()
                return {"total": error if name != "wild" else error / (model.weight.sum() - model.weight.sum())}

            return (lambda step: x), of

        def unseen(model, loss):
            return None if name == "blind" else lambda: ((model(2 * x) - 6 * x) ** 2).mean().item()

        return Part(config, (name, seed), lambda: nn.Linear(1, 1, bias=False), losses, unseen=unseen)


@pytest.fixture
def lines(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    made = Lines(study.load_profile("smoke"))
    made.paper = "line"
    return made


def test_the_rate_with_the_least_validation_loss_is_advised_and_the_ends_of_a_range_are_not_trusted(lines):
    found = list(rates.tried(lines, ["plain"], (1.0, 10.0, 0.1), None, 0))
    losses = {line["times"]: line["validation"] for line in found}
    assert losses[10.0] < losses[1.0] < losses[0.1]
    assert rates.advice(found) == ["plain: 0.1 (10 times the profile's); it is the range's end, so try further"]
    assert rates.advice([*found, {**found[1], "rate": 0.5, "times": 50.0, "validation": 9.0}]) == [
        "plain: 0.1 (10 times the profile's)"
    ]


def test_what_was_tried_is_not_tried_again_and_another_number_of_steps_is_another_trial(lines):
    first = list(rates.tried(lines, ["plain"], (1.0, 2.0), None, 0))
    done = lines.made
    assert list(rates.tried(lines, ["plain"], (1.0, 2.0), None, 0)) == first and lines.made == done
    shorter = list(rates.tried(lines, ["plain"], (1.0,), 20, 0))
    assert lines.made == done + 20 and shorter[0]["validation"] > first[0]["validation"]
    assert not list(lines.root.glob("rates/*.resume.pt"))


def test_a_training_that_diverges_is_a_line_and_no_advice(lines):
    found = list(rates.tried(lines, ["wild"], (1.0, 2.0), None, 0))
    assert [line["validation"] for line in found] == [math.inf, math.inf]
    assert rates.advice(found) == ["wild: every rate diverged; try smaller ones"]
    assert list(rates.tried(lines, ["wild"], (1.0,), None, 0))[0]["validation"] == math.inf  # read from the table


def test_bad_multiples_and_unwatched_trainings_are_refused(lines):
    with pytest.raises(StudyError, match="--times 0: give positive multiples"):
        list(rates.tried(lines, ["plain"], (0,), None, 0))
    with pytest.raises(StudyError, match="blind has no validation sentences"):
        list(rates.tried(lines, ["blind"], (1.0,), None, 0))
