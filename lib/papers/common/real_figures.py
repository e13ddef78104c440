"""Figure and tables of the real voice, from rows alone."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from lib.papers.common.real_speech import COHORT
from lib.papers.common.real_voice import ROLE
from lib.study.claims import select
from lib.study.drawing import (
    AXES,
    PlotError,
    Shown,
    canvas,
    count,
    describe,
    difference,
    label,
    mark,
    name_rows,
    sample,
    save,
    settings,
    tested,
    whiskers,
)
from lib.study.statistics import interval

METRICS = ("cos", "mcd", "ffe")
ANEW = "_anew"


def named(system: str) -> str:
    """A system's label, which says when it was adapted to the voice itself."""
    return f"{label(system.removesuffix(ANEW))}, adapted anew" if system.endswith(ANEW) else label(system)


def other_corpus(rows: pd.DataFrame, profile: dict) -> Figure:
    """What every system gains over TTS-0 on the voice's held-out prompts, in COS, MCD and FFE.

    Raises PlotError where the voice has no rows.
    """
    table = tested(rows, "cos", role=ROLE)
    systems = [name for name in dict.fromkeys(table["system"]) if name not in ("tts_0", "reference_vocoded")]
    if not systems or "tts_0" not in set(table["system"]):
        raise PlotError(
            "the real voice needs rows of TTS-0 and of an adapted system: run lib.papers.common.real_speech"
        )
    figure, axes = canvas(len(METRICS), 10.5, 1.4 + 0.34 * len(systems), sharey=True)
    for axis, metric in zip(axes, METRICS, strict=True):
        for place, system in enumerate(systems):
            estimate = difference(rows, system, "tts_0", profile, metric=metric, role=ROLE)
            mark(axis, place, estimate, system, vertical=False, fmt="s" if system.endswith(ANEW) else "o")
        axis.axvline(0, color="0.4", linewidth=1)
        axis.set_xlabel(f"{AXES[metric].split(' (')[0]} minus TTS-0's")
    name_rows(axes[0], [named(system) for system in systems])
    caption = f"Differences from TTS-0 on a voice of another data set: {sample(table)}; {whiskers(profile)}. "
    caption += "Circles: as adapted on the embedded corpus; squares: adapted to the voice's training prompts. COS is "
    caption += "better to the right of zero, MCD and FFE to the left."
    return describe(figure, caption, "Gains over TTS-0 on the real voice in COS, MCD and FFE.", count(table))


def speech_table(rows: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """Means of every TTS system on the voice, with the intervals of COS, as text."""
    lines = []
    for system in dict.fromkeys(select(rows, {"role": ROLE})["system"].dropna()):
        mine = select(rows, {"role": ROLE, "system": system})
        cells = {m: select(mine, {"metric": m}) for m in (*METRICS, "wer", "mos_predicted")}
        lines.append({"system": named(system)} | {m: _cell(c, profile) for m, c in cells.items()})
    return pd.DataFrame(lines)


def word_errors(rows: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """WER of every recogniser on the voice with its interval, as text."""
    mine = select(rows, {"role": ROLE, "cohort": COHORT, "metric": "wer"})
    return pd.DataFrame(
        {"recogniser": name, "WER": _cell(select(mine, {"system": name}), profile, 3), "prompts": count(mine)}
        for name in dict.fromkeys(mine["system"].dropna())
    )


def _cell(table: pd.DataFrame, profile: dict, digits: int = 2) -> str:
    if table.empty:
        return "–"
    estimate = interval(table, **settings(profile))
    ends = "" if estimate.ci_low is None else f" [{estimate.ci_low:.{digits}f}, {estimate.ci_high:.{digits}f}]"
    return f"{estimate.value:.{digits}f}{ends}"


FIGURES: dict[str, Callable[[pd.DataFrame, dict], Figure]] = {"other_corpus": other_corpus}


def draw(name: str, rows: pd.DataFrame, profile: dict) -> Shown | None:
    """Draw, save and show one of FIGURES; nothing where the voice's recordings are not there."""
    if select(rows, {"role": ROLE}).empty:
        return None
    return save(FIGURES[name](rows, profile), name, profile, "04_real_speech", "HT8")
