"""Figures of the HA study that are drawn from rows: errors by cohort, method, severity and budget.

Angles and probes are in `lib.papers.ha.measure_figures`; transcripts and players in `lib.papers.ha.show`.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.papers.ha.measure_figures import angles, probes
from lib.papers.ha.style import (
    COHORTS,
    TRAINED,
    colour,
    differences,
    errors,
    from_zero,
    label,
    points,
    published,
    sample,
    usable,
)
from lib.study.drawing import (
    Drawing,
    PlotError,
    Shown,
    apart,
    canvas,
    count,
    describe,
    mark,
    name_rows,
    save,
    settings,
    whiskers,
)
from lib.study.statistics import interval

METHODS = (
    *("whisper_0", "full", "lora_w1", "lora_w1_b01", "cohort_ft", "cohort_full", "cohort_lora", "individual"),
    *("hyper", "hyper_mlp", "hyper_ge2e", "hyper_speaker"),
)
AT_ONE_BUDGET = ("whisper_0", "lora_w1", "lora_self", "lora_cross", "lora_encoder")
UNSEEN = ("lora_w1_b01", "lora_w1", "cohort_lora", "cohort_ft", "cohort_full", "full")
CONDITIONED = ("hyper", "hyper_ge2e", "hyper_speaker", "hyper_mlp")
SEVERITIES = ("mild", "moderate", "severe")


def severity(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER against severity for each cohort: Whisper as it is, static LoRA and the hypernetwork."""
    systems = usable(rows, ("whisper_0", "lora_w1", "hyper", "full"))
    cohorts = [c for c in COHORTS if c != "typical" and not errors(rows, systems, cohort=c, empty=True).empty]
    figure, axes = canvas(len(cohorts), 2.2 * len(cohorts) + 1.2, 3.6, squeeze=False)
    for axis, cohort in zip(axes[0], cohorts, strict=True):
        for shift, system in enumerate(systems):
            places, estimates = [], []
            for place, level in enumerate(SEVERITIES):
                mine = errors(rows, [system], cohort=cohort, severity=level, empty=True)
                if len(mine):
                    places.append(place + 0.12 * (shift - (len(systems) - 1) / 2))
                    estimates.append(interval(mine, **settings(profile)))
            points(axis, places, estimates, system)
        axis.set_xticks(range(3), SEVERITIES, rotation=30)
        axis.set_xlim(-0.5, 2.5)
        axis.set_title(COHORTS[cohort])
        axis.grid(axis="x", visible=False)
        axis.set_ylim(bottom=0)
    axes[0][0].set_ylabel("WER")
    _legend(figure, systems)
    table = errors(rows, systems)
    caption = (
        f"Word error rate by cohort and severity of simulated speech, test sentences of all speakers: {sample(table)}; "
        f"{whiskers(profile)}. Each panel has a scale of its own."
    )
    return describe(figure, caption, "WER by cohort and severity for several systems.", count(table))


def ceiling(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER of full fine-tuning and of the parameter-efficient methods, on training and on never-seen speakers."""
    systems = usable(rows, METHODS + ("bias", "lora_mlp"))
    figure, axes = canvas(2, 9.5, 0.34 * len(systems) + 1.5, sharey=True)
    named = (("adaptation", "Training speakers, new sentences"), ("never_seen", "Never-seen speakers"))
    for axis, (role, title) in zip(axes, named, strict=True):
        for place, system in enumerate(systems):
            mine = errors(rows, [system], role=role, cohort=TRAINED, empty=True)
            if len(mine):
                mark(axis, place, interval(mine, **settings(profile)), system, vertical=False, color=colour(system))
        axis.set(title=title, xlabel="WER")
        from_zero(axis)
        name_rows(axis, [label(system) for system in systems])
    table = errors(rows, systems, cohort=TRAINED)
    caption = (
        f"WER on the three trained cohorts: {sample(table)}; {whiskers(profile)}. A speaker's own LoRA hears only "
    )
    return describe(figure, caption + "that speaker.", "WER of all methods on two groups of speakers.", count(table))


def cohorts(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER of every method on every cohort of never-seen speakers, typical speech included."""
    systems = usable(rows, [name for name in METHODS if name != "individual"])
    shown = [c for c in COHORTS if not errors(rows, systems, role="never_seen", cohort=c, empty=True).empty]
    figure, axes = canvas(len(shown), 1.65 * len(shown) + 2.0, 0.36 * len(systems) + 1.4, sharey=True, squeeze=False)
    for axis, cohort in zip(axes[0], shown, strict=True):
        for place, system in enumerate(systems):
            mine = errors(rows, [system], role="never_seen", cohort=cohort, empty=True)
            if len(mine):
                mark(axis, place, interval(mine, **settings(profile)), system, vertical=False, color=colour(system))
        axis.set(title=COHORTS[cohort], xlabel="WER")
        from_zero(axis)
        name_rows(axis, [label(system) for system in systems])
    table = errors(rows, systems, role="never_seen")
    caption = f"Never-seen speakers by cohort and method: {sample(table)}; {whiskers(profile)}."
    return describe(figure, caption, "WER by cohort and method on never-seen speakers.", count(table))


def unseen(rows: pd.DataFrame, profile: dict) -> Figure:
    """Paired differences between the hypernetwork and the other methods on never-seen speakers of trained cohorts."""
    others = usable(rows, UNSEEN)
    figure, axis = canvas(1, 7.5, 0.42 * len(others) + 1.3)
    for place, other in enumerate(others):
        estimate = differences(rows, "hyper", other, profile, role="never_seen", cohort=TRAINED)
        mark(axis, place, estimate, other, vertical=False, color=colour(other))
    name_rows(axis, [f"minus {label(other)}" for other in others])
    axis.axvline(0, color="0.4", lw=1.2, ls="--")
    axis.set_xlabel("WER of the hypernetwork minus WER of the other\n(left of 0: the hypernetwork is better)")
    table = errors(rows, ["hyper"], role="never_seen", cohort=TRAINED)
    caption = f"Never-seen speakers of the three trained cohorts, paired by utterance: {sample(table)}; "
    return describe(figure, caption + f"{whiskers(profile)}.", "Paired WER differences.", count(table))


def left_out(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER on a cohort by hypernetworks trained with and without it, and on conditions that none was trained on."""
    held = [c for c in TRAINED if f"hyper_without_{c}" in set(rows["system"].dropna())]
    others = [
        c for c in ("mixed", "cluttering", "dysphonia") if not errors(rows, ["hyper"], cohort=c, empty=True).empty
    ]
    if not held and not others:
        raise PlotError(
            "leave-one-cohort-out needs rows of hyper_without_<cohort> or of untrained conditions: run them"
        )
    lines = [(c, ("whisper_0", f"hyper_without_{c}", "hyper")) for c in held]
    lines += [(c, ("whisper_0", "hyper")) for c in others]
    figure, axis = canvas(1, 8.0, 0.62 * len(lines) + 1.4)
    for place, (cohort, systems) in enumerate(lines):
        for shift, system in enumerate(usable(rows, systems)):
            mine = errors(rows, [system], cohort=cohort, empty=True)
            if len(mine):
                shape = "s" if system.startswith("hyper_without") else "o"
                estimate = interval(mine, **settings(profile))
                place_of = place + 0.2 * (shift - 1)
                mark(axis, place_of, estimate, system, vertical=False, fmt=shape, color=colour(system))
    name_rows(axis, [COHORTS[cohort] for cohort, _ in lines])
    axis.set_xlabel("WER")
    from_zero(axis)
    look = {"linestyle": ""}
    handles = [Line2D([], [], marker="o", color=colour(s), label=label(s), **look) for s in ("whisper_0", "hyper")]
    if held:
        text = "Hypernetwork trained without the cohort"
        handles.append(Line2D([], [], marker="s", color=colour("hyper_without"), label=text, **look))
    figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=3)
    table = errors(rows, ["hyper"], cohort=[cohort for cohort, _ in lines])
    caption = (
        f"Conditions left out of training, then mixed and untrained ones: {sample(table)}; {whiskers(profile)}. "
        "Mixed speakers have two of the trained conditions at once."
    )
    return describe(figure, caption, "WER on conditions seen and not seen in training.", count(table))


def budget(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER against the share of Whisper's weights that are adapted, with the published points."""
    table = errors(rows, None, cohort=TRAINED)
    shares = table.dropna(subset=["x"]).groupby("system")["x"].mean()
    skipped = ("individual", "hyper_without")
    names = [name for name, share in shares.items() if share > 0 and not name.startswith(skipped)]
    if not names or "whisper_0" not in shares:
        raise PlotError("WER against budget needs whisper_0 and an adapted system: run them")
    base = interval(errors(rows, ["whisper_0"], cohort=TRAINED), **settings(profile))
    figure, (ours, theirs) = canvas(2, 10.5, 5.4, sharey=True, width_ratios=[3, 2])
    names, places, handles = sorted(names, key=shares.get), apart(shares[names], step=1.3), []
    for number, name in enumerate(names, 1):
        estimate = interval(table[table["system"] == name], **settings(profile))
        shape = "s" if name.startswith("hyper") else "o"
        mark(ours, places[name], estimate, name, fmt=shape, color=colour(name))
        low = {"transform": ours.get_xaxis_transform(), "fontsize": 8, "ha": "center"}
        ours.text(places[name], 0.02 + 0.04 * (number % 3), str(number), **low)
        look = {"marker": shape, "color": colour(name), "linestyle": ""}
        handles.append(Line2D([], [], label=f"{number} {label(name)}", **look))
    figure.legend(handles=handles, frameon=False, loc="outside lower center", ncols=4, fontsize=8.5)
    ours.axhline(base.value, color=colour("whisper_0"), ls="--", lw=1.2)
    ours.axhspan(base.ci_low or base.value, base.ci_high or base.value, color=colour("whisper_0"), alpha=0.12, lw=0)
    for facts in published().values():
        if "share" in facts and "remaining" in facts:
            theirs.plot(facts["share"], base.value * facts["remaining"], "D", color="0.2", markerfacecolor="none")
            place = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": 8}
            theirs.annotate(facts["label"], (facts["share"], base.value * facts["remaining"]), **place)
    for axis in (ours, theirs):
        axis.set_xscale("log")
        axis.set_xlim(5e-4, 200)
        axis.set_xlabel("Adapted weights (% of Whisper's, log)")
        axis.set_ylim(bottom=0)
    ours.set(title="Ours", ylabel="WER")
    theirs.set_title("Published reductions, from our Whisper's WER")
    caption = (
        f"WER on the three trained cohorts against adapted weights: {sample(table)}; {whiskers(profile)}. Dashed: "
        "Whisper as it is. Right: the published relative reductions applied to it. A hypernetwork's trained weights "
        "are more than those it generates and are in the table."
    )
    return describe(figure, caption, "WER against adapted weights, ours and published.", count(table))


def targets(rows: pd.DataFrame, profile: dict) -> Figure:
    """Static LoRA on different matrices at one budget, and what each loses against the decoder's W1."""
    systems = usable(rows, AT_ONE_BUDGET)
    others = [s for s in systems if s not in ("whisper_0", "lora_w1")]
    figure, (left, right) = canvas(2, 9.5, 0.42 * len(systems) + 1.4)
    for place, system in enumerate(systems):
        mine = errors(rows, [system], cohort=TRAINED)
        mark(left, place, interval(mine, **settings(profile)), system, vertical=False, color=colour(system))
    name_rows(left, [label(system) for system in systems])
    left.set_xlabel("WER")
    from_zero(left)
    for place, other in enumerate(others):
        estimate = differences(rows, other, "lora_w1", profile, cohort=TRAINED)
        mark(right, place, estimate, other, vertical=False, color=colour(other))
    right.set_visible(bool(others))
    if others:
        name_rows(right, [label(other) for other in others])
    right.axvline(0, color="0.4", lw=1.2, ls="--")
    right.set_xlabel("WER minus that of LoRA on W1\n(right of 0: W1 is better)")
    table = errors(rows, systems, cohort=TRAINED)
    caption = f"Where to adapt, at about 0.03 % of the weights: {sample(table)}; {whiskers(profile)}."
    return describe(figure, caption, "WER of LoRA on different matrices.", count(table))


def conditionings(rows: pd.DataFrame, profile: dict) -> Figure:
    """Hypernetworks by conditioning and generator, on never-seen speakers."""
    systems = usable(rows, CONDITIONED)
    others = [system for system in systems if system != "hyper"]
    figure, (left, right) = canvas(2, 9.5, 0.45 * len(systems) + 1.4)
    for place, system in enumerate(systems):
        mine = errors(rows, [system], role="never_seen", cohort=TRAINED)
        mark(left, place, interval(mine, **settings(profile)), system, vertical=False, color=colour(system))
    name_rows(left, [label(system) for system in systems])
    left.set_xlabel("WER")
    from_zero(left)
    for place, other in enumerate(others):
        estimate = differences(rows, other, "hyper", profile, role="never_seen", cohort=TRAINED)
        mark(right, place, estimate, other, vertical=False, color=colour(other))
    name_rows(right, [label(other) for other in others])
    right.axvline(0, color="0.4", lw=1.2, ls="--")
    right.set_xlabel("WER minus that of the linear one\nconditioned on Whisper")
    table = errors(rows, systems, role="never_seen", cohort=TRAINED)
    caption = f"Conditioning and generator, never-seen speakers of the trained cohorts: {sample(table)}; "
    return describe(figure, caption + f"{whiskers(profile)}.", "WER by conditioning and generator.", count(table))


def _legend(figure: Figure, systems: list[str]) -> None:
    look = {"marker": "o", "linestyle": ""}
    handles = [Line2D([], [], color=colour(system), label=label(system), **look) for system in systems]
    figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=len(systems))


FIGURES = {
    "ha_severity": Drawing(severity, "10_asr_adapt", "severity"),
    "ha_ceiling": Drawing(ceiling, "10_asr_adapt", "HA10"),
    "ha_angles": Drawing(angles, "11_subspace_angles", "HA1"),
    "ha_budget": Drawing(budget, "12_parameter_budget", "HA2"),
    "ha_targets": Drawing(targets, "12_parameter_budget", "HA8"),
    "ha_cohorts": Drawing(cohorts, "13_hypernet_zero_shot", "HA3"),
    "ha_unseen": Drawing(unseen, "13_hypernet_zero_shot", "HA4"),
    "ha_left_out": Drawing(left_out, "13_hypernet_zero_shot", "HA9"),
    "ha_conditionings": Drawing(conditionings, "14_conditioning_probes", "HA6"),
    "ha_probes": Drawing(probes, "14_conditioning_probes", "HA11"),
}


def draw(name: str, rows: pd.DataFrame, profile: dict) -> Shown:
    """Draw and save one of `FIGURES`; in a notebook it shows itself. Raises PlotError for missing rows."""
    drawing = FIGURES[name]
    return save(drawing.draw(rows, profile), name, profile, drawing.notebook, drawing.anchor)
