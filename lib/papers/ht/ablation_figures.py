"""Figures of the ablations, from rows: layer embedding (HT4), widths (HT5), other conditionings (HT9)."""

import pandas as pd
from matplotlib.figure import Figure

from lib.study.drawing import (
    AXES,
    SWEEP,
    PlotError,
    canvas,
    colour,
    common_seeds,
    count,
    describe,
    difference,
    label,
    mark,
    name_rows,
    present,
    sample,
    settings,
    tested,
    whiskers,
    written,
)
from lib.study.statistics import interval

CONDITIONINGS = ("hypertts_d", "concat_d", "cln_d", "lora_d", "prefix_d")


def ablations(rows: pd.DataFrame, profile: dict) -> Figure:
    """What the layer embedding adds: COS with it minus COS without, by speaker and in the mean."""
    pairs = [(s, f"{s}_nolayer") for s in ("hypertts_d", "hypertts_evd")]
    there = set(tested(rows, "cos")["system"])
    pairs = [pair for pair in pairs if set(pair) <= there]
    if not pairs:
        raise PlotError(
            "the layer embedding needs a system with and without it: score hypertts_d and hypertts_d_nolayer"
        )
    figure, axis = canvas(1, 7.5, 1.0 + 1.1 * len(pairs))
    for place, (with_it, without) in enumerate(pairs):
        for speaker in tested(rows, "cos", [without])["speaker"].unique():
            mine = difference(rows[(rows["speaker"] == speaker).fillna(False)], with_it, without, profile)
            axis.plot(mine.value, place + 0.22, "o", color=colour(with_it), alpha=0.4, markersize=4)
        mark(axis, place, difference(rows, with_it, without, profile), with_it, vertical=False, markersize=8)
    name_rows(axis, [label(with_it) for with_it, _ in pairs])
    axis.axvline(0, color="0.4", lw=1.2, ls="--")
    axis.set_xlabel("COS with the layer embedding minus COS without (points)")
    table = tested(rows, "cos", [without for _, without in pairs])
    caption = f"The layer embedding: {sample(table)}; small dots are speakers, {whiskers(profile)}."
    return describe(figure, caption, "COS gained by the layer embedding, by module.", count(table))


def cos_against_ds(rows: pd.DataFrame, profile: dict) -> Figure:
    """COS against d_s, and against the static adapter's bottleneck; the published sweep in a second panel."""
    table = tested(rows, "cos")
    figure, (ours, theirs) = canvas(2, 10.0, 4.4)
    lines = ((SWEEP, "d_s", "o"), (("hypertts_evd", "hypertts_evd_ds128"), "d_s", "s"))
    lines += ((("adaptertts_d", "adaptertts_d_b128"), "bottleneck", "v"),)
    used = []
    for systems, column, shape in lines:
        mine = common_seeds(table, present(table, systems))
        published = {}
        for system in present(mine, systems):
            own = mine[mine["system"] == system]
            width = float(own[column].iloc[0])
            mark(ours, width, interval(own, **settings(profile)), system, fmt=shape, markersize=7)
            published |= {width: written()[system]["cos"]} if "cos" in written()[system] else {}
        means = mine.groupby(column)["value"].mean()
        name = {"o": "HyperTTS d, d_s", "s": "HyperTTS evd, d_s", "v": "AdapterTTS d, bottleneck"}[shape]
        tone = colour(systems[0])
        ours.plot(means.index.astype(float), means, color=tone, lw=1.2, marker=shape, label=name)
        if published and column == "d_s":
            hollow = {"markerfacecolor": "none", "marker": {"o": "D", "s": "s"}[shape]}
            theirs.plot(list(published), list(published.values()), color=tone, lw=1.2, label=name, **hollow)
        used.append(mine)
    base = table[table["system"] == "tts_0"]["value"]
    for axis, level in ((ours, base.mean() if len(base) else None), (theirs, written()["tts_0"]["cos"])):
        if level is not None:
            axis.axhline(level, color=colour("tts_0"), lw=1.2, ls="--", label="TTS-0")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xticks([2, 8, 32, 128])
        axis.set_xlabel("Width: d_s, or the adapter's bottleneck")
    ours.set(title="Ours", ylabel=AXES["cos"])
    theirs.set(title="Published (VCTK)")
    handles, names = ours.get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, loc="outside upper center", ncols=4)
    everything = pd.concat(used)
    caption = (
        f"Speaker similarity against the width of the method, over the seeds that all widths of a line have: "
        f"{sample(everything)}; {whiskers(profile)}. Hollow: the paper's sweep."
    )
    return describe(figure, caption, "COS against d_s and bottleneck, ours and published.", count(everything))


def conditionings(rows: pd.DataFrame, profile: dict) -> Figure:
    """Other ways to use the speaker embedding at the hypernetwork's budget."""
    table = tested(rows, "cos", CONDITIONINGS)
    systems = present(table, CONDITIONINGS)
    table = common_seeds(table, systems)
    figure, (left, right) = canvas(2, 10.0, 0.45 * len(systems) + 1.5)
    names = []
    for place, system in enumerate(systems):
        mine = table[table["system"] == system]
        mark(left, place, interval(mine, **settings(profile)), system, vertical=False)
        size = mine["trainable"].dropna()
        names.append(f"{label(system)}\n{size.iloc[0]:,} weights" if len(size) else label(system))
    name_rows(left, names)
    left.set_xlabel(AXES["cos"])
    others = [system for system in systems if system != "hypertts_d"] if "hypertts_d" in systems else []
    for place, system in enumerate(others):
        mark(right, place, difference(table, "hypertts_d", system, profile), system, vertical=False)
    name_rows(right, [f"over {label(system)}" for system in others])
    right.axvline(0, color="0.4", lw=1.2, ls="--")
    right.set_xlabel("COS gained by HyperTTS d (points)")
    caption = (
        "The hypernetwork and other conditionings of the decoder at the same number of trainable weights: "
        f"{sample(table)}; {whiskers(profile)}. Right: paired differences."
    )
    return describe(figure, caption, "COS of five conditionings at the same budget.", count(table))
