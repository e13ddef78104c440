"""Two processes train the models that one process trains; what of a batch each computes; no wait for the device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic_trainings as trainings
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lib.training import loop as train
from lib.training import parallel
from lib.training.parallel import ParallelError, Share, mine_of_all

RUNS = ("ht-backbone", "ht-hypertts_evd", "sp-dense", "sp-dp_r45", "ha-hyper", "ld-clap", "ld-palette")
INTERRUPTED = "sp-dense"
ITEM = torch.ops.aten._local_scalar_dense.default


class Waits(TorchDispatchMode):
    """Counts the times that a number of a tensor is asked for, for which a host waits for its GPU."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        Waits.count += func is ITEM
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folders of one process's and of two processes' trainings, and how often each run's losses were waited for."""
    root, waits = tmp_path_factory.mktemp("trainings"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_CACHE", str(root / "data" / "cache"))
        patch.setenv("STUDY_RESULTS", str(root / "data" / "results"))
        forward = train._Objective.forward

        def watched(objective, batch):
            with Waits():
                return forward(objective, batch)

        patch.setattr(train._Objective, "forward", watched)
        trainings.prepare(root / "data")
        patch.setenv("STUDY_RESULTS", str(root / "one"))
        for run in RUNS:
            Waits.count = 0
            trainings.train(root / "data", [run])
            waits[run] = Waits.count
    runs = [f"~{run}" if run == INTERRUPTED else run for run in RUNS]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [trainings.__file__, str(root / "data"), str(root / "two"), *runs]
    path = f"{Path(__file__).parent.parent}{os.pathsep}{Path(__file__).parent}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TORCH_CPP_LOG_LEVEL": "ERROR"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return root / "one", root / "two", waits


def test_what_is_done_in_turn_cannot_wait_for_the_other_processes(monkeypatch):
    monkeypatch.setattr(parallel, "size", lambda: 2)
    monkeypatch.setattr(parallel, "first", lambda: True)
    for together in (parallel.wait, lambda: parallel.agree(1)):
        with pytest.raises(RuntimeError, match="in turn cannot wait"), parallel.in_turn():
            together()


def facts(results: Path, run: str) -> dict:
    return json.loads((results / "smoke" / "checkpoints" / f"{run}-s0.json").read_text())


@pytest.mark.parametrize("run", RUNS)
def test_two_processes_train_the_weights_that_one_process_trains(trained, run):
    one, two = (trainings.weights(folder, [run])[run] for folder in trained[:2])
    assert set(one) == set(two)
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=2e-6, rtol=1e-5, msg=lambda why, n=name: f"{n}: {why}")


@pytest.mark.parametrize("run", RUNS)
def test_two_processes_record_the_losses_of_the_whole_batch(trained, run):
    one, two = (facts(folder, run) for folder in trained[:2])
    assert (one["speed"]["processes"], two["speed"]["processes"]) == (1, 2)
    for a, b in zip(one["history"], two["history"], strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in b.items() if k != "seconds"}, rel=1e-4, abs=1e-6
        )


def test_only_the_first_process_writes_and_removes_what_is_not_needed(trained):
    for folder in trained[:2]:
        left = [path.name for path in (folder / "smoke" / "checkpoints").iterdir() if path.suffix != ".lock"]
        assert sorted(left) == sorted(f"{run}-s0.{kind}" for run in RUNS for kind in ("json", "safetensors"))


@pytest.mark.parametrize("run", ["ht-backbone", "ht-hypertts_evd", "sp-dense", "sp-dp_r45", "ha-hyper", "ld-clap"])
def test_a_training_step_asks_for_no_number_of_a_tensor(trained, run):
    assert trained[2][run] == 0


def test_training_facts_tell_steps_per_second_and_how_busy_the_processor_was(trained):
    speed = facts(trained[0], "ht-backbone")["speed"]
    assert speed["steps_per_second"] > 0
    assert 0 < speed["utilisation"] < 1.5 and speed["utilisation_of"] == "CPU threads"


@pytest.mark.parametrize(("count", "size"), [(7, 2), (8, 4), (1, 2), (2, 3)])
def test_shares_cover_every_row_once_and_none_is_empty(count, size):
    shares = [Share(count, size, rank) for rank in range(size)]
    rows = list(range(count))
    assert [row for mine in shares for row in mine.of(rows)[: mine.own]] == rows
    assert all(mine.of(rows) for mine in shares)
    assert all(mine.counts == shares[0].counts and sum(mine.counts) == count for mine in shares)


def drawn(draw, count: int, size: int) -> torch.Tensor:
    """What processes draw for their rows, one below the other."""
    parts = []
    for rank in range(size):
        mine = Share(count, size, rank)
        torch.manual_seed(3)
        with mine_of_all(mine):
            parts.append(draw(mine)[: mine.own])
    return torch.cat(parts)


@pytest.mark.parametrize(
    "draw",
    [
        lambda mine: F.dropout(torch.ones(5, 4, 3)[mine.rows], 0.4),
        lambda mine: F.dropout(torch.ones(5, 3, 4).transpose(1, 2)[mine.rows], 0.4),
        lambda mine: torch.nn.Dropout(0.4)(torch.ones(5, 2, 4, 3)[mine.rows]),
        lambda mine: torch.randn_like(torch.ones(5, 4)[mine.rows]),
        lambda mine: torch.rand(len(torch.ones(5)[mine.rows]), 2),
        lambda mine: torch.randint(1, 1000, (len(torch.ones(5)[mine.rows]),)),
    ],
)
def test_processes_draw_the_random_numbers_of_one(draw):
    torch.manual_seed(3)
    whole = draw(Share(5))
    assert torch.equal(drawn(draw, 5, 2), whole)
    assert torch.equal(drawn(draw, 5, 7), whole)


def test_random_numbers_that_are_not_of_rows_are_refused():
    with pytest.raises(ParallelError, match="train this in one process"), mine_of_all(Share(6, 2, 0)):
        torch.rand(4, 2)


def test_without_torchrun_a_training_stays_in_its_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with parallel.joined("cpu") as device:
        assert (device, parallel.size(), parallel.first(), parallel.agree(7)) == ("cpu", 1, True, 7)


def test_more_processes_than_gpus_are_refused_in_a_sentence(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParallelError, match="There are 1 GPUs for 2 processes"), parallel.joined("cuda"):
        pass
