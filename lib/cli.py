"""What the verbs of `python -m lib` share: options, tables, errors told in one sentence."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


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


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PROFILE = ("--profile", {"default": "demo", "help": "smoke, demo (the default), full, paper or nonnative"})
SEED = ("--seed", {"type": int, "default": 0})
DEVICE = ("--device", {"default": "auto", "help": "cpu, cuda or auto (the default: the GPU if there is one)"})
THREADS = {"type": int, "help": "CPU threads; what is made depends on them in the last bits"}
SET = {"type": setting, "action": "append", "default": [], "metavar": "KEY=VALUE"}
SET |= {"help": "another setting than the profile's, in a run with a name of its own; may be given again"}
PAPER = ("paper", {"help": "ht, ha, sp, ld or xp"})
ANY_PAPER = ("paper", {"nargs": "?", "help": "ht, ha, sp, ld or xp; all of them without one"})
ONE = (PROFILE, SEED, DEVICE, ("--threads", {**THREADS, "default": 1}), ("--set", SET))


@dataclass(frozen=True)
class Verb:
    """A verb's work, a line that it can read, and its options as `add_argument` takes them; for the door's table."""

    work: Callable[[argparse.Namespace], None]
    example: str
    options: tuple[tuple[str, dict], ...] = ()
    more: Callable[[argparse.ArgumentParser], None] = lambda parser: None  # commands and groups of options

    def parser(self, name: str, about: str) -> argparse.ArgumentParser:
        made = argparse.ArgumentParser(
            prog=f"python -m lib {name}", description=about, epilog=f"example: {self.example}"
        )
        for option, facts in self.options:
            made.add_argument(option, **facts)
        self.more(made)
        return made
