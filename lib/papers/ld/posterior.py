"""A posterior encoder for the frozen voice, recording -> z, trained by inversion of the decoder.

Two losses: the likelihood of z for the voice's own recordings, whose z is known exactly, and the log-mel distance
between a restyled recording and what the frozen decoder makes of its encoded z, where no z is known. z_audio is the
posterior's mean.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lib import audio
from lib.models.mel import MelDims, filterbank
from lib.models.vits import model as vits
from lib.models.vits.model import PosteriorEncoder, Vits
from lib.papers.ld.data import Styled, floats
from lib.study.part import Part
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


def mel_distance(voice: Vits, decoder: Callable[..., Tensor], z: Tensor, waves: Tensor, segment: int) -> Tensor:
    """Spectral distance of waves `(batch, samples)` and what the decoder makes of the middle `segment` frames of z.

    L1 of log-mels plus L1 of log-magnitudes below 2 kHz, where harmonics show F0 as the mel filters do not.
    """
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
            z = encode(voice, encoder, batch["styled"])
            return {"mel": mel_distance(voice, voice.decoder, z, batch["styled"], section["segment"])}

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
