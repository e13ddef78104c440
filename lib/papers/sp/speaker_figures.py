"""Figures of speakers, references and the length of phase 1 in the zero-shot study, from rows."""

import pandas as pd
from matplotlib.figure import Figure

from lib.papers.sp.style import BASELINE, colour, dots, gained, has, label, learned, measured
from lib.study.claims import select
from lib.study.drawing import (
    Dot,
    PlotError,
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
from lib.study.units import axis as axis_of

PHASES = {"dp_r45_phase20": 0.5, "dp_r45": 1.0, "dp_r45_phase60": 1.5}
ROLES = {"never_seen": "Never seen", "adaptation": "Seen", "pretraining": "Seen, other voices"}


def phase(rows: pd.DataFrame, profile: dict) -> Figure:
    """Quality at R = 0.45 against the length of phase 1."""
    table = measured(rows)
    table = select(table, {"seed": int(table["seed"].min())})
    chosen = [system for system in PHASES if has(table, "cos", [system])]
    shown = ("mos_predicted", "cos", "cer", "mel_l1")
    metrics = [metric for metric in shown if chosen and all(has(table, metric, [system]) for system in chosen)]
    if not metrics:
        raise PlotError("the length of phase 1 needs a system at R = 0.45: run dp_r45")
    figure, axes = canvas(len(metrics), 3.3 * len(metrics), 3.6, squeeze=False)
    places = [profile["sp"]["soft_steps"] * PHASES[system] for system in chosen]
    for metric, axis in zip(metrics, axes[0], strict=True):
        for place, system in zip(places, chosen, strict=True):
            mark(axis, place, estimate(select(table, {"metric": metric, "system": system}), profile), colour(system))
        axis.set(xlabel="Steps of phase 1", ylabel=axis_of(metric), xticks=places)
    drawn = select(table, {"metric": "cos", "system": chosen})
    caption = (
        "DP at R = 0.45 with phase 1 half, once and one and a half times as long, of "
        f"{profile['sp']['train']['steps']} steps in all: {sample(drawn)}; {whiskers(profile)}. The intervals are of "
        "levels, not of differences."
    )
    return describe(figure, caption, "Quality against the length of the soft phase.", count(drawn))


def seen(rows: pd.DataFrame, profile: dict) -> Figure:
    """What VP and DP change of similarity for speakers of training and for never-seen ones."""
    found = select(rows, {"variant": "zero_shot", "metric": "cos"})
    chosen = [s for s in ("vp", "dp_r45") if s in set(found["system"])]
    if BASELINE not in set(found["system"]) or not chosen:
        raise PlotError("seen and never-seen speakers are compared with the dense model: run baseline and dp_r45")
    roles = [role for role in ROLES if not select(found, {"role": role, "system": chosen}).empty]
    figure, (left, right) = canvas(2, 10.0, 0.7 * len(roles) + 1.8, sharey=True)
    tables = [select(found, {"role": role}) for role in roles]
    names = [ROLES[role] for role in roles]
    levels = [dots(table, [BASELINE, *chosen], profile) for table in tables]
    intervals(left, names, levels, axis_of("cos"), step=0.22)
    changes = [[Dot(gained(table, system, BASELINE, profile), colour(system)) for system in chosen] for table in tables]
    intervals(right, names, changes, "COS gained over the dense model (points)", zero=True, step=0.22)
    legend(figure, {label(system): colour(system) for system in [BASELINE, *chosen]})
    drawn = select(found, {"system": [BASELINE, *chosen], "role": roles})
    caption = (
        f"Similarity to speakers of training and to never-seen ones: {sample(drawn)}; {whiskers(profile)}. "
        "Right: paired differences."
    )
    return describe(figure, caption, "COS by role of the speakers, and its change by pruning.", count(drawn))


def by_mismatch(rows: pd.DataFrame, profile: dict) -> Figure:
    """Each never-seen speaker's gain over the dense model by R, against its distance from the training speakers."""
    distances = select(rows, {"metric": "mismatch"}).groupby("speaker")["value"].mean()
    table = select(measured(rows), {"metric": "cos"})
    chosen = [s for s in learned(table) if s not in ("dp_r40", "dp_r50")]
    if distances.empty or not chosen:
        raise PlotError("mismatch needs the dense model and a system with a learned threshold: run baseline and dp_r45")
    figure, axis = canvas(1, 8.5, 4.4)
    for system in chosen:
        points = []
        for speaker, distance in distances.sort_values().items():
            gain = gained(select(table, {"speaker": speaker}), system, BASELINE, profile)
            points += [(distance, gain.value)] if gain is not None else []
        axis.plot(*zip(*points, strict=True), "o-", color=colour(system), label=label(system), markersize=5, lw=1)
    axis.axhline(0, color=colour(BASELINE), lw=1.2, ls="--")
    axis.set(xlabel="Mismatch: 100 − COS to the nearest training speaker", ylabel="COS gained over the dense model")
    figure.legend(frameon=False, loc="outside right center")
    drawn = table[table["system"].isin(chosen)]
    caption = (
        f"Gain in similarity by R against the mismatch of the speaker: {sample(drawn)}; a point is the mean over a "
        "speaker's sentences, paired with the dense model's."
    )
    return describe(figure, caption, "COS gained against mismatch, a line for each R.", count(drawn))


def references(rows: pd.DataFrame, profile: dict) -> Figure:
    """Similarity against the length of the reference."""
    found = select(rows, {"variant": "reference_length", "metric": "cos"})
    if found.empty:
        raise PlotError("references of several lengths were not spoken after: run baseline or dp_r45")
    chosen = list(dict.fromkeys(found["system"]))
    figure, axis = canvas(1, 7.5, 4.2)
    for shift, system in enumerate(chosen):
        mine = select(found, {"system": system})
        means = mine.groupby("x")["value"].mean()
        axis.plot(means.index * 1.03**shift, means, color=colour(system), lw=1.2, label=label(system))
        for seconds, group in mine.groupby("x"):
            mark(axis, seconds * 1.03**shift, estimate(group, profile), colour(system))
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="Reference (s)", ylabel=axis_of("cos"))
    figure.legend(frameon=False, loc="outside upper center", ncols=len(chosen))
    caption = (
        f"Similarity to the speaker's recording of the sentence against the length of the reference: {sample(found)}; "
        f"{whiskers(profile)}. Beyond one utterance the speaker's next ones follow."
    )
    return describe(figure, caption, "COS against the length of the reference.", count(found))
