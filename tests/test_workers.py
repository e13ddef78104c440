"""Work in processes: its order, its threads, and a process that is killed."""

import operator
import os
import subprocess
import sys
import threading
from functools import partial

import pytest
import torch

from lib.files import ROOT
from lib.workers import WorkerError, map_in_processes, map_in_threads


@pytest.mark.parametrize("cores", [1, 2])
def test_results_come_in_the_order_of_the_items(cores):
    assert list(map_in_processes(partial(operator.add, 1), [3, 1, 2], cores, label="adding")) == [4, 2, 3]


def test_every_process_has_the_threads_that_are_asked_for():
    assert list(map_in_processes(operator.call, [torch.get_num_threads] * 2, 2, threads=1)) == [1, 1]


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_threads_give_results_in_order_with_one_of_torchs_threads_each_and_leave_its_number(three_threads):
    met = threading.Barrier(3, timeout=60)
    found = map_in_threads(lambda a, b: (met.wait() >= 0, a + b, torch.get_num_threads()), [1, 2, 3], [10, 20, 30])
    assert found == [(True, 11, 1), (True, 22, 1), (True, 33, 1)]
    assert torch.get_num_threads() == 3


def test_an_error_in_a_thread_is_raised_and_leaves_torchs_threads(three_threads):
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda divisor: 1 / divisor, [1, 0, 2])
    assert torch.get_num_threads() == 3


def test_a_killed_process_is_told_in_a_sentence():
    with pytest.raises(WorkerError, match="run again with fewer cores"):
        list(map_in_processes(os._exit, [1, 2], 2))


def test_what_is_compiled_beforehand_is_not_compiled_again_by_another_process(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run(code: str) -> set[str]:
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | cache)
        return {path.name for path in tmp_path.rglob("*.nb[ic]")}

    compiled = run("from lib.workers import compile_librosa; compile_librosa()")
    assert {name.split(".")[0] for name in compiled if name.startswith("guf-")} == {
        "guf-utils",
        "guf-audio",
        "guf-pitch",
    }
    tone = "librosa.tone(200, sr=16000, length=8000).astype('float32')"
    assert run(f"import librosa; librosa.pyin({tone}, fmin=60, fmax=400, sr=16000)") == compiled
