"""Figures of attention under the masks: what is kept, what it costs, and the maps themselves."""

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from lib.methods.sparse_attention import PrunedTTS
from lib.papers.sp.style import LAYERS, block, colour, label, learned, means, name_blocks, ratio
from lib.study.claims import select
from lib.study.drawing import PlotError, canvas, count, describe, estimate, mark, sample, whiskers
from lib.study.palette import BLUE, GREEN, GREY, ORANGE, PINK, SKY

RULES = {
    **{"dense": ("Dense (fused)", GREY), "vp": ("VP", ORANGE), "dp_soft": ("DP, phase 1", SKY)},
    **{"dp_hard": ("DP, hard mask", BLUE), "top_k": ("Top-k", GREEN), "entmax": ("1.5-entmax", PINK)},
}
NONE = "the kept connections were not counted: run a pruned system"


def kept(rows: pd.DataFrame, profile: dict) -> Figure:
    """Connections that the hard mask keeps, by block and against R, and the rows that keep nothing."""
    found = select(rows, {"variant": "joined_1"})
    fractions = select(found, {"metric": "kept_fraction", "layer": [*LAYERS, "all"]})
    if fractions.empty:
        raise PlotError(NONE)
    chosen = [*learned(fractions), *[s for s in ("vp", "vp_perhead") if s in set(fractions["system"])]]
    figure, (left, middle, right) = canvas(3, 12.5, 4.2)
    for axis, metric in ((left, "kept_fraction"), (right, "empty_rows")):
        for system in chosen:
            means(axis, select(found, {"metric": metric, "layer": list(LAYERS)}), system, marker="o")
        name_blocks(axis)
    for system in learned(fractions):
        level = estimate(select(fractions, {"system": system, "layer": "all"}), profile)
        mark(middle, ratio(system), level, colour(system))
    middle.plot([0, 1], [0, 1], color="0.4", lw=1, ls="--")
    middle.set(xlabel="R", ylabel="Kept under the hard mask", title="If R were a share: dashed")
    left.set(ylabel="Kept under the hard mask", title="By block")
    right.set(ylabel="Queries that keep no key", title="Empty rows")
    for axis in (left, middle, right):
        axis.set_ylim(-0.03, 1.03)
    figure.legend(*left.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=6)
    drawn = select(fractions, {"system": chosen, "layer": "all"})
    caption = (
        f"Share of connections that the hard mask keeps, and of rows (a query of a head) that it empties: "
        f"{sample(drawn)}; {whiskers(profile)}."
    )
    return describe(figure, caption, "Kept connections by block and against R; empty rows.", count(drawn))


def kept_by_length(rows: pd.DataFrame, profile: dict) -> Figure:
    """The kept share against the length of the input, every utterance a point."""
    found = select(rows, {"metric": "kept_fraction", "layer": "all"})
    found = found[found["variant"].str.startswith("joined_").fillna(False)]
    chosen = [*learned(found), *[s for s in ("vp", "top_k", "entmax") if s in set(found["system"])]]
    if not chosen:
        raise PlotError(NONE)
    figure, axis = canvas(1, 8.0, 4.2)
    for system in chosen:
        mine = select(found, {"system": system})
        axis.plot(mine["x"], mine["value"], ".", color=colour(system), alpha=0.5)
        middle = mine.groupby("variant")[["x", "value"]].mean().sort_values("x")
        axis.plot(middle["x"], middle["value"], "o-", color=colour(system), label=label(system))
    axis.set(xlabel="Frames", ylabel="Kept connections, mean over blocks", ylim=(-0.03, 1.03))
    figure.legend(frameon=False, loc="outside right center")
    drawn = select(found, {"system": chosen})
    n = len(drawn[["speaker", "utterance", "variant"]].drop_duplicates())
    caption = (
        f"Kept connections against the length of the input: n = {n} inputs, each of one, two or four test utterances "
        "of a speaker; dots are inputs, circles means."
    )
    return describe(figure, caption, "Kept connections against length.", n)


def cost(rows: pd.DataFrame, profile: dict) -> Figure:
    """Time and memory of a block's attention under each rule as a multiple of fused dense attention's."""
    found = select(rows, {"system": "attention_cost"})
    if found.empty:
        raise PlotError("the cost of attention was not measured: run attention_cost")
    figure, axes = canvas(4, 13.5, 3.8)
    places = [(m, t) for m in ("time_ratio", "memory_ratio") for t in ("forward", "training")]
    for axis, (metric, target) in zip(axes, places, strict=True):
        for rule, (name, tone) in RULES.items():
            mine = select(found, {"metric": metric, "target": target, "variant": rule}).sort_values("x")
            axis.plot(mine["x"], mine["value"], "o-", color=tone, label=name, markersize=5)
        kind = "Time" if metric == "time_ratio" else "Memory"
        axis.set(title=f"{kind}, {target}", xlabel="Frames", ylabel="Ratio to dense", yscale="log")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=6)
    n = found["x"].nunique()
    caption = (
        f"Cost of one block's self-attention as a multiple of fused dense attention, which never stores the weights: "
        f"n = {n} lengths, median of {profile['sp']['cost']['repeats']} repeats. Above 1 pruning costs more. "
        "The mask multiplies weights that were all computed: nothing is saved."
    )
    return describe(figure, caption, "Time and memory of attention under each rule against length.", n)


def maps(
    models: dict[str, PrunedTTS], batch: dict[str, Tensor], names: dict[str, str], head: int = 0, gain: float = 3.0
) -> Figure:
    """Attention of the decoder blocks in one utterance (a batch of one), a row per system, a column per block.

    Colour is the weight times the number of keys: 1 is the mean of a row, `gain` and more the darkest. What a mask
    removes is white.
    """
    figure, axes = canvas(len(LAYERS), 2.7 * len(LAYERS), 2.7 * len(models) + 0.5, rows=len(models), squeeze=False)
    frames = int(batch["frame_lengths"][0])
    for row, (system, model) in zip(axes, models.items(), strict=True):
        observed = model.observe(batch)
        for axis, layer in zip(row, LAYERS, strict=True):
            weights = frames * observed[layer][1][0, head, :frames, :frames].float().cpu()
            image = axis.imshow(weights, cmap="Greys", vmin=0, vmax=gain, interpolation="nearest")
            axis.set_title(block(layer) if system == next(iter(models)) else "")
            axis.grid(visible=False)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(names.get(system, system))
    figure.colorbar(image, ax=axes, shrink=0.5, label="weight × keys")
    caption = (
        f"Attention weights (queries down, keys across) of head {head + 1} in the decoder blocks, one test utterance "
        f"of {frames} frames, n = 1. White is pruned or near zero; 1 is the mean of a row."
    )
    return describe(figure, caption, f"Attention maps of {len(models)} systems in {len(LAYERS)} blocks.", 1)
