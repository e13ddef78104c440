"""The style that all figures share, how an interval is drawn, and how a figure is saved with its caption.

A figure carries its caption, its alternative text and its n (speaker and utterance pairs); `save` writes
them beside the picture. Intervals are those of `lib.study.statistics`.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape

import pandas as pd
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib import study
from lib.files import replace_file, write_json
from lib.study.claims import interval_options, load_claims, select
from lib.study.statistics import Estimate, paired_difference

# One colour per family of systems, from Okabe and Ito's colour-blind-safe set.
FAMILIES = {
    "reference": ("Recordings", "#000000"),
    "tts_0": ("TTS-0", "#7F7F7F"),
    "adaptertts": ("AdapterTTS", "#E69F00"),
    "hypertts": ("HyperTTS", "#0072B2"),
    "tts_ft": ("TTS-FT", "#009E73"),
    "other": ("Other conditioning", "#CC79A7"),
}
ROLES = {
    "pretraining": ("Pre-training speakers", "#332288", "o"),
    "adaptation": ("Adaptation speakers", "#CC6677", "s"),
    "never_seen": ("Never-seen speakers", "#999933", "^"),
}
SWEEP = ("hypertts_d_ds2", "hypertts_d", "hypertts_d_ds32", "hypertts_d_ds128")
AXES = {
    "cos": "COS (GE2E cosine × 100)",
    "ffe": "FFE (%)",
    "mcd": "MCD (dB)",
    "wer": "WER (ratio)",
    "mos_predicted": "Predicted MOS (1 to 5)",
}
SHORT = {
    "cos": "COS ↑",
    "ffe": "FFE (%) ↓",
    "mcd": "MCD (dB) ↓",
    "wer": "WER ↓",
    "mos_predicted": "Predicted MOS ↑",
}
RC = {"figure.dpi": 110, "savefig.dpi": 150, "svg.hashsalt": "study", "axes.titlesize": "medium"}
RC |= {"font.size": 10.8, "axes.labelsize": 10.8, "legend.fontsize": 9.9, "xtick.labelsize": 9.9}
RC |= {"ytick.labelsize": 9.9, "savefig.bbox": "tight", "savefig.pad_inches": 0.08}


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


def family(system: str) -> str:
    return next((name for name in FAMILIES if system.startswith(name)), "other")


def colour(system: str) -> str:
    return FAMILIES[family(system)][1]


@lru_cache(maxsize=1)
def written() -> dict[str, dict]:
    """Label and published values of every system, from claims.yaml."""
    return load_claims()["papers"]["HT"]["systems"]


def label(system: str) -> str:
    return written().get(system, {}).get("label", system)


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


def tested(rows: pd.DataFrame, metric: str, systems=None, role: str | None = "adaptation") -> pd.DataFrame:
    """Rows of a metric on test utterances. Raises PlotError when there are none."""
    where = {"metric": metric, "split": "test"}
    where |= ({"role": role} if role else {}) | ({"system": list(systems)} if systems else {})
    found = select(rows, where)
    if found.empty:
        raise PlotError(f"there are no {metric} rows of {', '.join(systems or ['any system'])}: score them first")
    return found


def present(rows: pd.DataFrame, systems) -> list[str]:
    """Those of the systems that have rows, in the given order."""
    there = set(rows["system"].dropna())
    return [system for system in systems if system in there]


def settings(profile: dict) -> dict:
    """Options of `lib.study.statistics.interval` from a profile."""
    return interval_options(profile)


def sample(table: pd.DataFrame) -> str:
    """How much a figure rests on: utterances, speakers, seeds."""
    pairs, speakers, seeds = count(table), table["speaker"].nunique(), table["seed"].nunique()
    return f"n = {pairs} test utterances of {speakers} speakers, {seeds} seed{'s' * (seeds != 1)}"


def count(table: pd.DataFrame) -> int:
    return len(table[["speaker", "utterance"]].drop_duplicates())


def whiskers(profile: dict) -> str:
    return f"bars are {100 * settings(profile)['level']:g} % intervals over seeds, speakers and sentences"


def mark(axis: Axes, x: float, estimate: Estimate, system: str, vertical: bool = True, **style) -> None:
    """A point with its interval, in the system's colour; `vertical` means the value is on the y axis."""
    if estimate.ci_low is None:
        errors = None
    else:
        ends = (estimate.value - estimate.ci_low, estimate.ci_high - estimate.value)
        errors = [[max(end, 0.0)] for end in ends]
    place = {"x": x, "y": estimate.value, "yerr": errors} if vertical else {"x": estimate.value, "y": x, "xerr": errors}
    look = {"fmt": "o", "color": colour(system), "markersize": 6, "capsize": 0, "elinewidth": 1.6} | style
    axis.errorbar(**place, **look)


def difference(rows: pd.DataFrame, a: str, b: str, profile: dict, metric="cos", role="adaptation") -> Estimate:
    """Mean of a - b over the utterances both spoke, and over seeds unless one of them has none of its own."""
    first, second = tested(rows, metric, [a], role), tested(rows, metric, [b], role)
    seedless = {a, b} & {"tts_0", "reference", "reference_vocoded"}
    on = ("speaker", "utterance") if seedless else ("seed", "speaker", "utterance")
    return paired_difference(first, second, on=on, **settings(profile))


def name_rows(axis: Axes, names: list[str]) -> None:
    """Names on the y axis from the top down, with light horizontal lines only."""
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)


def legend_of(axis: Axes | Figure, systems, hollow: bool = False, **options) -> None:
    """One entry per family of the systems, and one for the published values where they are drawn."""
    names = list(dict.fromkeys(family(system) for system in systems))
    handles = [Line2D([], [], marker="o", linestyle="", color=FAMILIES[n][1], label=FAMILIES[n][0]) for n in names]
    if hollow:
        style = {"markerfacecolor": "none", "color": "0.3", "linestyle": ""}
        handles.append(Line2D([], [], marker="D", label="Published", **style))
    axis.legend(handles=handles, frameon=False, **options)


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
