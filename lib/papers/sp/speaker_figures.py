"""Figures of speakers, references and the length of phase 1 in the zero-shot study, from rows."""

import pandas as pd
from matplotlib.figure import Figure

from lib.papers.sp.figure_parts import AXES, BASELINE, colour, has, label, learned, measured
from lib.study.claims import select
from lib.study.drawing import PlotError, canvas, count, describe, mark, name_rows, sample, settings, whiskers
from lib.study.statistics import interval, paired_difference

PHASES = {"dp_r45_phase20": 0.5, "dp_r45": 1.0, "dp_r45_phase60": 1.5}
ROLES = {"never_seen": "Never seen", "adaptation": "Seen", "pretraining": "Seen, other voices"}


def phase(rows: pd.DataFrame, profile: dict) -> Figure:
    """Quality at R = 0.45 against the length of phase 1."""
    table = measured(rows)
    chosen = [system for system in PHASES if has(table, "cos", [system])]
    shown = ("mos_predicted", "cos", "cer", "mel_l1")
    metrics = [metric for metric in shown if chosen and all(has(table, metric, [system]) for system in chosen)]
    if not metrics:
        raise PlotError("the length of phase 1 needs a system at R = 0.45: run dp_r45")
    figure, axes = canvas(len(metrics), 3.3 * len(metrics), 3.6, squeeze=False)
    steps = profile["sp"]["soft_steps"]
    for metric, axis in zip(metrics, axes[0], strict=True):
        for system in chosen:
            mine = select(table, {"metric": metric, "system": system, "seed": _first_seed(table)})
            place = steps * PHASES[system]
            mark(axis, place, interval(mine, **settings(profile)), system, color=colour(system))
        axis.set(xlabel="Steps of phase 1", ylabel=AXES[metric])
        axis.set_xticks([steps * PHASES[system] for system in chosen])
    drawn = select(table, {"metric": "cos", "system": chosen, "seed": _first_seed(table)})
    whole = profile["sp"]["train"]["steps"]
    caption = (
        f"DP at R = 0.45 with phase 1 half, once and one and a half times as long, of {whole} steps in all: "
        f"{sample(drawn)}; {whiskers(profile)}. The intervals are of levels, not of differences."
    )
    return describe(figure, caption, "Quality against the length of the soft phase.", count(drawn))


def _first_seed(table: pd.DataFrame) -> int:
    return int(table["seed"].min())


def seen(rows: pd.DataFrame, profile: dict) -> Figure:
    """What VP and DP change of similarity for speakers of training and for never-seen ones."""
    found = select(rows, {"variant": "zero_shot", "metric": "cos"})
    chosen = [s for s in ("vp", "dp_r45") if s in set(found["system"])]
    if BASELINE not in set(found["system"]) or not chosen:
        raise PlotError("seen and never-seen speakers are compared with the dense model: run baseline and dp_r45")
    roles = [role for role in ROLES if not select(found, {"role": role, "system": chosen}).empty]
    figure, (left, right) = canvas(2, 10.0, 0.7 * len(roles) + 1.8, sharey=True)
    for place, role in enumerate(roles):
        for shift, system in zip((-0.22, 0.0, 0.22), (BASELINE, *chosen), strict=False):
            mine, dense = (select(found, {"role": role, "system": name}) for name in (system, BASELINE))
            if mine.empty:
                continue
            mark(left, place + shift, interval(mine, **settings(profile)), system, vertical=False, color=colour(system))
            if system != BASELINE:
                gain = paired_difference(mine, dense, **settings(profile))
                look = {"color": colour(system), "label": label(system) if place == 0 else None}
                mark(right, place + shift, gain, system, vertical=False, **look)
    name_rows(left, [ROLES[role] for role in roles])
    left.set_xlabel(AXES["cos"])
    right.axvline(0, color=colour(BASELINE), lw=1.2, ls="--", label=label(BASELINE))
    right.set_xlabel("COS gained over the dense model (points)")
    figure.legend(*right.get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=3)
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
        mine, dense = (select(table, {"system": name}) for name in (system, BASELINE))
        points = []
        for speaker, distance in distances.sort_values().items():
            a, b = (t[(t["speaker"] == speaker).fillna(False)] for t in (mine, dense))
            if len(a) and len(b):
                points.append((distance, paired_difference(a, b, **settings(profile)).value))
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
            mark(axis, seconds * 1.03**shift, interval(group, **settings(profile)), system, color=colour(system))
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="Reference (s)", ylabel=AXES["cos"])
    figure.legend(frameon=False, loc="outside upper center", ncols=len(chosen))
    caption = (
        f"Similarity to the speaker's recording of the sentence against the length of the reference: {sample(found)}; "
        f"{whiskers(profile)}. Beyond one utterance the speaker's next ones follow."
    )
    return describe(figure, caption, "COS against the length of the reference.", count(found))
