"""What the figures of the latent diffusion study share: names, colours, axes, and the rows they are about."""

from functools import lru_cache

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.study.claims import load_claims, select
from lib.study.drawing import PlotError, count, mark, settings
from lib.study.statistics import Estimate, interval

COLOURS = {
    **{"reference": "#000000", "text": "#7F7F7F", "reconstruction": "#56B4E9"},
    **{"reconstruction_trainable_decoder": "#882255", "palette": "#0072B2", "i2sb": "#E69F00"},
    **{"palette_aligned": "#009E73", "i2sb_aligned": "#B8860B", "palette_trainable_decoder": "#CC79A7"},
    **{"palette_content_removed": "#D55E00"},
}
AXES = {
    "cer_added": "CER added (ratio)",
    "style_moved": "Style moved (%)",
    "style_moved_intact": "Style moved, words intact (%)",
    "content_broken": "Utterances with broken words (share)",
    "cos": "COS to the neutral recording",
    "clap_similarity": "CLAP similarity to the prompt (× 100)",
}
SWEPT = ("palette", "i2sb", "palette_aligned", "i2sb_aligned", "palette_content_removed")
MOVING = ("palette", "i2sb", "palette_aligned", "i2sb_aligned", "palette_content_removed", "palette_trainable_decoder")


@lru_cache(maxsize=1)
def written() -> dict[str, dict]:
    """Label and published values of every system, from claims.yaml."""
    return load_claims()["papers"].get("LD", {}).get("systems", {})


def label(system: str) -> str:
    return written().get(system, {}).get("label", system.replace("_", " "))


def colour(system: str) -> str:
    return COLOURS.get(system, "#000000")


def nominal(profile: dict) -> float:
    return profile["ld"]["evaluate"]["nominal"]


def found(rows: pd.DataFrame, metric: str, **where) -> pd.DataFrame:
    """Rows of a metric. Raises PlotError naming what is missing."""
    table = select(rows, {"metric": metric, **where})
    if table.empty:
        named = ", ".join(str(value) for value in where.values()) or "any system"
        raise PlotError(f"there are no {metric} rows of {named}: run the latent diffusion systems first")
    return table


def estimate(table: pd.DataFrame, profile: dict) -> Estimate:
    return interval(table, **settings(profile))


def sample(table: pd.DataFrame) -> str:
    """How much a figure rests on."""
    seeds = table["seed"].nunique()
    return f"n = {count(table)} utterances of one voice, {seeds} seed{'s' * (seeds != 1)}"


def point(axis: Axes, x: float, table: pd.DataFrame, profile: dict, system: str, **style) -> None:
    mark(axis, x, estimate(table, profile), system, **({"color": colour(system)} | style))


def legend(figure: Figure, systems, columns: int = 4) -> None:
    look = {"marker": "o", "linestyle": ""}
    handles = [Line2D([], [], color=colour(s), label=label(s), **look) for s in systems]
    figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=columns)
