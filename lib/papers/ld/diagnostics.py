"""What z holds (claim LD3) and why z_text and z_audio do not match (claim LD4), before any diffusion is trained.

Variance: the styles of a sentence share text and timing frame by frame, so z's variance splits exactly into what the
styles share (text_and_time) and what changes with the style (style_given_text). Beside it, the held-out share that a
linear map predicts from the phone, the style, F0 and energy, or the speaker. Probes: linear maps from a frame of z
(or of the log-mel, for comparison) to phone, F0 and energy, and from an utterance's mean and deviation to style,
speaker and rate.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from lib import text
from lib.metrics.dtw import warp
from lib.papers.ld.data import SPEAKER, Lab, Sentence
from lib.papers.ld.posterior import log_mel

ALPHA = 1.0  # ridge penalty on standardised inputs
COMPONENTS = 20  # principal components of a canonical correlation analysis
DRAWS = 16  # durations drawn per sentence for the length statistics


def frames_of(lab: Lab, sentence: Sentence, name: str, layer: str) -> np.ndarray:
    """`(frames, channels)` of z_audio ("z") or of the log-mels ("mel") in a style or another speaker's voice."""
    z = lab.latents(sentence)[name].T
    if layer == "z":
        return z
    key = ("mel", sentence.name, name)
    if key not in lab.kept:
        wave = torch.from_numpy(lab.wave(sentence, name)).unsqueeze(0)
        lab.kept[key] = log_mel(wave.to(lab.device), lab.vits)[0].T.cpu().numpy()[: len(z)]
    return lab.kept[key]


def ridge(inputs: np.ndarray, targets: np.ndarray, alpha: float = ALPHA):
    """A function from inputs `(n, d)` to predictions: least squares with a penalty, inputs standardised."""
    mean, deviation = inputs.mean(0), inputs.std(0) + 1e-6
    x = (inputs - mean) / deviation
    offset = targets.mean(0)
    weights = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ (targets - offset))
    return lambda new: (new - mean) / deviation @ weights + offset


def one_hot(values, names: list) -> np.ndarray:
    return (np.asarray(values)[:, None] == np.asarray(names)[None]).astype(float)


def row(variant: str, utterance: str, metric: str, value: float, unit: str = "share", **more) -> dict:
    shared = {"speaker": SPEAKER, "split": "test", "variant": variant, "utterance": utterance}
    return shared | {"metric": metric, "value": float(value), "unit": unit} | more


def variance(lab: Lab) -> list[dict]:
    """Rows variance_explained by test sentence; variant is the factor."""
    train, test = lab.sentences("train"), lab.sentences("test")
    every = np.concatenate([frames_of(lab, s, k, "z") for s in train for k in lab.styles])
    mean, deviation = every.mean(0), every.std(0) + 1e-6

    def scaled(sentence: Sentence, name: str) -> np.ndarray:
        return (frames_of(lab, sentence, name, "z") - mean) / deviation

    rows = []
    for sentence in test:
        cube = np.stack([scaled(sentence, style) for style in lab.styles])
        total = (cube**2).mean()
        within = ((cube - cube.mean(0)) ** 2).mean()
        rows.append(row("style_given_text", sentence.name, "variance_explained", within / total))
        rows.append(row("text_and_time", sentence.name, "variance_explained", 1 - within / total))
    voices = ["neutral", *lab.settings["data"]["speakers"]]
    for factor, names in {"phone": lab.styles, "prosody": lab.styles, "style": lab.styles, "speaker": voices}.items():
        inputs = np.concatenate([_described(lab, s, k, factor, names) for s in train for k in names])
        predict = ridge(inputs, np.concatenate([scaled(s, k) for s in train for k in names]))
        for sentence in test:
            wrong = total = 0.0
            for name in names:
                z = scaled(sentence, name)
                wrong += ((z - predict(_described(lab, sentence, name, factor, names))) ** 2).sum()
                total += (z**2).sum()
            rows.append(row(factor, sentence.name, "variance_explained", 1 - wrong / total))
    return rows


def _described(lab: Lab, sentence: Sentence, name: str, factor: str, names: list[str]) -> np.ndarray:
    """The factor as numbers, `(frames, d)`."""
    arrays, frames = lab.spoken(sentence), lab.latents(sentence)[name].shape[1]
    if factor == "phone":
        return one_hot(arrays["phones"][:frames], list(range(len(text.SYMBOLS))))
    if factor == "prosody":
        return np.stack(prosody_of_frames(arrays, name, frames), 1)
    return np.repeat(one_hot([name], names), frames, 0)


def prosody_of_frames(arrays: dict, name: str, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voicing (0 or 1), semitones above 100 Hz (0 unvoiced) and dB of every frame."""
    f0 = arrays[f"f0_{name}"][:frames]
    semitones = np.where(f0 > 0, 12 * np.log2(np.maximum(f0, 1) / 100), 0.0)
    return (f0 > 0).astype(float), semitones, arrays[f"energy_{name}"][:frames]


def probes(lab: Lab) -> list[dict]:
    """Rows probe_skill by test utterance, 0 at chance and 1 perfect; variant is what is probed, layer z or mel."""
    rows = []
    for layer in ("z", "mel"):
        rows += _frame_probes(lab, layer) + _utterance_probes(lab, layer)
    return rows


def _frame_probes(lab: Lab, layer: str) -> list[dict]:
    train, test, rows = lab.sentences("train"), lab.sentences("test"), []
    symbols = list(range(len(text.SYMBOLS)))

    def gathered(sentences: list[Sentence]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        parts = []
        for s in sentences:
            for k in lab.styles:
                x = frames_of(lab, s, k, layer)
                parts.append((x, lab.spoken(s)["phones"][: len(x)], *prosody_of_frames(lab.spoken(s), k, len(x))))
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    x, phones, voiced, f0, energy = gathered(train)
    speech = voiced > 0
    phone = ridge(x, one_hot(phones, symbols))
    chance = np.bincount(phones, minlength=len(symbols)).max() / len(phones)
    pitch, level = ridge(x[speech], f0[speech]), ridge(x, energy)
    spread = f0[speech].var(), energy.var()
    for s in test:
        x, phones, voiced, f0, energy = gathered([s])
        speech = voiced > 0
        accuracy = (phone(x).argmax(1) == phones).mean()
        rows.append(row("phone", s.name, "probe_skill", (accuracy - chance) / (1 - chance), layer=layer))
        error = ((pitch(x[speech]) - f0[speech]) ** 2).mean()
        rows.append(row("f0", s.name, "probe_skill", 1 - error / spread[0], layer=layer))
        rows.append(
            row("energy", s.name, "probe_skill", 1 - ((level(x) - energy) ** 2).mean() / spread[1], layer=layer)
        )
    return rows


def _utterance_probes(lab: Lab, layer: str) -> list[dict]:
    voices, rows = ["neutral", *lab.settings["data"]["speakers"]], []

    def summary(sentence: Sentence, name: str) -> np.ndarray:
        x = frames_of(lab, sentence, name, layer)
        return np.concatenate([x.mean(0), x.std(0)])

    train, test = lab.sentences("train"), lab.sentences("test")
    for target, names in (("style", lab.styles), ("speaker", voices)):
        inputs = np.stack([summary(s, k) for s in train for k in names])
        predict = ridge(inputs, one_hot([k for _ in train for k in names], names), 10.0)
        for s in test:
            right = np.mean([names[predict(summary(s, k)[None])[0].argmax()] == k for k in names])
            skill = (right - 1 / len(names)) / (1 - 1 / len(names))
            rows.append(row(target, s.name, "probe_skill", skill, layer=layer))
    rates = np.array([_rate(lab, s) for s in train])
    predict = ridge(np.stack([summary(s, "neutral") for s in train]), rates, 100.0)
    for s in test:
        error = (predict(summary(s, "neutral")[None])[0] - _rate(lab, s)) ** 2
        rows.append(row("rate", s.name, "probe_skill", 1 - error / max(rates.var(), 1e-9), layer=layer))
    return rows


def _rate(lab: Lab, sentence: Sentence) -> float:
    """Vowels per second of the recording."""
    vowels = sum(symbol in text.VOWELS for symbol in sentence.phonemes)
    return vowels * lab.vits.dims.frames_per_second / lab.spoken(sentence)["z"].shape[1]


def misalignment(lab: Lab) -> list[dict]:
    """Rows by test sentence on how z_text and the neutral z_audio lie in time.

    variant: durations sampled or shared; target: compared frame by frame (as_drawn) or along the DTW path (warped).
    cka, cca and frame_distance (in standard deviations, root mean square over channels); dtw_cost (the latter along the
    path), dtw_detour (ms from the straight path); length_difference and length_cv (%).
    """
    every = np.concatenate([frames_of(lab, s, "neutral", "z") for s in lab.sentences("train")])
    mean, deviation = every.mean(0), every.std(0) + 1e-6
    rows = []
    for sentence in lab.sentences("test"):
        z_audio = (frames_of(lab, sentence, "neutral", "z") - mean) / deviation
        for kind in ("sampled", "shared"):
            z_text = (lab.spoken(sentence)[f"{kind}_0"].T - mean) / deviation
            rows += _compared(sentence.name, kind, z_text, z_audio, 1000 / lab.vits.dims.frames_per_second)
        rows.append(row("sampled", sentence.name, "length_cv", _length_cv(lab, sentence), "%"))
    return rows


def _compared(name: str, kind: str, z_text: np.ndarray, z_audio: np.ndarray, frame_ms: float) -> list[dict]:
    n, m = len(z_text), len(z_audio)
    cost = torch.cdist(torch.from_numpy(z_text).double(), torch.from_numpy(z_audio).double()) / z_text.shape[1] ** 0.5
    path = warp(cost[None], torch.tensor([n]), torch.tensor([m]))
    steps = int(path.length[0])
    i, j = path.rows[0, :steps].numpy(), path.columns[0, :steps].numpy()
    shorter = min(n, m)
    rows = [
        row(kind, name, "length_difference", 100 * abs(n - m) / m, "%"),
        row(kind, name, "dtw_cost", path.total[0] / steps, "SD"),
        row(kind, name, "dtw_detour", np.abs(i * (m / n) - j).mean() * frame_ms, "ms"),
    ]
    stages = {"as_drawn": (z_text[:shorter], z_audio[:shorter]), "warped": (z_text[i], z_audio[j])}
    for stage, (x, y) in stages.items():
        distance = np.sqrt(((x - y) ** 2).mean(1)).mean()
        rows.append(row(kind, name, "cka", cka(x, y), "CKA", target=stage))
        rows.append(row(kind, name, "cca", cca(x, y), "correlation", target=stage))
        rows.append(row(kind, name, "frame_distance", distance, "SD", target=stage))
    return rows


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA of `(n, d)` and `(n, e)` from the unbiased HSIC (Kornblith et al. 2019; Song et al. 2012, theorem 5).

    1 for equal up to rotation and scale, about 0 for unrelated; n is at least 4.
    """

    def hsic(k: np.ndarray, g: np.ndarray) -> float:
        n = len(k)
        middle = k.sum() * g.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * k.sum(0) @ g.sum(0)
        return ((k * g).sum() + middle) / (n * (n - 3))

    kernels = []
    for part in (x, y):
        centred = part - part.mean(0)
        kernel = centred @ centred.T
        np.fill_diagonal(kernel, 0.0)
        kernels.append(kernel)
    k, g = kernels
    return float(hsic(k, g) / max(np.sqrt(max(hsic(k, k), 0) * max(hsic(g, g), 0)), 1e-12))


def cca(x: np.ndarray, y: np.ndarray, components: int = COMPONENTS) -> float:
    """Mean canonical correlation of the leading principal components of `(n, d)` and `(n, e)`."""
    bases = []
    for part in (x, y):
        u = np.linalg.svd(part - part.mean(0), full_matrices=False)[0]
        bases.append(u[:, : min(components, len(part) // 3)])
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean())


@torch.no_grad()
def _length_cv(lab: Lab, sentence: Sentence) -> float:
    """Coefficient of variation in % of the length over durations drawn again."""
    voice = lab.vits
    ids, lengths, _ = voice.ids([sentence.phonemes] * DRAWS)
    noise = torch.randn(DRAWS, 2, ids.shape[1], generator=torch.Generator().manual_seed(sentence.place))
    total = voice.durations(voice.encode(ids, lengths), noise.to(lab.device)).sum(1).double()
    return float(100 * total.std() / total.mean())


def rows(lab: Lab) -> pd.DataFrame:
    """All rows of the run `diagnostics`."""
    return pd.DataFrame(variance(lab) + probes(lab) + misalignment(lab))
