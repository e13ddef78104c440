"""Names, colours and selections that the figures of the HA study share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd
from matplotlib.axes import Axes

from lib.study.claims import load_claims, select
from lib.study.drawing import PlotError, mark, present, settings
from lib.study.drawing import sample as _sample
from lib.study.statistics import Estimate, paired_difference

COHORTS = {
    "stuttering": "Stuttering",
    "dysarthria": "Dysarthria",
    "parkinsons": "Parkinson's",
    "mixed": "Mixed",
    "cluttering": "Cluttering",
    "dysphonia": "Dysphonia",
    "typical": "Typical",
}
TRAINED = ["stuttering", "dysarthria", "parkinsons"]
# One colour per family of systems, from Okabe and Ito's colour-blind-safe set.
COLOURS = {
    "whisper_0": "#7F7F7F",
    "full": "#009E73",
    "cohort": "#CC79A7",
    "individual": "#56B4E9",
    "bias": "#F0B400",
    "lora": "#E69F00",
    "hyper_without": "#D55E00",
    "hyper": "#0072B2",
}


@lru_cache(maxsize=1)
def published() -> dict[str, dict]:
    """Label and published values of every system, from claims.yaml."""
    return load_claims()["papers"].get("HA", {}).get("systems", {})


def label(system: str) -> str:
    return published().get(system, {}).get("label", system.replace("_", " "))


def colour(system: str) -> str:
    return next((tone for name, tone in COLOURS.items() if system.startswith(name)), "#000000")


def errors(rows: pd.DataFrame, systems: Sequence[str] | None, empty: bool = False, **where) -> pd.DataFrame:
    """WER rows of test utterances. Raises PlotError when there are none, unless `empty` allows it."""
    wanted = {"metric": "wer", "split": "test"} | where | ({"system": list(systems)} if systems is not None else {})
    found = select(rows, wanted)
    if found.empty and not empty:
        told = f" for {', '.join(f'{key} {value}' for key, value in where.items())}" if where else ""
        raise PlotError(f"there are no WER rows of {', '.join(systems or ['any system'])}{told}: run them first")
    return found


def usable(rows: pd.DataFrame, systems: Sequence[str]) -> list[str]:
    """Those of the systems that have WER rows, in the given order. Raises PlotError for none."""
    found = present(select(rows, {"metric": "wer"}), systems)
    if not found:
        raise PlotError(f"there are no WER rows of {', '.join(systems)}: run them first")
    return found


def differences(rows: pd.DataFrame, a: str, b: str, profile: dict, **where) -> Estimate:
    """Mean of a - b in WER over the utterances both heard, and over seeds where both have several."""
    first, second = errors(rows, [a], **where), errors(rows, [b], **where)
    shared = set(first["seed"]) & set(second["seed"])
    several = len(shared) > 1 and set(first["seed"]) == set(second["seed"])
    on = ("seed", "speaker", "utterance") if several else ("speaker", "utterance")
    return paired_difference(first, second, on=on, **settings(profile))


def points(axis: Axes, places: list[float], estimates: list[Estimate], system: str) -> None:
    """Points with intervals joined by a line."""
    for place, estimate in zip(places, estimates, strict=True):
        mark(axis, place, estimate, system, color=colour(system), markersize=5)
    axis.plot(places, [estimate.value for estimate in estimates], color=colour(system), lw=1, alpha=0.7)


def from_zero(axis: Axes) -> None:
    """Let the x axis begin a little below 0, so that a point at 0 is seen whole."""
    most = axis.get_xlim()[1]
    axis.set_xlim(-0.04 * most, most)


def sample(table: pd.DataFrame) -> str:
    """How much a figure rests on, and that the speech is simulated."""
    return f"{_sample(table)}, simulated speech"
