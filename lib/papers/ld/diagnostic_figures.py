"""Figures of what is there before any diffusion: posterior encoder, variance and probes of z, misalignment, CLAP."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.papers.ld.figure_parts import found, point, sample
from lib.study.claims import select
from lib.study.drawing import canvas, count, describe, name_rows, whiskers

FACTORS = ("text_and_time", "phone", "prosody", "style_given_text", "style", "speaker")
PROBED = ("phone", "f0", "energy", "style", "speaker", "rate")
ROLES = {
    "held_out": "Own voice, held out",
    "styled": "Restyled",
    "other_speaker": "Warped to other speakers",
    "real": "Real speech",
}
ERRORS = {
    "mel_l1": "Log-mel L1 (nat)",
    "f0_error": "Error of median F0\n(semitones)",
    "cer": "CER (ratio)",
    "cos": "COS",
}
PROPERTIES = {
    **{"f0_mean": "F0 mean", "f0_range": "F0 range", "energy_mean": "Energy", "rate": "Rate"},
    "pause_share": "Pauses",
}


def variance(rows: pd.DataFrame, profile: dict) -> Figure:
    """LD3: shares of z's variance."""
    table = found(rows, "variance_explained")
    names = [name for name in FACTORS if name in set(table["variant"])]
    titles = {"text_and_time": "Shared by all styles\n(text and timing)", "style_given_text": "Changes with the style"}
    titles |= {"phone": "Phone (linear)", "prosody": "F0 and energy (linear)"}
    titles |= {"style": "Style mean (linear)", "speaker": "Speaker mean (linear)"}
    figure, axis = canvas(1, 7.6, 3.6)
    for place, name in enumerate(names):
        exact = name in ("text_and_time", "style_given_text")
        mine = select(table, {"variant": name})
        tone = "#0072B2" if exact else "#E69F00"
        point(axis, place, mine, profile, "", vertical=False, color=tone, markersize=8)
    name_rows(axis, [titles[name] for name in names])
    axis.axvline(0, color="0.6", lw=1)
    axis.set_xlabel("Share of the variance of z")
    caption = (
        f"What z varies with: {sample(table)}; {whiskers(profile)}. Blue: exact split of the variance between what all "
        "styles of a sentence share, frame by frame, and what changes with the style. Orange: held-out share that a "
        "linear map predicts from the factor."
    )
    return describe(figure, caption, "Shares of the variance of z by factor, with intervals.", count(table))


def probes(rows: pd.DataFrame, profile: dict) -> Figure:
    """LD3: how well a linear map reads each property from z, and from the log-mel."""
    table = found(rows, "probe_skill")
    figure, axis = canvas(1, 7.6, 3.8)
    names = [name for name in PROBED if name in set(table["variant"])]
    for layer, shift, tone in (("z", -0.1, "#0072B2"), ("mel", 0.1, "#7F7F7F")):
        for place, name in enumerate(names):
            mine = select(table, {"variant": name, "layer": layer})
            point(axis, place + shift, mine, profile, "", vertical=False, color=tone)
    name_rows(axis, [name.upper() if name == "f0" else name.capitalize() for name in names])
    axis.axvline(0, color="0.6", lw=1)
    axis.set_xlim(max(-1.0, axis.get_xlim()[0]), 1.05)
    axis.set_xlabel("Probe skill (0 chance, 1 perfect)")
    handles = [
        Line2D([], [], color=c, marker="o", linestyle="", label=n) for n, c in (("z", "#0072B2"), ("mel", "#7F7F7F"))
    ]
    axis.legend(handles=handles, frameon=False)
    caption = (
        f"Linear probes on test sentences: {sample(table)}; {whiskers(profile)}. Phone, F0 and energy from frames; "
        "style, speaker and rate from the mean and deviation over an utterance. Skill is R², or accuracy above chance."
    )
    return describe(figure, caption, "Skill of linear probes on z and on the log-mel.", count(table))


def misalignment(rows: pd.DataFrame, profile: dict) -> Figure:
    """LD4: lengths, and similarity before and after alignment."""
    table = found(rows, "cka")
    figure, (left, right) = canvas(2, 10.4, 3.6, width_ratios=[2, 3])
    for place, metric in enumerate(("length_difference", "length_cv")):
        for shift, kind in ((-0.1, "sampled"), (0.1, "shared")):
            mine = select(rows, {"metric": metric, "variant": kind})
            if len(mine):
                tone = "#D55E00" if kind == "sampled" else "#009E73"
                point(left, place + shift, mine, profile, "", vertical=False, color=tone)
    name_rows(left, ["Length difference", "Length over\nduration draws (CV)"])
    left.set_xlabel("%")
    stages = (("cka", "as_drawn"), ("cka", "warped"), ("cca", "as_drawn"), ("cca", "warped"))
    for place, (metric, stage) in enumerate(stages):
        for shift, kind, tone in ((-0.1, "sampled", "#D55E00"), (0.1, "shared", "#009E73")):
            mine = select(rows, {"metric": metric, "variant": kind, "target": stage})
            point(right, place + shift, mine, profile, "", vertical=False, color=tone)
    name_rows(right, [f"{m.upper()}, {'frame by frame' if s == 'as_drawn' else 'along DTW path'}" for m, s in stages])
    right.set_xlabel("Similarity of z_text and z_audio")
    tones = (("Sampled durations", "#D55E00"), ("Shared durations", "#009E73"))
    handles = [Line2D([], [], color=tone, marker="o", linestyle="", label=name) for name, tone in tones]
    figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=2)
    caption = (
        f"z_text against the neutral recording's z_audio: {sample(table)}; {whiskers(profile)}. CKA is debiased, CCA "
        "is the mean canonical correlation of the 20 leading principal components."
    )
    return describe(figure, caption, "Length differences and similarities before and after alignment.", count(table))


def posterior(rows: pd.DataFrame, profile: dict) -> Figure:
    """Reconstruction error of the posterior encoder through the frozen decoder."""
    table = found(rows, "mel_l1", system="posterior")
    roles = [role for role in ROLES if role in set(table["role"])]
    figure, axes = canvas(len(ERRORS), 11.0, 0.45 * len(roles) + 1.6, sharey=True)
    for axis, (metric, title) in zip(axes, ERRORS.items(), strict=True):
        for place, role in enumerate(roles):
            mine = select(rows, {"metric": metric, "system": "posterior", "role": role})
            if len(mine):
                point(axis, place, mine, profile, "", vertical=False, color="#0072B2")
            given = select(rows, {"metric": "cer_input", "system": "posterior", "role": role})
            if metric == "cer" and len(given):
                point(axis, place + 0.15, given, profile, "", vertical=False, color="0.6", markersize=4)
        name_rows(axis, [ROLES[role] for role in roles])
        axis.set_xlabel(title)
    caption = (
        f"Recordings encoded and decoded again: {count(table)} utterances; {whiskers(profile)}. The small grey mark is "
        "the CER of the recording itself."
    )
    return describe(figure, caption, "Reconstruction errors of the posterior encoder by kind of speech.", count(table))


def clap(rows: pd.DataFrame, profile: dict) -> Figure:
    """LD8: what the embedding knows of prosody, and retrieval by prompt."""
    table, hits = found(rows, "probe_r2"), found(rows, "retrieval_accuracy")
    figure, (left, right) = canvas(2, 10.0, 3.6)
    names = [name for name in PROPERTIES if name in set(table["variant"])]
    for place, name in enumerate(names):
        point(left, place, select(table, {"variant": name}), profile, "", vertical=False, color="#0072B2")
    name_rows(left, [PROPERTIES[name] for name in names])
    left.axvline(0, color="0.6", lw=1)
    left.set_xlabel("R² of a linear map from the audio embedding")
    factors = list(dict.fromkeys(hits["variant"]))
    for place, factor in enumerate(factors):
        point(right, place, select(hits, {"variant": factor}), profile, "", vertical=False, color="#0072B2")
        chance = select(rows, {"metric": "retrieval_chance", "variant": factor})["value"].mean()
        right.plot(chance, place, "|", color="0.3", markersize=14)
    name_rows(right, [factor.capitalize() for factor in factors])
    right.set(xlabel="Prompt retrieval accuracy (| chance)", xlim=(0, 1.02))
    caption = (
        f"What the CLAP that conditions the diffusion knows: {sample(table)} with random levels of every factor; "
        f"{whiskers(profile)}. Left: held-out R². Right: the true level's prompt is nearest, wording never trained on."
    )
    return describe(figure, caption, "R squared of prosody from the embedding, and retrieval accuracy.", count(table))
