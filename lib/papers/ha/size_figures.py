"""Does the size of Whisper change the order of the methods? Each on the profile's Whisper and on a larger one."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
from matplotlib.figure import Figure

from lib.papers.ha.style import CAPPED, LARGER, colour, errors, label, paired, sample, trained
from lib.study.drawing import PlotError, canvas, count, describe, estimate, legend, mark, whiskers
from lib.study.statistics import Estimate

NEAR = 0.09  # between two methods' marks


def both(rows: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """WER, capped at 1, of each method on the profile's Whisper and on the larger one, on the trained cohorts.

    Raises PlotError where no method has rows on both.
    """
    found = {}
    for name, larger in LARGER.items():
        pair = tuple(errors(rows, [each], empty=True, cohort=trained(rows)) for each in (name, larger))
        if all(map(len, pair)):
            found[name] = pair
    if not found:
        raise PlotError("the order by size needs a method on both Whispers: run those of profile full")
    return found


def sizes(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER of each method on both Whispers."""
    tables = both(rows)
    figure, axis = canvas(1, 7.5, 5.0)
    for number, (name, pair) in enumerate(tables.items()):
        places = [size + NEAR * (number - (len(tables) - 1) / 2) for size in (0, 1)]
        levels = [estimate(table, profile) for table in pair]
        axis.plot(places, [level.value for level in levels], color=colour(name), lw=1, alpha=0.6)
        for place, level in zip(places, levels, strict=True):
            mark(axis, place, level, colour(name), aside=NEAR / 3, fmt="s" if name.startswith("hyper") else "o")
    axis.set_xticks((0, 1), (f"Whisper {profile['ha']['whisper']['name']}", label(LARGER["whisper_0"])))
    axis.set(ylabel=CAPPED, xlim=(-0.5, 1.5))
    axis.set_ylim(bottom=0)
    looks = {label(name): (colour(name), "s" if name.startswith("hyper") else "o") for name in tables}
    legend(figure, looks, ncols=3)
    said = orders(rows, profile)["order"].value_counts() if len(tables) > 1 else {}
    told = ", ".join(f"{said.get(kind, 0)} {kind}" for kind in ("the same", "reversed", "open"))
    larger = pd.concat([pair[1] for pair in tables.values()])
    caption = (
        f"Each method on two Whispers, trained cohorts, all speakers: {sample(larger, profile)}; {whiskers(profile)}. "
        f"Order of each two methods: {told}. Exploratory: no claim is registered for it."
    )
    return describe(figure, caption, "WER of each method on two sizes of Whisper.", count(larger))


def orders(rows: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """Of each two methods, the paired difference of their WER on both Whispers, and whether the order is the same.

    It is open unless both intervals lie on a side of 0.
    """
    table, lines = both(rows), []
    for a, b in combinations(table, 2):
        found = [paired(*each, profile) for each in zip(table[a], table[b], strict=True)]
        sides = [_side(each) for each in found]
        order = "open" if 0 in sides else "the same" if sides[0] == sides[1] else "reversed"
        cells = [each.told(3) if each else "–" for each in found]
        lines.append({"WER of": label(a), "minus that of": label(b), "smaller": cells[0], "larger": cells[1]})
        lines[-1]["order"] = order
    return pd.DataFrame(lines)


def _side(found: Estimate | None) -> int:
    """-1 or 1 where the interval lies on a side of 0, else 0."""
    if found is None or found.ci_low is None:
        return 0
    return (found.ci_low > 0) - (found.ci_high < 0)
