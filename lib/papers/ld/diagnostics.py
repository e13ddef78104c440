"""Why z_text and z_audio do not match (claim LD4), whether what is read from z can be set by it, what words survive.

Steering: a ridge regression w reads F0 or energy from the frames of the voice's own z. Of all changes of z that raise
what it reads by one, the likeliest under a Gaussian with z's covariance S is u = S w / (w' S w). k u is added to every
frame of a test sentence, the decoder speaks, and the change heard is compared with k, the change asked.
"""

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from lib.corpora.styled.styles import intonation
from lib.metrics import wer
from lib.metrics.dtw import warp
from lib.papers.ld.data import Sentence, heard
from lib.papers.ld.measure import decode
from lib.papers.ld.probes import ALPHA, prosody_of_frames, row
from lib.papers.ld.systems import Systems

COMPONENTS = 20  # principal components of a canonical correlation analysis
DRAWS = 16  # durations drawn per sentence for the length statistics
ASKED = {"f0": (-4.0, -2.0, 2.0, 4.0), "energy": (-8.0, -4.0, 4.0, 8.0)}
UNITS = {"f0": "semitones", "energy": "dB"}
WORN = {"noise": (0.5, 1.0, 2.0), "mean": (5, 9, 17)}  # standard deviations; frames


def misalignment(study: Systems) -> list[dict]:
    """Rows by test sentence on how z_text and the neutral z_audio lie in time.

    variant: durations sampled or shared, or other: sampled, against the z_audio of another sentence, which tells how
    alike a path alone makes two latents; target: compared frame by frame (as_drawn) or along the DTW path (warped).
    cka, cca and frame_distance (in standard deviations, root mean square over channels); dtw_cost (the latter along the
    path), dtw_detour (ms from the straight path); length_difference and length_cv (%).
    """
    every = np.concatenate([study.latents(s)["neutral"].T for s in study.corpus.sentences("train")])
    mean, deviation = every.mean(0), every.std(0) + 1e-6
    rows, sentences = [], study.corpus.sentences("test")
    recorded = [(study.latents(sentence)["neutral"].T - mean) / deviation for sentence in sentences]
    frame_ms = 1000 / study.vits.dims.frames_per_second
    for place, sentence in enumerate(sentences):
        kinds = {"sampled": recorded[place], "shared": recorded[place]}
        kinds |= {"other": recorded[place - 1]} if len(sentences) > 1 else {}
        for kind, z_audio in kinds.items():
            durations = "sampled" if kind == "other" else kind
            z_text = (study.corpus.spoken(sentence)[f"{durations}_0"].T - mean) / deviation
            rows += _compared(sentence.name, kind, z_text, z_audio, frame_ms)
        rows.append(row("sampled", sentence.name, "length_cv", _length_cv(study, sentence), "%"))
    return rows


def _compared(name: str, kind: str, z_text: np.ndarray, z_audio: np.ndarray, frame_ms: float) -> list[dict]:
    n, m = len(z_text), len(z_audio)
    [path] = warp([z_text], [z_audio])
    i, j = path.rows, path.columns
    shorter = min(n, m)
    rows = [row(kind, name, "dtw_cost", path.total / z_text.shape[1] ** 0.5 / len(i), "SD")]
    if kind != "other":
        rows.append(row(kind, name, "length_difference", 100 * abs(n - m) / m, "%"))
        rows.append(row(kind, name, "dtw_detour", np.abs(i * (m / n) - j).mean() * frame_ms, "ms"))
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
def _length_cv(study: Systems, sentence: Sentence) -> float:
    """Coefficient of variation in % of the length over durations drawn again."""
    voice = study.vits
    ids, lengths, _ = voice.ids([sentence.phonemes] * DRAWS)
    noise = torch.randn(DRAWS, 2, ids.shape[1], generator=torch.Generator().manual_seed(sentence.place))
    total = voice.durations(voice.encode(ids, lengths), noise.to(study.device)).sum(1).double()
    return float(100 * total.std() / total.mean())


def direction(z: np.ndarray, values: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """u `(channels,)`: the likeliest change of z `(frames, channels)` that raises the read-out of values by one."""
    centred = z - z.mean(0)
    covariance = centred.T @ centred / len(z) + 1e-6 * np.eye(z.shape[1])
    weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(z.shape[1]), centred.T @ (values - values.mean()))
    return covariance @ weights / (weights @ covariance @ weights)


def directions(study: Systems) -> dict[str, np.ndarray]:
    """The direction of F0 (semitones, voiced frames) and of energy (dB), from the voice's own training latents."""
    z, voiced, f0, energy = [], [], [], []
    for sentence in study.corpus.sentences("train"):
        arrays = study.corpus.spoken(sentence)
        frames = min(arrays["z"].shape[1], len(arrays["f0_neutral"]))
        z.append(arrays["z"].T[:frames].astype(np.float64))
        for into, values in zip((voiced, f0, energy), prosody_of_frames(arrays, "neutral", frames), strict=True):
            into.append(values)
    z, voiced, f0, energy = (np.concatenate(part) for part in (z, voiced, f0, energy))
    return {"f0": direction(z[voiced > 0], f0[voiced > 0]), "energy": direction(z, energy)}


@torch.no_grad()
def spoken_with(study: Systems, sentence: Sentence, change: np.ndarray) -> dict[str, float]:
    """f0 (median, semitones) and energy (dB) of what the decoder makes of the recording's z plus a change."""
    z = torch.from_numpy(study.corpus.spoken(sentence)["z"] + change[:, None]).float().unsqueeze(0).to(study.device)
    wave = study.vits.decode(z, torch.tensor([z.shape[2]], device=study.device))[0].cpu().numpy()
    level = 10 * np.log10(float((wave.astype(np.float64) ** 2).mean()) + 1e-10)
    return {"f0": intonation(heard(wave, study.vits.dims.rate))["f0_median"], "energy": level}


def steered(study: Systems) -> list[dict]:
    """Rows steered by test sentence: the change heard (semitones, dB) for the change x asked for; variant is what."""
    found, every = [], directions(study)
    for sentence in study.corpus.sentences("test"):
        before = spoken_with(study, sentence, np.zeros(study.vits.dims.latent))
        for name, asked in ASKED.items():
            for amount in asked:
                change = spoken_with(study, sentence, amount * every[name])[name] - before[name]
                if np.isfinite(change):
                    found.append(row(name, sentence.name, "steered", change, UNITS[name], x=amount))
    return found


@torch.no_grad()
def worn(study: Systems) -> list[dict]:
    """Rows cer_worn by test sentence: CER of z_text with noise of x standard deviations, or its mean over x frames.

    How far a sampled z may be from a right one before words are lost: a sampler that errs less and loses words does not
    follow its text.
    """
    sentences, random = study.corpus.sentences("test"), np.random.default_rng(0)
    latents = [study.corpus.spoken(s)["sampled_0"] for s in sentences]
    deviation = np.concatenate(latents, 1).std(1, keepdims=True)
    rows, waves = [], []
    for sentence, z in zip(sentences, latents, strict=True):
        for variant, amounts in WORN.items():
            for x in amounts:
                noisy = z + x * deviation * random.standard_normal(z.shape)
                made = torch.from_numpy(noisy if variant == "noise" else uniform_filter1d(z, x, axis=1)).float()
                waves += decode(study, made[None].to(study.device), torch.tensor([z.shape[1]]))
                rows.append((variant, sentence.name, x))
    words = [s.text for s in sentences for _ in range(len(waves) // len(sentences))]
    rates = wer.score(waves, words, device=study.device)["cer"]
    return [row(v, name, "cer_worn", cer, "CER", x=x) for (v, name, x), cer in zip(rows, rates, strict=True)]
