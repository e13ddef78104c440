"""Steps that start at once: forked from a process in which the large packages are loaded already.

    python -m lib.workflow.warm DESCRIPTOR    the process that is forked; it ends with the process that started it

Importing torch, transformers, librosa and what else a step needs takes a core 5 to 15 s, which the demo would pay in
each of its hundreds of steps. With `Warm` the workflow pays it once: `lib.workflow.steps.run` asks the process behind
the socket for a step and, where there is none, starts an ordinary process (as on a cluster).

Only packages are loaded before the fork, nothing of the study, and nothing is computed, so a step sees the code as it
is when it starts, and its results are those of a process of its own. It is for Linux and for steps on the CPU: CUDA,
and what macOS links programs with, do not survive a fork.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from lib.files import ROOT

VARIABLE = "STUDY_WARM"  # names the socket
PACKAGES = (
    *("torch", "safetensors.torch", "transformers.models.whisper.modeling_whisper", "tokenizers", "peft", "distillmos"),
    *("numpy", "pandas", "pyarrow.parquet", "scipy.signal", "scipy.stats", "sklearn.linear_model", "matplotlib.figure"),
    *("librosa.filters", "librosa.core.pitch", "pyworld", "soundfile", "soxr", "jiwer", "papermill.cli", "nbconvert"),
)
PATIENCE = 0.2  # s between two looks at whether the workflow is still there
LARGEST = 1 << 18  # bytes of a request


class Warm:
    """The process that steps are forked from, from `start` to `stop`; it also ends when this process does."""

    def __init__(self, device: str):
        self.useful = device == "cpu" and sys.platform == "linux"
        self.folder = self.process = None

    def start(self) -> None:
        if not self.useful:
            return
        self.folder = tempfile.TemporaryDirectory(prefix="study-", ignore_cleanup_errors=True)
        address = str(Path(self.folder.name) / "steps")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            try:
                listening.bind(address)
            except OSError:  # a folder whose name is too long for a socket: steps are ordinary processes
                return
            os.environ[VARIABLE] = address
            listening.listen(64)  # a step may ask at once, and waits until the packages are loaded
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lib.workflow.warm", str(listening.fileno())],
                cwd=ROOT,
                pass_fds=[listening.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the workflow's to handle
            )

    def stop(self) -> None:
        os.environ.pop(VARIABLE, None)
        if self.process:
            self.process.kill()
            self.process.wait()
            self.folder.cleanup()
            self.process = None


class Forked:
    """A step in a forked process, as much like `subprocess.Popen` as running it takes."""

    def __init__(self, pid: int, told: socket.socket):
        self.pid, self.told, self.returncode = pid, told, None

    def poll(self) -> int | None:
        """The exit status, or None while the step runs; 143 where the process it was forked from is gone."""
        if self.returncode is None:
            self.told.setblocking(False)
            try:
                status = self.told.recv(16)
            except BlockingIOError:
                return None
            except OSError:
                status = b""
            self.returncode = int(status) if status else 143
        return self.returncode


def step(command: list[str], log: Path, environment: dict[str, str]) -> Forked | None:
    """Run `python -m lib.<module>` or papermill, forked, with this process's folder and the environment given.

    Its output goes to the end of the log. None where nothing can be forked, or the command is another one.
    """
    address = os.environ.get(VARIABLE)
    if not address or command[:2] != [sys.executable, "-m"] or not re.match(r"lib(\.|$)|papermill$", command[2]):
        return None
    wanted = {"command": command[2:], "folder": os.getcwd(), "log": str(log.absolute()), "environment": environment}
    told = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        told.connect(address)
        told.send(json.dumps(wanted).encode())
        return Forked(int(told.recv(16)), told)
    except (OSError, ValueError):  # the process is gone, or ends
        told.close()
        return None


def load() -> None:
    """Import the packages that steps use; one that cannot be imported is left to the step that needs it."""
    for name in PACKAGES:
        with suppress(ImportError):
            importlib.import_module(name)


def serve(listening: socket.socket) -> dict:
    """Fork a process for every request; returns in each of these, with the request. Ends with its parent."""
    parent, running = os.getppid(), {}
    load()
    with selectors.DefaultSelector() as waiting:
        waiting.register(listening, selectors.EVENT_READ)
        while os.getppid() == parent:
            for key, _ in waiting.select(PATIENCE):
                if key.fileobj is not listening:  # who asked has gone: so shall the step
                    waiting.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
                    continue
                asking = listening.accept()[0]
                with suppress(OSError, ValueError):
                    wanted = json.loads(asking.recv(LARGEST))
                    pid = os.fork()
                    if not pid:
                        for each in [listening, asking, *running.values()]:
                            each.close()
                        return wanted
                    running[pid] = asking
                    waiting.register(asking, selectors.EVENT_READ, pid)
                    asking.send(str(pid).encode())
            _report(running, waiting)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(Path(listening.getsockname()).parent, ignore_errors=True)  # its owner did not come to it
    sys.exit()


def _report(running: dict[int, socket.socket], waiting: selectors.BaseSelector) -> None:
    """Tell the exit status of every process that has ended to who asked for it."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            asking = running.pop(pid)
            with suppress(KeyError):  # where it had gone before
                waiting.unregister(asking)
            with suppress(OSError):
                asking.send(str(os.waitstatus_to_exitcode(status)).encode())
            asking.close()


def begin(wanted: dict) -> None:
    """Make this process the one that was asked for."""
    os.setsid()
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.path[0] = wanted["folder"]
    sys.argv = list(wanted["command"])
    runpy.run_module(wanted["command"][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    begin(serve(socket.socket(fileno=int(sys.argv[1]))))
