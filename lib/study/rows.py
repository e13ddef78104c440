"""A run's result rows and manifest: what statistics, claims and report read.

A run writes its rows first and its manifest last: rows without a manifest are an unfinished run and are not read.
"""

import json
import os
import platform
import re
import time
from pathlib import Path

import pandas as pd

from lib.corpora.corpus import Utterance
from lib.files import file_hash, replace_file, write_json
from lib.study.profile import (
    StudyError,
    expected_runs,
    profile_hash,
    results_root,
    runs_on_the_real_voice,
    short,
)
from lib.study.provenance import device_name, git_state, package_versions, peak_memory, portable
from lib.study.units import unit

FACTORS = (
    *("run_id", "profile", "paper", "method", "system", "modules", "d_s", "bottleneck", "layer_embedding"),
    *("trainable", "seed", "speaker", "role", "utterance", "split", "metric"),
    *("cohort", "severity", "target", "variant", "layer", "rank", "x", "listener"),
)
COLUMNS = [*FACTORS, "value", "unit"]
INTEGERS = ("d_s", "bottleneck", "trainable", "seed", "rank")
TYPES = {name: "Int64" if name in INTEGERS else "string" for name in COLUMNS}
TYPES |= {"layer_embedding": "boolean", "value": "float64", "x": "float64"}


def write_rows(rows: list[dict] | pd.DataFrame, run_id: str, profile: dict) -> Path:
    """Write a run's result rows to R/rows/<run_id>.parquet, whole and atomically; returns the path.

    `rows` hold at least metric, value and unit; run_id, profile and paper are filled in, missing factors
    are null. The run counts as unfinished until `write_manifest` follows. Raises StudyError for an unknown
    column, a value that is not a finite number, and two values for the same factors and metric.
    """
    paper = _paper(run_id)
    table = pd.DataFrame(rows)
    unknown, missing = sorted(set(table) - set(COLUMNS)), sorted({"metric", "value", "unit"} - set(table))
    if unknown or missing:
        raise StudyError(
            f"{run_id}: rows have unknown columns [{', '.join(unknown)}] and lack [{', '.join(missing)}]; "
            f"use {', '.join(COLUMNS)}"
        )
    table = table.assign(run_id=run_id, profile=profile["name"], paper=paper).reindex(columns=COLUMNS)
    table = _typed(table, run_id)
    _check_values(table, run_id)
    path = _rows_path(run_id, profile)
    manifest_path(run_id, profile).unlink(missing_ok=True)
    with replace_file(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")
    return path


def tidy(values: dict, utterances: list[Utterance]) -> pd.DataFrame:
    """Rows of values `(utterances,)` by metric; what is NaN (speech without F0) has none."""
    keys = ["utterance", "speaker", "role", "split"]
    wide = pd.DataFrame([[getattr(u, key) for key in keys] for u in utterances], columns=keys).assign(**values)
    long = wide.melt(id_vars=keys, var_name="metric", value_name="value").dropna(subset="value")
    return long.assign(unit=long["metric"].map(unit))


def read_rows(profile: dict | str | Path, paper: str | None = None) -> pd.DataFrame:
    """All rows of the finished runs of a profile, or in a folder laid out as its results are, sorted by run, with the
    columns of `COLUMNS`.

    Raises StudyError for a damaged file and for runs whose shared parameters differ. No finished run: no
    rows.
    """
    manifests = read_manifests(profile, paper)
    check_shared(manifests)
    tables = []
    for run_id, manifest in manifests.items():
        path = _rows_path(run_id, profile)
        if path.exists():
            tables.append(_read_parquet(path, manifest.get("rows_sha256")))
    empty = _typed(pd.DataFrame(columns=COLUMNS), "no run")
    return pd.concat(tables, ignore_index=True) if tables else empty


def write_manifest(
    run_id: str,
    profile: dict,
    parameters: dict,
    started: float,
    *,
    seed: int | None = None,
    device: str = "cpu",
    corpus: str | None = None,
    data_hash: str | None = None,
    pretrained: dict | None = None,
    vocoder: str | None = None,
    **facts: object,
) -> Path:
    """Write R/manifests/<run_id>.json, which marks the run as finished; returns the path.

    `started` is `time.time()` at the start of the run; `corpus` and `data_hash` name the data, `pretrained`
    maps a model's name to where its weights came from, `vocoder` names the one used. `facts` are added as
    they are: `backbone_hash` (runs with different backbones are not mixed) and `texts` (utterance to text,
    for the players) mean something to the readers. Home folders and absolute paths are taken out.
    """
    manifest = {
        "run_id": run_id,
        "profile": profile["name"],
        "paper": _paper(run_id),
        "profile_hash": profile_hash(profile, _paper(run_id)),
        "seed": seed,
        "parameters": parameters,
        "corpus": corpus,
        "data_hash": data_hash,
        "pretrained": pretrained or {},
        "vocoder": vocoder,
        **git_state(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
        "device": device_name(device),
        "cpus": os.cpu_count(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 2),
        **peak_memory(),
        "rows_sha256": file_hash(rows) if (rows := _rows_path(run_id, profile)).exists() else None,
        **facts,
    }
    path = manifest_path(run_id, profile)
    write_json(path, portable(manifest))
    return path


def _rows_path(run_id: str, profile: dict | str) -> Path:
    return results_root(profile) / "rows" / f"{run_id}.parquet"


def manifest_path(run_id: str, profile: dict | str) -> Path:
    return results_root(profile) / "manifests" / f"{run_id}.json"


def read_manifests(profile: dict | str | Path, paper: str | None = None) -> dict[str, dict]:
    """Manifests of the finished runs of a profile, or in a folder laid out as its results are, by run id, sorted.

    Raises StudyError for a damaged one.
    """
    manifests = {}
    for path in sorted((results_root(profile) / "manifests").glob("[!.]*.json")):
        try:
            manifest = json.loads(path.read_text())
            manifests[manifest["run_id"]] = manifest
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{short(path)} is damaged ({type(error).__name__}); delete it and run again") from error
    return {run: m for run, m in manifests.items() if paper is None or m.get("paper") == paper}


def check_shared(manifests: dict[str, dict]) -> None:
    """Raise StudyError when two runs of a paper differ in shared parameters, backbone, vocoder or data.

    Data hashes are compared between runs on the same corpus.
    """
    first: dict[tuple, tuple[str, str]] = {}
    for run_id, manifest in manifests.items():
        if manifest.get("changed"):  # a system with other settings, which its name tells
            continue
        for key in ("profile_hash", "backbone_hash", "shipped", "vocoder", "data_hash"):
            value = manifest.get(key)
            group = (key, manifest.get("paper"), manifest.get("corpus") if key == "data_hash" else None)
            other, expected = first.setdefault(group, (run_id, value)) if value is not None else (run_id, value)
            if value != expected:
                raise StudyError(
                    f"{other} and {run_id} cannot be compared: their {key.replace('_', ' ')} differs "
                    f"({expected} and {value}); delete the manifest of the outdated one and run it again"
                )


def status(profile: dict) -> list[dict]:
    """One entry per run that the profile expects or that left files: run, state, rows, seconds, device,
    commit.

    States: finished, stale (its parameters are not the profile's now), unfinished (rows, no manifest),
    missing.
    """
    manifests, root = read_manifests(profile), results_root(profile)
    written = {path.stem for path in (root / "rows").glob("[!.]*.parquet")}
    entries = []
    for run_id in sorted(expected_runs(profile) | runs_on_the_real_voice(profile) | set(manifests) | written):
        manifest = manifests.get(run_id, {})
        if manifest:
            current = profile_hash(profile, manifest.get("paper") or "HT")
            state = "finished" if manifest.get("profile_hash") == current else "stale"
        else:
            state = "unfinished" if run_id in written else "missing"
        entries.append(
            {
                "run": run_id,
                "state": state,
                "rows": len(_read_parquet(root / "rows" / f"{run_id}.parquet")) if run_id in written else 0,
                "seconds": manifest.get("seconds"),
                "device": manifest.get("device"),
                "commit": (manifest.get("commit") or "")[:10] + ("+" if manifest.get("dirty") else ""),
            }
        )
    return entries


def _paper(run_id: str) -> str:
    if not re.fullmatch(r"[a-z]+(-[A-Za-z0-9_]+)+", run_id):
        raise StudyError(f"{run_id!r} is no run id; write <paper>-<system>-s<seed>, such as ht-tts_0-s0")
    return run_id.split("-")[0].upper()


def _typed(table: pd.DataFrame, run_id: str) -> pd.DataFrame:
    try:
        return table.astype(TYPES)
    except (TypeError, ValueError) as error:
        raise StudyError(
            f"{run_id}: a column has values of the wrong type ({error}); write whole numbers for "
            f"{', '.join(INTEGERS)}, true or false for layer_embedding, numbers for x and value"
        ) from error


def _check_values(table: pd.DataFrame, run_id: str) -> None:
    def name(index: int) -> str:
        row = table.iloc[index][["system", "speaker", "utterance", "metric"]].dropna()
        return f"row {index} of {run_id} ({', '.join(f'{key} {value}' for key, value in row.items())})"

    bad = ~table["value"].abs().lt(float("inf")).to_numpy()
    if bad.any():
        index = int(bad.argmax())
        raise StudyError(f"{name(index)} is {table['value'][index]}; set that utterance aside and run again")
    repeated = table.duplicated(list(FACTORS)).to_numpy()
    if repeated.any():
        raise StudyError(f"{name(int(repeated.argmax()))} appears twice; write each utterance and metric once")


def _read_parquet(path: Path, sha256: str | None = None) -> pd.DataFrame:
    try:
        if sha256 is not None and file_hash(path) != sha256:
            raise ValueError("its SHA-256 is not the manifest's")
        table = pd.read_parquet(path)
        needed = table[["run_id", "metric", "value", "unit"]]
        return _typed(table.reindex(columns=COLUMNS).assign(**needed), path.stem)
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(
            f"{short(path)} is damaged ({type(error).__name__}); delete it and run {path.stem} again"
        ) from error
