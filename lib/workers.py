"""Work spread over processes that do not outlive the process they work for."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager


class WorkerError(ValueError):
    """A process that was killed; the sentence says what to change."""


def map_in_processes(
    function: Callable,
    items: Sequence,
    cores: int,
    threads: int | None = None,
    label: str = "",
    size: Callable[..., int] = lambda item: 1,
) -> Iterator:
    """`function` of each item, in order, each as soon as it and those before it are known.

    function: of a module's top level, or a partial of one. threads: torch's in each process; None where the function
    does not use torch. With one core or one item nothing is started, and this process keeps its threads. label: of
    the progress bar, which counts the `size` of each item; without one there is no bar.

    Raises WorkerError where a process was killed.
    """
    from tqdm import tqdm

    with tqdm(total=sum(map(size, items)), desc=label, unit="utt", mininterval=2, disable=not (label and items)) as bar:
        for item, result in zip(items, _results(function, items, cores, threads), strict=True):
            bar.update(size(item))
            yield result


def _results(function: Callable, items: Sequence, cores: int, threads: int | None) -> Iterator:
    cores = min(cores, len(items))
    if cores < 2:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), begin, (threads,)) as pool:
        try:
            yield from pool.map(function, items)
        except BrokenProcessPool:
            raise WorkerError("A worker was killed, perhaps for want of memory: run again with fewer cores.") from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def begin(threads: int | None = None) -> None:
    """End this worker as soon as its parent has ended, by whatever means; an initializer for process pools.

    A pool's workers wait for work on a pipe whose other end they hold as well, so that after a kill -9 of the parent
    they would wait for ever. threads: torch's.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if threads:
        import torch

        torch.set_num_threads(threads)


def map_in_threads(function: Callable, *items: Sequence) -> list:
    """`function` of each item (of one of each, of several sequences), in order, in as many threads as torch has.

    For functions that spend their time outside Python; torch has one thread in each, and what a cache holds is theirs.
    """
    import torch

    threads = min(torch.get_num_threads(), len(items[0]))
    if threads < 2:
        return list(map(function, *items))
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, *items))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, so that results do not depend on how many processes there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _watch(parent) -> None:
    parent.join()
    os._exit(1)


def compile_librosa() -> None:
    """Have numba compile librosa's functions here, before processes that run side by side would each do so: their
    caches' entries then get mixed up, and every later process crashes in the wrong code."""
    import librosa
    import numpy as np

    tone = np.sin(np.arange(4096, dtype=np.float32) / 10)
    librosa.pyin(tone, fmin=60, fmax=400, sr=16000)  # its modules compile what they vectorise for every type
    librosa.zero_crossings(tone)
    for kind in (np.float32, np.float64):
        librosa.sequence.dtw(C=np.ones((4, 4), kind))
