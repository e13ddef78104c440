"""Stages that are killed, that run out of disk, that may not write, and that are started twice at once."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np

from faults import processes
from faults.processes import Outcome, digest, fresh, run, undisturbed
from faults.stages import STAGES

PAGE = 4096  # bytes, what a small disk is made of
PLENTY = "size=1g"


class Unavailable(Exception):
    """This machine cannot make the fault happen."""


def killed(name: str, folder: Path, tries: int, random: np.random.Generator) -> int:
    """SIGKILL at a random moment of a stage, then the same stage again; returns how often all was as undisturbed.

    Nothing that the killed process had started may go on.
    """
    whole, expected, _ = undisturbed(name, folder)
    recovered = 0
    for number in range(tries):
        limit, outcome = whole.seconds, None
        while outcome is None or outcome.status == 0:  # it ended before the signal came
            place = fresh(name, folder, f"killed-{number}-{time.monotonic_ns()}")
            outcome = processes.kill_after(STAGES[name].work, place, random.uniform(0, limit))
            limit = min(limit, outcome.seconds)
        same = _goes_on(name, place, expected)
        recovered += same and outcome.status == -9 and not outcome.left
        shutil.rmtree(place)
    return recovered


def _goes_on(name: str, place: Path, expected: str) -> bool:
    """Whether the stage, done again, ends with the expected results."""
    return run(STAGES[name].work, place).status == 0 and digest(name, place) == expected


def full_disk(name: str, folder: Path, tries: int, random: np.random.Generator) -> int:
    """A disk for the results that ends at a random page; then space, and the same stage again."""
    _need_mounts(folder)
    _, expected, place = undisturbed(name, folder)
    wanted = max(PAGE, _size(place / "results") - _size(processes.prepared(name, folder) / "results"))
    recovered = 0
    for number in range(tries):
        space, outcome = wanted, None
        while outcome is None or (outcome.status == 0 and not outcome.value["said"]):  # it was enough
            space = int(random.integers(0, max(1, space)))
            place = fresh(name, folder, f"full-{number}-{time.monotonic_ns()}")
            outcome = run(_on_a_small_disk, place, name, space)
        recovered += _told_and_recovered(outcome, "the disk is full", expected)
        shutil.rmtree(place)
    return recovered


def read_only(name: str, folder: Path, tries: int, random: np.random.Generator) -> int:
    """Results that may not be written, then may."""
    _need_mounts(folder)
    _, expected, _ = undisturbed(name, folder)
    recovered = 0
    for number in range(tries):
        place = fresh(name, folder, f"read-only-{number}")
        recovered += _told_and_recovered(run(_on_a_small_disk, place, name, None), "cannot be written", expected)
        shutil.rmtree(place)
    return recovered


def _on_a_small_disk(folder: Path, name: str, space: int | None) -> dict:
    """Do a stage whose results lie on a disk with so many bytes free (None: read-only), then on one with plenty."""
    results, said = folder / "results", ""
    stock = shutil.move(results, folder / "stock") if results.exists() else None
    with processes.small_disk(results, 1 << 30) as mount:
        if stock:
            shutil.copytree(stock, results, dirs_exist_ok=True)
        before = _names(results)
        status = os.statvfs(results)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        mount("ro" if space is None else f"size={used + PAGE * (1 + space // PAGE)}")
        try:
            STAGES[name].work(folder)
        except OSError as error:
            said = str(error)
        half = [path for path in _names(results) - before if Path(path).name.startswith(".")]
        mount(PLENTY)
        STAGES[name].work(folder)
        return {"said": said, "half": half, "digest": processes.stages.digest(STAGES[name], folder)}


def _names(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()}


def _told_and_recovered(outcome: Outcome, sentence: str, expected: str) -> bool:
    """Whether it was told in one sentence, nothing half-written was left, and the same command went on."""
    if outcome.status:
        return False
    told = outcome.value["said"]
    return (
        sentence in told
        and "Traceback" not in told
        and not outcome.value["half"]
        and outcome.value["digest"] == expected
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _need_mounts(folder: Path) -> None:
    if not processes.can_mount(folder):
        raise Unavailable("neither root nor a user namespace may mount a small file system here")


def twice(name: str, folder: Path, tries: int, random: np.random.Generator) -> int:
    """The same stage in two processes at once, the second a little later; both must end well."""
    whole, expected, _ = undisturbed(name, folder)
    recovered = 0
    for number in range(tries):
        place = fresh(name, folder, f"twice-{number}")
        began = time.monotonic()
        started = [processes.start(STAGES[name].work, place)]
        time.sleep(random.uniform(0, 0.5 * whole.seconds))
        started.append(processes.start(STAGES[name].work, place))
        outcomes = [processes.finish(process, answer, began) for process, answer in started]
        recovered += all(outcome.status == 0 for outcome in outcomes) and digest(name, place) == expected
        shutil.rmtree(place)
    return recovered
