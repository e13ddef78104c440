"""A HiFi-GAN trained on the study's own corpus, for when there are no weights (Kong et al. 2020, arXiv 2010.05646).

The generator learns from log-mels of stretches of the training recordings to give the recordings back, against the
multi-period and multi-scale discriminators; never-seen speakers are not among them. The result is a safetensors file
with the authors' tensor names, which a profile picks by its path:

    vocoder: {hifigan: results/full/checkpoints/vocoder-s0.safetensors}

The batch of a step depends on the seed and the step alone and a checkpoint holds all that training changes, so an
interrupted training ends with the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from tqdm.auto import tqdm

from lib.corpora.corpus import Utterance
from lib.models.hifigan_critics import (
    FEATURES_WEIGHT,
    MEL_WEIGHT,
    Critics,
    adversarial_loss,
    critic_loss,
    feature_loss,
)
from lib.models.mel import MelDims, log_mel
from lib.models.vocoder import HiFiGANGenerator, Vocoder
from lib.study import protocol
from lib.study.protocol import Part
from lib.training.loading import Meter
from lib.training.loop import History, read_checkpoint, record, save_checkpoint, seed_everything

VOCODER = "vocoder"  # its weights' name
ROLES = ("pretraining", "adaptation")
BETAS = (0.8, 0.99)
KEPT = 8192  # recordings in memory


@dataclass(frozen=True)
class VocoderConfig:
    """How the vocoder is trained; every field comes from a profile's section `vocoder_training`."""

    steps: int
    channels: int = 512  # of the generator: 512 is V1, 128 V2
    period_width: int = 32  # channels of the first layer of the MPD's discriminators
    scale_width: int = 128  # and of the MSD's
    batch_size: int = 16  # stretches
    frames: int = 32  # of a stretch
    learning_rate: float = 2e-4
    decay: float = 0.999  # of the learning rate after every epoch
    precision: str = "float32"  # "float32" or "bfloat16" (autocast)
    checkpoint_every: int = 1000  # steps
    seed: int = 0

    @classmethod
    def of(cls, profile: dict) -> VocoderConfig:
        """Raises ValueError naming a setting that there is not."""
        values = {key: value for key, value in profile["vocoder_training"].items() if key != "chapter"}
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"vocoder_training.{unknown[0]}: choose from {', '.join(cls.__dataclass_fields__)}")
        return cls(**values)


class Vocoding(protocol.Study):
    """The vocoder as a part that is trained once: `train(VOCODER, 0)`; its seed is the profile's."""

    def part(self, name: str, seed: int) -> Part:
        config = VocoderConfig.of(self.profile)
        chosen = [u for role in ROLES for u in self.corpus.select(role=role, split="train")]

        def build() -> Training:
            seed_everything(config.seed)
            return Training(config, self.mel, len(chosen)).train()

        return Part(
            config,
            (self.corpus.hash, self.profile["features"], vars(config), self.device.split(":")[0]),
            build,
            start=lambda model: (Stretches(self, chosen, config), model.step),
            at_step=lambda model: model.at_step,
            saved=lambda model: plain(model.generator),
            details=lambda model: {
                "config": vars(config),
                "parameters": sum(value.numel() for value in model.generator.state_dict().values()),
                "critic_parameters": sum(p.numel() for p in model.critics.parameters()),
                "utterances": len(chosen),
            },
            fit=fit,
        )


@dataclass
class Stretches:
    """Batches of stretches of recordings, a function of the seed and the step."""

    study: protocol.Study
    utterances: list[Utterance]
    config: VocoderConfig

    def __post_init__(self):
        if not self.utterances:
            raise ValueError("there are no utterances to train a vocoder on: check the corpus's roles and splits")
        self.rows = self.study.features.rows(self.utterances)
        self.wave = lru_cache(KEPT)(self._read)

    def _read(self, index: int) -> np.ndarray:
        return (self.study.corpus.wave(self.utterances[index]) * 32767).astype(np.int16)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """mel `(batch, frames, n_mels)` and the samples under it, wave `(batch, frames * hop)`, on the device.

        A recording shorter than a stretch is followed by silence.
        """
        random = np.random.default_rng([self.config.seed, step])
        frames, dims = self.config.frames, self.study.mel
        mel = np.full((self.config.batch_size, frames, dims.n_mels), math.log(dims.floor), np.float32)
        wave = np.zeros((self.config.batch_size, frames * dims.hop), np.float32)
        for place, index in enumerate(random.integers(len(self.utterances), size=self.config.batch_size)):
            whole, samples = self.study.features.item(int(self.rows[index]))["mel"], self.wave(int(index))
            start = int(random.integers(max(1, len(whole) - frames)))
            cut = whole[start : start + frames]
            heard = samples[start * dims.hop : (start + frames) * dims.hop]
            mel[place, : len(cut)], wave[place, : len(heard)] = cut, heard / 32767
        batch = {"mel": torch.from_numpy(mel), "wave": torch.from_numpy(wave)}
        return {name: value.to(self.study.device, non_blocking=True) for name, value in batch.items()}


class Training(nn.Module):
    """Generator and discriminators with an optimiser each; `step` is one update of both.

    utterances: how many there are to learn from, after which the learning rate decays.
    """

    def __init__(self, config: VocoderConfig, dims: MelDims, utterances: int = 1):
        super().__init__()
        self.config, self.dims = config, dims
        self.per_epoch = max(1.0, utterances / config.batch_size)
        self.generator = _normalised(HiFiGANGenerator(dims.n_mels, config.channels))
        self.critics = Critics(config.period_width, config.scale_width)
        self.optimisers = [
            torch.optim.AdamW(part.parameters(), config.learning_rate, BETAS) for part in (self.critics, self.generator)
        ]

    def rate(self, step: int) -> float:
        return self.config.learning_rate * self.config.decay ** int(step / self.per_epoch)

    def at_step(self, step: int) -> None:
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate(step)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Train the discriminators, then the generator, on a batch; returns the losses, "mel" unweighted."""
        half = self.config.precision == "bfloat16"
        cast = torch.autocast(batch["wave"].device.type, torch.bfloat16) if half else nullcontext()
        critic, generator = self.optimisers
        real = batch["wave"]
        with cast:
            made = self.generator(batch["mel"].transpose(1, 2))
            against = critic_loss(self.critics(real), self.critics(made.detach()))
        critic.zero_grad(set_to_none=True)
        against.backward()
        critic.step()
        self.critics.requires_grad_(False)
        with cast:
            heard_made = self.critics(made)
            with torch.no_grad():
                heard_real = self.critics(real)
            adversarial, features = adversarial_loss(heard_made), feature_loss(heard_real, heard_made)
        mel = F.l1_loss(log_mel(made.float(), self.dims), log_mel(real, self.dims))
        total = adversarial + FEATURES_WEIGHT * features + MEL_WEIGHT * mel
        generator.zero_grad(set_to_none=True)
        total.backward()
        generator.step()
        self.critics.requires_grad_(True)
        losses = {"critics": against, "adversarial": adversarial, "features": features, "mel": mel, "total": total}
        return {name: value.detach() for name, value in losses.items()}

    def restore(self, state: dict) -> None:
        self.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def _normalised(generator: HiFiGANGenerator) -> HiFiGANGenerator:
    """The authors' start: weights from N(0, 0.01^2) but in the first layer, weight normalisation everywhere."""
    for name, module in list(generator.named_modules()):
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            if name != "conv_pre":
                nn.init.normal_(module.weight, 0.0, 0.01)
            weight_norm(module)
    return generator


def plain(generator: HiFiGANGenerator) -> HiFiGANGenerator:
    """The generator with weight normalisation folded in: its tensors have the authors' names."""
    for module in generator.modules():
        if is_parametrized(module):
            remove_parametrizations(module, "weight")
    return generator


def fit(
    model: Training,
    update: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    batch_at: Callable[[int], dict[str, Tensor]],
    config: VocoderConfig,
    resume: Path,
    mark: str,
    device: str,
    label: str,
    at_step: Callable[[int], None],
) -> History:
    """`lib.training.loop.fit` for a model that updates itself: `update` takes a batch and returns its losses.

    Raises FloatingPointError when a loss is not finite.
    """
    state = read_checkpoint(resume, mark) or {"step": 0, "history": [], "seconds": 0.0}
    if state["step"]:
        model.restore(state)
    history, meter, log_every = History(state["history"]), Meter(torch.device(device)), max(1, config.steps // 200)
    began, start = time.monotonic() - state["seconds"], state["step"]
    for step in tqdm(range(start, config.steps), initial=start, total=config.steps, desc=label, mininterval=2):
        at_step(step)
        losses = update(batch_at(step))
        if (step + 1) % log_every == 0 or step + 1 == config.steps:
            history.append(record(step + 1, losses, model.rate(step), time.monotonic() - began, label))
            meter.read()
        if (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
            state = {"model": model.state_dict(), "optimisers": [each.state_dict() for each in model.optimisers]}
            save_checkpoint(resume, mark, step + 1, history, time.monotonic() - began, state)
    history.speed = {"steps_per_second": config.steps / max(time.monotonic() - began, 1e-9), **meter.facts()}
    return history


@torch.no_grad()
def mel_error(study: protocol.Study, speak: Vocoder, utterances: list[Utterance]) -> np.ndarray:
    """Mean absolute difference of each recording's log-mel and that of its vocoded self, `(utterances,)`."""
    errors = []
    for row in study.features.rows(utterances):
        mel = torch.from_numpy(np.array(study.features.item(int(row))["mel"])).float()
        (wave,) = speak(mel.unsqueeze(0).to(study.device), torch.tensor([len(mel)], device=study.device))
        back = log_mel(torch.from_numpy(wave).unsqueeze(0), study.mel)[0]
        shared = min(len(back), len(mel))
        errors.append(float((back[:shared] - mel[:shared]).abs().mean()))
    return np.array(errors)
