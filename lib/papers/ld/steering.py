"""Can what a linear map reads from z also be set by it? The frozen decoder's answer, before any diffusion.

A ridge regression w reads F0 or energy from the frames of the voice's own z. Of all changes of z that raise what it
reads by one, the likeliest under a Gaussian with z's covariance S is u = S w / (w' S w). k u is added to every frame
of a test sentence, the decoder speaks, and the change that is heard is compared with k, the change that was asked for.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.corpora.styled.styles import intonation
from lib.papers.ld.data import Lab, Sentence, heard
from lib.papers.ld.diagnostics import prosody_of_frames, row
from lib.papers.ld.style import sample
from lib.study.claims import select
from lib.study.drawing import canvas, count, describe, estimate, found, mark, whiskers
from lib.study.palette import BLUE

ALPHA = 1.0  # ridge penalty
ASKED = {"f0": (-4.0, -2.0, 2.0, 4.0), "energy": (-8.0, -4.0, 4.0, 8.0)}
UNITS = {"f0": "semitones", "energy": "dB"}


def direction(z: np.ndarray, values: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """u `(channels,)`: the likeliest change of z `(frames, channels)` that raises the read-out of values by one."""
    centred = z - z.mean(0)
    covariance = centred.T @ centred / len(z) + 1e-6 * np.eye(z.shape[1])
    weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(z.shape[1]), centred.T @ (values - values.mean()))
    return covariance @ weights / (weights @ covariance @ weights)


def directions(lab: Lab) -> dict[str, np.ndarray]:
    """The direction of F0 (semitones, voiced frames) and of energy (dB), from the voice's own training latents."""
    z, voiced, f0, energy = [], [], [], []
    for sentence in lab.sentences("train"):
        arrays = lab.spoken(sentence)
        frames = min(arrays["z"].shape[1], len(arrays["f0_neutral"]))
        z.append(arrays["z"].T[:frames].astype(np.float64))
        for into, values in zip((voiced, f0, energy), prosody_of_frames(arrays, "neutral", frames), strict=True):
            into.append(values)
    z, voiced, f0, energy = (np.concatenate(part) for part in (z, voiced, f0, energy))
    return {"f0": direction(z[voiced > 0], f0[voiced > 0]), "energy": direction(z, energy)}


@torch.no_grad()
def spoken_with(lab: Lab, sentence: Sentence, change: np.ndarray) -> dict[str, float]:
    """f0 (median, semitones) and energy (dB) of what the decoder makes of the recording's z plus a change."""
    z = torch.from_numpy(lab.spoken(sentence)["z"] + change[:, None]).float().unsqueeze(0).to(lab.device)
    wave = lab.vits.decode(z, torch.tensor([z.shape[2]], device=lab.device))[0].cpu().numpy()
    level = 10 * np.log10(float((wave.astype(np.float64) ** 2).mean()) + 1e-10)
    return {"f0": intonation(heard(wave, lab.vits.dims.rate))["f0_median"], "energy": level}


def rows(lab: Lab) -> list[dict]:
    """Rows steered by test sentence: the change heard (semitones, dB) for the change x asked for; variant is what."""
    found, every = [], directions(lab)
    for sentence in lab.sentences("test"):
        before = spoken_with(lab, sentence, np.zeros(lab.vits.dims.latent))
        for name, asked in ASKED.items():
            for amount in asked:
                change = spoken_with(lab, sentence, amount * every[name])[name] - before[name]
                if np.isfinite(change):
                    found.append(row(name, sentence.name, "steered", change, UNITS[name], x=amount))
    return found


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
