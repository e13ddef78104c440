"""Every method and every metric once on two devices: how far their answers are apart, how fast each is, what it takes.

The methods are those of the benchmark's rows at the demo profile's sizes: a training of each paper's, generated and
batched adapters. Random numbers are drawn on the CPU for both devices, so that what differs is arithmetic: the rows'
own limits hold (trainings on a GPU run in bfloat16). A metric's scores may differ by a share of their largest value.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lib.metrics import cos, ffe, filterbank_mcd, mcd, mos, per, prosody, secs, wer
from lib.models import layers
from lib.study.provenance import peak_memory, portable
from lib.training.loading import each
from lib.workflow.bench import described
from lib.workflow.benchmarks import Speech, adapters, embedded_speech, metrics, training

SIZE = 12  # utterances, two steps of a training
SHARE = 1e-3  # of a score's largest value, that two devices may be apart
METRICS = {  # what they are called with, and the share; a frame or a word that falls to the other side moves a score
    "COS": (lambda s, device: cos.score(s.heard, s.waves, device=device), 0.005),
    "SECS": (lambda s, device: secs.score(s.heard, s.waves, device=device), 0.005),
    "MCD": (lambda s, device: mcd.score(s.heard, s.waves, device=device), SHARE),
    "MCD, filter bank": (lambda s, device: filterbank_mcd.score(s.heard, s.waves, device=device), SHARE),
    "FFE": (lambda s, device: ffe.score(s.heard, s.waves, device=device), 0.02),
    "prosody": (lambda s, device: prosody.score(s.waves, device=device), 0.02),
    "predicted MOS": (lambda s, device: mos.score(s.waves, device=device), 0.01),
    "DNSMOS (CPU only)": (lambda s, device: mos.dnsmos(s.waves, device=device), 0.01),
    "WER": (lambda s, device: wer.score(s.waves, s.texts, device=device), 0.1),
    "PER (CPU only)": (lambda s, device: per.score(s.waves, s.texts, device=device), SHARE),
}
ROWS = (*training.ROWS, *adapters.ROWS, metrics.angles_scipy, metrics.leading_angles_scipy)
DRAWN = {torch.rand, torch.randn, torch.randint, torch.randperm}
DRAWN_LIKE = {torch.rand_like, torch.randn_like, torch.randint_like}


class SameDraws(TorchFunctionMode):
    """Random numbers and dropout masks drawn by the CPU's generator, whatever device they are for."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in DRAWN and "generator" not in kwargs:
            device = kwargs.pop("device", None)
            return func(*args, **kwargs).to(device or "cpu")
        if func in DRAWN_LIKE:
            return func(torch.zeros(args[0].shape, dtype=args[0].dtype), *args[1:], **kwargs).to(args[0].device)
        if func is functional.dropout:
            return _dropped(*args, **kwargs)
        return func(*args, **kwargs)


def _dropped(values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return values * layers.dropout(torch.ones(values.shape), p, training).to(values)


def compare(
    device: str, speech: Speech | None = None, tell: Callable[[str], None] = lambda line: None, **chosen: Any
) -> dict:
    """All rows on the CPU and on `device`; a second CPU is the same one with another number of threads.

    chosen: other `rows` and `scores` than ROWS and METRICS. Returns devices (their names), rows (name, apart, limit,
    unit, seconds and rate on both, mib of the device's memory, wrong), seconds in all, and the peak memory.
    """
    began = time.monotonic()
    speech = speech or embedded_speech(SIZE)
    rows = [_row(build, speech, device, tell) for build in chosen.get("rows", ROWS)]
    rows += [_score(name, speech, device, tell) for name in chosen.get("scores", METRICS)]
    with second(device):
        other = described(device)
    found = {"devices": [described("cpu"), other], "rows": rows, "speech": speech.describe()}
    return found | {"seconds": round(time.monotonic() - began, 1), **peak_memory()}


@contextmanager
def second(device: str) -> Iterator[None]:
    """On a CPU, another number of threads than before: one, or two in place of one."""
    threads = torch.get_num_threads()
    try:
        if not device.startswith("cuda"):
            torch.set_num_threads(1 if threads > 1 else 2)
        yield
    finally:
        torch.set_num_threads(threads)


def _row(build: Callable, speech: Speech, device: str, tell: Callable[[str], None]) -> dict:
    """A row of the benchmark, our side of it, on both devices."""
    tell(build.__name__)

    def side(on: str) -> tuple[Any, Any, float]:
        torch.manual_seed(0)
        row = build(speech, on)
        with SameDraws():
            answer = row.ours()
        return row, each(answer, Tensor.cpu), timed(row.ours, on)[0]

    try:
        row, answer, seconds = side("cpu")
        with second(device):
            _forget(device)
            _, other, other_seconds = side(device)
            mib = _mib(device)
        apart = row.difference(answer, other)
    except Exception as error:  # one row's failure is an answer, too
        return _failed(build.__name__, error)
    steps = int(row.size.split()[0]) if "steps of" in row.size else None
    return _entry(row.name, apart, row.limit, row.unit, (seconds, other_seconds), mib, steps)


def _score(name: str, speech: Speech, device: str, tell: Callable[[str], None]) -> dict:
    """A metric on both devices."""
    tell(name)
    score, limit = METRICS[name]
    try:
        seconds, scores = timed(lambda: score(speech, "cpu"), "cpu")
        with second(device):
            _forget(device)
            other_seconds, others = timed(lambda: score(speech, device), device)
            mib = _mib(device)
        apart = max(share(scores[key], others[key]) for key in scores)
    except Exception as error:
        return _failed(name, error)
    return _entry(name, apart, limit, "of the largest value", (seconds, other_seconds), mib)


def timed(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Seconds of one call, with all that it queued on the GPU, and what it returned."""
    began = time.perf_counter()
    answer = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - began, answer


def share(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference of two arrays over the largest value of the first; infinite where only one has a number."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape or (np.isnan(one) != np.isnan(other)).any():
        return float("inf")
    known = ~np.isnan(one)
    return float(np.abs(one - other)[known].max(initial=0) / max(np.abs(one)[known].max(initial=0), 1e-9))


def _entry(
    name: str, apart: float, limit: float, unit: str, seconds: tuple, mib: float | None, steps: int | None = None
) -> dict:
    rates = [None if steps is None else steps / each for each in seconds]
    wrong = (
        "" if apart <= limit else f"{name}: the answers are {apart:.2g} {unit} apart, at most {limit:g} are expected."
    )
    numbers = {"apart": apart, "limit": limit, "unit": unit, "seconds": list(seconds), "steps_per_second": rates}
    return {"name": name, **numbers, "mib": mib, "wrong": wrong}


def _failed(name: str, error: Exception) -> dict:
    told = portable(" ".join(str(error).split())[:300])
    empty: dict = dict.fromkeys(("apart", "limit", "unit", "mib"))
    nothing = {"seconds": [None, None], "steps_per_second": [None, None]}
    return {"name": name, **empty, **nothing, "wrong": f"{name} failed ({type(error).__name__}: {told})."}


def _forget(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _mib(device: str) -> float | None:
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.startswith("cuda") else None


def lines(rows: list[dict], names: tuple[str, str]) -> list[dict]:
    """The table's lines: a rate for trainings, seconds for the others."""

    def pace(row: dict, side: int) -> str:
        rate, seconds = row["steps_per_second"][side], row["seconds"][side]
        return "" if seconds is None else f"{rate:.3g} steps/s" if rate else f"{seconds:.2g} s"

    return [
        {
            "what": row["name"],
            "apart": "failed" if row["apart"] is None else f"{row['apart']:.1e}",
            "limit": "" if row["limit"] is None else f"{row['limit']:g} {row['unit']}",
            **{name: pace(row, side) for side, name in enumerate(names)},
            "MiB": row["mib"],
        }
        for row in rows
    ]


def told(line: str) -> None:
    print(f"… {line}", file=sys.stderr)
