"""What the figures of pruned attention share: names, colours, and the rows they are about."""

import re
from functools import partial

import pandas as pd

from lib.study import drawing, palette
from lib.study.claims import select
from lib.study.drawing import PlotError, gain
from lib.study.statistics import Estimate

BASELINE = "baseline"
LAYERS = ("d0", "d1", "d2", "d3")
SWEEP = re.compile(r"dp_r\d\d(_ratio_\d+p\d+)?")  # systems that differ from dp_r45 in R alone, changed ones among them

label, colour, published = (partial(each, "SP") for each in (palette.label, palette.colour, palette.published))
dots = partial(drawing.dots, "SP")


def block(layer: str) -> str:
    """A block's name, counted from 1: "d0" is decoder block 1."""
    return f"{'decoder' if layer[0] == 'd' else 'encoder'} {int(layer[1:]) + 1}"


def measured(rows: pd.DataFrame, role: str = "never_seen") -> pd.DataFrame:
    """The test sentences of a role. Raises PlotError when nothing was measured."""
    found = select(rows, {"variant": "zero_shot", "role": role, "split": "test"})
    if found.empty:
        raise PlotError(f"no system has spoken as the {role.replace('_', '-')} speakers: run one")
    return found


def has(table: pd.DataFrame, metric: str, systems: list[str]) -> bool:
    return not select(table, {"metric": metric, "system": systems}).empty


def learned(table: pd.DataFrame, everything: bool = False) -> list[str]:
    """The systems of the sweep over R that have rows, by R; with `everything` all others with learned thresholds."""
    there = [system for system in table["system"].dropna().unique() if system.startswith("dp_")]
    found = sorted((system for system in there if SWEEP.fullmatch(system)), key=ratio)
    return found + [s for s in there if s not in found] if everything else found


def ratio(system: str) -> float:
    """R of a system of the sweep, from its name: "dp_r45" 0.45, "dp_r45_ratio_0p35" 0.35."""
    return float(system.split("_ratio_")[1].replace("p", ".") if "_ratio_" in system else f"0.{system[4:]}")


def against(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of a system and the dense model of its size, for all systems that have both, in claims.yaml's order."""
    there = list(dict.fromkeys(select(table, {"metric": "cos"})["system"].dropna()))
    order = {name: place for place, name in enumerate(palette.listed("SP"))}
    pairs = []
    for system in sorted(there, key=lambda name: (order.get(name, len(order)), name)):
        size = system.rpartition("_")[2]
        dense = f"{BASELINE}_{size}" if size.startswith(("layers", "heads")) else BASELINE
        if system != dense and dense in there:
            pairs.append((system, dense))
    return pairs


def gained(table: pd.DataFrame, system: str, other: str, profile: dict) -> Estimate | None:
    """What a system gains over another, paired by utterance; None where one has no rows."""
    return gain(*(select(table, {"system": name}) for name in (system, other)), profile)


def means(axis, table: pd.DataFrame, system: str, by: str = "layer", **look) -> None:
    """A line through the means of a system's rows, over blocks or over x."""
    values = select(table, {"system": system}).groupby(by)["value"].mean()
    places = range(len(values)) if by == "layer" else values.index
    axis.plot(places, values, **({"color": colour(system), "label": label(system)} | look))


def name_blocks(axis) -> None:
    axis.set_xticks(range(len(LAYERS)), [block(name) for name in LAYERS])
