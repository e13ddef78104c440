"""How fast our metrics and methods are beside the libraries that people use for the same work today.

    python -m lib bench                                           64 utterances on the CPU, or on the GPU where there is one
    python -m lib bench --device cuda --size 256

Ours and the peer run in turn in one process on the same audio: a warm-up each, then `--repeats` times, fewer where a
row has taken 15 s already; what is reported are medians. A ratio is the peer's time over ours. The part of ours that
no arrangement avoids is timed alone, and the bound says what it is and how much of our time it takes. With
--device cuda, peers that know no GPU run on the CPU. The answers are compared too, and a row whose two answers
differ by more than its limit is named at the end. Writes <output>/bench-<device>.json.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from lib.cli import print_table
from lib.files import ROOT, write_json
from lib.study.protocol import resolve_device
from lib.study.provenance import device_name
from lib.workflow.benchmarks import Comparison, Speech, adapters, embedded_speech, metrics, training

ROWS = (*metrics.ROWS, *adapters.ROWS, *training.ROWS)
FIELDS = ("name", "peer", "size", "ours_s", "peer_s", "ratio", "bound", "device", "versions")
LEAST = 6  # utterances: the order of fewer values says nothing
WARM_UP = 3  # utterances that a peer is warmed up with
LONGEST = 15.0  # seconds after which a row is not repeated again
LARGEST = 4096


class BenchError(ValueError):
    """A benchmark that cannot be run as asked; the sentence says what to change."""


def run(
    speech: Speech,
    device: str,
    repeats: int,
    rows: tuple | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[dict]:
    """One entry per row: `FIELDS`, and difference, limit and unit of the two answers (None where there is no peer)."""
    entries = []
    for build in ROWS if rows is None else rows:
        tell(build.__name__)
        entries.append(compare(build, speech, device, repeats))
    return entries


def compare(build: Callable[[Speech, str], Comparison], speech: Speech, device: str, repeats: int) -> dict:
    """Warm up, then time ours and the peer in turn. A peer that is not installed is said to be missing."""
    small, row = build(speech.head(WARM_UP), device), build(speech, device)
    row.ours()
    missing = ""
    try:
        small.theirs()
    except ImportError as error:
        missing = f" (not installed: {error.name})"
    ours, theirs, difference, began = [], [], None, time.perf_counter()
    while len(ours) < repeats and (not ours or time.perf_counter() - began < LONGEST):
        seconds, answer = timed(row.ours, device)
        ours.append(seconds)
        if not missing:
            seconds, expected = timed(row.theirs, device)
            theirs.append(seconds)
            difference = row.difference(answer, expected)
    row.bound.work()
    least = median(timed(row.bound.work, device)[0] for _ in ours)
    ours_s, peer_s = median(ours), median(theirs) if theirs else None
    return {
        "name": row.name,
        "peer": row.peer + missing,
        "size": row.size,
        "ours_s": ours_s,
        "peer_s": peer_s,
        "ratio": None if peer_s is None else peer_s / ours_s,
        "bound": f"{row.bound.what}: {100 * least / ours_s:.0f} % of ours",
        "device": described(device),
        "versions": versions(row.packages),
        "difference": difference,
        "limit": row.limit,
        "unit": row.unit,
    }


def timed(work: Callable, device: str) -> tuple[float, object]:
    """Seconds that `work` takes, with all that it queued on the GPU, and what it returns."""
    _wait(device)
    began = time.perf_counter()
    answer = work()
    _wait(device)
    return time.perf_counter() - began, answer


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def described(device: str) -> str:
    """The device's name, with the number of threads for a CPU."""
    name = device_name(device)
    return name if device.startswith("cuda") else f"{name}, {torch.get_num_threads()} threads"


def slug(device: str) -> str:
    """ "cpu", or the GPU's name without its memory and form factor: nvidia-h100."""
    if not device.startswith("cuda"):
        return "cpu"
    words = re.split(r"[^a-z0-9]+", device_name(device).lower())
    return "-".join(word for word in words if word and not re.fullmatch(r"\d+gb|hbm\w*|pcie|sxm\d*|nvl", word))


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of Python, torch, NumPy and the peer's packages; "not installed" for those that are not."""
    found = {"python": platform.python_version()}
    for name in ("torch", "numpy", *packages):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def save(entries: list[dict], folder: Path, device: str) -> Path:
    """Write <folder>/bench-<device>.json: a list of objects with `FIELDS`."""
    path = folder / f"bench-{slug(device)}.json"
    write_json(path, [{field: entry[field] for field in FIELDS} for entry in entries])
    return path


def lines(entries: list[dict]) -> list[dict]:
    """The table's lines."""
    return [
        {
            **{key: entry[key] for key in ("name", "peer", "size")},
            **{key: None if entry[key] is None else f"{entry[key]:.3g}" for key in ("ours_s", "peer_s")},
            "ratio": None if entry["ratio"] is None else f"{entry['ratio']:.1f}",
            "bound": entry["bound"],
            "apart": "" if entry["difference"] is None else f"{entry['difference']:.2g} {entry['unit']}",
        }
        for entry in entries
    ]


def check(size: int, repeats: int, output: Path) -> None:
    """Raise BenchError for numbers and folders that cannot be used."""
    if not LEAST <= size <= LARGEST:
        raise BenchError(f"--size {size}: give a number of utterances from {LEAST} to {LARGEST}.")
    if repeats < 1:
        raise BenchError(f"--repeats {repeats}: give 1 or more.")
    if output.exists() and not output.is_dir():
        raise BenchError(f"--output {output}: is a file; give a folder.")


def report(device: str, size: int | None, repeats: int, output: Path) -> None:
    """Run all rows, write and print them.

    Raises BenchError for input that cannot be used, and where answers differ by more than their limit.
    """
    device = resolve_device(device)
    size = size if size is not None else 64 if device == "cpu" else 256
    output = output if output.is_absolute() else ROOT / output
    check(size, repeats, output)
    entries = run(embedded_speech(size), device, repeats, tell=lambda line: print(f"… {line}", file=sys.stderr))
    path = save(entries, output, device)
    print_table(lines(entries), f"{described(device)}, medians of up to {repeats}")
    print(f"Written: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}", file=sys.stderr)
    apart = [
        f"{e['name']} ({e['peer']})"
        for e in entries
        if e["difference"] is not None and not e["difference"] <= e["limit"]
    ]
    if apart:
        raise BenchError(f"The answers differ by more than their limit: {', '.join(apart)}.")
