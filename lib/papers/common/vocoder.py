"""A HiFi-GAN trained on the study's own corpus, for when there are no weights (Kong et al. 2020, arXiv 2010.05646).

    python -m lib.papers.common.vocoder --profile full --device cuda

The generator learns from log-mels of stretches of the training recordings to give the recordings back, against the
multi-period and multi-scale discriminators; never-seen speakers are not among them. The result is a safetensors file
with the authors' tensor names, which a profile picks by its path:

    vocoder: {hifigan: results/full/checkpoints/vocoder-s0.safetensors}

The batch of a step depends on the seed and the step alone and a checkpoint holds all that training changes, so an
interrupted training ends with the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations
from tqdm.auto import tqdm

from lib import cli, study
from lib.corpora.corpus import Utterance
from lib.files import fingerprint, replace_file, write_json
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
from lib.papers.ht.study import Bench
from lib.training.loop import seed_everything
from lib.training.weights import metadata

ROLES = ("pretraining", "adaptation")
BETAS = (0.8, 0.99)
KEPT = 8192  # recordings in memory
NAME = "vocoder-s0"


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


@dataclass
class Stretches:
    """Batches of stretches of recordings, a function of the seed and the step."""

    bench: Bench
    utterances: list[Utterance]
    config: VocoderConfig

    def __post_init__(self):
        if not self.utterances:
            raise ValueError("there are no utterances to train a vocoder on: check the corpus's roles and splits")
        self.rows = self.bench.features.rows(self.utterances)
        self.wave = lru_cache(KEPT)(self._read)

    def _read(self, index: int) -> np.ndarray:
        return (self.bench.corpus.wave(self.utterances[index]) * 32767).astype(np.int16)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """mel `(batch, frames, n_mels)` and the samples under it, wave `(batch, frames * hop)`, on the device.

        A recording shorter than a stretch is followed by silence.
        """
        random = np.random.default_rng([self.config.seed, step])
        frames, dims = self.config.frames, self.bench.mel
        mel = np.full((self.config.batch_size, frames, dims.n_mels), math.log(dims.floor), np.float32)
        wave = np.zeros((self.config.batch_size, frames * dims.hop), np.float32)
        for place, index in enumerate(random.integers(len(self.utterances), size=self.config.batch_size)):
            whole, samples = self.bench.features.item(int(self.rows[index]))["mel"], self.wave(int(index))
            start = int(random.integers(max(1, len(whole) - frames)))
            cut = whole[start : start + frames]
            heard = samples[start * dims.hop : (start + frames) * dims.hop]
            mel[place, : len(cut)], wave[place, : len(heard)] = cut, heard / 32767
        batch = {"mel": torch.from_numpy(mel), "wave": torch.from_numpy(wave)}
        return {name: value.to(self.bench.device, non_blocking=True) for name, value in batch.items()}


class Training(nn.Module):
    """Generator and discriminators with an optimiser each; `step` is one update of both."""

    def __init__(self, config: VocoderConfig, dims: MelDims, device: str):
        super().__init__()
        self.config, self.dims, self.device = config, dims, device
        self.generator = _normalised(HiFiGANGenerator(dims.n_mels, config.channels)).to(device)
        self.critics = Critics(config.period_width, config.scale_width).to(device)
        self.optimisers = [
            torch.optim.AdamW(part.parameters(), config.learning_rate, BETAS) for part in (self.critics, self.generator)
        ]

    def step(self, batch: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
        """Train the discriminators, then the generator, on a batch; returns the losses, "mel" unweighted."""
        half = self.config.precision == "bfloat16"
        cast = torch.autocast(torch.device(self.device).type, torch.bfloat16) if half else nullcontext()
        critic, generator = self.optimisers
        for group in (*critic.param_groups, *generator.param_groups):
            group["lr"] = rate
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

    def state(self) -> dict:
        return {"model": self.state_dict(), "optimisers": [each.state_dict() for each in self.optimisers]}

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


def exported(generator: HiFiGANGenerator) -> dict[str, Tensor]:
    """The generator's tensors with the authors' names, weight normalisation folded in, on the CPU."""
    for module in generator.modules():
        if hasattr(module, "parametrizations"):
            remove_parametrizations(module, "weight")
    return {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}


def path_of(profile: dict) -> Path:
    return study.results_root(profile) / "checkpoints" / f"{NAME}.safetensors"


def train(bench: Bench) -> Path:
    """Train the profile's vocoder, or find it trained; returns its safetensors file, beside which lies a .json."""
    config, path = VocoderConfig.of(bench.profile), path_of(bench.profile)
    mark = fingerprint(bench.corpus.hash, bench.profile["features"], vars(config), bench.device.split(":")[0])
    if path.exists() and metadata(path).get("fingerprint") == mark:
        return path
    chosen = [u for role in ROLES for u in bench.corpus.select(role=role, split="train")]
    stretches = Stretches(bench, chosen, config)
    seed_everything(config.seed)
    training = Training(config, bench.mel, bench.device).train()
    resume = path.with_suffix(".resume.pt")
    history = fit(training, stretches, resume, mark)
    state = exported(training.generator)
    facts = {
        "fingerprint": mark,
        "config": vars(config),
        "parameters": sum(value.numel() for value in state.values()),
        "critic_parameters": sum(p.numel() for p in training.critics.parameters()),
        "utterances": len(chosen),
        "seconds_trained": history[-1]["seconds"],
        "history": history,
    }
    with replace_file(path) as temporary:
        save_file(state, temporary, {"fingerprint": mark})
    write_json(path.with_suffix(".json"), facts)
    resume.unlink(missing_ok=True)
    return path


def fit(training: Training, batch_at, resume: Path, mark: str) -> list[dict[str, float]]:
    """Train to the last step from the checkpoint, if there is one of this fingerprint; returns the learning curve.

    Raises FloatingPointError when a loss is not finite.
    """
    config = training.config
    start, history, spent = _resumed(training, resume, mark)
    per_epoch, log_every = max(1.0, len(batch_at.utterances) / config.batch_size), max(1, config.steps // 200)
    began = time.monotonic() - spent
    for step in tqdm(range(start, config.steps), initial=start, total=config.steps, desc="vocoder", mininterval=2):
        losses = training.step(batch_at(step), config.learning_rate * config.decay ** int(step / per_epoch))
        if (step + 1) % log_every == 0 or step + 1 == config.steps:
            values = {name: float(value) for name, value in losses.items()}
            if not all(math.isfinite(value) for value in values.values()):
                raise FloatingPointError(
                    f"vocoder: a loss is {values} at step {step + 1}: lower the rate or check the corpus"
                )
            history.append({"step": step + 1, **values, "seconds": time.monotonic() - began})
        if (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
            state = {"fingerprint": mark, "step": step + 1, "history": history, "seconds": time.monotonic() - began}
            with replace_file(resume) as temporary:
                torch.save(state | training.state(), temporary)
    return history


def _resumed(training: Training, resume: Path, mark: str) -> tuple[int, list[dict], float]:
    if not resume.exists():
        return 0, [], 0.0
    try:
        state = torch.load(resume, map_location=training.device, weights_only=True)
        known = state["fingerprint"] == mark
    except Exception:  # torch raises many kinds for a damaged file; a checkpoint is only ever a saving of time
        known = False
    if not known:
        print(f"{resume.name} is damaged or of another configuration and is left aside: training starts again")
        return 0, [], 0.0
    training.restore(state)
    return state["step"], state["history"], state["seconds"]


def facts_of(profile: dict) -> dict:
    """What `train` wrote beside the weights: sizes, settings, learning curve."""
    return json.loads(path_of(profile).with_suffix(".json").read_text())


@torch.no_grad()
def mel_error(bench: Bench, speak: Vocoder, utterances: list[Utterance]) -> np.ndarray:
    """Mean absolute difference of each recording's log-mel and that of its vocoded self, `(utterances,)`."""
    errors = []
    for row in bench.features.rows(utterances):
        mel = torch.from_numpy(np.array(bench.features.item(int(row))["mel"])).float()
        (wave,) = speak(mel.unsqueeze(0).to(bench.device), torch.tensor([len(mel)], device=bench.device))
        back = log_mel(torch.from_numpy(wave).unsqueeze(0), bench.mel)[0]
        shared = min(len(back), len(mel))
        errors.append(float((back[:shared] - mel[:shared]).abs().mean()))
    return np.array(errors)


def main() -> None:
    every = len(os.sched_getaffinity(0))
    options = cli.options("lib.papers.common.vocoder", "Train the profile's vocoder.", seed=False, threads=every)
    with cli.told():
        print(train(Bench(study.load_profile(options.profile), options.device, options.threads)).name)


if __name__ == "__main__":
    main()
