"""What the Snakefile needs: the runs of a profile, the parameters of a step, and how a step is run.

A step (`run`, `run_notebook`) writes what its command prints to a log, stops it when the workflow that started it is
gone (so that a killed run leaves nothing behind that writes results), and on failure shows the last error.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from lib.cli import Verb
from lib.files import ROOT, replace_file, write_json

PARENT = os.getppid()  # taken before anything slow, for a workflow that is gone by then would not be missed
OTHER = "other_corpus"  # a paper's run on the real voice
DIFFUSIONS = ("palette", "i2sb")  # methods
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
PROGRESS = re.compile(r"\s*$|.*\d%\|")  # empty lines and progress bars
FAILING_CELL = "Exception encountered at"
SHOWN_LINES = 40


def long_runs(profile: dict) -> list[str]:
    """Runs that take longest of their papers and start first, so that no core waits for one of them at the end.

    They are the diffusions that are trained, and the pruned systems that also speak after references of other lengths.
    """
    from lib import study

    diffusions = {
        name
        for name, system in profile.get("ld", {}).get("systems", {}).items()
        if system["method"] in DIFFUSIONS and "weights_of" not in system
    }
    others = {"LD": diffusions, "SP": profile.get("sp", {}).get("reference_systems", [])}
    runs = [
        run for paper in others for run in study.expected_runs(profile, paper) if run.split("-")[1] in others[paper]
    ]
    return sorted(runs)


def settings(profile: dict, *sections: str) -> str:
    """The named sections of a profile as canonical JSON; ``"systems.tts_ft"`` names one entry of a section.

    A section that a profile does not have counts as null.
    """
    chosen = {}
    for section in sections:
        value = profile
        for key in section.split("."):
            value = (value or {}).get(key)
        chosen[section] = value
    return json.dumps(chosen, sort_keys=True)


def paper_sections(profile: dict, paper: str, system: str | None = None) -> str:
    """What a step of a paper reads of the profile, as `settings` gives it: data, features and the paper's section.

    Of the section's systems only the named one counts; which systems and seeds there are does not.
    """
    from lib import study

    shared = [f"{paper}.{key}" for key in profile[paper] if key not in study.PER_RUN]
    own = [] if system is None else ["real"] if system == OTHER else [f"{paper}.systems.{system}"]
    return settings(profile, "corpus", "features", "vocoder", *shared, *own)


def starts(profile: dict, paper: str, system: str) -> list[str]:
    """The runs that a run starts from, sorted: the one that its system is `of`, or those of the systems in the list of
    the paper's section that its system `reads`; on the real voice, those of the systems that are tried there."""
    from lib import study

    section, named = profile[paper], []
    entry = section["systems"].get(system, {})
    if "of" in entry:
        return [entry["of"]]
    if system == OTHER:
        named = profile["real"][profile["real"]["runs"][paper]]
    elif "reads" in entry:
        part, key = entry["reads"].split(".")
        named = section[part][key]
    return sorted(run for run in study.expected_runs(profile, paper) if run.split("-")[1] in named)


def run(log: Path, command: list[str]) -> int:
    """Run a command, its output in `log`; stop it if this process's parent ends or this one is told to stop.

    Returns:
        The command's exit status, or 143 if it was stopped.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    signal.signal(signal.SIGINT, lambda number, frame: sys.exit(143))
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}  # an environment may be shared by several checkouts
    with open(log, "w") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a signal to the group must not end it before its kernel is found
        )
        try:
            while process.poll() is None:
                if os.getppid() != PARENT:
                    return 143
                time.sleep(0.2)
        finally:
            _stop(process.pid)
    if process.returncode:
        print(f"{last_error(log)}\n(the whole log: {log})", file=sys.stderr)
    return process.returncode


def _stop(pid: int) -> None:
    """End a process and all its descendants (a notebook's kernel has a session of its own)."""
    try:
        family = psutil.Process(pid).children(recursive=True) + [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=5)


def run_notebook(log: Path, notebook: str, executed: Path, parameters: list[str]) -> int:
    """Execute a notebook with ``NAME=VALUE`` parameters; `executed` appears only when every cell has run.

    The kernel's folder is the notebook's, as in JupyterLab.
    """
    with replace_file(executed) as unfinished:
        command = [sys.executable, "-m", "papermill", notebook, str(unfinished), "--kernel", "python3"]
        command += ["--cwd", str(Path(notebook).parent), "--no-progress-bar", "--log-output"]
        for each in parameters:
            command += ["-p", *each.split("=", 1)]
        status = run(log, command)
        if status:
            sys.exit(status)
    return 0


def write_corpus(profile: dict, cores: int) -> Path:
    """Build a profile's corpus, or find it built, and write its name, hash and size to R/corpus.json; returns that."""
    from lib.corpora import source
    from lib.study import results_root

    pointer = results_root(profile) / "corpus.json"
    corpus = source.build(profile["corpus"], cores=cores)
    seconds = sum(utterance.seconds for utterance in corpus.utterances)
    size = {"utterances": len(corpus.utterances), "minutes": round(seconds / 60, 2)}
    write_json(pointer, {"name": corpus.name, "hash": corpus.hash, **size, "set_aside": len(corpus.set_aside)})
    return pointer


def last_error(log: Path) -> str:
    """The end of a log, without colours and progress bars; of a notebook's, from the failing cell on.

    A full disk is told in a sentence, for the log may end in the middle of another one.
    """
    text = ESCAPES.sub("", log.read_text(errors="replace")).replace("\r", "\n")
    if "No space left on device" in text or os.statvfs(log).f_bavail == 0:
        return "the disk is full: free some space and run the same command again"
    lines = [line for line in text.splitlines() if not PROGRESS.match(line)]
    starts = [i for i, line in enumerate(lines) if FAILING_CELL in line]
    return "\n".join(lines[starts[-1] if starts else 0 :][-SHOWN_LINES:])


def _step(options: argparse.Namespace) -> None:
    module = [] if options.arguments[:1] == ["-m"] else ["-m", "lib"]
    sys.exit(run(options.log, [sys.executable, *module, *options.arguments]))


def _chapter(options: argparse.Namespace) -> None:
    sys.exit(run_notebook(options.log, options.notebook, options.executed, options.parameters))


LOG = ("log", {"type": Path})
VERBS = {
    "step": Verb(
        _step,
        "python -m lib step claims.log claims --profile smoke",
        (LOG, ("arguments", {"nargs": argparse.REMAINDER})),
    ),
    "chapter": Verb(
        _chapter,
        "python -m lib chapter log.txt notebooks/00_corpus.ipynb executed.ipynb profile=smoke",
        (LOG, ("notebook", {}), ("executed", {"type": Path}), ("parameters", {"nargs": "*", "metavar": "NAME=VALUE"})),
    ),
}
