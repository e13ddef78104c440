"""Stages in processes of their own: run to the end, killed at a moment, or on a disk that is too small."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from faults import stages
from faults.stages import READY, STAGES

LONGEST = 900  # seconds a stage may take
PATIENCE = 30  # seconds after which what a killed process had started must have ended
NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000  # unshare(2)
READ_ONLY, REMOUNT, PRIVATE = 1, 32, 1 << 18 | 1 << 14  # mount(2)


@cache
def _context():
    """A server that has imported the stages once and forks a process for each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["faults.stages", "faults.processes"])
    return context


@dataclass
class Outcome:
    """How a process ended: its exit status (negative: the signal), seconds of work, and what it said or returned."""

    status: int
    seconds: float
    said: str = ""
    value: object = None
    left: tuple[str, ...] = ()  # commands that it had started and that went on after it was killed


def start(task: Callable, folder: Path, *arguments) -> tuple[multiprocessing.Process, Path]:
    """Start `task(folder, *arguments)` in a process of its own; returns it and the file where it leaves its answer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / READY).unlink(missing_ok=True)
    answer = Path(tempfile.mkdtemp(prefix="faults-")) / "answer"
    process = _context().Process(target=_child, args=(task, folder, answer, arguments))
    process.start()
    return process, answer


def _child(task: Callable, folder: Path, answer: Path, arguments: tuple) -> None:
    """The process: errors that a command tells in a sentence end it with status 1, all others with 2."""
    quiet = os.open(answer.with_name("log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    stages.enter(folder)
    try:
        answer.write_bytes(pickle.dumps(("", task(folder, *arguments))))
        status = 0
    except (ValueError, OSError, FloatingPointError) as error:
        answer.write_bytes(pickle.dumps((str(error), None)))
        status = 1
    except BaseException:
        answer.write_bytes(pickle.dumps((traceback.format_exc(), None)))
        status = 2
    os._exit(status)


def finish(process: multiprocessing.Process, answer: Path, began: float) -> Outcome:
    """Wait for a process; one that hangs is ended and counts as killed."""
    process.join(LONGEST)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    said, value = pickle.loads(answer.read_bytes()) if answer.exists() else ("", None)
    shutil.rmtree(answer.parent, ignore_errors=True)
    return Outcome(process.exitcode, time.monotonic() - began, said, value)


def run(task: Callable, folder: Path, *arguments) -> Outcome:
    """Run a task to its end."""
    process, answer = start(task, folder, *arguments)
    began = _wait_until_ready(process, folder)
    return finish(process, answer, began)


def kill_after(task: Callable, folder: Path, seconds: float, pattern: str = READY) -> Outcome:
    """Run a task and send it SIGKILL so many seconds after there is a file like `pattern`, unless it has ended by then.

    Without a pattern, the file is the one that says that the task's own work has begun.
    """
    process, answer = start(task, folder)
    began = _wait_until_ready(process, folder, pattern)
    process.join(seconds)
    family = []
    if process.is_alive():
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
    outcome = finish(process, answer, began)
    _, left = psutil.wait_procs(family, timeout=PATIENCE)
    outcome.left = tuple(_end(one) for one in left)
    return outcome


def _end(process: psutil.Process) -> str:
    try:
        told = " ".join(process.cmdline())
        process.kill()
    except psutil.NoSuchProcess:
        return "ended"
    return told


def _wait_until_ready(process: multiprocessing.Process, folder: Path, pattern: str = READY) -> float:
    while process.is_alive() and not any(folder.glob(pattern)):
        process.join(0.01)
    return time.monotonic()


def prepared(name: str, folder: Path) -> Path:
    """The folder of a stage before its work, made once in `folder`."""
    base = folder / f"{name}-before"
    if not base.exists():
        _expect_success(run(_prepare, folder / f"{name}-preparing", name))
        os.replace(folder / f"{name}-preparing", base)
    return base


def _prepare(folder: Path, name: str) -> None:
    stages.prepare(STAGES[name], folder)


def fresh(name: str, folder: Path, label: object) -> Path:
    """A new copy of a stage's folder before its work."""
    return Path(shutil.copytree(prepared(name, folder), folder / f"{name}-{label}"))


def undisturbed(name: str, folder: Path) -> tuple[Outcome, str, Path]:
    """A stage run without disturbance, the digest of its results and its folder; made once in `folder`."""
    return _undisturbed(name, folder)


@cache
def _undisturbed(name: str, folder: Path) -> tuple[Outcome, str, Path]:
    place = fresh(name, folder, "whole")
    outcome = _expect_success(run(STAGES[name].work, place))
    return outcome, digest(name, place), place


def digest(name: str, folder: Path) -> str:
    """SHA-256 of a stage's results, taken in a process whose folder it is; what was said where that fails."""
    outcome = run(_digest, folder, name)
    return outcome.value if outcome.status == 0 else outcome.said


def _digest(folder: Path, name: str) -> str:
    return stages.digest(STAGES[name], folder)


def _expect_success(outcome: Outcome) -> Outcome:
    if outcome.status:
        raise RuntimeError(f"a stage without disturbance failed: {outcome.said}")
    return outcome


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[str], None]]:
    """Mount a file system of `size` bytes at `place`, seen by this process and its children only.

    Gives a function that mounts it anew with other options ("size=10m", "ro"). Raises OSError where neither this
    process nor a user namespace of its own may mount.
    """
    place.mkdir(parents=True, exist_ok=True)
    user, group = os.getuid(), os.getgid()
    _call("unshare", (0 if user == 0 else NEW_USER) | NEW_MOUNTS)
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _call("mount", b"none", b"/", None, PRIVATE, None)
    _call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", 0, f"size={size}".encode())

    def again(options: str) -> None:
        flags = REMOUNT | (READ_ONLY if options == "ro" else 0)
        _call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", flags, None if options == "ro" else options.encode())

    yield again


def _call(name: str, *arguments) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def can_mount(folder: Path) -> bool:
    """Whether a process here may mount a small file system for itself."""
    return run(_try_mount, folder / "mounting").status == 0


def _try_mount(folder: Path) -> None:
    with small_disk(folder / "disk", 1 << 16):
        (folder / "disk" / "file").write_text("x")
