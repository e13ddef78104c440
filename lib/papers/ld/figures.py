"""Figures of the latent diffusion study from rows: the guidance sweep, style against content, the controls.

What is measured before any diffusion is in `lib.papers.ld.diagnostic_figures`, latents themselves are drawn by
`lib.papers.ld.pictures`; `FIGURES` has all that rows alone can show.
"""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.papers.ld import diagnostic_figures as diagnostics
from lib.papers.ld.style import MOVING, SWEPT, at_nominal, colour, dots, label, legend, nominal, sample
from lib.study import drawing
from lib.study.claims import select
from lib.study.drawing import Drawing, canvas, count, describe, estimate, found, intervals, mark, present, whiskers
from lib.study.statistics import Estimate
from lib.study.units import axis as axis_of
from lib.study.units import short

STILL = ("text", "reconstruction", "reference", "two_space")  # of the plane's systems those without a diffusion
COMPARED = ("cer_added", "style_moved", "style_moved_intact", "content_broken")


def guidance(rows: pd.DataFrame, profile: dict) -> Figure:
    """Content, style and speaker against the guidance scale; content once more of the systems that keep the words."""
    systems = present(rows, SWEPT, "LD")
    table = found(rows, "cer_added", system=systems)
    keeping = [system for system in systems if system in set(living(table, profile)["system"])]
    panels = {
        **{"CER added (ratio)": ("cer_added", systems)},
        **({"CER added, where words are kept": ("cer_added", keeping)} if keeping else {}),
        **{axis_of(metric): (metric, systems) for metric in ("style_moved", "style_moved_intact")},
        "COS to the neutral recording": ("cos", systems),
    }
    figure, axes = canvas(3, 12.4, 7.2, rows=2)
    for axis, (title, (metric, shown)) in zip(axes.flat, panels.items(), strict=False):
        drawn = []
        for shift, system in enumerate(shown):
            mine = found(rows, metric, system=system)
            means = mine.groupby("x")["value"].mean()
            axis.plot(means.index, means, color=colour(system), lw=1.2, alpha=0.7)
            offset = 0.05 * (shift - (len(shown) - 1) / 2)
            for x, group in mine.groupby("x"):
                drawn.append(estimate(group, profile))
                mark(axis, x + offset, drawn[-1], colour(system), markersize=5)
        axis.axhline(0 if metric != "cos" else np.nan, color="0.5", lw=1)
        axis.set(xlabel="Guidance scale", ylabel=title, ylim=ends(drawn))
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    handles = {label(system): colour(system) for system in systems}
    drawing.legend(axes.flat[-1], handles, ncols=1, loc="center")
    caption = (
        f"Classifier-free guidance: {sample(table)}, of which {seeds_told(table)}; {whiskers(profile)}, cut where they "
        "leave the panel. CER added is against the same text before any diffusion. 100 % is the move from the "
        "recording to its restyling; words count as intact while the CER has risen by at most "
        f"{profile['ld']['evaluate']['intact_cer']:g}. Scale 0 ignores the condition."
    )
    alt = "CER, style moved and speaker similarity against the guidance scale."
    return describe(figure, caption, alt, count(table))


def living(table: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """The rows of CER added of systems that keep the words at the smallest guidance scale that they have."""
    means = table.groupby(["system", "x"])["value"].mean().groupby("system").first()
    return table[table["system"].isin(means[means <= profile["ld"]["evaluate"]["intact_cer"]].index)]


def ends(estimates: list[Estimate]) -> tuple[float, float]:
    """Ends of an axis that holds every mean, those of the seeds as well, with a margin; intervals may go beyond."""
    places = np.concatenate([[each.value, *each.means.get("seed", [])] for each in estimates])
    margin = 0.15 * (np.ptp(places) or 1.0)
    return float(places.min() - margin), float(places.max() + margin)


def seeds_told(table: pd.DataFrame) -> str:
    """As in: 4 or 5 at each point."""
    counts = sorted(set(table.groupby(["system", "x"])["seed"].nunique()))
    return f"{' or '.join(map(str, counts))} at each point"


def pareto(points: list[tuple[float, float]]) -> list[int]:
    """Indices, by cost, of the points (cost, gain) that no other point beats in both."""
    best, front = -np.inf, []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > best:
            best = points[index][1]
            front.append(index)
    return front


def plane(rows: pd.DataFrame, profile: dict) -> Figure:
    """Style gained against content lost: a point per system and guidance scale, and the Pareto front; beside it the
    part where words are kept.
    """
    moving = present(rows, MOVING, "LD")
    table = found(rows, "cer_added", system=moving)
    limit = profile["ld"]["evaluate"]["intact_cer"]
    figure, both = canvas(2, 12.4, 5.6, sharey=True)
    points = []
    for (system, x), cost in table.groupby(["system", "x"]):
        gain = select(rows, {"metric": "style_moved", "system": system})
        points.append((system, f"{x:g}", estimate(cost, profile), estimate(gain[gain["x"] == x], profile)))
    for system in STILL:
        cost, gain = (select(rows, {"metric": m, "system": system}) for m in ("cer_added", "style_moved"))
        if len(cost) and len(gain):
            points.append((system, "", estimate(cost, profile), estimate(gain, profile)))
    sampled = [(cost.value, gain.value) for _, x, cost, gain in points if x]
    front = [sampled[i] for i in pareto(sampled)]
    near = [cost for *_, cost, _ in points if cost.value <= limit]
    for axis, shown in zip(both, ([cost for *_, cost, _ in points], near or [points[0][2]]), strict=True):
        for system, x, cost, gain in points:
            _cross(axis, cost, gain, colour(system), fmt="o" if x else "D")
            if (cost.value <= limit) == (axis is both[1]):
                place = {"textcoords": "offset points", "fontsize": 8, "annotation_clip": True}
                axis.annotate(x, (cost.value, gain.value), (4, 4), **place)
        axis.step(*zip(*front, strict=True), where="post", color="0.6", lw=1.2, ls="--", zorder=0)
        axis.axvline(limit, color="0.5", lw=1, ls=":")
        axis.set(xlabel=axis_of("cer_added"), xlim=ends(shown), ylim=ends([gain for *_, gain in points]))
    both[0].set_ylabel(axis_of("style_moved"))
    both[1].set_title("Where words are kept")
    legend(figure, [*moving, *present(rows, STILL)], 4)
    caption = (
        f"Style gained against content lost: {sample(table)}, of which {seeds_told(table)}; {whiskers(profile)}, cut "
        "where they leave the panel. Numbers are guidance scales, diamonds involve no diffusion, the dashed line is "
        f"the Pareto front of the diffusions. Right of the dotted line the CER has risen by more than {limit:g}."
    )
    return describe(figure, caption, "Style moved against CER added by system and guidance scale.", count(table))


def _cross(axis: Axes, x: Estimate, y: Estimate, tone: str, fmt: str = "o") -> None:
    """A point with an interval in both directions."""
    for vertical, (place, level) in enumerate(((y.value, x), (x.value, y))):
        mark(axis, place, level, tone, bool(vertical), fmt=fmt, elinewidth=1.1)


def compared(
    rows: pd.DataFrame, profile: dict, systems: tuple[str, ...], what: str, metrics: tuple[str, ...] = COMPARED
) -> Figure:
    """Systems side by side at the nominal guidance scale, by style."""
    at = at_nominal(rows, profile)
    systems = present(at, systems, "LD")
    table = found(at, metrics[0], system=systems)
    styles = sorted(set(table["variant"].dropna()))
    metrics = [metric for metric in metrics if metric in set(select(at, {"system": systems})["metric"])]
    figure, axes = canvas(len(metrics), 12.0, 0.6 * len(systems) + 2.0, squeeze=False, sharey=True)
    for axis, metric in zip(axes[0], metrics, strict=True):
        mine = select(at, {"metric": metric})
        intervals(axis, [label(system) for system in systems], dots(mine, systems, profile), short(metric))
        for number, style in enumerate(styles):
            look = {"fmt": "<>^v"[(number + 1) % 4], "markersize": 4, "alpha": 0.55}
            for place, small in enumerate(dots(select(mine, {"variant": style}), systems, profile, **look)):
                if small.estimate is not None:
                    mark(axis, place + 0.16 + 0.12 * number, small.estimate, small.colour, False, **look)
        axis.set_ylim(len(systems) - 0.3, -0.5)  # below the last system's styles
        axis.axvline(0, color="0.6", lw=1)
        axis.xaxis.label.set_fontsize("small")
    marks = "; ".join(f"{'<>^v'[(i + 1) % 4]} {style.replace('_', ' ')}" for i, style in enumerate(styles))
    caption = (
        f"{what} Guidance {nominal(profile):g}: {sample(table)}; {whiskers(profile)}. Circles: all styles; small marks "
        f"by style ({marks})."
    )
    return describe(figure, caption, f"Dot plot of {len(systems)} systems on content and style.", count(table))


def half(rows: pd.DataFrame, profile: dict) -> Figure:
    """Samplers with half of their training and with all of it, where the profile trains them in two halves."""
    pairs = ((entry["half"], name) for name, entry in profile["ld"]["systems"].items() if "half" in entry)
    what = "Samplers with half of their training and with all of it: what more training would change."
    return compared(rows, profile, tuple(name for pair in pairs for name in pair), what)


decoder = partial(  # LD2
    compared,
    systems=("reference", "reconstruction", "reconstruction_trainable_decoder", "palette_aligned",
             "palette_trainable_decoder"),
    what="The frozen decoder and one trained on, for the z of restyled recordings and for sampled z.",
)  # fmt: skip
speakers = partial(  # LD2
    compared,
    systems=("reconstruction", "reconstruction_trainable_decoder", "reconstruction_voices_decoder",
             "reconstruction_speaker_decoder", "reconstruction_other_speaker"),
    what="z of restyled recordings through joe's decoders, and through one of many voices told joe or another speaker.",
    metrics=("style_kept", "style_moved_intact", "cer", "cos", "cos_other"),
)  # fmt: skip
two_space = partial(
    compared,
    systems=("text", "palette_aligned", "i2sb_aligned", "palette_content_removed", "two_space", "two_space_neutral"),
    what="Style moved within z by a diffusion, and told to the decoder beside z.",
)
alignment = partial(  # LD5 and LD7
    compared,
    systems=("text", "palette", "palette_aligned", "i2sb", "i2sb_aligned"),
    what="Training pairs with sampled durations, as in the paper, and with shared durations (aligned).",
)
content = partial(  # LD9
    compared,
    systems=("reconstruction", "reconstruction_content_random", "reconstruction_content_kept", "text",
             "palette_aligned", "palette", "palette_content_removed"),
    what="Palette on all of z, and kept out of the directions that tell phones apart; restyled recordings through z, "
    "with the neutral recording's z in those directions (content kept) or in as many random ones.",
)  # fmt: skip
FIGURES = {
    "ld_posterior": Drawing(diagnostics.posterior, "30_latent_diagnostics", "posterior"),
    "ld_variance": Drawing(diagnostics.variance, "30_latent_diagnostics", "LD3"),
    "ld_probes": Drawing(diagnostics.probes, "30_latent_diagnostics", "LD3"),
    "ld_steering": Drawing(diagnostics.steering, "30_latent_diagnostics", "steering"),
    "ld_misalignment": Drawing(diagnostics.misalignment, "30_latent_diagnostics", "LD4"),
    "ld_half": Drawing(half, "31_latent_diffusion_train", "half"),
    "ld_guidance": Drawing(guidance, "32_guidance_sweep", "LD1"),
    "ld_plane": Drawing(plane, "32_guidance_sweep", "LD6"),
    "ld_decoder": Drawing(decoder, "33_decoder_and_alignment", "LD2"),
    "ld_alignment": Drawing(alignment, "33_decoder_and_alignment", "LD7"),
    "ld_content": Drawing(content, "33_decoder_and_alignment", "LD9"),
    "ld_speakers": Drawing(speakers, "33_decoder_and_alignment", "LD2"),
    "ld_two_space": Drawing(two_space, "33_decoder_and_alignment", "two_space"),
    "ld_clap": Drawing(diagnostics.clap, "34_clap_and_prosody", "LD8"),
    "ld_acted": Drawing(diagnostics.acted, "34_clap_and_prosody", "acted"),
}
draw = partial(drawing.draw, FIGURES)
