"""The faults, with how often each is made to happen for the table, and how often in the test suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from faults import damage, interruptions, private, properties
from faults.interruptions import Unavailable


@dataclass(frozen=True)
class Fault:
    """A fault: `happen(folder, tries, random)` returns after how many of the tries nothing was lost."""

    name: str
    happen: Callable[[Path, int, np.random.Generator], int]
    tries: int
    in_suite: int = 1


def _interrupted(told: str, happen: Callable, tries: dict[str, int], in_suite: tuple[str, ...] = ()) -> list[Fault]:
    return [Fault(told.format(name), partial(happen, name), n, int(name in in_suite)) for name, n in tries.items()]


KILLS = {"corpus": 4, "features": 3, "training": 4, "scoring": 3, "notebook": 3, "report": 3}
OTHERS = ("recognition", "pruning", "latent diffusion")  # the other papers: prepared, trained, measured
FAULTS = [
    *_interrupted("kill -9 during {}", interruptions.killed, KILLS | dict.fromkeys(OTHERS, 3), ("corpus", "training")),
    *_interrupted(
        "disk full during {}",
        interruptions.full_disk,
        {"training": 3, "scoring": 2, "notebook": 2, "report": 1} | dict.fromkeys(OTHERS, 1),
        ("training",),
    ),
    *_interrupted(
        "read-only results: {}", interruptions.read_only, {"training": 1, "scoring": 1, "notebook": 1}, ("training",)
    ),
    *_interrupted(
        "two runs at once: {}",
        interruptions.twice,
        {"training": 2, "scoring": 2} | dict.fromkeys(OTHERS, 1),
        ("training",),
    ),
    Fault("damaged features in the cache", partial(damage.rebuilt, "features"), 3),
    Fault("damaged embeddings in the cache", partial(damage.rebuilt, "recognition"), 2, 0),
    Fault("damaged speech in the cache", damage.told_and_rebuilt, 2, 0),
    Fault("damaged weights", partial(damage.rebuilt, "training"), 3),
    Fault("damaged checkpoint to resume from", damage.resumed, 2),
    Fault("damaged Parquet file of rows", damage.rows, 2),
    Fault("damaged weights in an installed package", damage.package, 4, 2),
    Fault("hostile archives", damage.archives, damage.HOSTILE, damage.HOSTILE),
    Fault("pickle payload in a checkpoint", damage.pickles, len(damage.LOADERS), len(damage.LOADERS)),
    Fault("any text", properties.texts, 10_000, 200),
    Fault("any bytes as a recording", properties.recordings, 10_000, 200),
    Fault("any bytes as a manifest", properties.manifests, 10_000, 200),
    Fault("secret, user name or path in a committed file", private.committed, len(private.published()), 10**6),
    Fault("secret, user name or path in a study's results", private.made, len(private.STUDIES), 1),
    Fault("200,000 manifest lines in 2 GiB", properties.many_lines, 1, 0),
]


def suffer(fault: Fault, folder: Path, tries: int | None = None, seed: int = 0) -> dict:
    """Make a fault happen; its entry of the table. `tries` 0: this machine cannot make it happen."""
    wanted = min(fault.tries, tries or fault.tries)
    place = folder / "shared"
    place.mkdir(exist_ok=True)
    try:
        recovered = int(fault.happen(place, wanted, np.random.default_rng([seed, *fault.name.encode()])))
    except Unavailable as reason:
        print(f"{fault.name}: {reason}")
        wanted = recovered = 0
    return {"fault": fault.name, "tries": wanted, "recovered": recovered, "lost": wanted - recovered}
