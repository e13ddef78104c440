"""Figure and tables of the real voice, from rows alone."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from lib.papers.common.real_speech import COHORT
from lib.papers.common.real_voice import ROLE
from lib.papers.ht.style import colour, difference, label, tested
from lib.study.claims import select
from lib.study.drawing import (
    Dot,
    PlotError,
    Shown,
    canvas,
    count,
    describe,
    estimate,
    intervals,
    sample,
    save,
    whiskers,
)
from lib.study.units import METRICS as UNITS

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
        changes = [difference(rows, system, "tts_0", profile, metric=metric, role=ROLE) for system in systems]
        shapes = ["s" if system.endswith(ANEW) else "o" for system in systems]
        lines = [Dot(c, colour(s), {"fmt": shape}) for c, s, shape in zip(changes, systems, shapes, strict=True)]
        title = f"{UNITS[metric].name} minus TTS-0's"
        intervals(axis, [named(system) for system in systems], lines, title, zero=True)
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
    found = estimate(table, profile)
    ends = "" if found.ci_low is None else f" [{found.ci_low:.{digits}f}, {found.ci_high:.{digits}f}]"
    return f"{found.value:.{digits}f}{ends}"


FIGURES: dict[str, Callable[[pd.DataFrame, dict], Figure]] = {"other_corpus": other_corpus}


def draw(name: str, rows: pd.DataFrame, profile: dict) -> Shown | None:
    """Draw, save and show one of FIGURES; nothing where the voice's recordings are not there."""
    if select(rows, {"role": ROLE}).empty:
        return None
    return save(FIGURES[name](rows, profile), name, profile, "04_real_speech", "HT8")
