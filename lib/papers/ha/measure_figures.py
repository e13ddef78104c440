"""Figures of principal angles and of probes, from rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.papers.ha.style import speech
from lib.study.claims import select
from lib.study.drawing import Dot, PlotError, canvas, count, describe, estimate, intervals, legend, whiskers
from lib.study.palette import BLUE, ORANGE

ORDER = ("self.q", "self.k", "self.v", "self.o", "cross.q", "cross.k", "cross.v", "cross.o", "W1", "W2")
ORDER += ("bias", "layer_norm")
TONES = {"decoder": BLUE, "encoder": ORANGE}
PUBLISHED = "decoder.W1"  # has the largest angles in the paper's figure
VARIANTS = {"leading": "Leading directions", "columns": "Whole column spaces", "rows": "Whole row spaces"}
TARGETS = {"cohort": "Cohort", "severity": "Severity", "rate": "Rate", "f0": "F0", "pauses": "Pauses"}
EMBEDDINGS = {"whisper": ("Whisper encoder", BLUE, "o"), "ge2e": ("GE2E", ORANGE, "s")}


def angles(rows: pd.DataFrame, profile: dict) -> Figure:
    """Mean principal angle before and after fine-tuning: parameter type against layer, encoder and decoder."""
    found = select(rows, {"metric": "angle_mean", "system": "full"})
    change = select(rows, {"metric": "relative_change", "system": "full"})
    if found.empty or change.empty:
        raise PlotError("the angles need a fine-tuned Whisper: run the system full")
    panels = [(f"{name} (°)", found[found["variant"] == variant]) for variant, name in VARIANTS.items()]
    panels.append(("Relative change (%)", change))
    figure, axes = canvas(2, 9.5, 3.3 * len(panels), rows=len(panels), squeeze=False, height_ratios=[1] * len(panels))
    for line, (name, table) in zip(axes, panels, strict=True):
        top = float(table["value"].max()) or 1.0
        for axis, side in zip(line, ("encoder", "decoder"), strict=True):
            mine = table[table["target"].str.startswith(f"{side}.")]
            kinds = [kind for kind in ORDER if f"{side}.{kind}" in set(mine["target"])]
            layers = sorted(mine["layer"].unique(), key=int)
            grid = np.full((len(kinds), len(layers)), np.nan)
            for row in mine.itertuples():
                grid[kinds.index(row.target.split(".", 1)[1]), layers.index(row.layer)] = row.value
            picture = axis.imshow(grid, cmap="viridis", vmin=0, vmax=top, aspect="auto")
            _numbers(axis, grid, top)
            axis.set_yticks(range(len(kinds)), kinds)
            axis.set_xticks(range(len(layers)), layers)
            axis.grid(visible=False)
            axis.set(title=f"{name}: {side}", xlabel="Layer")
        figure.colorbar(picture, ax=line, shrink=0.85)
    seeds = found["seed"].nunique()
    rank = profile["ha"]["evaluate"]["angles"]["rank"]
    caption = (
        f"Principal angles between every weight before and after full fine-tuning, {seeds} seed{'s' * (seeds != 1)}: "
        f"mean over the angles of a matrix, n = {len(found[found['variant'] == 'leading'])} types and layers. Leading "
        f"directions: the {rank} leading left singular vectors. Whole column spaces of matrices with at least as many "
        "columns as rows (attention, W2) have angles of 0 by their shape, whole row spaces those with as many rows as "
        "columns (attention, W1)."
    )
    return describe(figure, caption, "Heat maps of principal angles by parameter type and layer.", len(found))


def columns(rows: pd.DataFrame, profile: dict) -> Figure:
    """Whole column spaces by parameter type, as in the paper's figure: means over layers and seeds, seeds as points."""
    found = select(rows, {"metric": "angle_mean", "system": "full", "variant": "columns"})
    found = found[found["target"].isin([f"{side}.{kind}" for side in TONES for kind in ORDER])]
    if found.empty:
        raise PlotError("the angles need a fine-tuned Whisper: run the system full")
    seeds = found.groupby(["target", "seed"])["value"].mean()
    means = seeds.groupby("target").mean().sort_values(ascending=False)
    figure, axis = canvas(1, 7.5, 0.3 * len(means) + 1.4)
    for place, target in enumerate(means.index):
        tone = TONES[target.split(".")[0]]
        axis.plot(seeds[target], [place] * len(seeds[target]), "o", color=tone, markersize=4, alpha=0.6)
        axis.plot(means[target], place, "|", color=tone, markersize=13, markeredgewidth=2)
    axis.set_yticks(range(len(means)), [name.replace(".", " ") for name in means.index])
    if PUBLISHED in means:
        axis.get_yticklabels()[list(means.index).index(PUBLISHED)].set_fontweight("bold")
    axis.set(ylim=(len(means) - 0.5, -0.5), xlabel="Mean principal angle (°)")
    axis.set_xlim(left=-0.04 * (axis.get_xlim()[1] or 1.0))
    axis.grid(axis="y", visible=False)
    legend(figure, {side.capitalize(): tone for side, tone in TONES.items()})
    count = found["seed"].nunique()
    first = list(means.index).index(PUBLISHED) + 1 if PUBLISHED in means else None
    caption = (
        f"Principal angles of whole column spaces after full fine-tuning on {speech(profile)}, means over layers: "
        f"points are seeds (n = {count}), ticks their mean. The paper shows a picture, without numbers in its text: "
        f"decoder W1 (bold) has its largest angles; here it is number {first} of {len(means)} types."
    )
    return describe(figure, caption, "Mean principal angles by parameter type, largest first.", len(found))


def _numbers(axis, grid: np.ndarray, top: float) -> None:
    for place, value in np.ndenumerate(grid):
        if np.isfinite(value):
            tone = "white" if value < 0.6 * top else "black"
            axis.text(place[1], place[0], f"{value:.2g}", ha="center", va="center", color=tone, fontsize=7)


def probes(rows: pd.DataFrame, profile: dict) -> Figure:
    """What can be read off the conditioning embeddings of never-seen speakers."""
    rows = select(rows, {"system": "whisper_0"})
    accuracy = select(rows, {"metric": "probe_accuracy"})
    explained = select(rows, {"metric": "probe_r2"})
    if accuracy.empty or explained.empty:
        raise PlotError("the probes need their rows: run the system whisper_0")
    figure, (left, right) = canvas(2, 9.0, 3.8, width_ratios=[2, 3])
    for axis, table in ((left, accuracy), (right, explained)):
        kinds = [kind for kind in TARGETS if kind in set(table["target"])]
        lines = [
            [
                Dot(estimate(select(table, {"target": kind, "variant": variant}), profile), tone, {"fmt": shape})
                for variant, (_, tone, shape) in EMBEDDINGS.items()
            ]
            for kind in kinds
        ]
        intervals(axis, [TARGETS[kind] for kind in kinds], lines, "", vertical=True)
        for place, kind in enumerate(kinds):
            chance = select(rows, {"metric": "probe_chance", "target": kind})["value"]
            if len(chance):
                axis.hlines(chance.mean(), place - 0.35, place + 0.35, color="0.4", ls="--", lw=1.2)
    left.set(ylabel="Accuracy", ylim=(0, 1.03))
    right.set(ylabel="R²", ylim=(max(-1.5, right.get_ylim()[0]), 1.03))
    right.axhline(0, color="0.4", ls="--", lw=1.2)
    legend(figure, {name: (tone, shape) for name, tone, shape in EMBEDDINGS.values()})
    caption = (
        f"Linear probes trained on the training speakers' utterances and tested on never-seen speakers, n = "
        f"{count(accuracy)} utterances of {accuracy['speaker'].nunique()} speakers, {speech(profile)}; "
        f"{whiskers(profile)}. Dashed: the commonest class, or R² = 0."
    )
    return describe(figure, caption, "Probe accuracies and R² of two embeddings.", count(accuracy))
