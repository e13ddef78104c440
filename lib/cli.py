"""The command line of the study's steps: their shared options, and errors told in one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def options(
    module: str,
    about: str,
    *,
    steps: tuple[str, ...] = (),
    system: str | None = None,
    seed: bool = True,
    threads: int = 1,
    **more: dict,
) -> argparse.Namespace:
    """Read a step's options and give torch its threads.

    steps: what the module can be told to do, its first argument; `step` in the result. system: the default of
    --system, which must be given where it is "". `more` are options of the module's own, their names to the arguments
    of `add_argument`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about.splitlines()[0])
    if steps:
        parser.add_argument("step", choices=steps)
    parser.add_argument("--profile", default="demo")
    if system is not None:
        parser.add_argument("--system", default=system, required=not system)
    if seed:
        parser.add_argument("--seed", type=int, default=0)
    for name, facts in more.items():
        parser.add_argument(f"--{name}", **facts)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--threads", type=int, default=threads, help="CPU threads; what is made depends on it in the last bits"
    )
    read = parser.parse_args()
    torch.set_num_threads(read.threads)
    return read


@contextmanager
def told() -> Iterator[None]:
    """End the process with the sentence of an error that says what to change, without a traceback."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(str(error)) from None
