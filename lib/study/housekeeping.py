"""What a study leaves on the disk that nothing needs any more: found, listed, and removed when asked to."""

import argparse
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lib import study
from lib.cli import PROFILE, Verb, print_table

PARTS = ("rows/{run}.parquet", "manifests/{run}.json", "checkpoints/{run}.safetensors", "checkpoints/{run}.json")


def leftovers(profile: dict) -> list[tuple[Path, str]]:
    """Files and folders of a profile's results that can go, each with the reason.

    Rows without a manifest, runs that the profile has no more, checkpoints to resume trainings that have ended, and
    files that a killed run was writing. What a finished run of the profile, or one with other settings, needs is never
    among them.
    """
    root = study.results_root(profile)
    return sorted({path: reason for path, reason in _found(root, profile) if path.exists()}.items())


def _found(root: Path, profile: dict) -> Iterator[tuple[Path, str]]:
    states = {entry["run"]: entry["state"] for entry in study.status(profile)}
    changed = {run for run, manifest in study.read_manifests(profile).items() if manifest.get("changed")}
    expected = study.expected_runs(profile) | changed
    for run, state in states.items():
        if state == "unfinished":
            yield root / f"rows/{run}.parquet", "rows of a run that did not end"
        elif run not in expected and state != "missing" and _is_a_systems(run, root):
            for part in PARTS:
                yield root / part.format(run=run), "of a run that the profile has no more"
            yield root / "audio" / run, "of a run that the profile has no more"
    for path in root.glob("checkpoints/*.resume.pt"):
        if path.with_name(path.name.replace(".resume.pt", ".safetensors")).exists():
            yield path, "a checkpoint to resume from, of a training that has ended"
    for path in root.rglob(".*-*"):
        if path.is_file():
            yield path, "half written by a run that was stopped"


def _is_a_systems(run: str, root: Path) -> bool:
    """Are they rows of one system with its method (not a notebook's own, such as ht-corpus-s0)?"""
    path = root / "rows" / f"{run}.parquet"
    if not path.exists():
        return False
    rows = pd.read_parquet(path, columns=["system", "method"])
    return bool(rows["method"].notna().all()) and set(rows["system"]) == {run.split("-")[1]}


def remove(paths: list[Path], root: Path) -> None:
    """Delete files and folders of the results in `root`; raises StudyError while a run is at work there."""
    with open(root / ".lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise study.StudyError(f"a run is at work in {root.name}; wait for it, or stop it first") from None
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _main(options: argparse.Namespace) -> None:
    profile = study.load_profile(options.profile)
    root, found = study.results_root(profile), leftovers(profile)
    print_table([{"file": str(path.relative_to(root)), "why": why} for path, why in found], "No longer needed")
    if found and options.yes:
        remove([path for path, _ in found], root)
    elif found:
        print("Nothing was removed: add --yes to remove them.")


YES = ("--yes", {"action": "store_true", "help": "remove what is listed"})
VERBS = {"clean": Verb(_main, "python -m lib clean --profile demo --yes", (PROFILE, YES))}
