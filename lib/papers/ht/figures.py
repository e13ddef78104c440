"""Every figure that is drawn from result rows alone.

    python -m lib.papers.ht.figures --profile demo      draw them all again from the rows there are

Figures of signals and embeddings are in `lib.study.pictures`, the style and the helpers in `lib.study.drawing`. Every
function takes a profile's rows and the profile, and returns a figure that carries its caption.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.papers.ht.ablation_figures import ablations, conditionings, cos_against_ds
from lib.study.claims import select
from lib.study.drawing import (
    AXES,
    ROLES,
    SHORT,
    SWEEP,
    Drawing,
    PlotError,
    Shown,
    apart,
    canvas,
    colour,
    count,
    describe,
    difference,
    label,
    legend_of,
    mark,
    name_rows,
    present,
    sample,
    save,
    settings,
    tested,
    whiskers,
    written,
)
from lib.study.statistics import interval

MAIN = (
    *("reference_vocoded", "tts_0", "adaptertts_e", "adaptertts_v", "adaptertts_d", "adaptertts_evd"),
    *("hypertts_e", "hypertts_v", "hypertts_d", "hypertts_ed", "hypertts_evd", "tts_ft"),
)
COMPARED = ("tts_0", "adaptertts_d", "hypertts_d", "hypertts_evd", "tts_ft")


def results_table(rows: pd.DataFrame, profile: dict) -> Figure:
    """Every main system on every metric, with the published values as hollow diamonds."""
    systems = present(tested(rows, "cos"), MAIN)
    metrics = [metric for metric in SHORT if not select(rows, {"metric": metric, "role": "adaptation"}).empty]
    figure, axes = canvas(len(metrics), 1.9 * len(metrics) + 1.6, 0.34 * len(systems) + 1.3, sharey=True, squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        for place, system in enumerate(systems):
            mine = select(rows, {"metric": metric, "role": "adaptation", "split": "test", "system": system})
            if len(mine):
                mark(axis, place, interval(mine, **settings(profile)), system, vertical=False)
            if (published := written()[system].get(metric)) is not None:
                axis.plot(published, place, "D", color=colour(system), markerfacecolor="none", markersize=6)
        axis.set_xlabel(SHORT[metric])
        name_rows(axis, [label(system) for system in systems])
    legend_of(figure, systems, hollow=True, loc="outside upper center", ncols=7)
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
    table = tested(rows, "cos", systems, role)
    systems = present(table, systems)
    means = table[table["system"] == systems[0]].groupby("speaker")["value"].mean().sort_values()
    speakers = list(means.index)
    figure, axis = canvas(1, max(5.5, 1.0 + 0.75 * len(speakers)), 4.2)
    for shift, system in enumerate(systems):
        for place, speaker in enumerate(speakers):
            mine = select(table, {"system": system, "speaker": speaker})
            if len(mine):
                offset = place + 0.7 * ((shift + 0.5) / len(systems) - 0.5)
                shape = "s" if system == "hypertts_evd" else "o"
                mark(axis, offset, interval(mine, **settings(profile)), system, fmt=shape, markersize=5)
    axis.set_xticks(range(len(speakers)), speakers, rotation=30, ha="right")
    axis.grid(axis="x", visible=False)
    axis.set(xlabel="Speaker", ylabel=AXES["cos"])
    handles = [
        Line2D([], [], color=colour(s), marker="s" if s == "hypertts_evd" else "o", linestyle="", label=label(s))
        for s in systems
    ]
    figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=len(systems), fontsize="small")
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
    gains = {system: difference(rows, system, "tts_0", profile) for system in systems}
    places = apart(sizes[systems])
    for system in systems:
        named = "trainable" in written().get(system, {}) or system.endswith("_ds128")
        mark(ours, places[system], gains[system], system, alpha=1.0 if named else 0.55)
        if named:
            below = system.endswith("_ds128")
            ours.annotate(
                label(system).replace(", largest d_s", ", d_s 128").removeprefix("HyperTTS " if below else ""),
                (places[system], gains[system].value),
                xytext=(6, -13 if below else 4),
                textcoords="offset points",
                fontsize=8,
            )
    swept = [system for system in SWEEP if system in gains]
    ours.plot(
        [places[s] for s in swept],
        [gains[s].value for s in swept],
        color=colour("hypertts_d"),
        lw=1,
        alpha=0.6,
    )
    for system, facts in written().items():
        if "trainable" in facts and "cos" in facts:
            gain = facts["cos"] - written()["tts_0"]["cos"]
            theirs.plot(facts["trainable"], gain, "D", color=colour(system), markerfacecolor="none", markersize=7)
            place = {"xytext": (-6, 7), "textcoords": "offset points", "fontsize": 8, "ha": "center"}
            theirs.annotate(facts["label"], (facts["trainable"], gain), **place)
    for axis, title in ((ours, "Ours"), (theirs, "Published (VCTK)")):
        axis.set(xscale="log", xlabel="Trainable parameters", title=title)
        axis.axhline(0, color=colour("tts_0"), lw=1.2, ls="--")
        axis.margins(x=0.18)
    ours.set_ylabel("COS gained over TTS-0 (points)")
    legend_of(figure, systems, loc="outside upper center", ncols=6, fontsize="small")
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
    before = table[table["system"] == "tts_0"].groupby("speaker")["value"].mean()
    after = table[table["system"] == "tts_ft"].groupby("speaker")["value"].mean()
    figure, (left, right) = canvas(2, 10.0, 4.2, width_ratios=[2, 3])
    for speaker in before.index.intersection(after.index):
        left.plot([0, 1], [before[speaker], after[speaker]], color="0.75", lw=1, zorder=1)
    for place, system in enumerate(("tts_0", "tts_ft")):
        mark(
            left,
            place,
            interval(tested(rows, "cos", [system], "pretraining"), **settings(profile)),
            system,
            markersize=8,
        )
    left.set_xticks([0, 1], [label("tts_0"), label("tts_ft")])
    left.set_xlim(-0.4, 1.4)
    left.set_ylabel(f"{AXES['cos']}, pre-training speakers")
    systems = [s for s in present(table, MAIN) if s not in ("tts_0", "reference_vocoded")]
    for place, system in enumerate(systems):
        mark(
            right,
            place,
            difference(rows, system, "tts_0", profile, role="pretraining"),
            system,
            vertical=False,
        )
    name_rows(right, [label(system) for system in systems])
    right.axvline(0, color=colour("tts_0"), lw=1.2, ls="--")
    right.set_xlabel("COS change on pre-training speakers (points)")
    caption = (
        f"What adaptation does to pre-training speakers: {sample(table)}; {whiskers(profile)}. Left: TTS-0 "
        "and TTS-FT, a grey line per speaker. Right: change against TTS-0, the module in place; without it "
        "a frozen backbone gives TTS-0 back exactly, fine-tuned weights do not."
    )
    return describe(figure, caption, "COS on pre-training speakers before and after adaptation.", count(table))


def domain_gap(rows: pd.DataFrame, profile: dict) -> Figure:
    """COS of TTS-0 and TTS-FT on each role of speakers: is there a gap, and does fine-tuning close it?"""
    systems = ("tts_0", "tts_ft")
    table = tested(rows, "cos", systems, None)
    roles = [role for role in ROLES if role in set(table["role"])]
    figure, axis = canvas(1, 6.5, 4.0)
    for shift, system in zip((-0.1, 0.1), systems, strict=True):
        for place, role in enumerate(roles):
            mine = select(table, {"system": system, "role": role})
            if mine.empty:
                continue
            points = mine.groupby("speaker")["value"].mean()
            axis.plot([place + 2.2 * shift] * len(points), points, ".", color=colour(system), alpha=0.35, zorder=1)
            mark(axis, place + shift, interval(mine, **settings(profile)), system, markersize=8)
    axis.set_xticks(range(len(roles)), [ROLES[role][0] for role in roles])
    axis.set_xlim(-0.5, len(roles) - 0.5)
    axis.set_ylabel(AXES["cos"])
    axis.grid(axis="x", visible=False)
    legend_of(axis, systems, loc="best")
    caption = f"The gap to close: {sample(table)}; small dots are speakers, {whiskers(profile)}."
    return describe(figure, caption, "COS of TTS-0 and TTS-FT by role of the speakers.", count(table))


def never_seen(rows: pd.DataFrame, profile: dict) -> Figure:
    """COS on speakers of neither phase, and what the hypernetwork gains there."""
    table = tested(rows, "cos", role="never_seen")
    systems = [s for s in present(table, MAIN) if s != "reference_vocoded"]
    others = [s for s in systems if s != "hypertts_evd"] if "hypertts_evd" in systems else []
    figure, axes = canvas(2, 10.0, 0.32 * len(systems) + 1.8, squeeze=False)
    left, right = axes[0]
    for place, system in enumerate(systems):
        mark(
            left,
            place,
            interval(tested(rows, "cos", [system], "never_seen"), **settings(profile)),
            system,
            vertical=False,
        )
    name_rows(left, [label(system) for system in systems])
    left.set_xlabel(AXES["cos"])
    for place, system in enumerate(others):
        estimate = difference(rows, "hypertts_evd", system, profile, role="never_seen")
        mark(right, place, estimate, system, vertical=False)
    name_rows(right, [f"over {label(system)}" for system in others])
    right.axvline(0, color="0.4", lw=1.2, ls="--")
    right.set_xlabel("COS gained by HyperTTS evd (points)")
    caption = (
        f"Speakers of neither phase, known by the embedding of a few enrolment utterances: {sample(table)}; "
        f"{whiskers(profile)}. Right: paired differences."
    )
    return describe(figure, caption, "COS on never-seen speakers by system, and paired differences.", count(table))


def mcd_audit(rows: pd.DataFrame, profile: dict) -> Figure:
    """Both MCD formulas on identical signals: recordings scored against themselves."""
    released = select(rows, {"metric": "mcd_as_released", "system": "reference"})
    normalised = select(rows, {"metric": "mcd", "system": "reference"})
    if released.empty or normalised.empty:
        raise PlotError("the metric audit needs the recordings scored against themselves: score reference first")
    figure, axis = canvas(1, 7.0, 3.4)
    names = ["As released:\nmean of the cost matrix", "Normalised by\nthe path's length"]
    for place, (table, tone) in enumerate(((released, "#D55E00"), (normalised, "#000000"))):
        ordered = table["value"].sort_values().to_numpy()
        spread = [place + 0.5 * (i / max(1, len(ordered) - 1) - 0.5) for i in range(len(ordered))]
        axis.plot(ordered, spread, "o", color=tone, markersize=4, alpha=0.7)
    name_rows(axis, names)
    axis.axvline(0, color="0.4", lw=1.2, ls="--")
    axis.set_xlabel("MCD of a recording against itself (dB)")
    caption = (
        f"Identical signals have no distortion, so their MCD is 0 dB. n = {count(released)} test utterances "
        f"of {released['speaker'].nunique()} speakers; a point per utterance, sorted."
    )
    return describe(figure, caption, "MCD of recordings against themselves by two formulas.", count(released))


def naturalness(rows: pd.DataFrame, profile: dict) -> Figure:
    """WER and predicted MOS of the systems that were recognised."""
    table = tested(rows, "wer")
    systems = present(table, ("reference", *MAIN))
    figure, axes = canvas(2, 9.5, 0.36 * len(systems) + 1.4, sharey=True)
    for axis, metric in zip(axes, ("wer", "mos_predicted"), strict=True):
        for place, system in enumerate(systems):
            mark(
                axis,
                place,
                interval(tested(rows, metric, [system]), **settings(profile)),
                system,
                vertical=False,
            )
        axis.set_xlabel(AXES[metric])
        name_rows(axis, [label(system) for system in systems])
    caption = (
        f"Intelligibility and predicted naturalness: {sample(table)}; {whiskers(profile)}. WER by Whisper "
        "tiny.en with its English normaliser; the MOS is predicted by DistillMOS, nobody listened."
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
    "ablations": Drawing(ablations, "03_hypertts_ablations", "HT4"),
    "cos_against_ds": Drawing(cos_against_ds, "03_hypertts_ablations", "HT5"),
    "conditionings": Drawing(conditionings, "03_hypertts_ablations", "HT9"),
}


def draw(name: str, rows: pd.DataFrame, profile: dict) -> Shown:
    """Draw and save one of `FIGURES`; in a notebook it shows itself. Raises PlotError for missing rows."""
    drawing = FIGURES[name]
    return save(drawing.draw(rows, profile), name, profile, drawing.notebook, drawing.anchor)
