"""Every figure of HyperTTS that is drawn from result rows alone. Those of signals are in `lib.study.pictures`.

Every function takes a profile's rows and the profile, and returns a figure that carries its caption.
"""

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from lib.papers.ht.ablation_figures import ablations, conditionings, cos_against_ds
from lib.papers.ht.real_figures import other_corpus
from lib.papers.ht.style import MAIN, SWEEP, added, colour, difference, dots, families, gains, label, published, tested
from lib.study import drawing
from lib.study.claims import select
from lib.study.drawing import (
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
    present,
    sample,
    whiskers,
)
from lib.study.palette import BLACK, GREY, RED, ROLES, listed
from lib.study.units import axis as axis_of
from lib.study.units import short

COMPARED = ("tts_0", "adaptertts_d", "hypertts_d", "hypertts_evd", "tts_ft")
METRICS = ("cos", "ffe", "mcd", "wer", "mos_predicted")


def results_table(rows: pd.DataFrame, profile: dict) -> Figure:
    """Every main system on every metric, with the published values as hollow diamonds."""
    table = tested(rows, "cos")
    systems = present(table, MAIN, "HT")
    here = select(rows, {"role": "adaptation", "split": "test"})
    metrics = [metric for metric in METRICS if not select(here, {"metric": metric}).empty]
    figure, axes = canvas(len(metrics), 1.9 * len(metrics) + 1.6, 0.34 * len(systems) + 1.3, sharey=True, squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        lines = dots(select(here, {"metric": metric}), systems, profile)
        hollow = [published(system).get(metric) for system in systems]
        intervals(axis, [label(system) for system in systems], lines, short(metric), hollow=hollow)
    legend(figure, families(systems), hollow=True)
    table = tested(rows, "cos", systems)
    caption = (
        f"Adaptation speakers, all systems and metrics. Filled: ours, {sample(table)}; {whiskers(profile)}. "
        "Hollow diamonds: the paper's values on VCTK, with another corpus, recogniser and model size. "
        "WER by Whisper tiny.en, MOS predicted by DistillMOS, only for the systems that the profile lists."
    )
    alt = f"Dot plot of {len(systems)} systems on {len(metrics)} metrics with intervals and published values."
    return describe(figure, caption, alt, count(table))


def cos_by_speaker(rows: pd.DataFrame, profile: dict, systems=COMPARED, role: str = "adaptation") -> Figure:
    """COS of a few systems for every speaker of a role, speakers ordered by TTS-0."""
    table = tested(rows, "cos", role=role)
    systems = present(table, systems, "HT")
    table = table[table["system"].isin(systems)]
    means = table[table["system"] == systems[0]].groupby("speaker")["value"].mean().sort_values()
    speakers = list(means.index)
    shapes = {s: "s" if s == "hypertts_evd" else "o" for s in systems} | dict.fromkeys(added(table), "D")
    lines = [
        [
            drawing.Dot(
                estimate(select(table, {"system": s, "speaker": speaker}), profile),
                colour(s),
                {"fmt": shapes[s], "markersize": 5},
            )
            for s in systems
        ]
        for speaker in speakers
    ]
    figure, axis = canvas(1, max(5.5, 1.0 + 0.75 * len(speakers)), 4.2)
    intervals(axis, speakers, lines, axis_of("cos"), step=0.7 / len(systems), vertical=True)
    axis.set_xticks(range(len(speakers)), speakers, rotation=30, ha="right")
    axis.set_xlabel("Speaker")
    legend(figure, {label(s): (colour(s), shapes[s]) for s in systems}, fontsize="small")
    caption = f"Speaker similarity by speaker ({ROLES[role][0].lower()}): {sample(table)}; {whiskers(profile)}."
    alt = f"COS of {len(systems)} systems for each of {len(speakers)} speakers, with intervals."
    return describe(figure, caption, alt, count(table))


def cos_against_parameters(rows: pd.DataFrame, profile: dict) -> Figure:
    """COS gained over TTS-0 against trainable parameters: all our systems, and the published ones beside."""
    table = tested(rows, "cos")
    sizes = table.drop_duplicates("system").set_index("system")["trainable"].dropna().astype(float)
    systems = [system for system in sizes.index if sizes[system] > 0]
    if not systems or "tts_0" not in set(table["system"]):
        raise PlotError("COS against parameters needs TTS-0 and a trained system: score them first")
    figure, (ours, theirs) = canvas(2, 10.5, 4.6, sharey=True, width_ratios=[3, 2])
    gained = {system: difference(rows, system, "tts_0", profile) for system in systems}
    places = apart(sizes[systems])
    for system in systems:
        below = system.endswith("_ds128")
        named = "trainable" in published(system) or below or system in added(table)
        mark(ours, places[system], gained[system], colour(system), alpha=1.0 if named else 0.55)
        if named:
            text = label(system).removeprefix("HyperTTS " if below else "")
            place = {"xytext": (6, -13 if below else 4), "textcoords": "offset points", "fontsize": 8}
            ours.annotate(text, (places[system], gained[system].value), **place)
    swept = [system for system in SWEEP if system in gained]
    line = [places[s] for s in swept], [gained[s].value for s in swept]
    ours.plot(*line, color=colour("hypertts_d"), lw=1, alpha=0.6)
    for system, facts in listed("HT").items():
        if "trainable" in facts and "cos" in facts:
            at = facts["trainable"], facts["cos"] - published("tts_0")["cos"]
            theirs.plot(*at, "D", color=colour(system), markerfacecolor="none", markersize=7)
            place = {"xytext": (-6, 7), "textcoords": "offset points", "fontsize": 8, "ha": "center"}
            theirs.annotate(facts["label"], at, **place)
    for axis, title in ((ours, "Ours"), (theirs, "Published (VCTK)")):
        axis.set(xscale="log", xlabel="Trainable parameters", title=title)
        axis.axhline(0, color=GREY, lw=1.2, ls="--")
        axis.margins(x=0.18)
    ours.set_ylabel("COS gained over TTS-0 (points)")
    legend(figure, families(systems), fontsize="small")
    mine = tested(rows, "cos", systems)
    caption = (
        f"Speaker similarity gained over TTS-0 against trainable parameters (log axis): {sample(mine)}; "
        f"{whiskers(profile)}. The line joins the d_s sweep of HyperTTS d. Systems of nearly the same size "
        "stand side by side. Hollow: published values; their backbone has 35.7 M parameters."
    )
    alt = "Scatter of COS gain against trainable parameters, ours on the left, published on the right."
    return describe(figure, caption, alt, count(mine))


def forgetting(rows: pd.DataFrame, profile: dict) -> Figure:
    """COS on the pre-training speakers before and after adaptation."""
    table = tested(rows, "cos", role="pretraining")
    both = ["tts_0", "tts_ft"]
    before, after = (tested(rows, "cos", [s], "pretraining").groupby("speaker")["value"].mean() for s in both)
    figure, (left, right) = canvas(2, 10.0, 4.2, width_ratios=[2, 3])
    for speaker in before.index.intersection(after.index):
        left.plot([0, 1], [before[speaker], after[speaker]], color="0.75", lw=1, zorder=1)
    title = f"{axis_of('cos')}, pre-training speakers"
    intervals(left, [label(s) for s in both], dots(table, both, profile, markersize=8), title, vertical=True)
    systems = [s for s in present(table, MAIN, "HT") if s not in ("tts_0", "reference_vocoded")]
    changes = gains(rows, [(s, "tts_0") for s in systems], profile, systems, role="pretraining")
    title = "COS change on pre-training speakers (points)"
    intervals(right, [label(system) for system in systems], changes, title, zero=True)
    caption = (
        f"What adaptation does to pre-training speakers: {sample(table)}; {whiskers(profile)}. Left: TTS-0 "
        "and TTS-FT, a grey line per speaker. Right: change against TTS-0, the module in place; without it "
        "a frozen backbone gives TTS-0 back exactly, fine-tuned weights do not."
    )
    return describe(figure, caption, "COS on pre-training speakers before and after adaptation.", count(table))


def domain_gap(rows: pd.DataFrame, profile: dict) -> Figure:
    """COS of TTS-0 and TTS-FT on each role of speakers: is there a gap, and does fine-tuning close it?"""
    systems = ["tts_0", "tts_ft"]
    table = tested(rows, "cos", systems, None)
    roles = [role for role in ROLES if role in set(table["role"])]
    figure, axis = canvas(1, 6.5, 4.0)
    lines = [dots(select(table, {"role": role}), systems, profile, markersize=8) for role in roles]
    intervals(axis, [ROLES[role][0] for role in roles], lines, axis_of("cos"), vertical=True)
    for shift, system in zip((-0.22, 0.22), systems, strict=True):
        for place, role in enumerate(roles):
            points = select(table, {"system": system, "role": role}).groupby("speaker")["value"].mean()
            axis.plot([place + shift] * len(points), points, ".", color=colour(system), alpha=0.35, zorder=1)
    legend(axis, families(systems), loc="best", ncols=1)
    caption = f"The gap to close: {sample(table)}; small dots are speakers, {whiskers(profile)}."
    return describe(figure, caption, "COS of TTS-0 and TTS-FT by role of the speakers.", count(table))


def never_seen(rows: pd.DataFrame, profile: dict) -> Figure:
    """COS on speakers of neither phase, and what the hypernetwork gains there."""
    table = tested(rows, "cos", role="never_seen")
    systems = [s for s in present(table, MAIN, "HT") if s != "reference_vocoded"]
    others = [s for s in systems if s != "hypertts_evd"] if "hypertts_evd" in systems else []
    figure, (left, right) = canvas(2, 10.0, 0.32 * len(systems) + 1.8)
    intervals(left, [label(system) for system in systems], dots(table, systems, profile), axis_of("cos"))
    changes = gains(rows, [("hypertts_evd", other) for other in others], profile, others, role="never_seen")
    title = "COS gained by HyperTTS evd (points)"
    intervals(right, [f"over {label(other)}" for other in others], changes, title, zero=True)
    caption = (
        f"Speakers of neither phase, known by the embedding of a few enrolment utterances: {sample(table)}; "
        f"{whiskers(profile)}. Right: paired differences."
    )
    return describe(figure, caption, "COS on never-seen speakers by system, and paired differences.", count(table))


def mcd_audit(rows: pd.DataFrame, profile: dict) -> Figure:
    """Both MCD formulas on identical signals: recordings scored against themselves."""
    released, normalised = (drawing.found(rows, name, system="reference") for name in ("mcd_as_released", "mcd"))
    figure, axis = canvas(1, 7.0, 3.4)
    for place, (table, tone) in enumerate(((released, RED), (normalised, BLACK))):
        ordered = table["value"].sort_values().to_numpy()
        spread = [place + 0.5 * (i / max(1, len(ordered) - 1) - 0.5) for i in range(len(ordered))]
        axis.plot(ordered, spread, "o", color=tone, markersize=4, alpha=0.7)
    names = ["As released:\nmean of the cost matrix", "Normalised by\nthe path's length"]
    intervals(axis, names, [], "MCD of a recording against itself (dB)", zero=True)
    caption = (
        f"Identical signals have no distortion, so their MCD is 0 dB. n = {count(released)} test utterances "
        f"of {released['speaker'].nunique()} speakers; a point per utterance, sorted."
    )
    return describe(figure, caption, "MCD of recordings against themselves by two formulas.", count(released))


def naturalness(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER and predicted MOS of the systems that were recognised."""
    table = tested(rows, "wer")
    systems = present(table, ("reference", *MAIN), "HT")
    figure, axes = canvas(2, 9.5, 0.36 * len(systems) + 1.4, sharey=True)
    for axis, metric in zip(axes, ("wer", "mos_predicted"), strict=True):
        lines = dots(tested(rows, metric, systems), systems, profile)
        intervals(axis, [label(system) for system in systems], lines, axis_of(metric))
    caption = (
        f"Intelligibility and predicted naturalness: {sample(table)}; {whiskers(profile)}. WER by Whisper "
        "tiny.en with its English normaliser; the MOS is predicted by DistillMOS, not given by listeners."
    )
    return describe(figure, caption, "WER and predicted MOS by system.", count(table))


FIGURES = {
    "domain_gap": Drawing(domain_gap, "02_hypertts_evaluate", "gap"),
    "results_table": Drawing(results_table, "02_hypertts_evaluate", "HT1"),
    "cos_by_speaker": Drawing(cos_by_speaker, "02_hypertts_evaluate", "HT1"),
    "cos_against_parameters": Drawing(cos_against_parameters, "02_hypertts_evaluate", "HT2"),
    "forgetting": Drawing(forgetting, "02_hypertts_evaluate", "HT3"),
    "never_seen": Drawing(never_seen, "02_hypertts_evaluate", "HT7"),
    "mcd_audit": Drawing(mcd_audit, "02_hypertts_evaluate", "HT10"),
    "naturalness": Drawing(naturalness, "02_hypertts_evaluate", "naturalness"),
    "other_corpus": Drawing(other_corpus, "04_real_speech", "HT8"),
    "ablations": Drawing(ablations, "03_hypertts_ablations", "HT4"),
    "cos_against_ds": Drawing(cos_against_ds, "03_hypertts_ablations", "HT5"),
    "conditionings": Drawing(conditionings, "03_hypertts_ablations", "HT9"),
}
draw = partial(drawing.draw, FIGURES)
