"""A posterior encoder for the frozen voice: recording -> z, trained by inversion of the decoder, and its errors.

Two losses: the likelihood of z for the voice's own recordings, whose z is known exactly, and the log-mel distance
between a restyled recording and what the frozen decoder makes of its encoded z, where no z is known. z_audio is the
posterior's mean. The same decoder may be trained on, for claim LD2, to speak restyled recordings from their z.
"""

from __future__ import annotations

import copy
import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from lib import audio
from lib.corpora.styled.styles import intonation
from lib.files import file_hash, fingerprint, replace_file
from lib.metrics import MetricError, cos, ffe, wer
from lib.models.mel import MelDims, filterbank
from lib.models.vits import model as vits
from lib.models.vits.model import PosteriorEncoder, Vits
from lib.papers.ld.data import SPEAKER, Lab, LatentError, Sentence, floats, heard
from lib.training import parallel
from lib.training.loop import TrainConfig, fit, seed_everything
from lib.training.weights import is_kept, keep, saved_state

LOW = 2000.0  # Hz
RATES = ("cer", "cer_input")  # of the wave made, of the wave given


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`: of two runs that need the same weights, the second waits for the first's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def mark_of(path: Path) -> str | None:
    """The fingerprint that a safetensors file holds; None where there is no such file or it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("fingerprint")
    except Exception:  # safetensors raises its own kinds for a damaged file, which is then made again
        return None


def train_once(
    path: Path, mark: str, model: nn.Module, loss: Callable, batch_at: Callable, config: TrainConfig, device: str
) -> None:
    """Train `model` and save what changed at `path`, or load it from there when its fingerprint is `mark`.

    Beside the weights lies a .json: the learning curve, the number of trained weights and the seconds.
    """
    with locked(path) if parallel.first() else nullcontext():
        if is_kept(path, mark):
            model.load_state_dict(load_file(path, device=str(device)), strict=False)
            return
        resume = path.with_suffix(".resume.pt")
        history = fit(model, loss, batch_at, config, resume, mark, device, path.stem)
        weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
        facts = {"trainable_parameters": weights, "seconds_trained": history[-1]["seconds"], "history": history}
        keep(path, {k: v.contiguous() for k, v in saved_state(model).items()}, mark, facts | {"speed": history.speed})


def facts_of(path: Path) -> dict:
    """What training wrote beside the weights. Raises LatentError when they were not trained."""
    if not path.with_suffix(".json").is_file():
        raise LatentError(
            f"{path.stem} has not been trained: run `python -m lib.papers.ld.study prepare` or its system first."
        )
    return json.loads(path.with_suffix(".json").read_text())


def training(section: dict, seed: int, *own: str) -> TrainConfig:
    """The training settings in a section of the profile, without the keys that are the section's own."""
    return TrainConfig.from_dict({k: v for k, v in section.items() if k not in own}, seed=seed)


def log_mel(waves: Tensor, voice: Vits) -> Tensor:
    """Log-mel `(batch, mels, frames)` of `(batch, samples)` at the voice's rate, one frame per latent frame."""
    dims = MelDims(rate=voice.dims.rate)
    spectrum = vits.spectrogram(waves, voice.dims.hop)
    return (filterbank(dims, waves.device) @ spectrum).clamp_min(dims.floor).log()


def stretch(wave: np.ndarray, z: np.ndarray | None, frames: int, hop: int, random: np.random.Generator):
    """A random stretch of `frames` latent frames: samples `(frames * hop,)` and, where z is given, its frames."""
    longest = len(wave) // hop
    start = int(random.integers(max(1, longest - frames + 1)))
    cut = audio.fit(wave[start * hop : (start + frames) * hop], frames * hop)
    return cut, None if z is None else z[:, start : start + frames]


def encoder_path(lab: Lab) -> Path:
    return lab.root / "checkpoints" / "ld-posterior-s0.safetensors"


def encoder_of(lab: Lab) -> PosteriorEncoder:
    """The posterior encoder, trained now if it is not there."""
    section, voice = lab.settings["posterior"], lab.vits
    own = ("channels", "layers", "frames", "styled", "segment")
    config = training(section, 0, *own)
    seed_everything(0)
    encoder = PosteriorEncoder(voice.dims.latent, section["channels"], 5, section["layers"]).to(lab.device)
    sentences = lab.sentences("train")
    styled = [s for s in lab.styles] + list(lab.settings["data"]["speakers"])

    def batch_at(step: int) -> dict[str, Tensor]:
        random = np.random.default_rng([0, step])
        own, restyled = [], []
        for place in random.integers(len(sentences), size=config.batch_size):
            arrays = lab.spoken(sentences[place])
            own.append(stretch(floats(arrays["wave_recorded"]), arrays["z"], section["frames"], voice.dims.hop, random))
        for place in random.integers(len(sentences), size=section["styled"]):
            wave = lab.wave(sentences[place], styled[random.integers(len(styled))])
            restyled.append(stretch(wave, None, 2 * section["segment"], voice.dims.hop, random)[0])
        waves, latents = zip(*own, strict=True)
        batch = {"waves": np.stack(waves), "z": np.stack(latents), "styled": np.stack(restyled)}
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def inversion(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        frames = torch.full((len(batch["z"]),), batch["z"].shape[2], device=lab.device)
        return vits.inversion_loss(voice, encoder, batch["z"], frames, batch["waves"])

    def spectral(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"mel": mel_distance(voice, voice.decoder, encoder, batch["styled"], section["segment"])}

    def loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        own = {name: batch[name] for name in ("z", "waves")}
        losses = parallel.mean(inversion, own, torch.ones(len(own["z"])))
        losses |= parallel.mean(spectral, {"styled": batch["styled"]}, torch.ones(len(batch["styled"])))
        return losses | {"total": losses["latent"] + losses["mel"]}

    train_once(encoder_path(lab), lab.encoder_mark, encoder, loss, batch_at, config, lab.device)
    return encoder.eval().requires_grad_(False)


def mel_distance(voice: Vits, decoder: nn.Module, encoder: PosteriorEncoder, waves: Tensor, segment: int) -> Tensor:
    """Spectral distance of waves `(batch, samples)` and what the decoder makes of their middle `segment` frames of z.

    L1 of log-mels plus L1 of log-magnitudes below 2 kHz, where harmonics show F0 as the mel filters do not.
    """
    z = encode(voice, encoder, waves)
    start = (z.shape[2] - segment) // 2
    hop = voice.dims.hop
    made = decoder(z[:, :, start : start + segment], None)
    given = waves[:, start * hop : (start + segment) * hop]
    low = [vits.spectrogram(w, hop)[:, : round(LOW * vits.WINDOW / voice.dims.rate)].log() for w in (made, given)]
    return nn.functional.l1_loss(log_mel(made, voice), log_mel(given, voice)) + nn.functional.l1_loss(*low)


def encode(voice: Vits, encoder: PosteriorEncoder, waves: Tensor) -> Tensor:
    """Posterior means `(batch, latent, samples // hop)` of waves `(batch, samples)` at the voice's rate."""
    magnitudes = vits.spectrogram(waves, voice.dims.hop)
    frames = torch.full((len(waves),), magnitudes.shape[2], device=waves.device)
    return encoder(magnitudes, frames)[0]


@torch.no_grad()
def encode_all(lab: Lab, encoder: PosteriorEncoder) -> None:
    """z_audio of every sentence in every style and other speaker, a file each."""
    for sentence in lab.sentences():
        path = lab.encoded / f"{sentence.name}.npz"
        if path.is_file():
            continue
        found = {}
        for name in [*lab.styles, *lab.settings["data"]["speakers"]]:
            wave = torch.from_numpy(lab.wave(sentence, name)).unsqueeze(0).to(lab.device)
            found[name] = encode(lab.vits, encoder, wave)[0].cpu().numpy()
        with replace_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **found)


def decoder_of(lab: Lab, seed: int = 0) -> nn.Module:
    """The voice's decoder trained on to speak restyled recordings from their z (claim LD2's control)."""
    section, voice = lab.settings["decoder"], lab.vits
    encoder = encoder_of(lab)
    decoder = copy.deepcopy(voice.decoder).requires_grad_(True)
    sentences = lab.sentences("train")
    mark = fingerprint(file_hash(encoder_path(lab)), section, seed)
    config = training(section, seed, "segment")

    def batch_at(step: int) -> dict[str, Tensor]:
        random = np.random.default_rng([seed, step, 1])
        chosen = [(random.integers(len(sentences)), random.integers(len(lab.styles))) for _ in range(config.batch_size)]
        cut = [
            stretch(lab.wave(sentences[s], lab.styles[k]), None, 2 * section["segment"], voice.dims.hop, random)[0]
            for s, k in chosen
        ]
        return {"waves": torch.from_numpy(np.stack(cut))}

    def spectral(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"total": mel_distance(voice, decoder, encoder, batch["waves"], section["segment"])}

    def loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return parallel.mean(spectral, batch, torch.ones(len(batch["waves"])))

    path = lab.root / "checkpoints" / f"ld-decoder-s{seed}.safetensors"
    train_once(path, mark, decoder, loss, batch_at, config, lab.device)
    return decoder.eval().requires_grad_(False)


def report(lab: Lab) -> pd.DataFrame:
    """Reconstruction error of the encoder through the frozen decoder: rows by utterance.

    Roles: held_out (the voice's own test recordings), styled (restyled), other_speaker (envelope warped) and, where
    the profile names a folder, real. mel_l1 (nat), f0_error (of the median, semitones), ffe and gpe (%), cer and
    cer_input (ratio), cos (x 100).
    """
    encoder = encoder_of(lab)
    every, values, said = [], [], []
    for role, style, sentence, wave, words in _judged(lab):
        speaker = sentence.split("-")[0] if role == "real" else SPEAKER
        name = sentence if role == "real" else f"{sentence}-{style}"
        found, pair = reconstruction_error(lab, encoder, wave)
        every.append({"role": role, "variant": style, "speaker": speaker, "utterance": name, "split": "test"})
        values.append(found)
        said += [(len(values) - 1, metric, wave, words) for metric, wave in zip(RATES, pair, strict=True) if words]
    heard_rates = wer.score([wave for _, _, wave, _ in said], [words for *_, words in said], device=lab.device)["cer"]
    for (place, metric, _, _), rate in zip(said, heard_rates, strict=True):
        values[place][metric] = float(rate)
    pairs = zip(every, values, strict=True)
    return pd.DataFrame([shared | {"metric": k, "value": v} for shared, found in pairs for k, v in found.items()])


@torch.no_grad()
def reconstruction_error(lab: Lab, encoder: PosteriorEncoder, wave: np.ndarray) -> tuple[dict, list[np.ndarray]]:
    """Errors of one wave at the voice's rate against itself encoded and decoded, and these two waves at 16 kHz."""
    voice = lab.vits
    given = torch.from_numpy(wave[: len(wave) // voice.dims.hop * voice.dims.hop]).unsqueeze(0).to(lab.device)
    made = voice.decode(encode(voice, encoder, given))
    values = {"mel_l1": float((log_mel(made, voice) - log_mel(given, voice)).abs().mean())}
    pair = [heard(w[0].cpu().numpy(), voice.dims.rate) for w in (made, given)]
    values |= {k: float(v[0]) for k, v in cos.score(pair[:1], pair[1:], device=lab.device).items()}
    medians = [intonation(w)["f0_median"] for w in pair]
    if np.isfinite(medians).all():
        values["f0_error"] = abs(medians[0] - medians[1])
    try:
        found = ffe.score(pair[:1], pair[1:], device=lab.device)
        values |= {name: float(found[name][0]) for name in ("ffe", "gpe") if np.isfinite(found[name][0])}
    except MetricError:  # speech without voice has no F0 to be wrong about
        pass
    return values, pair


def _judged(lab: Lab) -> Iterator[tuple[str, str, str, np.ndarray, str]]:
    for sentence in lab.sentences("test"):
        yield from _own(lab, sentence)
    folder = lab.settings["evaluate"]["real"]
    for path in real_recordings(folder) if folder else []:
        words = path.with_suffix(".txt")
        wave = audio.read(path, lab.vits.dims.rate)
        yield "real", "recorded", path.stem, wave, words.read_text().strip() if words.is_file() else ""


def _own(lab: Lab, sentence: Sentence) -> Iterator[tuple[str, str, str, np.ndarray, str]]:
    yield "held_out", "recorded", sentence.name, lab.wave(sentence, "recorded"), sentence.text
    for name in [*lab.settings["evaluate"]["styles"], *lab.settings["data"]["speakers"]]:
        role = "styled" if name in lab.styles else "other_speaker"
        yield role, name, sentence.name, lab.wave(sentence, name), sentence.text


def real_recordings(folder: str | Path) -> list[Path]:
    """The .wav and .flac files of a folder. Raises LatentError when there are none."""
    found = sorted(path for path in Path(folder).glob("*") if path.suffix in (".wav", ".flac"))
    if not found:
        raise LatentError(f"There are no .wav or .flac recordings in {folder}: give another folder, or null for none.")
    return found
