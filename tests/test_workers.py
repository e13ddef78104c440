"""Work in processes: its order, its threads, and a process that is killed."""

import operator
import os
from functools import partial

import pytest
import torch

from lib.workers import WorkerError, map_in_processes


@pytest.mark.parametrize("cores", [1, 2])
def test_results_come_in_the_order_of_the_items(cores):
    assert list(map_in_processes(partial(operator.add, 1), [3, 1, 2], cores, label="adding")) == [4, 2, 3]


def test_every_process_has_the_threads_that_are_asked_for():
    assert list(map_in_processes(operator.call, [torch.get_num_threads] * 2, 2, threads=1)) == [1, 1]


def test_a_killed_process_is_told_in_a_sentence():
    with pytest.raises(WorkerError, match="run again with fewer cores"):
        list(map_in_processes(os._exit, [1, 2], 2))
