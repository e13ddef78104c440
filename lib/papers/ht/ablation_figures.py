"""Figures of the ablations, from rows: layer embedding (HT4), widths (HT5), other conditionings (HT9)."""

import pandas as pd
from matplotlib.figure import Figure

from lib.papers.ht.style import SWEEP, added, colour, difference, dots, gains, label, published, tested
from lib.study.drawing import (
    Dot,
    PlotError,
    canvas,
    common_seeds,
    count,
    describe,
    estimate,
    intervals,
    mark,
    present,
    sample,
    whiskers,
)
from lib.study.units import axis as axis_of

CONDITIONINGS = ("hypertts_d", "concat_d", "cln_d", "lora_d", "prefix_d")
WIDTHS = (  # systems of a line, the column of their width, the line's name, its mark and that of the published one
    (SWEEP, "d_s", "HyperTTS d, d_s", "o", "D"),
    (("hypertts_evd", "hypertts_evd_ds128"), "d_s", "HyperTTS evd, d_s", "s", "s"),
    (("adaptertts_d", "adaptertts_d_b128"), "bottleneck", "AdapterTTS d, bottleneck", "v", None),
)


def ablations(rows: pd.DataFrame, profile: dict) -> Figure:
    """What the layer embedding adds: COS with it minus COS without, by speaker and in the mean."""
    there = set(tested(rows, "cos")["system"])
    pairs = [(s, f"{s}_nolayer") for s in ("hypertts_d", "hypertts_evd") if {s, f"{s}_nolayer"} <= there]
    if not pairs:
        raise PlotError(
            "the layer embedding needs a system with and without it: score hypertts_d and hypertts_d_nolayer"
        )
    figure, axis = canvas(1, 7.5, 1.0 + 1.1 * len(pairs))
    lines = [Dot(difference(rows, *pair, profile), colour(pair[0]), {"markersize": 8}) for pair in pairs]
    title = "COS with the layer embedding minus COS without (points)"
    intervals(axis, [label(with_it) for with_it, _ in pairs], lines, title, zero=True)
    table = tested(rows, "cos", [without for _, without in pairs])
    caption = f"The layer embedding: {sample(table)}; {whiskers(profile)}."
    return describe(figure, caption, "COS gained by the layer embedding, by module.", count(table))


def cos_against_ds(rows: pd.DataFrame, profile: dict) -> Figure:
    """COS against d_s, and against the static adapter's bottleneck; the published sweep in a second panel."""
    table = tested(rows, "cos")
    figure, (ours, theirs) = canvas(2, 10.0, 4.4)
    used = []
    for systems, column, name, shape, hollow in WIDTHS:
        mine, tone = common_seeds(table, present(table, systems)), colour(systems[0])
        told = {}
        for system in present(mine, systems):
            own = mine[mine["system"] == system]
            width = float(own[column].iloc[0])
            mark(ours, width, estimate(own, profile), tone, fmt=shape, markersize=7)
            told |= {width: published(system)["cos"]} if "cos" in published(system) else {}
        means = mine.groupby(column)["value"].mean()
        ours.plot(means.index.astype(float), means, color=tone, lw=1.2, marker=shape, label=name)
        if told and hollow:
            theirs.plot(list(told), list(told.values()), color=tone, lw=1.2, marker=hollow, markerfacecolor="none")
        used.append(mine)
    for system in added(table):
        own = table[table["system"] == system]
        width = own["d_s"].fillna(own["bottleneck"]).dropna()
        if len(width):
            found = estimate(own, profile)
            mark(ours, float(width.iloc[0]), found, colour(system), fmt="P", markersize=9)
            place = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": 8}
            ours.annotate(label(system), (float(width.iloc[0]), found.value), **place)
    base = table[table["system"] == "tts_0"]["value"]
    for axis, level in ((ours, base.mean() if len(base) else None), (theirs, published("tts_0")["cos"])):
        if level is not None:
            axis.axhline(level, color=colour("tts_0"), lw=1.2, ls="--", label="TTS-0")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xticks([2, 8, 32, 128])
        axis.set_xlabel("Width: d_s, or the adapter's bottleneck")
    ours.set(title="Ours", ylabel=axis_of("cos"))
    theirs.set(title="Published (VCTK)")
    figure.legend(*ours.get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=4)
    everything = pd.concat(used)
    caption = (
        f"Speaker similarity against the width of the method, over the seeds that all widths of a line have: "
        f"{sample(everything)}; {whiskers(profile)}. Hollow: the paper's sweep."
    )
    return describe(figure, caption, "COS against d_s and bottleneck, ours and published.", count(everything))


def conditionings(rows: pd.DataFrame, profile: dict) -> Figure:
    """Other ways to use the speaker embedding at the hypernetwork's budget."""
    table = tested(rows, "cos")
    systems, others = present(table, CONDITIONINGS), added(table)
    table = pd.concat([common_seeds(table, systems), table[table["system"].isin(others)]])
    systems += others
    figure, (left, right) = canvas(2, 10.0, 0.45 * len(systems) + 1.5)
    sizes = table.dropna(subset="trainable").groupby("system")["trainable"].first()
    names = [f"{label(s)}\n{sizes[s]:,} weights" if s in sizes else label(s) for s in systems]
    intervals(left, names, dots(table, systems, profile), axis_of("cos"))
    others = [system for system in systems if system != "hypertts_d"] if "hypertts_d" in systems else []
    changes = gains(table, [("hypertts_d", other) for other in others], profile, others)
    intervals(right, [f"over {label(s)}" for s in others], changes, "COS gained by HyperTTS d (points)", zero=True)
    caption = (
        "The hypernetwork and other conditionings of the decoder at the same number of trainable weights: "
        f"{sample(table)}; {whiskers(profile)}. Right: paired differences."
    )
    return describe(figure, caption, "COS of conditionings at the same budget.", count(table))
