"""A posterior encoder for the frozen voice, recording -> z, trained by inversion of the decoder.

Two losses: the likelihood of z for the voice's own recordings, whose z is known exactly, and the log-mel distance
between a restyled recording and what the frozen decoder makes of its encoded z, where no z is known. z_audio is the
posterior's mean. The same decoder may be trained on, for claim LD2, to speak restyled recordings from their z.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from lib import audio
from lib.models.mel import MelDims, filterbank
from lib.models.vits import model as vits
from lib.models.vits.model import PosteriorEncoder, Vits
from lib.papers.ld.data import Styled, floats
from lib.study.protocol import Part
from lib.study.watch import drawn
from lib.training import parallel
from lib.training.loop import TrainConfig

LOW = 2000.0  # Hz


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


def encode(voice: Vits, encoder: PosteriorEncoder, waves: Tensor) -> Tensor:
    """Posterior means `(batch, latent, samples // hop)` of waves `(batch, samples)` at the voice's rate."""
    magnitudes = vits.spectrogram(waves, voice.dims.hop)
    frames = torch.full((len(waves),), magnitudes.shape[2], device=waves.device)
    return encoder(magnitudes, frames)[0]


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


def encoder_part(study: Styled) -> Part:
    """The posterior encoder, as it is trained."""
    section, voice, corpus = study.settings["posterior"], study.vits, study.corpus
    config = training(section, 0, "channels", "layers", "frames", "styled", "segment")
    styled, hop = corpus.styles + corpus.voices, voice.dims.hop

    def batch_at(step: int, split: str = "train") -> dict[str, Tensor]:
        random, sentences = np.random.default_rng([0, step]), corpus.sentences(split)
        own, restyled = [], []
        for place in random.integers(len(sentences), size=config.batch_size):
            arrays = corpus.spoken(sentences[place])
            own.append(stretch(floats(arrays["wave_recorded"]), arrays["z"], section["frames"], hop, random))
        for place in random.integers(len(sentences), size=section["styled"]):
            wave = corpus.wave(sentences[place], styled[random.integers(len(styled))])
            restyled.append(stretch(wave, None, 2 * section["segment"], hop, random)[0])
        waves, latents = zip(*own, strict=True)
        batch = {"waves": np.stack(waves), "z": np.stack(latents), "styled": np.stack(restyled)}
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def start(encoder: PosteriorEncoder):
        def inversion(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            frames = torch.full((len(batch["z"]),), batch["z"].shape[2], device=study.device)
            return {"latent": vits.inversion_loss(voice, encoder, batch["z"], frames, batch["waves"])}

        def spectral(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"mel": mel_distance(voice, voice.decoder, encoder, batch["styled"], section["segment"])}

        def losses(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            own = {name: batch[name] for name in ("z", "waves")}
            found = parallel.mean(inversion, own, torch.ones(len(own["z"])))
            found |= parallel.mean(spectral, {"styled": batch["styled"]}, torch.ones(len(batch["styled"])))
            return found | {"total": found["latent"] + found["mel"]}

        return batch_at, losses

    def build() -> PosteriorEncoder:
        return PosteriorEncoder(voice.dims.latent, section["channels"], 5, section["layers"])

    return Part(
        config, (corpus.hash, section, study.device.split(":")[0]), build, start, unseen=drawn(batch_at, study.device)
    )


def decoder_part(study: Styled, encoder: PosteriorEncoder, encoder_hash: str, seed: int) -> Part:
    """The voice's decoder, trained on to speak restyled recordings from their z (claim LD2's control)."""
    section, voice, corpus = study.settings["decoder"], study.vits, study.corpus
    config = training(section, seed, "segment")

    def batch_at(step: int, split: str = "train") -> dict[str, Tensor]:
        random, sentences = np.random.default_rng([seed, step, 1]), corpus.sentences(split)
        count, kinds = len(sentences), len(corpus.styles)
        chosen = [(random.integers(count), random.integers(kinds)) for _ in range(config.batch_size)]
        waves = [corpus.wave(sentences[place], corpus.styles[kind]) for place, kind in chosen]
        cut = [stretch(wave, None, 2 * section["segment"], voice.dims.hop, random)[0] for wave in waves]
        return {"waves": torch.from_numpy(np.stack(cut))}

    def start(decoder: nn.Module):
        def spectral(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"total": mel_distance(voice, decoder, encoder, batch["waves"], section["segment"])}

        return batch_at, lambda batch: parallel.mean(spectral, batch, torch.ones(len(batch["waves"])))

    def build() -> nn.Module:
        return copy.deepcopy(voice.decoder).requires_grad_(True)

    return Part(config, (encoder_hash, section, seed), build, start, unseen=drawn(batch_at, study.device))
