"""Pictures of latents themselves: images, a sampling's trajectory, a DTW path, learning curves."""

from functools import lru_cache
from textwrap import shorten

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from lib.metrics.dtw import warp
from lib.papers.ld.measure import condition_of, decode, precise, sample, sampling, text_latents
from lib.papers.ld.style import colour, label
from lib.papers.ld.systems import Systems
from lib.study.drawing import canvas, describe
from lib.study.heard import transcript

LIMIT = 3.0  # standard deviations at the ends of the colour scale
WORDS = 96  # most characters of what is heard above a picture


@lru_cache(maxsize=2)
def scale_of(study: Systems) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and deviation of every channel over the neutral training latents, and the channels in order of similarity.

    The channels of z have no order; sorted along their first principal component, related ones stand together.
    """
    every = np.concatenate([study.latents(s)["neutral"].T for s in study.corpus.sentences("train")])
    mean, deviation = every.mean(0), every.std(0) + 1e-6
    loadings = np.linalg.svd((every - mean) / deviation, full_matrices=False)[2][0]
    return mean, deviation, np.argsort(loadings)


def image(study: Systems, z: np.ndarray) -> np.ndarray:
    """`(channels, frames)` in standard deviations, channels sorted."""
    mean, deviation, order = scale_of(study)
    return ((z - mean[:, None]) / deviation[:, None])[order]


def images(study: Systems, panels: dict[str, np.ndarray], caption: str, said: dict[str, str] | None = None) -> Figure:
    """Latents `(latent, frames)` as images on one colour scale, by title; said: what is written above one, by title."""
    figure, axes = canvas(1, 9.0, 1.5 * len(panels) + 0.8, rows=len(panels), sharex=True, squeeze=False)
    rate = study.vits.dims.frames_per_second
    for axis, (title, z) in zip(axes[:, 0], panels.items(), strict=True):
        extent = (0, z.shape[1] / rate, 0, z.shape[0])
        look = {"aspect": "auto", "origin": "lower", "cmap": "RdBu_r", "vmin": -LIMIT, "vmax": LIMIT}
        drawn = axis.imshow(image(study, z), extent=extent, interpolation="nearest", **look)
        axis.set_ylabel(title, fontsize="small")
        axis.set_title((said or {}).get(title, ""), fontsize="small", loc="left")
        axis.set_yticks([])
        axis.grid(visible=False)
    axes[-1, 0].set_xlabel("Time (s)")
    figure.colorbar(drawn, ax=list(axes[:, 0]), label="standard deviations", shrink=0.8)
    note = "Rows are the 192 channels of z, sorted by their loading on the first principal component."
    return describe(figure, f"{caption} {note}", f"Latents as images: {', '.join(panels)}.", len(panels))


def translation(study: Systems, runs: dict[str, int], style: str, guidance: float) -> Figure:
    """z_text, z_audio of the restyled recording, and what each system makes of z_text: one test sentence, with what
    Whisper tiny.en hears of each.

    runs: the seed of each system.
    """
    sentence = study.tested[0]
    panels = {"z_text": study.corpus.spoken(sentence)["sampled_0"], f"z_audio\n{style}": study.latents(sentence)[style]}
    for name, seed in runs.items():
        z, frames = sample(study, name, seed, style, guidance)
        panels[label(name)] = z[0, :, : int(frames[0])].cpu().numpy()
    seeds = ", ".join(f"{label(name)} {seed}" for name, seed in runs.items())
    told = f"Above each what Whisper tiny.en hears of it. Seeds: {seeds}."
    words = {title: heard_words(study, z, sentence.text) for title, z in panels.items()}
    return images(study, panels, f'"{sentence.text}" as latents; guidance {guidance:g}. {told}', words)


def heard_words(study: Systems, z: np.ndarray, text: str) -> str:
    """What Whisper tiny.en hears of a latent `(latent, frames)` through the frozen decoder, with its WER."""
    wave = decode(study, torch.from_numpy(z)[None].to(study.device), torch.tensor([z.shape[1]]))[0]
    found = transcript(wave, text, device=study.device)
    heard = " ".join(word.heard for word in found.words if word.heard) or "nothing"
    return f"“{shorten(heard, WORDS, placeholder=' …')}” (WER {found.wer:.2f})"


def pairs(study: Systems, style: str) -> Figure:
    """z_text with sampled and with shared durations, and z_audio in the neutral and in another style."""
    sentence = study.tested[0]
    spoken, latents = study.corpus.spoken(sentence), study.latents(sentence)
    panels = {"z_text\nsampled": spoken["sampled_0"], "z_text\nshared": spoken["shared_0"]}
    panels |= {"z_audio\nneutral": latents["neutral"], f"z_audio\n{style}": latents[style]}
    return images(study, panels, f'"{sentence.text}": latents of the text and of the recording.')


def path(study: Systems) -> Figure:
    """DTW paths between z_text and the neutral z_audio for sampled and shared durations, test sentences."""
    mean, deviation, _ = scale_of(study)
    figure, axes = canvas(2, 8.4, 3.8, sharey=True)
    frame = 1 / study.vits.dims.frames_per_second
    for axis, kind in zip(axes, ("sampled", "shared"), strict=True):
        for sentence in study.tested:
            sides = study.corpus.spoken(sentence)[f"{kind}_0"], study.latents(sentence)["neutral"]
            [found] = warp(*([(side.T - mean) / deviation] for side in sides))
            i, j = found.rows * frame, found.columns * frame
            axis.plot(i, (j - i) * 1000, lw=1, alpha=0.7)
        axis.axhline(0, color="0.4", lw=1, ls="--")
        axis.set(title=f"{kind.capitalize()} durations", xlabel="Time in z_text (s)")
    axes[0].set_ylabel("z_audio later by (ms)")
    count = len(study.tested)
    caption = f"Where the matching frame of z_audio lies, along the DTW path: n = {count} test sentences, a line each."
    return describe(figure, caption, "Time offset between z_text and z_audio along the DTW path.", count)


def trajectory(study: Systems, system: str, seed: int, style: str, guidance: float, shown: int = 4) -> Figure:
    """x_t and the estimate of x_0 along a sampling of one test sentence."""
    z_text, frames = text_latents(study)
    z_text, frames = z_text[:1, :, : int(frames[0])], frames[:1]
    options = sampling(study, seed, guidance)
    taken = study.diffusion(system, seed).trajectory(z_text, frames, condition_of(study, style, 1), **options)
    with precise(study):
        steps = [(t, x, study.kept_content(system, z_text, estimate)) for t, x, estimate in taken]
    chosen = [steps[i] for i in np.linspace(0, len(steps) - 1, min(shown, len(steps))).round().astype(int)]
    figure, axes = canvas(2, 10.0, 1.4 * len(chosen) + 0.7, rows=len(chosen), sharex=True, sharey=True, squeeze=False)
    look = {"aspect": "auto", "origin": "lower", "cmap": "RdBu_r", "vmin": -LIMIT, "vmax": LIMIT}
    for row, (t, x, estimate) in zip(axes, chosen, strict=True):
        for axis, z in zip(row, (x, estimate), strict=True):
            axis.imshow(image(study, z[0].cpu().numpy()), interpolation="nearest", **look)
            axis.set_yticks([])
            axis.grid(visible=False)
        row[0].set_ylabel(f"t = {t}", fontsize="small")
    axes[0, 0].set_title(r"$x_t$")
    axes[0, 1].set_title(r"estimate of $x_0$")
    for axis in axes[-1]:
        axis.set_xlabel("Latent frame")
    caption = f"{label(system)}, {style.replace('_', ' ')}, guidance {guidance:g}: a sampling from t = T down to 0."
    return describe(figure, caption, "Latents along a sampling, from the start to the result.", len(chosen))


def learning(study: Systems, runs: dict[str, int]) -> Figure:
    """Training losses of diffusions, by system and seed, smoothed."""
    curves = {}
    for name, seed in runs.items():
        curves[name] = pd.DataFrame(study.trained(study.trained_as(name), seed)["history"])
    figure, axis = canvas(1, 7.6, 3.6)
    for name, curve in curves.items():
        smooth = curve["total"].rolling(9, min_periods=1, center=True).mean()
        axis.plot(curve["step"], smooth, color=colour(name), label=label(name), lw=1.4)
    axis.set(xlabel="Step", ylabel="Loss")
    axis.legend(frameon=False, ncols=2, fontsize="small")
    caption = "Training losses, mean over nine logged steps. Losses of different processes are not on one scale."
    if any("half" in study.system(study.trained_as(name)) for name in runs):
        caption += " Systems that go on from half of their training have the steps of its second half only."
    return describe(figure, caption, "Learning curves.", len(curves))
