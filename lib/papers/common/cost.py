"""How long the training of the study's own vocoder takes, where the profile asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lib.models.hifigan_critics import adversarial_loss, critic_loss, feature_loss
from lib.models.mel import MelDims
from lib.papers.common.vocoder import Training, VocoderConfig
from lib.study.cost import Stage
from lib.training.loop import TrainConfig


def stages(profile: dict) -> Iterator[Stage]:
    """The study's HiFi-GAN: both sides' losses in one backward pass, which costs what the two of a real step do."""
    if not profile["vocoder_training"]["chapter"]:
        return
    settings, dims = VocoderConfig.of(profile), MelDims(**profile["features"])
    shared = {name: getattr(settings, name) for name in ("steps", "batch_size", "learning_rate", "precision")}

    def make(device: str, size: int):
        training = Training(settings, dims).to(device).train()
        mel = torch.randn(size, dims.n_mels, settings.frames, device=device)
        wave = torch.randn(size, settings.frames * dims.hop, device=device) / 9

        def loss() -> Tensor:
            made, real = training.generator(mel), training.critics(wave)
            against = critic_loss(real, training.critics(made.detach()))
            judged = training.critics(made)
            return against + adversarial_loss(judged) + feature_loss(real, judged)

        return training, loss

    yield Stage("all", "vocoder", 1, TrainConfig(**shared), make)
