"""Figures of what is there before any diffusion: posterior encoder, variance and probes of z, misalignment, CLAP."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.corpora.styled.styles import PHRASES
from lib.papers.ld.diagnostics import ASKED
from lib.papers.ld.style import dot, sample
from lib.study import drawing
from lib.study.claims import select
from lib.study.drawing import canvas, count, describe, estimate, found, intervals, legend, mark, whiskers
from lib.study.palette import BLUE, GREEN, GREY, ORANGE, RED
from lib.study.units import axis as axis_of

FACTORS = ("text_and_time", "phone", "prosody", "style_given_text", "style", "speaker")
PROBED = ("phone", "f0", "energy", "style", "speaker", "rate")
ROLES = {
    "held_out": "Own voice, held out",
    "styled": "Restyled",
    "other_speaker": "Warped to other speakers",
    "acted": "Acted, other speakers",
    "real": "Real speech",
}
ERRORS = ("mel_l1", "f0_error", "cer", "cos")
PROPERTIES = {
    **{"f0_mean": "F0 mean", "f0_range": "F0 range", "energy_mean": "Energy", "rate": "Rate"},
    "pause_share": "Pauses",
}


TITLES = {
    "text_and_time": "Shared by all styles\n(text and timing)",
    "style_given_text": "Changes with the style",
    **{"phone": "Phone (linear)", "prosody": "F0 and energy (linear)"},
    **{"style": "Style mean (linear)", "speaker": "Speaker mean (linear)"},
}
DURATIONS = {
    **{"sampled": ("Sampled durations", RED), "shared": ("Shared durations", GREEN)},
    "other": ("Another sentence's recording", GREY),
}


def variance(rows: pd.DataFrame, profile: dict) -> Figure:
    """LD3: shares of z's variance."""
    table = found(rows, "variance_explained", variant=list(FACTORS))
    names = [name for name in FACTORS if name in set(table["variant"])]
    tones = [BLUE if name in ("text_and_time", "style_given_text") else ORANGE for name in names]
    lines = [dot(table, profile, t, {"variant": n}, markersize=8) for n, t in zip(names, tones, strict=True)]
    figure, axis = canvas(1, 7.6, 3.6)
    intervals(axis, [TITLES[name] for name in names], lines, "Share of the variance of z", zero=True)
    caption = (
        f"What z varies with: {sample(table)}; {whiskers(profile)}. Blue: exact split of the variance between what all "
        "styles of a sentence share, frame by frame, and what changes with the style. Orange: held-out share that a "
        "linear map predicts from the factor."
    )
    return describe(figure, caption, "Shares of the variance of z by factor, with intervals.", count(table))


def probes(rows: pd.DataFrame, profile: dict) -> Figure:
    """LD3: how well a linear map reads each property from z, and from the log-mel."""
    table = found(rows, "probe_skill", variant=list(PROBED))
    figure, axis = canvas(1, 7.6, 3.8)
    names = [name for name in PROBED if name in set(table["variant"])]
    layers = {"z": BLUE, "mel": GREY}
    lines = [[dot(table, profile, t, {"variant": name, "layer": k}) for k, t in layers.items()] for name in names]
    shown = [name.upper() if name == "f0" else name.capitalize() for name in names]
    intervals(axis, shown, lines, "Probe skill (0 chance, 1 perfect)", zero=True)
    axis.set_xlim(max(-1.0, axis.get_xlim()[0]), 1.05)
    legend(axis, layers, ncols=1)
    caption = (
        f"Linear probes on test sentences: {sample(table)}; {whiskers(profile)}. Phone, F0 and energy from frames; "
        "style, speaker and rate from the mean and deviation over an utterance. Skill is R², or accuracy above chance."
    )
    return describe(figure, caption, "Skill of linear probes on z and on the log-mel.", count(table))


def steering(rows: pd.DataFrame, profile: dict) -> Figure:
    """The change that is heard against the change that was asked for, F0 and energy."""
    table = found(rows, "steered")
    figure, axes = canvas(len(ASKED), 9.6, 3.8)
    for axis, (name, title) in zip(axes, {"f0": "F0 (semitones)", "energy": "Energy (dB)"}.items(), strict=True):
        mine = select(table, {"variant": name})
        ends = np.array([min(ASKED[name]), max(ASKED[name])])
        axis.plot(ends, ends, color="0.5", lw=1, ls="--")
        axis.axhline(0, color="0.8", lw=1, zorder=0)
        for x, group in mine.groupby("x"):
            mark(axis, x, estimate(group, profile), BLUE)
        axis.set(xlabel=f"{title} asked of z", ylabel=f"{title} heard")
    axes[0].legend([Line2D([], [], color="0.5", ls="--")], ["As asked"], frameon=False)
    caption = (
        f"Moving z along the direction in which a linear map reads F0 or energy: {sample(table)}; {whiskers(profile)}. "
        "The decoder is frozen; what is heard is the change against the same sentence decoded from its own z."
    )
    alt = "Change of F0 and energy heard against the change asked of z, with the diagonal."
    return describe(figure, caption, alt, count(table))


def misalignment(rows: pd.DataFrame, profile: dict) -> Figure:
    """LD4: lengths, and similarity before and after alignment."""
    table = found(rows, "cka")
    figure, (left, right) = canvas(2, 10.4, 3.6, width_ratios=[2, 3])

    def both(**where: str) -> list:
        return [dot(rows, profile, tone, where | {"variant": kind}) for kind, (_, tone) in DURATIONS.items()]

    names = ["Length difference", "Length over\nduration draws (CV)"]
    intervals(left, names, [both(metric="length_difference"), both(metric="length_cv")], "%")
    stages = [(m, s) for m in ("cka", "cca") for s in ("as_drawn", "warped")]
    names = [f"{m.upper()}, {'frame by frame' if s == 'as_drawn' else 'along DTW path'}" for m, s in stages]
    lines = [both(metric=metric, target=stage) for metric, stage in stages]
    intervals(right, names, lines, "Similarity of z_text and z_audio")
    legend(figure, dict(DURATIONS.values()))
    caption = (
        f"z_text against the neutral recording's z_audio: {sample(table)}; {whiskers(profile)}. CKA is debiased, CCA "
        "is the mean canonical correlation of the 20 leading principal components. Grey: against the recording of "
        "another sentence, which a path makes alike, too."
    )
    return describe(figure, caption, "Length differences and similarities before and after alignment.", count(table))


def posterior(rows: pd.DataFrame, profile: dict) -> Figure:
    """Reconstruction error of the posterior encoder through the frozen decoder."""
    table = found(rows, "mel_l1", system="posterior")
    roles = [role for role in ROLES if role in set(table["role"])]
    mine = select(rows, {"system": "posterior"})
    figure, axes = canvas(len(ERRORS), 11.0, 0.45 * len(roles) + 1.6, sharey=True)
    for axis, metric in zip(axes, ERRORS, strict=True):
        lines = [dot(mine, profile, BLUE, {"metric": metric, "role": role}) for role in roles]
        title = axis_of(metric).replace(" (semi", "\n(semi") if metric != "cos" else "COS"
        intervals(axis, [ROLES[role] for role in roles], lines, title)
        if metric == "cer":
            given = [dot(mine, profile, "0.6", {"metric": "cer_input", "role": r}, markersize=4) for r in roles]
            for place, small in enumerate(given):
                if small.estimate is not None:
                    mark(axis, place + 0.15, small.estimate, small.colour, False, **small.look)
    caption = (
        f"Recordings encoded and decoded again: {count(table)} utterances; {whiskers(profile)}. The small grey mark is "
        "the CER of the recording itself."
    )
    return describe(figure, caption, "Reconstruction errors of the posterior encoder by kind of speech.", count(table))


def clap(rows: pd.DataFrame, profile: dict) -> Figure:
    """LD8: what the embedding knows of prosody, and retrieval by prompt."""
    table, hits = found(rows, "probe_r2", variant=list(PROPERTIES)), found(rows, "retrieval_accuracy")
    figure, (left, right) = canvas(2, 10.0, 3.6)
    names = [name for name in PROPERTIES if name in set(table["variant"])]
    lines = [dot(table, profile, BLUE, {"variant": name}) for name in names]
    title = "R² of a linear map from the audio embedding"
    intervals(left, [PROPERTIES[name] for name in names], lines, title, zero=True)
    wordings = {"used": BLUE, "new": ORANGE}
    told = [[dot(hits, profile, c, {"variant": f, "target": kind}) for kind, c in wordings.items()] for f in PHRASES]
    retrieved(right, rows, told)
    legend(figure, {"Wording of the systems' prompts": BLUE, "Wording never trained on": ORANGE})
    caption = (
        f"What the CLAP that conditions the diffusion knows: {sample(table)} with random levels of every factor; "
        f"{whiskers(profile)}. Left: held-out R². Right: how often the true level's prompt is nearest."
    )
    return describe(figure, caption, "R squared of prosody from the embedding, and retrieval accuracy.", count(table))


def retrieved(axis: Axes, rows: pd.DataFrame, lines: list) -> None:
    """How often the true level's prompt is nearest, by factor, with chance."""
    intervals(axis, [factor.capitalize() for factor in PHRASES], lines, "Prompt retrieval accuracy (| chance)")
    for place, factor in enumerate(PHRASES):
        chance = select(rows, {"metric": "retrieval_chance", "variant": factor})["value"].mean()
        axis.plot(chance, place, "|", color="0.3", markersize=14)
    axis.set_xlim(-0.02, 1.02)


def acted(rows: pd.DataFrame, profile: dict) -> Figure:
    """What z and the CLAP know of acted styles, beside what they know of the restyled voice."""
    heard, probed = found(rows, "probe_r2", role="acted"), found(rows, "probe_skill", role="acted")
    figure, (left, middle, right) = canvas(3, 12.0, 3.8)
    named = heard["target"].iloc[0]
    kinds = {"": ("Restyled voice", BLUE), "short_": ("Restyled voice, cut to their length", GREY)}
    kinds |= {"acted_": (f"Acted, {named}", ORANGE)}

    def beside(names, **where: str) -> list:
        places = [[(f"{start}{name}", tone) for start, (_, tone) in kinds.items()] for name in names]
        return [[dot(rows, profile, tone, where | {"variant": name}) for name, tone in place] for place in places]

    names = [name for name in PROBED if name != "phone"]
    shown = [name.upper() if name == "f0" else name.capitalize() for name in names]
    intervals(left, shown, beside(names, metric="probe_skill", layer="z"), "Skill of a probe of z", zero=True)
    title = "R² of a linear map from the audio embedding"
    intervals(middle, list(PROPERTIES.values()), beside(PROPERTIES, metric="probe_r2"), title, zero=True)
    for axis in (left, middle):
        axis.set_xlim(max(-1.0, axis.get_xlim()[0]), 1.05)
    retrieved(right, rows, beside(PHRASES, metric="retrieval_accuracy", target=["used", named]))
    legend(figure, dict(kinds.values()))
    caption = (
        f"The probes of LD3 and LD8 on acted speech: {drawing.sample(probed)}; {whiskers(profile)}. Fitted on other "
        "sentences of the same speakers. Right: prompts for random levels of every factor, which WORLD gave to neutral "
        "recordings of theirs. The encoder and mini-CLAP never met these voices."
    )
    alt = "Skill of probes of z, R squared from the CLAP embedding and retrieval, restyled and acted speech."
    return describe(figure, caption, alt, count(probed))
