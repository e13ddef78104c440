"""Names, colours and selections that the figures of the HA study share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes

from lib.study import drawing, palette
from lib.study.claims import select
from lib.study.drawing import Dot, PlotError, estimate, intervals, present
from lib.study.statistics import Estimate

COHORTS = {
    "stuttering": "Stuttering",
    "dysarthria": "Dysarthria",
    "parkinsons": "Parkinson's",
    "mixed": "Mixed",
    "cluttering": "Cluttering",
    "dysphonia": "Dysphonia",
    "children": "Non-native children",
    "adults": "Non-native adults",
    "typical": "Typical",
}
METHODS = (
    *("whisper_0", "full", "lora_w1", "lora_w1_b01", "cohort_ft", "cohort_full", "cohort_lora", "individual"),
    *("hyper", "hyper_mlp", "hyper_ge2e", "hyper_speaker"),
)
CAP, CAPPED = 1.0, "WER, capped at 1"
TRAINED = ["stuttering", "dysarthria", "parkinsons"]

LARGER = {facts["of"]: name for name, facts in palette.listed("HA").items() if "of" in facts}  # on a larger Whisper

colour = partial(palette.colour, "HA")


def label(system: str) -> str:
    """A system's name for people, in lines that leave a figure room."""
    return fill(palette.label("HA", system), 32)


def sample(table: pd.DataFrame, profile: dict) -> str:
    """How much a figure rests on, and what speech it is."""
    return drawing.sample(table, f"test utterances of {speech(profile)}")


def speech(profile: dict) -> str:
    """What the recognisers of a profile hear: simulated speech, or a corpus of recordings."""
    source = profile["ha"].get("corpus", {}).get("source")
    return Path(str(source)).name if source else "simulated speech"


def trained(rows: pd.DataFrame) -> list[str]:
    """The conditions of the training speakers, in the order of `COHORTS`; those of a changed corpus aside."""
    mine = {"metric": "wer", "role": "adaptation", "system": list(palette.listed("HA"))}
    there = set(select(rows, mine)["cohort"].dropna())
    return [cohort for cohort in COHORTS if cohort in there] or TRAINED


def errors(rows: pd.DataFrame, systems: Sequence[str] | None, empty: bool = False, **where) -> pd.DataFrame:
    """WER rows of test utterances, an utterance's at most 1 as in the claims: on a few of them a recogniser repeats
    itself and reaches several times that (column `uncapped`). Raises PlotError when there are none, unless `empty`
    allows it.
    """
    wanted = {"metric": "wer", "split": "test"} | where | ({"system": list(systems)} if systems is not None else {})
    found = select(rows, wanted)
    if found.empty and not empty:
        told = f" for {', '.join(f'{key} {value}' for key, value in where.items())}" if where else ""
        raise PlotError(f"there are no WER rows of {', '.join(systems or ['any system'])}{told}: run them first")
    return found.assign(value=found["value"].clip(upper=CAP), uncapped=found["value"])


def usable(rows: pd.DataFrame, systems: Sequence[str]) -> list[str]:
    """Those of the systems that have WER rows, in the given order, each followed by those made of it.

    Raises PlotError for none.
    """
    found = present(select(rows, {"metric": "wer"}), systems, "HA")
    if not found:
        raise PlotError(f"there are no WER rows of {', '.join(systems)}: run them first")
    return found


def differences(rows: pd.DataFrame, a: str, b: str, profile: dict, **where) -> Estimate | None:
    """`paired` of the WER of two systems."""
    return paired(errors(rows, [a], empty=True, **where), errors(rows, [b], empty=True, **where), profile)


def paired(first: pd.DataFrame, second: pd.DataFrame, profile: dict) -> Estimate | None:
    """Mean of first - second over the utterances both heard, and over seeds where both have several; None without
    any."""
    if not set(first["utterance"]) & set(second["utterance"]):
        return None
    shared = set(first["seed"]) & set(second["seed"])
    several = len(shared) > 1 and set(first["seed"]) == set(second["seed"])
    on = ("seed", "speaker", "utterance") if several else ("speaker", "utterance")
    return drawing.gain(first, second, profile, on=on)


def dots(rows: pd.DataFrame, systems: Sequence[str], profile: dict, look: dict | None = None, **where) -> list[Dot]:
    """WER of each system with its interval."""
    tables = (errors(rows, [system], empty=True, **where) for system in systems)
    return [Dot(estimate(table, profile), colour(s), look or {}) for s, table in zip(systems, tables, strict=True)]


def levels(axis: Axes, rows: pd.DataFrame, systems: Sequence[str], profile: dict, **where) -> None:
    """WER of each system, a name a row, from 0."""
    intervals(axis, [label(system) for system in systems], dots(rows, systems, profile, **where), CAPPED)
    from_zero(axis)


def from_zero(axis: Axes) -> None:
    """Let the x axis begin a little below 0, so that a point at 0 is seen whole."""
    most = axis.get_xlim()[1]
    axis.set_xlim(-0.04 * most, most)
