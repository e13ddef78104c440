"""Figures of signals, embeddings and learning curves: what result rows do not hold. Style: `lib.study.drawing`."""

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from lib import pitch
from lib.models.mel import MelDims, log_mel
from lib.study.drawing import canvas, describe
from lib.study.palette import BLUE, RED, ROLES, SKY
from lib.text import PHONES

DARK_FIRST = "magma"


def learning_curve(history: pd.DataFrame, titles: dict[str, str], what: str, validation: dict | None = None) -> Figure:
    """Training losses by step, a panel for each of `titles`; validation losses after the last step as dashed lines.

    The card of a shipped part keeps their sum alone, which then has the one panel.
    """
    names = [name for name in titles if name in history] or ["total"]
    figure, axes = canvas(len(names), 2.7 * len(names), 2.7, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        axis.plot(history["step"], history[name], color="0.8", lw=1)
        smooth = history[name].rolling(max(1, len(history) // 15), min_periods=1, center=True).mean()
        axis.plot(history["step"], smooth, color=BLUE, lw=1.8, label="training")
        if name in (validation or {}):
            axis.axhline(validation[name], color=RED, ls="--", lw=1.5, label="validation, at the end")
        axis.set(title=titles.get(name, "Sum of the losses"), xlabel="Step", ylim=(0, None))
    if validation:
        axes[0][0].legend(frameon=False, fontsize="small")
    end = ", validation at the end" if validation else ""
    caption = f"Learning curve of {what}: losses of the batches (grey), their running mean{end}."
    return describe(figure, caption, f"Losses of {what} by training step.", int(history["step"].max()))


def show_mel(axis: Axes, mel: np.ndarray, dims: MelDims) -> None:
    """Log-mel `(frames, n_mels)` over seconds, the frequency axis labelled in kHz at mel channels."""
    import librosa

    seconds = len(mel) * dims.hop / dims.rate
    axis.imshow(mel.T, origin="lower", aspect="auto", cmap=DARK_FIRST, extent=(0, seconds, 0, dims.n_mels))
    centres = librosa.mel_frequencies(dims.n_mels, fmin=dims.f_min, fmax=dims.f_max)
    shown = [hertz for hertz in (500, 1000, 2000, 4000) if hertz < dims.f_max]
    axis.set_yticks(np.interp(shown, centres, np.arange(dims.n_mels)), [f"{hertz / 1000:g}" for hertz in shown])
    axis.grid(False)


def alignment(mel: np.ndarray, phonemes: str, durations: np.ndarray, dims: MelDims, sentence: str) -> Figure:
    """A log-mel `(frames, n_mels)` with its phonemes and their exact boundaries; durations in frames."""
    figure, axis = canvas(1, 11.0, 3.4)
    show_mel(axis, mel, dims)
    ends = np.cumsum(durations) * dims.hop / dims.rate
    starts = ends - np.asarray(durations) * dims.hop / dims.rate
    axis.vlines(ends[:-1], 0, dims.n_mels, color="white", lw=0.6, alpha=0.8)
    for symbol, start, end in zip(phonemes, starts, ends, strict=True):
        if end > start and symbol in PHONES:
            axis.text((start + end) / 2, dims.n_mels + 1, symbol, ha="center", va="bottom", fontsize=9)
    axis.set(xlabel="Time (s)", ylabel="Frequency (kHz)")
    caption = f"Log-mel of “{sentence}” with the phoneme boundaries that the voice model itself produced. n = 1."
    return describe(figure, caption, "Spectrogram of one sentence with phoneme boundaries.", 1)


def f0_track(wave: np.ndarray, dims: MelDims) -> np.ndarray:
    """F0 in Hz at every mel frame of a wave, NaN where unvoiced (YIN)."""
    track = pitch.yin(torch.from_numpy(wave).unsqueeze(0), dims.rate, dims.hop)[0][0].numpy()
    return np.where(track > 0, track, np.nan)


def sentence(waves: dict[str, np.ndarray], dims: MelDims, text: str, who: str) -> Figure:
    """One sentence by several systems, waves `(samples,)` by their names for people: log-mels, F0 drawn over them. who:
    the speaker, or the style.
    """
    mels = {system: log_mel(torch.from_numpy(wave)[None], dims)[0].numpy() for system, wave in waves.items()}
    f0 = {system: f0_track(wave, dims) for system, wave in waves.items()}
    figure, axes = canvas(1, 9.0, 1.25 * len(mels) + 0.8, rows=len(mels), sharex=True, squeeze=False)
    top = 1.6 * np.nanpercentile(np.concatenate([*f0.values(), [150.0]]), 95)
    for axis, (system, mel) in zip(axes[:, 0], mels.items(), strict=True):
        show_mel(axis, mel, dims)
        axis.set_title(system, loc="left", fontsize="small", pad=2)
        right = axis.twinx()
        right.grid(False)
        times = (np.arange(len(f0[system])) + 0.5) * dims.hop / dims.rate
        right.plot(times, f0[system], color=SKY, lw=2)
        right.set_ylim(0, top)
        right.tick_params(labelsize=8)
        axis.tick_params(labelsize=8)
    longest = max(len(mel) for mel in mels.values()) * dims.hop / dims.rate
    axes[-1, 0].set(xlabel="Time (s)", xlim=(0, longest))
    figure.supylabel("Frequency (kHz, left)  ·  F0 (Hz, right, blue line)", fontsize="small")
    caption = (
        f"“{text}” ({who.replace('_', ' ')}): log-mel and F0 of the recording and of each system; no line is drawn "
        "where the tracker hears no voicing. n = 1."
    )
    return describe(figure, caption, f"Spectrograms and F0 of one sentence by {len(mels)} systems.", 1)


def voices(utterances: pd.DataFrame) -> Figure:
    """F0 against speaking rate by speaker, and lengths by role, of `lib.papers.common.describe.utterance_table`."""
    figure, (left, right) = canvas(2, 10.5, 4.4, width_ratios=[3, 2])
    bins = np.linspace(utterances["seconds"].min(), utterances["seconds"].max(), 16)
    for role, (name, tone, shape) in ROLES.items():
        mine = utterances[utterances["role"] == role]
        if mine.empty:
            continue
        spread = mine.groupby("speaker")[["rate", "f0"]].agg(["mean", "std"])
        style = {"fmt": shape, "color": tone, "label": name, "elinewidth": 0.8, "markersize": 6}
        errors = {"xerr": spread["rate", "std"].fillna(0), "yerr": spread["f0", "std"].fillna(0)}
        left.errorbar(spread["rate", "mean"], spread["f0", "mean"], **errors, **style)
        right.hist(mine["seconds"], bins=bins, color=tone, histtype="step", lw=2)
    left.set(xlabel="Rate (phones per second)", ylabel="F0 (Hz, log axis)", yscale="log")
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("{x:g}")
    right.set(xlabel="Length (s)", ylabel="Utterances")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, loc="outside upper center", ncols=3)
    speakers = utterances["speaker"].nunique()
    caption = (
        f"Voices of the corpus, n = {len(utterances)} utterances of {speakers} speakers. Left: mean F0 and "
        "rate by speaker, bars are one standard deviation over utterances. Right: lengths of the utterances."
    )
    return describe(
        figure, caption, "F0 against speaking rate by speaker, and a histogram of lengths.", len(utterances)
    )


def similarity(matrix: pd.DataFrame, roles: dict[str, str], n: int) -> Figure:
    """GE2E similarity between speakers, `(speakers, speakers)`, with lines between the roles."""
    names, size = list(matrix.index), len(matrix)
    figure, axis = canvas(1, max(4.5, 0.3 * size + 2.0), max(3.8, 0.27 * size + 1.6))
    image = axis.imshow(matrix, cmap="cividis", vmin=min(0.4, matrix.min().min()), vmax=1)
    axis.set_xticks(range(size), names, rotation=90, fontsize=8)
    axis.set_yticks(range(size), names, fontsize=8)
    axis.grid(False)
    borders = [i - 0.5 for i in range(1, size) if roles[names[i]] != roles[names[i - 1]]]
    axis.hlines(borders, -0.5, size - 0.5, color="white", lw=2)
    axis.vlines(borders, -0.5, size - 0.5, color="white", lw=2)
    figure.colorbar(image, ax=axis, label="Mean GE2E cosine between utterances")
    caption = (
        "How alike speakers are to the GE2E encoder: mean cosine between utterances of two speakers; on "
        f"the diagonal between utterances of one. n = {n} utterances of {size} speakers; lines part roles."
    )
    return describe(figure, caption, "Matrix of GE2E similarity between all speakers.", n)


def speaker_map(embeddings: np.ndarray, speakers: list[str], roles: list[str]) -> Figure:
    """t-SNE of utterance embeddings `(utterances, 256)`, coloured by role, named by speaker."""
    points, speakers, roles = tsne(embeddings), np.array(speakers), np.array(roles)
    figure, axis = canvas(1, 8.0, 6.0)
    for role, (name, tone, shape) in ROLES.items():
        mine = roles == role
        axis.scatter(*points[mine].T, color=tone, marker=shape, s=18, alpha=0.6, label=name, linewidths=0)
    name_clusters(axis, {name: points[speakers == name].mean(0) for name in dict.fromkeys(speakers)}, 8)
    axis.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    axis.legend(frameon=False, fontsize="small", loc="best")
    caption = f"t-SNE map of GE2E embeddings, n = {len(points)} utterances of {len(set(speakers))} speakers."
    return describe(figure, caption, "Two-dimensional map of utterances; speakers form clusters.", len(points))


def nearest_pretraining(table: pd.DataFrame) -> Figure:
    """How near the closest pre-training speaker is (`lib.papers.common.describe.nearest_pretraining`)."""
    figure, axis = canvas(1, 8.0, 0.32 * len(table) + 1.4)
    for place, row in enumerate(table.itertuples()):
        _, tone, shape = ROLES[row.role]
        axis.plot([row.nearest_pretraining_cosine, row.within_cosine], [place, place], color="0.8", lw=1.2)
        axis.plot(row.nearest_pretraining_cosine, place, shape, color=tone, markersize=7)
        axis.plot(row.within_cosine, place, "|", color="black", markersize=11, markeredgewidth=2)
    axis.set_yticks(range(len(table)), [f"{row.speaker}  →  {row.nearest}" for row in table.itertuples()])
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("Mean GE2E cosine between utterances")
    caption = (
        "Each new speaker and the pre-training speaker that the GE2E encoder finds most alike (coloured), "
        f"beside the speaker's likeness to itself (black tick). n = {len(table)} speakers."
    )
    return describe(figure, caption, "Similarity of new speakers to the nearest pre-training speaker.", len(table))


def generated_parameters(clouds: dict[str, np.ndarray], speakers: list[str], scores: dict[str, np.ndarray]) -> Figure:
    """t-SNE maps of clouds `(utterances, values)` coloured by speaker, silhouettes by speaker below.

    scores: the silhouette of every utterance in the full space (`lib.papers.ht.measure.speaker_silhouette`).
    """
    import seaborn as sns

    names, speakers = list(dict.fromkeys(speakers)), np.array(speakers)
    tones = sns.color_palette("colorblind", len(names)) if len(names) <= 10 else sns.husl_palette(len(names))
    figure, axes = canvas(len(clouds), 3.9 * len(clouds), 6.0, rows=2, height_ratios=[3, 2], squeeze=False)
    for column, (name, cloud) in enumerate(clouds.items()):
        points, values = tsne(cloud), scores[name]
        upper, lower = axes[:, column]
        for place, (speaker, tone) in enumerate(zip(names, tones, strict=True)):
            mine = speakers == speaker
            upper.scatter(*points[mine].T, color=tone, s=26, marker="os^vD<>pPX"[place % 10], linewidths=0)
            lower.plot([place] * mine.sum(), values[mine], ".", color=tone, alpha=0.6)
            lower.plot(place, values[mine].mean(), "_", color="black", markersize=12, markeredgewidth=2)
        name_clusters(upper, {name: points[speakers == name].mean(0) for name in names}, 7)
        upper.set(title=name, xticks=[], yticks=[])
        lower.axhline(0, color="0.4", lw=1.2, ls="--")
        lower.set_ylim(min(-0.3, values.min() - 0.05), 1.05)
        lower.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes[1, 0].set_ylabel("Silhouette")
    caption = (
        "What is generated for an utterance's embedding, and the embeddings themselves: t-SNE maps (above), "
        "silhouettes in the full space (below; black: mean of a speaker). "
        f"n = {len(speakers)} utterances of {len(names)} speakers."
    )
    return describe(figure, caption, "Maps and silhouettes of generated parameters by speaker.", len(speakers))


def name_clusters(axis: Axes, centres: dict[str, np.ndarray], size: float) -> None:
    """Names above the centres of clusters, moved up or down where they would lie on one another; inside the axis."""
    axis.margins(x=0.12, y=0.12)
    axis.figure.draw_without_rendering()
    halo = [withStroke(linewidth=2, foreground="white")]
    place = {"textcoords": "offset points", "fontsize": size, "ha": "center", "va": "center", "path_effects": halo}
    points = 72 / axis.figure.dpi
    left, right = (edge * points for edge in axis.get_window_extent().intervalx)
    taken: list[tuple[float, float, float]] = []
    for name, centre in sorted(centres.items(), key=lambda item: -item[1][1]):
        x, y = axis.transData.transform(centre) * points
        half = 0.3 * size * len(name)
        middle = float(np.clip(x, left + half, max(left + half, right - half)))
        free = [shift for shift in (9, -9, 18, -18, 27, -27, 36, -36) if _free(middle, y + shift, half, size, taken)]
        up = free[0] if free else 9
        taken.append((middle, y + up, half))
        axis.annotate(name, centre, xytext=(middle - x, up), **place)


def _free(x: float, y: float, half: float, size: float, taken: list[tuple[float, float, float]]) -> bool:
    return all(abs(x - other) > half + wide or abs(y - height) > 1.15 * size for other, height, wide in taken)


def tsne(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two t-SNE coordinates of each point (van der Maaten & Hinton 2008), cosine distance, `(points, 2)`."""
    from sklearn.manifold import TSNE

    perplexity = max(2.0, min(30.0, (len(points) - 1) / 4))
    return TSNE(metric="cosine", init="random", perplexity=perplexity, random_state=seed).fit_transform(points)
