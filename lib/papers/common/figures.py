"""Figures of the metric audit, from its rows (`lib.papers.common.audit`), and the vocoder's learning curve."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.audio import RATE
from lib.papers.common import audit
from lib.study.claims import select
from lib.study.drawing import PlotError, canvas, describe, mark, name_rows, settings, whiskers
from lib.study.statistics import interval

KINDS = {
    "identical": ("#000000", "o"),
    "noise": ("#D55E00", "s"),
    "pitch": ("#0072B2", "^"),
    "tempo": ("#009E73", "D"),
    "world": ("#E69F00", "v"),
    "griffin_lim": ("#E69F00", "P"),
    "speaker": ("#CC79A7", "X"),
}
TITLES = {
    "cos": "COS ↑",
    "mcd": "MCD (dB) ↓",
    "mcd_as_released": "MCD as released (dB)",
    "ffe": "FFE (%) ↓",
    "gpe": "GPE (%) ↓",
    "vde": "VDE (%) ↓",
    "ffe_as_released": "FFE as released (%)",
    "wer": "WER ↓",
    "mos_predicted": "DistillMOS ↑",
    "dnsmos_overall_predicted": "DNSMOS overall ↑",
    "dnsmos_p808_predicted": "DNSMOS P.808 ↑",
}
AGREEMENT = {
    "f0_voicing": "Same voicing (%)",
    "f0_20_percent": "F0 within 20 % (%)",
    "f0_20_cents": "F0 within 20 cents (%)",
    "f0_cents": "Median difference (cents)",
}
TRACKS = {"yin": ("#0072B2", "-"), "harvest": ("#D55E00", "--"), "pyin": ("#009E73", ":")}
LOSSES = {  # of the vocoder
    "mel": "Log-mel distance (L1)",
    "critics": "Discriminators (least squares)",
    "adversarial": "Generator against them",
    "features": "Features (L1)",
}


def distortions(rows: pd.DataFrame, metrics: tuple[str, ...], profile: dict) -> Figure:
    """Some metrics, a panel each, of every distortion, with intervals. Raises PlotError for missing rows."""
    table = _of(rows, metrics)
    present = [each for each in audit.DISTORTIONS if each.name in set(table["system"])]
    figure, axes = canvas(len(metrics), 2.1 * len(metrics) + 1.9, 0.26 * len(present) + 1.1, sharey=True, squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        for place, each in enumerate(present):
            tone, shape = KINDS[each.kind]
            mine = select(table, {"metric": metric, "system": each.name})
            estimate = interval(mine, **settings(profile))
            mark(axis, place, estimate, each.name, vertical=False, color=tone, fmt=shape, markersize=5)
        axis.set_xlabel(TITLES[metric])
        name_rows(axis, [each.label for each in present])
    caption = (
        f"Recordings changed in one known way against themselves unchanged: {_sample(table)}; {whiskers(profile)}."
    )
    alt = f"{', '.join(TITLES[metric] for metric in metrics)} for {len(present)} distortions, with intervals."
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
    axis.set(xlabel=TITLES[a], ylabel=TITLES[b])
    _legend(figure, points)
    caption = (
        f"Two predictions of MOS, nobody listened: {_sample(rows)}. Spearman's correlation {found.value:.2f}, "
        f"bootstrap interval over utterances {found.ci_low:.2f} to {found.ci_high:.2f}."
    )
    return describe(figure, caption, f"{TITLES[a]} against {TITLES[b]}.", len(points))


def agreement(rows: pd.DataFrame, profile: dict) -> Figure:
    """How far each two F0 trackers agree, with intervals."""
    table = _of(rows, tuple(AGREEMENT))
    pairs = list(dict.fromkeys(table["system"]))
    figure, axes = canvas(len(AGREEMENT), 2.3 * len(AGREEMENT) + 2.2, 0.36 * len(pairs) + 1.3, sharey=True)
    for axis, (metric, title) in zip(axes, AGREEMENT.items(), strict=True):
        for place, pair in enumerate(pairs):
            tone = "#0072B2" if pair.startswith("yin_") else "0.4"
            estimate = interval(select(table, {"metric": metric, "system": pair}), **settings(profile))
            mark(axis, place, estimate, pair, vertical=False, color=tone)
        axis.set_xlabel(title)
        name_rows(axis, [" and ".join(audit.NAMES[name] for name in pair.split("_")) for pair in pairs])
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
    names = {"pitch": "F0", "griffin_lim": "Griffin-Lim", "world": "WORLD", "speaker": "Another speaker"}
    handles = [
        Line2D([], [], color=tone, marker=shape, linestyle="", label=names.get(kind, kind.capitalize()))
        for kind, (tone, shape) in KINDS.items()
        if kind in set(points["kind"])
    ]
    figure.legend(handles=handles, frameon=False, loc="outside right center")


def _sample(table: pd.DataFrame) -> str:
    utterances, speakers = table["utterance"].nunique(), table["speaker"].nunique()
    return f"n = {utterances} utterances of {speakers} speakers"


def learning_curve(history: pd.DataFrame) -> Figure:
    """Losses by step, one panel each; `history` as training wrote it."""
    figure, axes = canvas(len(LOSSES), 2.7 * len(LOSSES), 2.7, squeeze=False)
    for axis, (name, title) in zip(axes[0], LOSSES.items(), strict=True):
        axis.plot(history["step"], history[name], color="0.8", lw=1)
        smooth = history[name].rolling(max(1, len(history) // 15), min_periods=1, center=True).mean()
        axis.plot(history["step"], smooth, color="#0072B2", lw=1.8)
        axis.set(title=title, xlabel="Step", ylim=(0, None))
    caption = "Learning curve of the vocoder: losses of the batches (grey) and their running mean."
    return describe(figure, caption, "Losses of the vocoder by training step.", int(history["step"].max()))
