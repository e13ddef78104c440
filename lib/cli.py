"""What the verbs of `python -m lib` share: tables, settings written as key=value, errors told in one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def setting(text: str) -> tuple[str, object]:
    """ "sp.train.steps=500" as a key and a value, read as YAML."""
    import yaml

    key, given, value = text.partition("=")
    try:
        if not key or not given:
            raise ValueError
        return key, yaml.safe_load(value)
    except (ValueError, yaml.YAMLError):
        raise argparse.ArgumentTypeError(f"{text!r}: write KEY=VALUE, such as sp.train.steps=500") from None


@contextmanager
def told() -> Iterator[None]:
    """End the process with the sentence of an error that says what to change, without a traceback."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped; what is finished is kept, run the same command again to go on.") from None


def print_table(entries: list[dict], title: str) -> None:
    """A rich table in a terminal, tab-separated lines with a header when piped."""
    cells = [[_cell(value) for value in entry.values()] for entry in entries]
    if not entries:
        print(f"{title}: none")
        return
    header = list(entries[0])
    if not sys.stdout.isatty():
        print("\n".join("\t".join(line) for line in [header, *cells]))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, title=title)
    for line in cells:
        table.add_row(*line)
    Console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}" if abs(value) < 1e5 else f"{value:.0f}"
    return str(value)


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
    """The options of a module that is not behind the door yet."""
    import torch

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
    parser.add_argument("--threads", type=int, default=threads)
    read = parser.parse_args()
    torch.set_num_threads(read.threads)
    return read
