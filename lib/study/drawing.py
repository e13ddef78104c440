"""The style that all figures share, the plot of intervals, and how a figure is saved with its caption.

A figure carries its caption, its alternative text and its n (speaker and utterance pairs); `save` writes them beside
the picture. Intervals are those of `lib.study.statistics` with the sentences of the claims; names and colours of
systems are `lib.study.palette`'s, titles of axes `lib.study.units`'s.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

import numpy as np
import pandas as pd
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib import study
from lib.files import replace_file, write_json
from lib.study.claims import interval_options, select
from lib.study.palette import colour, origin, sections
from lib.study.statistics import Estimate, interval, paired_difference

RC = {"figure.dpi": 110, "savefig.dpi": 150, "svg.hashsalt": "study", "axes.titlesize": "medium"}
RC |= {"font.size": 10.8, "axes.labelsize": 10.8, "legend.fontsize": 9.9, "xtick.labelsize": 9.9}
RC |= {"ytick.labelsize": 9.9, "savefig.bbox": "tight", "savefig.pad_inches": 0.08}


POINTS = {
    "speaker": {"marker": "o", "linestyle": "", "markersize": 4, "alpha": 0.4, "markeredgewidth": 0, "zorder": 1.8},
    "seed": {"marker": "_", "linestyle": "", "markersize": 7, "alpha": 0.9, "markeredgewidth": 1.3, "zorder": 1.9},
}


class PlotError(ValueError):
    """Rows that a figure needs and does not find; the message names them."""


@dataclass
class Shown:
    """A figure as PNG bytes, shown `width` CSS pixels wide with its caption and alternative text."""

    png: bytes = field(repr=False)
    width: int
    caption: str
    alt: str

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode()
        look = f'style="width:min(100%,{self.width}px)" alt="{escape(self.alt)}"'
        image = f'<img {look} src="data:image/png;base64,{data}">'
        return f'<figure style="margin:0">{image}<figcaption>{escape(self.caption)}</figcaption></figure>'


def canvas(columns: int = 1, width: float = 8.0, height: float = 4.0, rows: int = 1, **options):
    """A figure in the study's style and its axes, `(figure, axes)`; sizes in inches."""
    with style.context("seaborn-v0_8-whitegrid"), rc_context(RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, **options)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
    return figure, axes


def describe(figure: Figure, caption: str, alt: str, n: int) -> Figure:
    figure.description = {"caption": caption, "alt": alt, "n": n}
    return figure


def show(figure: Figure) -> Shown:
    """The figure with its caption for a notebook; nothing is written."""
    buffer = io.BytesIO()
    with rc_context(RC):
        figure.savefig(buffer, format="png")
    width = round(90 * figure.get_figwidth())
    return Shown(buffer.getvalue(), width, figure.description["caption"], figure.description["alt"])


def save(figure: Figure, name: str, profile: dict, notebook: str, anchor: str) -> Shown:
    """Write R/figures/<name>.png (150 dpi), .svg and .json: caption, n, alternative text and place."""
    folder, shown = study.results_root(profile) / "figures", show(figure)
    with replace_file(folder / f"{name}.png") as temporary:
        temporary.write_bytes(shown.png)
    with replace_file(folder / f"{name}.svg") as temporary, rc_context(RC):
        figure.savefig(temporary, metadata={"Date": None})
    place = {"name": name, "notebook": notebook, "anchor": anchor, "profile": profile["name"]}
    write_json(folder / f"{name}.json", figure.description | place)
    return shown


def found(rows: pd.DataFrame, metric: str, **where) -> pd.DataFrame:
    """Rows of a metric. Raises PlotError naming what there is none of."""
    table = select(rows, {"metric": metric} | where)
    if table.empty:
        told = [", ".join(map(str, value)) if isinstance(value, list) else str(value) for value in where.values()]
        raise PlotError(f"there are no {metric} rows of {' and '.join(told) or 'any system'}: run those systems first")
    return table


def present(rows: pd.DataFrame, systems, paper: str = "") -> list[str]:
    """Those of the systems that have rows, in the given order; of a paper also those made of one of them by changing
    settings, each after its origin.
    """
    there = sorted(set(rows["system"].dropna()))
    found = []
    for system in systems:
        found += [system] if system in there else []
        found += [name for name in there if paper and origin(paper, name) == system]
    return found


def sample(table: pd.DataFrame, what: str = "test utterances") -> str:
    """How much a figure rests on: utterances, speakers, seeds."""
    speakers, seeds = table["speaker"].nunique(), table["seed"].nunique()
    voices = "one voice" if speakers == 1 else f"{speakers} speakers"
    return f"n = {count(table)} {what} of {voices}, {seeds} seed{'s' * (seeds != 1)}"


def count(table: pd.DataFrame) -> int:
    return len(table[["speaker", "utterance"]].drop_duplicates())


def whiskers(profile: dict) -> str:
    level = f"{100 * interval_options(profile)['level']:g} %"
    return f"bars are {level} intervals over seeds, speakers and sentences, pale dots the speakers and ticks the seeds"


@dataclass(frozen=True)
class Dot:
    """One interval of a plot: its estimate (None: not measured), its colour and how it is drawn."""

    estimate: Estimate | None
    colour: str
    look: dict = field(default_factory=dict)


def by_sentence(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the sentence of each utterance, as the claims of its paper count them: the part of its name that
    `sentence` in claims.yaml matches, else the whole name.
    """
    if "paper" not in rows:
        return rows
    sentence = rows["utterance"].astype("string")
    for paper, facts in sections().items():
        if "sentence" in facts:
            others = rows["paper"].ne(paper).fillna(True)
            sentence = sentence.where(others, sentence.str.extract(f"({facts['sentence']})", expand=False))
    return rows.assign(sentence=sentence)


def estimate(table: pd.DataFrame, profile: dict) -> Estimate | None:
    """The mean of rows with the interval of a claim that compares them (`by_sentence`); None where there are none."""
    return interval(by_sentence(table), **interval_options(profile)) if len(table) else None


def gain(mine: pd.DataFrame, other: pd.DataFrame, profile: dict, **pairing) -> Estimate | None:
    """The mean of mine - other over pairs (`lib.study.statistics.paired_difference`) with its interval, by sentences as
    in `estimate`; None where one has no rows.
    """
    options = pairing | interval_options(profile)
    return paired_difference(by_sentence(mine), other, **options) if len(mine) and len(other) else None


def mark(
    axis: Axes, x: float, estimate: Estimate, tone: str, vertical: bool = True, aside: float = 0.0, **style
) -> None:
    """A point with its interval; `vertical` means the value is on the y axis. The means of speakers are pale dots and
    those of seeds ticks, `aside` from the interval.
    """
    for name, look in POINTS.items():
        if name in estimate.means:
            means = estimate.means[name]
            places = np.full(len(means), x + aside)
            marker = look["marker"] if vertical or look["marker"] != "_" else "|"
            axis.plot(*((places, means) if vertical else (means, places)), color=tone, **look | {"marker": marker})
    if estimate.ci_low is None:
        errors = None
    else:
        ends = (estimate.value - estimate.ci_low, estimate.ci_high - estimate.value)
        errors = [[max(end, 0.0)] for end in ends]
    place = {"x": x, "y": estimate.value, "yerr": errors} if vertical else {"x": estimate.value, "y": x, "xerr": errors}
    axis.errorbar(**place, **({"fmt": "o", "color": tone, "markersize": 6, "capsize": 0, "elinewidth": 1.6} | style))


def dots(paper: str, table: pd.DataFrame, systems: list[str], profile: dict, **look) -> list[Dot]:
    """The mean of each system's rows in a table, in the system's colour."""
    return [Dot(estimate(select(table, {"system": s}), profile), colour(paper, s), look) for s in systems]


def intervals(
    axis: Axes, names: list[str], lines: list, title: str, zero=False, hollow=(), step=0.2, vertical=False
) -> None:
    """Names on the y axis from the top down; for each an interval, or several beside each other `step` apart.

    lines: for each name a Dot or a list of them. zero: whether there is a line at 0, where the values are differences.
    hollow: for each name the published value or None, drawn as a hollow diamond in the colour of its first Dot.
    vertical: the names are on the x axis.
    """
    if zero:
        (axis.axhline if vertical else axis.axvline)(0, color="0.4", lw=1.2, ls="--")
    for place, line in enumerate(lines):
        beside = line if isinstance(line, list) else [line]
        aside = 0.4 * step if len(beside) > 1 else 0.22
        for number, dot in enumerate(beside):
            if dot.estimate is not None:
                at = place + step * (number - (len(beside) - 1) / 2)
                mark(axis, at, dot.estimate, dot.colour, vertical, aside, **dot.look)
        if hollow and hollow[place] is not None:
            axis.plot(hollow[place], place, "D", color=beside[0].colour, markerfacecolor="none", markersize=6)
    if vertical:
        axis.set_xticks(range(len(names)), names)
        axis.set(xlim=(-0.5, len(names) - 0.5), ylabel=title)
    else:
        axis.set_yticks(range(len(names)), names)
        axis.set(ylim=(max(1, len(names)) - 0.5, -0.5), xlabel=title)
    axis.grid(axis="x" if vertical else "y", visible=False)


def legend(where: Figure | Axes, entries: dict[str, str | tuple[str, str]], hollow: bool = False, **options) -> None:
    """A legend of markers: name to colour, or to colour and marker; `hollow` adds the published values."""
    told = {name: (look, "o") if isinstance(look, str) else look for name, look in entries.items()}
    handles = [Line2D([], [], color=c, marker=m, linestyle="", label=name) for name, (c, m) in told.items()]
    if hollow:
        handles.append(Line2D([], [], color="0.3", marker="D", markerfacecolor="none", linestyle="", label="Published"))
    place = {"loc": "outside upper center"} if isinstance(where, Figure) else {}
    where.legend(handles=handles, **({"frameon": False, "ncols": len(handles)} | place | options))


def common_seeds(table: pd.DataFrame, systems: list[str]) -> pd.DataFrame:
    """Rows of the systems for the seeds that all of them have."""
    mine = table[table["system"].isin(systems)]
    seeds = [set(group["seed"]) for _, group in mine.groupby("system")]
    return mine[mine["seed"].isin(set.intersection(*seeds))] if seeds else mine


def apart(sizes: pd.Series, near: float = 1.2, step: float = 1.09) -> pd.Series:
    """Places on a log axis for sizes of which some are nearly equal: those are put `step` apart, in order of size."""
    ordered = sizes.sort_values()
    groups = (ordered / ordered.shift() > near).cumsum()
    rank = ordered.groupby(groups).cumcount()
    middle = (groups.map(groups.value_counts()) - 1) / 2
    return ordered * step ** (rank - middle)


@dataclass(frozen=True)
class Drawing:
    """A figure of rows: how it is drawn and which section explains it."""

    draw: Callable[[pd.DataFrame, dict], Figure]
    notebook: str
    anchor: str


def draw(figures: dict[str, Drawing], name: str, rows: pd.DataFrame, profile: dict) -> Shown:
    """Draw and save one of a paper's figures; in a notebook it shows itself. Raises PlotError for missing rows."""
    drawing = figures[name]
    return save(drawing.draw(rows, profile), name, profile, drawing.notebook, drawing.anchor)
