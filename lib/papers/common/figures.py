"""Figures of the metric audit, from its rows (`lib.papers.common.audit`)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.audio import RATE
from lib.papers.common import audit
from lib.study.claims import select
from lib.study.drawing import Dot, PlotError, canvas, describe, estimate, intervals, legend, whiskers
from lib.study.palette import BLACK, BLUE, GREEN, ORANGE, PINK, RED
from lib.study.units import axis as axis_of
from lib.study.units import short

KINDS = {
    "identical": (BLACK, "o"),
    "noise": (RED, "s"),
    "pitch": (BLUE, "^"),
    "tempo": (GREEN, "D"),
    "world": (ORANGE, "v"),
    "hifigan": (GREEN, "p"),
    "griffin_lim": (ORANGE, "P"),
    "speaker": (PINK, "X"),
}
AGREEMENT = ("f0_voicing", "f0_20_percent", "f0_20_cents", "f0_cents")
TRACKS = {"yin": (BLUE, "-"), "harvest": (RED, "--"), "pyin": (GREEN, ":")}


def distortions(rows: pd.DataFrame, metrics: tuple[str, ...], profile: dict) -> Figure:
    """Some metrics, a panel each, of every distortion, with intervals. Raises PlotError for missing rows."""
    table = _of(rows, metrics)
    present = [each for each in audit.DISTORTIONS if each.name in set(table["system"])]
    figure, axes = canvas(len(metrics), 2.1 * len(metrics) + 1.9, 0.26 * len(present) + 1.1, sharey=True, squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        lines = []
        for each in present:
            tone, shape = KINDS[each.kind]
            mine = select(table, {"metric": metric, "system": each.name})
            lines.append(Dot(estimate(mine, profile), tone, {"fmt": shape, "markersize": 5}))
        intervals(axis, [each.label for each in present], lines, short(metric))
    caption = (
        f"Recordings changed in one known way against themselves unchanged: {_sample(table)}; {whiskers(profile)}."
    )
    alt = f"{', '.join(map(short, metrics))} for {len(present)} distortions, with intervals."
    return describe(figure, caption, alt, table["utterance"].nunique())


def released(rows: pd.DataFrame) -> Figure:
    """The released MCD against the path-normalised one, a point per distorted utterance."""
    points = _points(rows, ("mcd", "mcd_as_released"))
    figure, axis = canvas(1, 6.4, 4.6)
    _scatter(axis, points, "mcd", "mcd_as_released")
    most = float(points[["mcd", "mcd_as_released"]].to_numpy().max())
    axis.plot([0, most], [0, most], color="0.4", lw=1.2, ls="--", zorder=1)
    axis.set(xlabel="MCD, path-normalised (dB)", ylabel="MCD as released (dB)", xlim=(-0.3, None), ylim=(0, None))
    _legend(figure, points)
    identical = points[points["kind"] == "identical"]["mcd_as_released"]
    lowest = (
        f" Identical signals: {identical.min():.2f} to {identical.max():.2f} dB as released." if len(identical) else ""
    )
    caption = f"Two formulas for MCD on the same alignments, {_sample(rows)}; dashed: equality.{lowest}"
    return describe(figure, caption, "Released against path-normalised MCD by kind of distortion.", len(points))


def predictors(rows: pd.DataFrame, found: audit.Correlation, a: str, b: str) -> Figure:
    """Two predictors of MOS against each other, a point per distorted utterance."""
    points = _points(rows, (a, b))
    figure, axis = canvas(1, 6.4, 4.6)
    _scatter(axis, points, a, b)
    axis.set(xlabel=short(a), ylabel=short(b))
    _legend(figure, points)
    caption = (
        f"Two predictions of MOS, without listeners: {_sample(rows)}. Spearman's correlation {found.value:.2f}, "
        f"bootstrap interval over utterances {found.ci_low:.2f} to {found.ci_high:.2f}."
    )
    return describe(figure, caption, f"{short(a)} against {short(b)}.", len(points))


def agreement(rows: pd.DataFrame, profile: dict) -> Figure:
    """How far each two F0 trackers agree, with intervals."""
    table = _of(rows, AGREEMENT)
    pairs = list(dict.fromkeys(table["system"]))
    figure, axes = canvas(len(AGREEMENT), 2.3 * len(AGREEMENT) + 2.2, 0.36 * len(pairs) + 1.3, sharey=True)
    names = [" and ".join(audit.NAMES[name] for name in pair.split("_")) for pair in pairs]
    tones = [BLUE if pair.startswith("yin_") else "0.4" for pair in pairs]
    for axis, metric in zip(axes, AGREEMENT, strict=True):
        mine = [select(table, {"metric": metric, "system": pair}) for pair in pairs]
        lines = [Dot(estimate(each, profile), tone) for each, tone in zip(mine, tones, strict=True)]
        intervals(axis, names, lines, axis_of(metric))
    caption = f"Agreement of F0 trackers between 65 and 600 Hz: {_sample(table)}; {whiskers(profile)}."
    return describe(figure, caption, "Agreement of three F0 trackers, pair by pair.", table["utterance"].nunique())


def tracks(found: dict[str, np.ndarray], sentence: str) -> Figure:
    """The F0 tracks (frames,) of one utterance by tracker, every 10 ms."""
    figure, axis = canvas(1, 9.0, 3.2)
    for name, track in found.items():
        tone, line = TRACKS[name]
        seconds = np.arange(len(track)) * audit.HOP / RATE
        axis.plot(seconds, np.where(track > 0, track, np.nan), line, color=tone, lw=1.8, label=audit.NAMES[name])
    axis.set(xlabel="Time (s)", ylabel="F0 (Hz)")
    figure.legend(frameon=False, loc="outside upper center", ncols=len(found))
    return describe(figure, f"F0 of “{sentence}” by three trackers; gaps are unvoiced. n = 1.", "Three F0 tracks.", 1)


def _of(rows: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    missing = set(metrics) - set(rows["metric"])
    if missing:
        raise PlotError(f"the audit has no rows of {', '.join(sorted(missing))}: measure them first")
    return rows[rows["metric"].isin(metrics)]


def _points(rows: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    wide = _of(rows, metrics).pivot(index=["system", "utterance"], columns="metric", values="value").reset_index()
    return wide.assign(kind=wide["system"].map(lambda name: audit.BY_NAME[name].kind))


def _scatter(axis, points: pd.DataFrame, x: str, y: str) -> None:
    for kind, (tone, shape) in KINDS.items():
        mine = points[points["kind"] == kind]
        axis.plot(mine[x], mine[y], shape, color=tone, markersize=6, alpha=0.75, linestyle="")


def _legend(figure: Figure, points: pd.DataFrame) -> None:
    names = {
        "pitch": "F0",
        "hifigan": "HiFi-GAN",
        "griffin_lim": "Griffin-Lim",
        "world": "WORLD",
        "speaker": "Another speaker",
    }
    there = set(points["kind"])
    named = {names.get(kind, kind.capitalize()): look for kind, look in KINDS.items() if kind in there}
    legend(figure, named, loc="outside right center", ncols=1)


def _sample(table: pd.DataFrame) -> str:
    utterances, speakers = table["utterance"].nunique(), table["speaker"].nunique()
    return f"n = {utterances} utterances of {speakers} speakers"
