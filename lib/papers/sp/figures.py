"""Figures of pruned attention from rows: quality against R, systems beside the dense model, thetas, training.

What is about attention itself is in `lib.papers.sp.attention`, references and speakers in
`lib.papers.sp.speaker_figures`; `FIGURES` has all of them.
"""

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lib.papers.sp import attention
from lib.papers.sp import speaker_figures as speakers
from lib.papers.sp.style import (
    BASELINE,
    LAYERS,
    against,
    block,
    colour,
    gained,
    has,
    label,
    learned,
    means,
    measured,
    name_blocks,
    published,
    ratio,
)
from lib.study import drawing
from lib.study.claims import select
from lib.study.drawing import (
    Dot,
    Drawing,
    PlotError,
    canvas,
    count,
    describe,
    estimate,
    intervals,
    mark,
    sample,
    whiskers,
)
from lib.study.units import axis as axis_of
from lib.study.units import change

QUALITY = ("mos_predicted", "cos", "secs", "cer")
COMPARED = ("cos", "secs", "mos_predicted", "cer", "mel_l1")
PUBLISHED = {  # the paper's measure, what it is multiplied by, its axis
    "mos_predicted": ("mos", 1.0, "MOS by listeners"),
    "cos": ("secs", 100.0, "SECS × 100 (ECAPA-TDNN)"),
    "secs": ("secs", 1.0, "SECS"),
    "cer": ("cer", 1.0, "CER (ratio)"),
}
LEVELS = ((BASELINE, "--"), ("vp", ":"))  # drawn as lines, since they have no R


def quality(rows: pd.DataFrame, profile: dict) -> Figure:
    """Predicted MOS, similarity and CER against R, and below what the paper published."""
    table = measured(rows)
    systems = learned(table)
    metrics = [metric for metric in QUALITY if has(table, metric, systems)]
    if not metrics:
        raise PlotError("quality against R needs a system with a learned threshold: run dp_r45")
    figure, axes = canvas(len(metrics), 3.6 * len(metrics) + 0.6, 6.4, rows=2, squeeze=False)
    for metric, ours, theirs in zip(metrics, axes[0], axes[1], strict=True):
        _levels(ours, select(table, {"metric": metric}), profile)
        line = []
        for system in systems:
            level = estimate(select(table, {"metric": metric, "system": system}), profile)
            if level is not None:
                mark(ours, ratio(system), level, colour(system))
                line.append((ratio(system), level.value))
        ours.plot(*zip(*line, strict=True), color=colour("dp_r45"), lw=1, alpha=0.6)
        ours.set(ylabel=axis_of(metric), title="Ours")
        _published(theirs, metric)
        theirs.set(ylabel=PUBLISHED[metric][2], xlabel="R (lower prunes more)", title="Published")
        for axis in (ours, theirs):
            axis.set_xlim(min(0.15, *map(ratio, systems)), max(0.85, *map(ratio, systems)))
    handles = [Line2D([], [], color=colour(s), ls=line, label=label(s)) for s, line in LEVELS]
    handles.append(Line2D([], [], color=colour("dp_r45"), marker="o", label="DP"))
    handles += [Line2D([], [], color=colour(s), marker="o", ls="", label=label(s)) for s in systems if "_ratio_" in s]
    figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=len(handles))
    drawn = select(table, {"metric": metrics[0], "system": systems})
    caption = (
        f"Quality against R on never-seen speakers: {sample(drawn)}; {whiskers(profile)}, the band is that of the "
        "dense model. The MOS is predicted by DistillMOS, the published one is by listeners; our similarities are "
        "GE2E's and CAM++'s, the published one ECAPA-TDNN's. Compare directions, not levels."
    )
    alt = "Three measures of quality against R, ours above and published below."
    return describe(figure, caption, alt, count(drawn))


def _levels(axis: Axes, table: pd.DataFrame, profile: dict) -> None:
    for system, line in LEVELS:
        level = estimate(select(table, {"system": system}), profile)
        if level is None:
            continue
        axis.axhline(level.value, color=colour(system), ls=line, lw=1.4)
        if system == BASELINE and level.ci_low is not None:
            axis.axhspan(level.ci_low, level.ci_high, color=colour(system), alpha=0.12, lw=0)


def _published(axis: Axes, metric: str) -> None:
    name, factor, _ = PUBLISHED[metric]
    for system, line in LEVELS:
        if name in published(system):
            axis.axhline(factor * published(system)[name], color=colour(system), ls=line, lw=1.4)
    for system in ("dp_r40", "dp_r45", "dp_r50"):
        if name in published(system):
            value = factor * published(system)[name]
            axis.plot(ratio(system), value, "D", color=colour(system), markerfacecolor="none", markersize=7)


def systems(rows: pd.DataFrame, profile: dict) -> Figure:
    """Every system against the dense model of the same size, trained for the same steps."""
    table = measured(rows)
    pairs = against(table)
    if not pairs:
        raise PlotError("systems are compared with the dense model: run baseline and another one")
    metrics = [metric for metric in COMPARED if has(table, metric, [BASELINE])]
    figure, axes = canvas(len(metrics), 2.3 * len(metrics) + 2.2, 0.3 * len(pairs) + 1.3, sharey=True, squeeze=False)
    for metric, axis in zip(metrics, axes[0], strict=True):
        mine = select(table, {"metric": metric})
        lines = [Dot(gained(mine, *pair, profile), colour(pair[0])) for pair in pairs]
        hollow = [_published_gain(metric, system) for system, _ in pairs]
        intervals(axis, [label(system) for system, _ in pairs], lines, change(metric), zero=True, hollow=hollow)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    drawn = select(table, {"metric": "cos", "system": [system for system, _ in pairs]})
    caption = (
        "Change against the dense model that trained for the same steps, never-seen speakers, paired by utterance: "
        f"{sample(drawn)}; {whiskers(profile)}. Hollow diamonds: the published change (MOS by listeners, "
        "SECS × 100, CER). Right is better for COS and MOS, left for CER and the log-mel error."
    )
    return describe(figure, caption, f"Paired differences of {len(pairs)} systems to the dense model.", count(drawn))


def _published_gain(metric: str, system: str) -> float | None:
    name, factor, _ = PUBLISHED.get(metric, ("", 1.0, ""))
    both = published(system), published(BASELINE)
    return factor * (both[0][name] - both[1][name]) if all(name in facts for facts in both) else None


def theta(rows: pd.DataFrame, profile: dict) -> Figure:
    """The final threshold of each decoder block by R, and the paper's Table 3 beside it."""
    found = select(rows, {"metric": "theta", "layer": list(LAYERS)})
    chosen = learned(found, everything=True)
    if not chosen:
        raise PlotError("thresholds by block need a system with a learned threshold: run dp_r45")
    figure, (ours, theirs) = canvas(2, 10.0, 4.4)
    for system in chosen:
        means(ours, found, system, marker="o", ls="-" if system in learned(found) else ":")
    for system in ("dp_r50", "dp_r45", "dp_r40"):
        if "theta" in published(system):
            values = published(system)["theta"]
            theirs.plot(range(len(values)), values, marker="D", markerfacecolor="none", color=colour(system))
            place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": "small"}
            text = label(system).removeprefix("DP ")
            theirs.annotate(text, (len(values) - 1, values[-1]), color=colour(system), **place)
    for axis, title in ((ours, "Ours"), (theirs, "Published (Table 3)")):
        axis.axhline(1, color="0.4", lw=1, ls="--")
        axis.set(title=title, ylabel="θ")
        name_blocks(axis)
    figure.legend(*ours.get_legend_handles_labels(), frameon=False, loc="outside right center", fontsize="small")
    n = found[found["system"].isin(chosen)]["run_id"].nunique()
    caption = (
        f"Threshold θ of each decoder block after training, mean over seeds: n = {n} trainings. At θ = 1 (dashed) a "
        "connection is kept if it is at least the mean of its row; below 0 nothing can be pruned. Dotted: variants of "
        "R = 0.45."
    )
    return describe(figure, caption, "Threshold by decoder block for each R, ours and published.", n)


def curves(rows: pd.DataFrame, profile: dict) -> Figure:
    """Thetas, L_sp and the log-mel loss during training."""
    curve = select(rows, {"variant": "curve"})
    chosen = learned(curve, everything=True)
    if not chosen:
        raise PlotError("learning curves need a system with a learned threshold: run dp_r45")
    figure, axes = canvas(3, 12.5, 4.0)
    shown = "dp_r45" if "dp_r45" in chosen else chosen[0]
    for place, (layer, group) in enumerate(select(curve, {"metric": "curve_theta", "system": shown}).groupby("layer")):
        means(axes[0], group, shown, by="x", color=f"C{place}", label=block(layer))
    axes[0].legend(frameon=False, fontsize="small")
    for metric, axis in (("curve_theta", axes[1]), ("curve_sparsity", axes[2])):
        for system in chosen:
            line = "-" if system in learned(curve) else ":"
            means(axis, select(curve, {"metric": metric}), system, by="x", ls=line, lw=1.3)
    axes[0].set(title=f"θ of {label(shown)}", ylabel="θ")
    axes[1].set(title="Mean θ over blocks", ylabel="θ")
    axes[2].set(title="L_sp (phase 1)", ylabel="(mean soft mask − R)²", yscale="log")
    for axis in axes:
        axis.set_xlabel("Training step")
        axis.axvline(profile["sp"]["soft_steps"], color="0.4", lw=1, ls="--")
    names = {"frameon": False, "loc": "outside lower center", "ncols": 5, "fontsize": "small"}
    figure.legend(*axes[1].get_legend_handles_labels(), **names)
    n = curve[curve["system"].isin(chosen)]["run_id"].nunique()
    caption = (
        f"Training under soft masks and then hard ones: n = {n} trainings, one batch a point. The dashed line is the "
        "end of phase 1, after which θ rests and there is no L_sp; variants with another phase 1 or none differ."
    )
    return describe(figure, caption, "Thresholds and sparsity loss against training steps.", n)


FIGURES = {
    "sp_curves": Drawing(curves, "20_pruning_train", "training"),
    "sp_quality": Drawing(quality, "21_pruning_sweep", "SP5"),
    "sp_systems": Drawing(systems, "21_pruning_sweep", "SP2"),
    "sp_theta": Drawing(theta, "21_pruning_sweep", "SP3"),
    "sp_kept": Drawing(attention.kept, "22_attention_maps", "kept"),
    "sp_kept_length": Drawing(attention.kept_by_length, "22_attention_maps", "kept"),
    "sp_cost": Drawing(attention.cost, "22_attention_maps", "cost"),
    "sp_phase": Drawing(speakers.phase, "23_phase_and_mismatch", "SP7"),
    "sp_seen": Drawing(speakers.seen, "23_phase_and_mismatch", "SP9"),
    "sp_mismatch": Drawing(speakers.by_mismatch, "23_phase_and_mismatch", "SP10"),
    "sp_references": Drawing(speakers.references, "23_phase_and_mismatch", "references"),
}
draw = partial(drawing.draw, FIGURES)
