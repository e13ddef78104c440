"""Figures across the papers, drawn from rows alone: gains against weights, generated weights, the factorial experiment.

`draw` takes the rows of all papers; papers without rows are named in the caption.
"""

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.papers.xp.effects import SCALES, Gain, ceiling_gain, cells, effects, experiment, shares, unseen_gains
from lib.papers.xp.weights_figures import clusters
from lib.study import drawing
from lib.study.claims import select
from lib.study.drawing import (
    Dot,
    Drawing,
    PlotError,
    Shown,
    apart,
    canvas,
    count,
    describe,
    estimate,
    intervals,
    legend,
    mark,
    sample,
    whiskers,
)
from lib.study.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED
from lib.study.statistics import StatisticsError
from lib.study.units import METRICS
from lib.study.units import axis as axis_of

NOTEBOOK = "80_across_papers"
KINDS = {
    "hyper": ("Hypernetwork", BLUE),
    "static": ("Static adapter or LoRA", ORANGE),
    "other": ("Other conditioning", PINK),
    "tuned": ("Weights of the model itself", GREEN),
    "pruned": ("All weights, other attention", RED),
}
KIND_OF = {"hypernetwork": "hyper", "hyper": "hyper", "adapter": "static", "lora": "static", "pruned": "pruned"}
KIND_OF |= dict.fromkeys(("concatenation", "layer_norm", "prefix"), "other")
SHAPES = {"HT": "o", "HA": "s", "SP": "^"}
METHODS = {"none": ("Unadapted", GREY), "adapter": ("AdapterTTS d", ORANGE)}
METHODS |= {"hypernetwork": ("HyperTTS d", BLUE)}
ATTENTION = ("dense", "pruned")
SHOWN = (-60.0, 160.0)  # of a share of the ceiling; intervals that leave it are cut
NAMES = {"loc": "outside lower center", "ncols": 6, "fontsize": 8, "handletextpad": 0.1, "columnspacing": 1.0}
MEASURED = ("cos", "mel_l1")
EFFECTS = {
    "pruned, unadapted": "pruned − dense, unadapted",
    "pruned, adapter": "pruned − dense, AdapterTTS d",
    "pruned, hypernetwork": "pruned − dense, HyperTTS d",
    "hypernetwork": "HyperTTS d − AdapterTTS d",
    "interaction": "interaction of the two",
}
LEFT_OUT = (
    "LD is left out: it moves a frozen model's latents a share of the way to a target style, which has no ceiling"
)


def gains(rows: pd.DataFrame, profile: dict) -> Figure:
    """What every method gains against the weights it trains: share of the ceiling, and COS points on new speakers."""
    found, notes, whole = _shares(rows, profile)
    unseen = unseen_gains(rows, profile)
    if not found and not unseen:
        raise PlotError(f"gain against trained weights: {'; '.join(notes)}")
    figure, (left, right) = canvas(2, 13.0, 7.6, width_ratios=[16, 5])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(map(_name, [*found, *unseen])), 1)}
    for axis, points in ((left, found), (right, unseen)):
        _points(axis, points, numbers)
        axis.axhline(0, color=GREY, lw=1.2, ls="--", zorder=1)
        axis.set(xscale="log", xlabel="Trained weights (% of the base model's, log)")
        axis.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
    left.axhline(100, color=KINDS["tuned"][1], lw=1.2, ls="--", zorder=1)
    left.annotate("full fine-tuning", (0, 100), (4, 3), left.get_yaxis_transform(), "offset points", fontsize=8)
    left.set(ylabel="Gain (% of what full fine-tuning gains)", title="On the scale of each paper's ceiling", ylim=SHOWN)
    right.set(ylabel="COS gained (points)", title="Never-seen speakers")
    right.margins(x=0.2)
    named = {f"{numbers[_name(g)]} {g.label}": (KINDS[_kind(g)][1], SHAPES[g.paper]) for g in [*found, *unseen]}
    legend(figure, named, **NAMES)
    _kinds(left if found else right, [*found, *unseen])
    told = "; ".join(whole) or "no paper has a ceiling here"
    if not any(gain.paper == "SP" for gain in unseen):
        notes.append("SP has no rows in this profile yet")
    n = sum(gain.estimate.n for gain in found[:1]) or unseen[0].estimate.n
    caption = (
        f"What a method gains against the weights it trains. Left: {told}; {_samples(found)}. A hollow mark joined "
        "to a filled one is what a hypernetwork generates for one utterance; methods of nearly the same size stand "
        f"side by side. Intervals are cut at −{-SHOWN[0]:g} and {SHOWN[1]:g} %. Right: speakers seen in no training, "
        "HT over TTS-0, SP (all weights trained) over the dense model trained as long: the unit that the two share. "
        f"{whiskers(profile).capitalize()}. {LEFT_OUT}. SP has none either and is not on the left."
        + "".join(f" {note[0].upper()}{note[1:]}." for note in notes)
    )
    alt = f"Scatter of the gains of {len(found)} methods against trained weights, and of {len(unseen)} on new speakers."
    return describe(figure, caption, alt, n)


def _shares(rows: pd.DataFrame, profile: dict) -> tuple[list[Gain], list[str], list[str]]:
    """Shares of all papers on the common scale, why papers are not there, and what each ceiling gains in words."""
    found, notes, whole = [], [], []
    for scale in SCALES:
        try:
            found += shares(rows, profile, scale)
            gain = ceiling_gain(rows, profile, scale)
            bounds = "" if gain.ci_low is None else f" [{gain.ci_low:.3g}, {gain.ci_high:.3g}]"
            numbers = f"{gain.value:+.3g}{bounds}".replace("-", "−")
            whole.append(f"{scale.paper}, {scale.told} ({numbers})")
        except (PlotError, StatisticsError) as error:
            notes.append(f"{scale.paper} is not on the left: {error}")
    return found, notes, whole


def _samples(found: list[Gain]) -> str:
    most = {}
    for gain in found:
        most[gain.paper] = max(most.get(gain.paper, (0, 0, 0)), (gain.estimate.n, gain.estimate.speakers, 0))
    told = [f"{paper}: n = {n} test utterances of {speakers} speakers" for paper, (n, speakers, _) in most.items()]
    return ", ".join(told) or "n = 0"


def _name(gain: Gain) -> tuple[str, str]:
    return gain.paper, gain.system


def _points(axis: Axes, found: list[Gain], numbers: dict[tuple[str, str], int]) -> None:
    """Points with intervals, their numbers above and below in turn."""
    places = apart(pd.Series([gain.trained for gain in found], dtype=float), near=1.12, step=1.11) if found else []
    for order, gain in enumerate(found):
        tone, shape, level = KINDS[_kind(gain)][1], SHAPES[gain.paper], gain.estimate
        if gain.generated and gain.generated < gain.trained / 1.2:
            axis.plot([gain.generated, places[order]], [level.value] * 2, color=tone, lw=0.8, alpha=0.45, zorder=1)
            axis.plot(gain.generated, level.value, shape, color=tone, markerfacecolor="white", markersize=5)
        mark(axis, places[order], level, tone, fmt=shape, elinewidth=1.1, markersize=5.5)
        above = order % 2 == 0
        end = {True: level.ci_high, False: level.ci_low}[above]
        height = max(SHOWN[0] + 5, min(SHOWN[1] - 8, level.value if end is None else end))
        offset = {"xytext": (0, 3 if above else -3), "textcoords": "offset points", "fontsize": 7.5, "ha": "center"}
        axis.annotate(str(numbers[_name(gain)]), (places[order], height), va="bottom" if above else "top", **offset)


def _kind(gain: Gain) -> str:
    return KIND_OF.get(gain.method, "tuned")


def _kinds(axis: Axes, found: list[Gain]) -> None:
    """Two small legends in one: colours for what is trained, shapes for the papers."""
    kinds = [name for name in KINDS if name in {_kind(gain) for gain in found}]
    papers = [paper for paper in SHAPES if paper in {gain.paper for gain in found}]
    shapes = {paper: ("0.3", SHAPES[paper]) for paper in papers}
    named = {KINDS[kind][0]: KINDS[kind][1] for kind in kinds} | shapes
    legend(axis, named, loc="best", fontsize=8, frameon=True, framealpha=0.85, ncols=1)


def factorial(rows: pd.DataFrame, profile: dict) -> Figure:
    """The 2 x 2 experiment: means of the cells, and the effects with their interaction, for COS and log-mel L1."""
    figure, axes = canvas(2, 11.0, 6.4, rows=2, width_ratios=[2, 3], squeeze=False)
    for (left, right), metric in zip(axes, MEASURED, strict=True):
        mine = cells(rows, metric)
        lines = [
            [Dot(estimate(mine[m, a], profile) if (m, a) in mine else None, tone) for m, (_, tone) in METHODS.items()]
            for a in ATTENTION
        ]
        intervals(left, list(ATTENTION), lines, axis_of(metric), step=0.08, vertical=True)
        for number, (dense, pruned) in enumerate(zip(*lines, strict=True)):
            if dense.estimate is not None and pruned.estimate is not None:
                ends = [dense.estimate.value, pruned.estimate.value]
                left.plot([0.08 * (number - 1), 1 + 0.08 * (number - 1)], ends, color=dense.colour, lw=1.2)
        left.set_xlabel("Decoder attention of the backbone")
        told = effects(rows, metric, profile)
        names = [name for name in EFFECTS if name in told]
        tones = [BLACK if n in ("hypernetwork", "interaction") else METHODS[_method(n)][1] for n in names]
        lines = [Dot(told[name], tone) for name, tone in zip(names, tones, strict=True)]
        title = f"Difference in {METRICS[metric].name}"
        intervals(right, [EFFECTS[name] for name in names], lines, title, zero=True)
    legend(figure, dict(METHODS.values()))
    table = pd.concat(cells(rows, "cos").values())
    caption = (
        f"HyperTTS d and AdapterTTS d on a backbone with dense and with pruned decoder attention: {sample(table)}; "
        f"{whiskers(profile)}. COS of synthesised speech, log-mel L1 with the recording's durations, pitch and energy. "
        "The interaction is what pruning changes for HyperTTS minus what it changes for AdapterTTS. There is one "
        "backbone of each kind, so that the intervals say nothing about other backbones."
    )
    return describe(figure, caption, "Cell means and effects of method and attention on two measures.", count(table))


def _method(effect: str) -> str:
    return {"unadapted": "none"}.get(effect.split(", ")[1], effect.split(", ")[1])


def adapters(rows: pd.DataFrame, profile: dict) -> Figure:
    """What the adapters of the experiment do inside: change by block, silhouettes, and what the masks keep."""
    mine = experiment(rows)
    change = select(mine, {"metric": "adapter_change", "split": "test"})
    if change.empty:
        raise PlotError("the factorial experiment has no rows of what adapters change: python -m lib run xp factorial")
    layers = sorted(change["layer"].dropna().unique())
    figure, (left, middle, right) = canvas(3, 12.0, 4.0, width_ratios=[4, 3, 3])
    blocks = [f"block {int(layer[1:]) + 1}" for layer in layers]
    lines, entries = {}, {}
    for method, attention in ((m, a) for m in ("adapter", "hypernetwork") for a in ATTENTION):
        cell = select(change, {"method": method, "variant": attention})
        text, tone = METHODS[method]
        look = {"markerfacecolor": tone if attention == "dense" else "white"}
        lines[method, attention] = [Dot(estimate(cell[cell["layer"] == n], profile), tone, look) for n in layers]
        entries[f"{text}, {attention}"] = tone, look["markerfacecolor"]
    title = "|adapter(h) − h| / |h| (%)"
    intervals(left, blocks, [list(line) for line in zip(*lines.values(), strict=True)], title, step=0.07, vertical=True)
    for number, ((_, attention), line) in enumerate(lines.items()):
        places = [place + 0.07 * (number - 1.5) for place in range(len(layers))]
        heights = [dot.estimate.value for dot in line]
        left.plot(places, heights, color=line[0].colour, lw=1.2, ls="-" if attention == "dense" else "--", zorder=1)
    left.set(title="What an adapter adds", ylim=(0, None))
    handles = [Line2D([], [], color=t, marker="o", markerfacecolor=f, ls="", label=n) for n, (t, f) in entries.items()]
    left.legend(handles=handles, frameon=False, fontsize=8)
    spread = select(mine, {"metric": "silhouette", "variant": list(ATTENTION)})
    tone = METHODS["hypernetwork"][1]
    for place, attention in enumerate(ATTENTION):
        dots = spread[spread["variant"] == attention].groupby("speaker")["value"].mean()
        middle.plot([place - 0.15] * len(dots), dots, ".", color=tone, alpha=0.4)
    each = [Dot(estimate(spread[spread["variant"] == attention], profile), tone) for attention in ATTENTION]
    intervals(middle, list(ATTENTION), each, "Silhouette by speaker", vertical=True)
    middle.set_title("Generated weights")
    kept = select(mine, {"metric": "kept_fraction"})
    each = [Dot(estimate(kept[kept["layer"] == layer], profile), KINDS["pruned"][1]) for layer in layers]
    intervals(right, blocks, each, "Share of connections", vertical=True)
    right.set(title="What the hard masks keep", ylim=(-0.03, 1.03))
    caption = (
        f"What adapters learn on either backbone: {sample(change)}; {whiskers(profile)}. Left: the norm of what an "
        "adapter adds, in % of what passes it, by decoder block. Middle: silhouettes of HyperTTS's generated weights "
        "by speaker; small dots are speakers. Right: connections that the pruned backbone's masks keep."
    )
    return describe(figure, caption, "Change by adapters, silhouettes, and kept connections by block.", count(change))


FIGURES = {
    "xp_gain": Drawing(gains, NOTEBOOK, "gain"),
    "xp_clusters": Drawing(clusters, NOTEBOOK, "clusters"),
    "xp_factorial": Drawing(factorial, NOTEBOOK, "factorial"),
    "xp_adapters": Drawing(adapters, NOTEBOOK, "factorial"),
}
draw = partial(drawing.draw, FIGURES)


def shown(name: str, rows: pd.DataFrame, profile: dict, keep: bool = True) -> Shown | str:
    """The figure, or the sentence that says which rows it lacks: papers may not have run yet.

    keep: write it beside the profile's other figures; not for an experiment with other settings than the profile's.
    """
    try:
        return draw(name, rows, profile) if keep else drawing.show(FIGURES[name].draw(rows, profile))
    except (PlotError, StatisticsError) as error:
        return f"{name} is not drawn: {error}"
