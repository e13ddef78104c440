"""A long run in portions, each committed as it ends: another machine takes up what is there and makes the rest.

    python -m lib resume --profile full        then `run` makes the runs that are missing

runs/<profile>/ of a committed run has every run's rows and manifest and every training's learning curve as they were
written; clips are in audio/. Weights are not committed, but for those that come with the project (`lib.study.shipped`):
anything else is trained again when something needs it.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lib import study
from lib.files import file_hash, load_json, replace_file
from lib.study.again import RUNS
from lib.study.profile import short
from lib.study.rows import manifest_path

KINDS = {"rows": "parquet", "manifests": "json", "checkpoints": "json"}


@dataclass
class Taken:
    """Of a committed run: runs taken up, those that were here already, and those that other settings made."""

    taken: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)


def keep(profile: dict, folder: Path, mine: list[str]) -> None:
    """Put the finished runs of papers and their learning curves into `folder`/runs, in the place of earlier ones."""
    root, there = study.results_root(profile), folder / RUNS / profile["name"]
    for paper in mine:
        for earlier in (folder / RUNS).glob(f"*/*/{paper.lower()}-*"):
            earlier.unlink()
        finished = study.read_manifests(profile, paper)
        for kind, suffix in KINDS.items():
            for path in sorted((root / kind).glob(f"{paper.lower()}-*.{suffix}")):
                if kind == "checkpoints" or path.stem in finished:
                    _copy(path, there / kind / path.name)


def take_up(profile: dict, folder: Path) -> Taken:
    """Put a committed run of the profile where the profile's own runs are, without what is there already.

    Raises StudyError where `folder` has no runs of the profile, or damaged ones.
    """
    source, root, found = folder / RUNS / profile["name"], study.results_root(profile), Taken()
    manifests = sorted((source / "manifests").glob("*.json"))
    if not manifests:
        raise study.StudyError(f"{short(folder)} holds no runs of the {profile['name']} profile: nothing to go on with")
    for path in manifests:
        run, rows = path.stem, source / "rows" / f"{path.stem}.parquet"
        manifest = _read(path)
        if manifest_path(run, profile).exists():
            found.there.append(run)
        elif manifest["profile_hash"] != study.profile_hash(profile, manifest["paper"]):
            found.outdated.append(run)
        else:
            if not rows.is_file() or file_hash(rows) != manifest["rows_sha256"]:
                raise _damaged(rows)
            _copy(rows, root / "rows" / rows.name)
            for clip in sorted((folder / "audio" / run).glob("[!.]*")):
                _copy(clip, root / "audio" / run / clip.name)
            _copy(path, root / "manifests" / path.name)  # last: it marks the run as finished
            found.taken.append(run)
    for path in sorted((source / "checkpoints").glob("*.json")):
        if not (root / "checkpoints" / path.name).exists():
            _read(path)
            _copy(path, root / "checkpoints" / path.name)
    return found


def told(found: Taken, profile: dict) -> list[str]:
    """What was taken up, in lines."""
    lines = [f"{len(found.taken)} runs taken up, {len(found.there)} were here already."]
    if found.outdated:
        lines.append(
            f"{len(found.outdated)} were made with other settings than the profile has now and are left, "
            f"{found.outdated[0]} for example."
        )
    states = [entry["state"] for entry in study.status(profile)]
    missing = len(states) - states.count("finished")
    return [*lines, f"{missing} runs are missing: python -m lib status --profile {profile['name']} lists them."]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _read(path: Path) -> dict:
    return load_json(path, lambda _: _damaged(path))


def _damaged(path: Path) -> study.StudyError:
    return study.StudyError(f"{short(path)} is missing or damaged: `git checkout {short(path)}` restores it")
