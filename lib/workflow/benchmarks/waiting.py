"""A training with two threads, beside idle cores or a busy one: threads that wait as lib has it, or as libgomp does.

libgomp reads GOMP_SPINCOUNT once, as torch loads: each side is a process of its own.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from lib.files import ROOT
from lib.workflow.benchmarks import Bound, Comparison, Speech

LIBGOMP = 300_000  # how often a waiting thread looks before it sleeps, as libgomp has it by itself
TRAINED = """
import sys, torch
from lib.workflow.benchmarks import embedded_speech, training
torch.set_num_threads(2)
speech = embedded_speech(8)
torch.manual_seed(0)  # whether the speech was made just now or found
row = training.hypertts(speech, "cpu")
print(row.size, flush=True)
for line in sys.stdin:
    print(row.ours(), flush=True)
"""
BUSY = "while True: pass"


def two_threads_idle(speech: Speech, device: str) -> Comparison:
    """The two cores have nothing else to do."""
    return _comparison("idle", lambda side: side())


def two_threads_busy(speech: Speech, device: str) -> Comparison:
    """Another process of the same priority wants one core all the time."""

    def beside(side: Callable[[], float]) -> float:
        with subprocess.Popen([sys.executable, "-S", "-c", BUSY]) as other:
            try:
                return side()
            finally:
                other.kill()

    return _comparison("beside a busy process", beside)


def _comparison(name: str, run: Callable[[Callable[[], float]], Any]) -> Comparison:
    ours, size = _training(None)
    theirs, _ = _training(LIBGOMP)
    names = (f"Two threads, {name}", "libgomp's own waiting", size, ("torch",))
    sides = (lambda: run(ours), lambda: run(theirs))
    bound = Bound("the same training, idle", ours)
    return Comparison(*names, *sides, lambda a, b: abs(a - b) / abs(b), 0.05, "of the last loss", bound)


@functools.cache
def _training(spins: int | None) -> tuple[Callable[[], float], str]:
    """A process that trains as often as it is asked, kept for both rows and ended with this one; and its size."""
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    environment |= {} if spins is None else {"GOMP_SPINCOUNT": str(spins)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", TRAINED], env=environment, **pipes)

    def ask() -> float:
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    return ask, process.stdout.readline().strip()


ROWS = (two_threads_idle, two_threads_busy)
