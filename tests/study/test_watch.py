"""The loss on unseen sentences that a training watches."""

import pytest
import torch
from torch import nn

from lib.study import gates, watch


def test_the_last_fifth_of_a_training_is_watched_often_enough_to_be_read():
    made = watch.Watch(300, lambda: 2.0)
    curve = [{"step": step, "total": 1.0 / step} | made(step) for step in range(1, 301)]
    assert gates.fall(curve) == pytest.approx(0.0)


def test_what_is_not_watched_leaves_no_record():
    assert watch.Watch(10, None)(10) == {}


def test_watching_draws_the_same_numbers_each_time_and_leaves_generator_and_modes_alone():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1))
    model[1].eval()

    def loss(batch):
        return {"total": (model(batch["x"]) + torch.rand(1)).mean()}

    mean = watch.mean_loss(model, loss, lambda: [{"x": torch.ones(3, 2), "texts": ["a"]}], "cpu")
    state = torch.random.get_rng_state()
    assert mean() == mean()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in model.modules()] == [True, True, False]


def test_at_most_so_many_utterances_are_watched():
    assert len(watch.some(list(range(1000)))) <= watch.WATCHED and watch.some([1, 2]) == [1, 2] and watch.some([]) == []
