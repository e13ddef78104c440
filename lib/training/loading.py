"""Batches on their way to the device that trains, and how busy it is kept."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.training import parallel


def loaded(batch_at: Callable[[int], Any], numbers: range, device: torch.device) -> Iterator[Any]:
    """The batches of some micro-batch numbers; on a GPU made ahead, and copied while the host goes on."""
    if device.type != "cuda":
        yield from map(batch_at, numbers)
        return
    for batch in ahead(lambda number: each(batch_at(number), _pinned), numbers):
        yield each(batch, lambda value: value.to(device, non_blocking=True))


def ahead(make: Callable[[int], Any], numbers: range) -> Iterator[Any]:
    """`make(number)` of each number in turn, the next one made by a thread while this one is used."""
    with ThreadPoolExecutor(1, "batches") as thread:
        following = [thread.submit(make, number) for number in numbers[:1]]
        for number in numbers:
            made = following.pop().result()
            following = [thread.submit(make, each) for each in range(number + 1, min(number + 2, numbers.stop))]
            yield made


def _pinned(value: Tensor) -> Tensor:
    return value.pin_memory() if value.device.type == "cpu" else value


def each(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch (a tensor, or mappings, lists and tuples of them and of anything else) with its tensors changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {name: each(value, change) for name, value in batch.items()}
    return type(batch)(each(value, change) for value in batch) if type(batch) in (list, tuple) else batch


class Meter:
    """How busy the GPU is while it trains, as its driver says, or else the share of the CPU threads' time in use."""

    def __init__(self, device: torch.device):
        self.device, self.seen = device, []
        self.began, self.used = time.monotonic(), time.process_time()

    def read(self) -> None:
        if self.device.type == "cuda":
            try:
                self.seen.append(torch.cuda.utilization(self.device) / 100)
            except (ImportError, RuntimeError):  # the driver's Python package is not installed, or knows no such device
                self.device = torch.device("cpu")

    def facts(self) -> dict[str, float | str]:
        wall = max(time.monotonic() - self.began, 1e-9)
        threads = (time.process_time() - self.used) / wall / torch.get_num_threads()
        busy = float(np.mean(self.seen)) if self.seen else threads
        of = "GPU" if self.seen else "CPU threads"
        return {"utilisation": busy, "utilisation_of": of, "processes": parallel.size()}
