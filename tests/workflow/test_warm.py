"""Steps forked from a process with the packages loaded do what ordinary processes do, and end when they should."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from lib.workflow import steps as workflow
from lib.workflow import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="steps are forked on Linux only")

STEP = """
import multiprocessing, os, sys, time

def main(what):
    print(os.getcwd(), sys.argv[1:], os.environ.get("MARK"), __name__, "torch" in sys.modules, flush=True)
    if what == "sentence":
        sys.exit("give another file")
    if what == "error":
        raise ValueError("not a number")
    if what == "spawn":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(len, ["four"]))
    if what == "wait":
        time.sleep(600)
    sys.exit(int(what) if what.isdigit() else 0)

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder in which `python -m lib.stepping` is STEP."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "lib").mkdir()
    (folder / "lib" / "stepping.py").write_text(STEP)
    return folder


@pytest.fixture(scope="module")
def begun(project):
    """The process that steps are forked from; it imports the project's lib, where `stepping` is."""
    patch = pytest.MonkeyPatch()
    (project / "lib" / "workflow").mkdir()
    for name in ("files", "__init__", "workflow/__init__", "workflow/warm"):
        (project / "lib" / f"{name}.py").write_text((warm.ROOT / "lib" / f"{name}.py").read_text())
    patch.setattr(warm, "ROOT", project)
    patch.delenv(warm.VARIABLE, raising=False)
    started = warm.Warm("cpu")
    started.start()
    yield started
    started.stop()
    patch.undo()


@pytest.fixture
def run(begun, project, tmp_path, monkeypatch):
    """Runs STEP through the workflow, forked or not: its exit status and log."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(workflow, "ROOT", project)
    monkeypatch.setattr(workflow.signal, "signal", lambda *arguments: None)

    def run(*arguments, forked=True):
        if not forked:
            monkeypatch.delenv(warm.VARIABLE)
        log = tmp_path / f"{forked}.log"
        return workflow.run(log, [sys.executable, "-m", "lib.stepping", *arguments]), log.read_text()

    return run


@pytest.mark.parametrize("what", ["0", "3", "sentence", "error", "spawn"])
def test_a_forked_step_says_and_returns_what_an_ordinary_process_does(run, monkeypatch, what):
    monkeypatch.setenv("MARK", "of this step")
    (status, said), (plain_status, plain_said) = run(what, "and more"), run(what, "and more", forked=False)
    assert "True" in said.splitlines()[0] and "False" in plain_said.splitlines()[0]  # torch was there, or not
    assert status == plain_status
    first, *rest = said.splitlines()
    assert first.replace("__main__ True", "__main__ False") == plain_said.splitlines()[0]
    assert rest[-1:] == plain_said.splitlines()[1:][-1:]


def test_a_step_is_forked_only_where_it_is_of_the_study(begun, tmp_path):
    assert warm.step([sys.executable, "-c", "pass"], tmp_path / "log", {}) is None
    assert warm.step([sys.executable, "-m", "snakemake"], tmp_path / "log", {}) is None


def test_without_the_process_a_step_is_an_ordinary_one(run, monkeypatch, tmp_path):
    monkeypatch.setenv(warm.VARIABLE, str(tmp_path / "gone"))
    status, said = run("7")
    assert status == 7 and "False" in said


def test_a_temporary_folder_with_too_long_a_name_means_ordinary_processes(tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv(warm.VARIABLE, raising=False)
    started = warm.Warm("cpu")
    started.start()
    assert started.process is None and warm.VARIABLE not in os.environ
    started.stop()


@pytest.mark.parametrize("device, forks", [("cpu", True), ("cuda", False)])
def test_with_a_gpu_nothing_is_forked(device, forks):
    assert warm.Warm(device).useful == forks


def waiting(log: Path) -> warm.Forked:
    """A step that waits, and has said so."""
    step = warm.step([sys.executable, "-m", "lib.stepping", "wait"], log, dict(os.environ))
    deadline = time.monotonic() + 60
    while not log.exists() or "wait" not in log.read_text():
        assert time.monotonic() < deadline and step.poll() is None
        time.sleep(0.05)
    return step


def ended(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_step_ends_when_whoever_asked_for_it_has_gone(begun, project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    step = waiting(tmp_path / "log")
    step.told.close()
    assert ended(step.pid)


def test_a_step_that_is_killed_returns_the_signal(begun, project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    step = waiting(tmp_path / "log")
    os.kill(step.pid, 9)
    deadline = time.monotonic() + 20
    while step.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert step.returncode == -9


def test_steps_end_with_the_workflow_and_leave_no_socket(project, tmp_path):
    """The workflow is killed, so that it cannot stop anything itself."""
    program = (
        "import os, time\nfrom pathlib import Path\nfrom lib.workflow import warm\n"
        "started = warm.Warm('cpu')\nstarted.start()\n"
        f"command, log = [{sys.executable!r}, '-m', 'lib.stepping', 'wait'], Path({str(tmp_path / 'log')!r})\n"
        "step = warm.step(command, log, dict(os.environ))\n"
        "print(step.pid, started.process.pid, os.environ[warm.VARIABLE], flush=True)\ntime.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], cwd=project, stdout=subprocess.PIPE, text=True)
    step, server, address = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    assert ended(int(step)) and ended(int(server))
    assert not os.path.exists(address)
