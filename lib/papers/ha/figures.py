"""Figures of the HA study that are drawn from rows: errors by cohort, method, severity and budget.

Angles and probes are in `lib.papers.ha.measure_figures`; transcripts and players in `lib.papers.ha.transcripts`.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from lib.papers.ha.measure_figures import angles, columns, probes
from lib.papers.ha.size_figures import sizes
from lib.papers.ha.style import (
    CAPPED,
    COHORTS,
    LARGER,
    METHODS,
    colour,
    differences,
    dots,
    errors,
    from_zero,
    label,
    levels,
    sample,
    trained,
    usable,
)
from lib.study import drawing
from lib.study.claims import load_claims
from lib.study.columns import of as columns_of
from lib.study.drawing import (
    Dot,
    Drawing,
    PlotError,
    apart,
    canvas,
    count,
    describe,
    estimate,
    intervals,
    legend,
    mark,
    whiskers,
)
from lib.study.palette import listed

AT_ONE_BUDGET = ("whisper_0", "lora_w1", "lora_self", "lora_cross", "lora_encoder")
UNSEEN = ("lora_w1_b01", "lora_w1", "cohort_lora", "cohort_ft", "cohort_full", "full")
CONDITIONED = ("hyper", "hyper_ge2e", "hyper_speaker", "hyper_mlp")
SEVERITIES = ("mild", "moderate", "severe")
UNTRAINED = ("mixed", "cluttering", "dysphonia")


def severity(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER against severity for each cohort: Whisper as it is, static LoRA and the hypernetwork."""
    systems = usable(rows, ("whisper_0", "lora_w1", "hyper", "full"))
    cohorts = [c for c in COHORTS if c != "typical" and not errors(rows, systems, cohort=c, empty=True).empty]
    figure, axes = canvas(len(cohorts), 2.2 * len(cohorts) + 1.2, 3.6, squeeze=False)
    for axis, cohort in zip(axes[0], cohorts, strict=True):
        lines = [dots(rows, systems, profile, {"markersize": 5}, cohort=cohort, severity=s) for s in SEVERITIES]
        intervals(axis, SEVERITIES, lines, CAPPED if axis is axes[0][0] else "", step=0.12, vertical=True)
        for number, system in enumerate(systems):
            shift = 0.12 * (number - (len(systems) - 1) / 2)
            line = [(place + shift, each[number].estimate) for place, each in enumerate(lines)]
            line = [(x, level.value) for x, level in line if level is not None]
            axis.plot(*zip(*line, strict=True), color=colour(system), lw=1, alpha=0.7)
        axis.set_xticks(range(3), SEVERITIES, rotation=30)
        axis.set_title(COHORTS[cohort])
        axis.set_ylim(bottom=0)
    legend(figure, {label(system): colour(system) for system in systems})
    table = errors(rows, systems)
    caption = (
        f"Word error rate by cohort and severity, test sentences of all speakers: {sample(table, profile)}; "
        f"{whiskers(profile)}. Each panel has a scale of its own. {severities_mean(profile)}"
    )
    return describe(figure, caption.rstrip(), "WER by cohort and severity for several systems.", count(table))


def severities_mean(profile: dict) -> str:
    """What the profile's corpus means by severity, where it is other speech than the study's own."""
    return columns_of(load_claims(), profile)["papers"]["HA"].get("severities", "")


def ceiling(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER of full fine-tuning and of the parameter-efficient methods, on training and on never-seen speakers."""
    systems = usable(rows, METHODS + ("bias", "lora_mlp"))
    figure, axes = canvas(2, 9.5, 0.34 * len(systems) + 1.5, sharey=True)
    named = (("adaptation", "Training speakers, new sentences"), ("never_seen", "Never-seen speakers"))
    for axis, (role, title) in zip(axes, named, strict=True):
        levels(axis, rows, systems, profile, role=role, cohort=trained(rows))
        axis.set_title(title)
    table = errors(rows, systems, cohort=trained(rows))
    caption = (
        f"WER on the trained cohorts: {sample(table, profile)}; {whiskers(profile)}. A speaker's own LoRA hears only "
        "that speaker."
    )
    return describe(figure, caption, "WER of all methods on two groups of speakers.", count(table))


def cohorts(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER of every method on every cohort of never-seen speakers, typical speech included."""
    systems = usable(rows, [name for name in METHODS if name != "individual"])
    shown = [c for c in COHORTS if not errors(rows, systems, role="never_seen", cohort=c, empty=True).empty]
    figure, axes = canvas(len(shown), 1.65 * len(shown) + 2.0, 0.36 * len(systems) + 1.4, sharey=True, squeeze=False)
    for axis, cohort in zip(axes[0], shown, strict=True):
        levels(axis, rows, systems, profile, role="never_seen", cohort=cohort)
        axis.set_title(COHORTS[cohort])
    table = errors(rows, systems, role="never_seen")
    caption = f"Never-seen speakers by cohort and method: {sample(table, profile)}; {whiskers(profile)}."
    return describe(figure, caption, "WER by cohort and method on never-seen speakers.", count(table))


def unseen(rows: pd.DataFrame, profile: dict) -> Figure:
    """Paired differences between the hypernetwork and the other methods on never-seen speakers of trained cohorts."""
    others = usable(rows, UNSEEN) + [name for name in usable(rows, ("hyper",)) if name != "hyper"]
    figure, axis = canvas(1, 7.5, 0.42 * len(others) + 1.3)
    where = {"role": "never_seen", "cohort": trained(rows)}
    lines = [Dot(differences(rows, "hyper", other, profile, **where), colour(other)) for other in others]
    title = "WER (capped) of the hypernetwork minus that of the other\n(left of 0: the hypernetwork is better)"
    intervals(axis, [f"minus {label(other)}" for other in others], lines, title, zero=True)
    table = errors(rows, ["hyper"], **where)
    caption = f"Never-seen speakers of the trained cohorts, paired by utterance: {sample(table, profile)}; "
    return describe(figure, caption + f"{whiskers(profile)}.", "Paired WER differences.", count(table))


def left_out(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER on a cohort by hypernetworks trained with and without it, and on conditions that none was trained on."""
    held = [c for c in trained(rows) if f"hyper_without_{c}" in set(rows["system"].dropna())]
    others = [c for c in UNTRAINED if not errors(rows, ["hyper"], cohort=c, empty=True).empty]
    if not held and not others:
        raise PlotError(
            "leave-one-cohort-out needs rows of hyper_without_<cohort> or of untrained conditions: run them"
        )
    cohorts = [*held, *others]
    lines = [dots(rows, ("whisper_0", f"hyper_without_{c}", "hyper"), profile, cohort=c) for c in cohorts]
    for line in lines:
        line[1].look["fmt"] = "s"
    lines = [[dot for dot in line if dot.estimate is not None] for line in lines]
    figure, axis = canvas(1, 8.0, 0.62 * len(lines) + 1.4)
    intervals(axis, [COHORTS[cohort] for cohort in cohorts], lines, CAPPED)
    from_zero(axis)
    entries = {label(system): colour(system) for system in ("whisper_0", "hyper")}
    if held:
        entries["Hypernetwork trained without the cohort"] = colour(f"hyper_without_{held[0]}"), "s"
    legend(figure, entries)
    table = errors(rows, ["hyper"], cohort=cohorts)
    caption = (
        f"Conditions left out of training, then mixed and untrained ones: {sample(table, profile)}; "
        f"{whiskers(profile)}. Mixed speakers have two of the trained conditions at once."
    )
    return describe(figure, caption, "WER on conditions seen and not seen in training.", count(table))


def budget(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER against the share of Whisper's weights that are adapted, with the published points."""
    table = errors(rows, None, cohort=trained(rows))
    shares = table.dropna(subset=["x"]).groupby("system")["x"].mean()
    skipped = ("individual", "hyper_without")
    names = [n for n, share in shares.items() if share > 0 and not n.startswith(skipped) and n not in LARGER.values()]
    if not names or "whisper_0" not in shares:
        raise PlotError("WER against budget needs whisper_0 and an adapted system: run them")
    base = estimate(errors(rows, ["whisper_0"], cohort=trained(rows)), profile)
    figure, (ours, theirs) = canvas(2, 10.5, 5.4, sharey=True, width_ratios=[3, 2])
    names, places, entries = sorted(names, key=shares.get), apart(shares[names], step=1.3), {}
    for number, name in enumerate(names, 1):
        shape = "s" if name.startswith("hyper") else "o"
        mark(ours, places[name], estimate(table[table["system"] == name], profile), colour(name), fmt=shape)
        low = {"transform": ours.get_xaxis_transform(), "fontsize": 8, "ha": "center"}
        ours.text(places[name], 0.02 + 0.04 * (number % 3), str(number), **low)
        entries[f"{number} {label(name)}"] = colour(name), shape
    legend(figure, entries, loc="outside lower center", ncols=4, fontsize=8.5)
    ours.axhline(base.value, color=colour("whisper_0"), ls="--", lw=1.2)
    ours.axhspan(base.ci_low or base.value, base.ci_high or base.value, color=colour("whisper_0"), alpha=0.12, lw=0)
    for facts in listed("HA").values():
        if "share" in facts and "remaining" in facts:
            at = facts["share"], base.value * facts["remaining"]
            theirs.plot(*at, "D", color="0.2", markerfacecolor="none")
            theirs.annotate(facts["label"], at, xytext=(6, 4), textcoords="offset points", fontsize=8)
    for axis in (ours, theirs):
        axis.set(xscale="log", xlim=(5e-4, 200), xlabel="Adapted weights (% of Whisper's, log)")
        axis.set_ylim(bottom=0)
    ours.set(title="Ours", ylabel=CAPPED)
    theirs.set_title("Published reductions, from our Whisper's WER")
    caption = (
        f"WER on the trained cohorts against adapted weights: {sample(table, profile)}; {whiskers(profile)}. Dashed: "
        "Whisper as it is. Right: the published relative reductions applied to it. A hypernetwork's trained weights "
        "are more than those it generates and are in the table."
    )
    return describe(figure, caption, "WER against adapted weights, ours and published.", count(table))


def targets(rows: pd.DataFrame, profile: dict) -> Figure:
    """Static LoRA on different matrices at one budget, and what each loses against the decoder's W1."""
    title = "WER (capped) minus that of LoRA on W1\n(right of 0: W1 is better)"
    figure, table = _beside(
        rows, usable(rows, AT_ONE_BUDGET), ("lora_w1", "whisper_0"), title, profile, cohort=trained(rows)
    )
    caption = f"Where to adapt, at about 0.03 % of the weights: {sample(table, profile)}; {whiskers(profile)}."
    return describe(figure, caption, "WER of LoRA on different matrices.", count(table))


def conditionings(rows: pd.DataFrame, profile: dict) -> Figure:
    """Hypernetworks by conditioning and generator, on never-seen speakers."""
    title, where = (
        "WER (capped) minus that of the linear\none conditioned on Whisper",
        {"role": "never_seen", "cohort": trained(rows)},
    )
    figure, table = _beside(rows, usable(rows, CONDITIONED), ("hyper",), title, profile, **where)
    caption = f"Conditioning and generator, never-seen speakers of the trained cohorts: {sample(table, profile)}; "
    return describe(figure, caption + f"{whiskers(profile)}.", "WER by conditioning and generator.", count(table))


def _beside(rows: pd.DataFrame, systems: list[str], bases: tuple[str, ...], title: str, profile: dict, **where):
    """WER of the systems, and what those that are not in `bases` differ by from the first of these; and the rows."""
    others = [system for system in systems if system not in bases]
    figure, (left, right) = canvas(2, 9.5, 0.43 * len(systems) + 1.4)
    levels(left, rows, systems, profile, **where)
    lines = [Dot(differences(rows, other, bases[0], profile, **where), colour(other)) for other in others]
    intervals(right, [label(other) for other in others], lines, title, zero=True)
    right.set_visible(bool(others))
    return figure, errors(rows, systems, **where)


FIGURES = {
    "ha_severity": Drawing(severity, "10_asr_adapt", "severity"),
    "ha_ceiling": Drawing(ceiling, "10_asr_adapt", "HA10"),
    "ha_columns": Drawing(columns, "11_subspace_angles", "HA1"),
    "ha_angles": Drawing(angles, "11_subspace_angles", "HA1"),
    "ha_budget": Drawing(budget, "12_parameter_budget", "HA2"),
    "ha_sizes": Drawing(sizes, "12_parameter_budget", "sizes"),
    "ha_targets": Drawing(targets, "12_parameter_budget", "HA8"),
    "ha_cohorts": Drawing(cohorts, "13_hypernet_zero_shot", "HA3"),
    "ha_unseen": Drawing(unseen, "13_hypernet_zero_shot", "HA4"),
    "ha_left_out": Drawing(left_out, "13_hypernet_zero_shot", "HA9"),
    "ha_conditionings": Drawing(conditionings, "14_conditioning_probes", "HA6"),
    "ha_probes": Drawing(probes, "14_conditioning_probes", "HA11"),
}
draw = partial(drawing.draw, FIGURES)
