"""Figures of attention under the masks: what is kept, what it costs, and the maps themselves."""

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from lib.methods.sparse_attention import PrunedTTS
from lib.papers.sp.figure_parts import LAYERS, block, colour, label, learned
from lib.study.claims import select
from lib.study.drawing import PlotError, canvas, count, describe, mark, sample, settings, whiskers
from lib.study.statistics import interval

RULES = {
    **{"dense": ("Dense (fused)", "#7F7F7F"), "vp": ("VP", "#E69F00"), "dp_soft": ("DP, phase 1", "#56B4E9")},
    **{"dp_hard": ("DP, hard mask", "#0072B2"), "top_k": ("Top-k", "#009E73"), "entmax": ("1.5-entmax", "#CC79A7")},
}


def kept(rows: pd.DataFrame, profile: dict) -> Figure:
    """Connections that the hard mask keeps, by block and against R, and the rows that keep nothing."""
    found = select(rows, {"variant": "joined_1", "layer": [*LAYERS, "all"]})
    fractions = select(found, {"metric": "kept_fraction"})
    if fractions.empty:
        raise PlotError("the kept connections were not counted: run a pruned system")
    chosen = [*learned(fractions), *[s for s in ("vp", "vp_perhead") if s in set(fractions["system"])]]
    figure, (left, middle, right) = canvas(3, 12.5, 4.2)
    for system in chosen:
        means = select(fractions, {"system": system, "layer": list(LAYERS)}).groupby("layer")["value"].mean()
        left.plot(range(len(means)), means, marker="o", color=colour(system), label=label(system))
        empty = select(found, {"metric": "empty_rows", "system": system, "layer": list(LAYERS)})
        means = empty.groupby("layer")["value"].mean()
        right.plot(range(len(means)), means, marker="o", color=colour(system))
    for system in learned(fractions):
        mine = select(fractions, {"system": system, "layer": "all"})
        ratio = profile["sp"]["systems"][system]["ratio"]
        mark(middle, ratio, interval(mine, **settings(profile)), system, color=colour(system))
    middle.plot([0, 1], [0, 1], color="0.4", lw=1, ls="--")
    middle.set(xlabel="R", ylabel="Kept under the hard mask", title="If R were a share: dashed", ylim=(-0.03, 1.03))
    left.set(ylabel="Kept under the hard mask", title="By block", ylim=(-0.03, 1.03))
    right.set(ylabel="Queries that keep no key", title="Empty rows", ylim=(-0.03, 1.03))
    for axis in (left, right):
        axis.set_xticks(range(len(LAYERS)), [block(name) for name in LAYERS])
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
        raise PlotError("the kept connections were not counted: run a pruned system")
    figure, axis = canvas(1, 8.0, 4.2)
    for system in chosen:
        mine = select(found, {"system": system})
        axis.plot(mine["x"], mine["value"], ".", color=colour(system), alpha=0.5)
        means = mine.groupby("variant")[["x", "value"]].mean().sort_values("x")
        axis.plot(means["x"], means["value"], "o-", color=colour(system), label=label(system))
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
