"""How fast our metrics and methods are beside the libraries that people use for the same work today.

    python -m lib bench                                64 utterances on the CPU, or on the GPU where there is one
    python -m lib bench --device cuda --size 256

Ours and the peer run in one process on the same audio, timed by torch.utils.benchmark: a warm-up each, then as often
as it takes to fill `--seconds`; what is reported are medians. A ratio is the peer's time over ours. The part of ours
that no arrangement avoids is timed alone, and the bound says what it is and how much of our time it takes. Peers that
need seconds for each utterance are timed on `benchmarks.SAMPLE` of them, and their time is scaled to all speech. With
--device cuda, peers that know no GPU run on the CPU. The answers are compared too, and a row whose two answers
differ by more than its limit is named at the end. Writes <output>/bench-<device>.json.
"""

from __future__ import annotations

import math
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.benchmark import Timer

from lib.cli import print_table
from lib.files import ROOT, write_json
from lib.pretrained import installed
from lib.study.provenance import device_name, resolve_device
from lib.workflow.benchmarks import Comparison, Speech, adapters, embedded_speech, metrics, training, waiting

ROWS = (*metrics.ROWS, *adapters.ROWS, *training.ROWS, *waiting.ROWS)
FIELDS = ("name", "peer", "size", "ours_s", "peer_s", "ratio", "bound", "device", "versions")
LEAST = 6  # utterances: the order of fewer values says nothing
LARGEST = 4096


class BenchError(ValueError):
    """A benchmark that cannot be run as asked; the sentence says what to change."""


def run(
    speech: Speech,
    device: str,
    seconds: float,
    rows: tuple | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[dict]:
    """One entry per row: `FIELDS`, and difference, limit and unit of the two answers (None where there is no peer)."""
    entries = []
    for build in ROWS if rows is None else rows:
        tell(build.__name__)
        entries.append(compare(build, speech, device, seconds))
    return entries


def compare(build: Callable[[Speech, str], Comparison], speech: Speech, device: str, seconds: float) -> dict:
    """Time ours and the peer for `seconds` each and compare their answers; a peer may be missing, and is said to be."""
    row = build(speech, device)
    ours_s, answer = timed(row.ours, seconds)
    peer_s, difference, missing = None, None, ""
    try:
        peer_s, expected = timed(row.theirs, seconds)
        peer_s /= row.share
        difference = row.difference(answer, expected)
    except ImportError as error:
        missing = f" (not installed: {error.name})"
    least, _ = timed(row.bound.work, seconds)
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


def timed(work: Callable, seconds: float) -> tuple[float, object]:
    """The median seconds that `work` takes after a warm-up, with all that it queued on the GPU; and what it returns."""
    kept: list = [None]

    def keep(answer: object) -> None:
        kept[0] = answer

    names = {"work": work, "keep": keep}
    timer = Timer("keep(work())", globals=names, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=seconds).median, kept[0]


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
    found = {name: installed(name) or "not installed" for name in ("torch", "numpy", *packages)}
    return {"python": platform.python_version()} | found


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


def check(size: int, seconds: float, output: Path) -> None:
    """Raise BenchError for numbers and folders that cannot be used."""
    if not LEAST <= size <= LARGEST:
        raise BenchError(f"--size {size}: give a number of utterances from {LEAST} to {LARGEST}.")
    if not 0 < seconds < math.inf:
        raise BenchError(f"--seconds {seconds:g}: give more than 0.")
    if output.exists() and not output.is_dir():
        raise BenchError(f"--output {output}: is a file; give a folder.")


def report(device: str, size: int | None, seconds: float, output: Path) -> None:
    """Run all rows, write and print them.

    Raises BenchError for input that cannot be used, and where answers differ by more than their limit.
    """
    device = resolve_device(device)
    size = size if size is not None else 64 if device == "cpu" else 256
    output = output if output.is_absolute() else ROOT / output
    check(size, seconds, output)
    began = time.monotonic()
    entries = run(embedded_speech(size), device, seconds, tell=lambda line: print(f"… {line}", file=sys.stderr))
    path = save(entries, output, device)
    print_table(lines(entries), f"{described(device)}, medians of {seconds:g} s each")
    shown, taken = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path, time.monotonic() - began
    print(f"Written: {shown}, after {taken:.0f} s", file=sys.stderr)
    apart = [
        f"{e['name']} ({e['peer']})"
        for e in entries
        if e["difference"] is not None and not e["difference"] <= e["limit"]
    ]
    if apart:
        raise BenchError(f"The answers differ by more than their limit: {', '.join(apart)}.")
