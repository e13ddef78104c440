"""Training of the latent diffusions: pairs (z_text, z_audio, condition), the content projection, the models.

    torchrun --nproc-per-node 8 -m lib.papers.ld.train --profile full --system palette --device cuda

Pairs are cut from the same frames of both latents. With shared durations these frames say the same; with sampled
durations, as in the paper, they drift apart along the utterance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib import cli, study
from lib.files import fingerprint
from lib.methods.latent_diffusion import PROCESSES, LatentDiffusion
from lib.models.clap import Clap
from lib.models.denoiser import DenoiserDims
from lib.papers.ld.clap import audio_hash, clap_of, training_conditions
from lib.papers.ld.data import PAIRS, Lab, LatentError, Sentence, make
from lib.papers.ld.posterior import encode_all, encoder_of, train_once, training
from lib.training import parallel
from lib.training.loop import seed_everything


def system_of(profile: dict, name: str) -> dict:
    """A system's entry in the profile, with its name. Raises LatentError naming the systems there are."""
    systems = profile["ld"]["systems"]
    if name not in systems:
        raise LatentError(f"There is no system {name!r}: choose one of {', '.join(systems)}.")
    return {"name": name, **systems[name]}


def content_projection(lab: Lab) -> Tensor:
    """P `(latent, latent)` onto the directions in which z tells phones apart (claim LD9).

    B holds the leading `content_directions` singular vectors of the phones' mean latents, weighted by their frames,
    and W is the covariance within phones: P = B (B' W^-1 B)^-1 B' W^-1, so what is left, (I - P) z, is uncorrelated
    with P z within a phone. Fitted on the training recordings' own z.
    """
    spoken = [lab.spoken(s) for s in lab.sentences("train")]
    z = np.concatenate([arrays["z"].T for arrays in spoken]).astype(np.float64)
    phones = np.concatenate([arrays["phones"] for arrays in spoken])
    centred, means, counts = z.copy(), [], []
    for phone in np.unique(phones):
        mine = phones == phone
        means.append(z[mine].mean(0))
        counts.append(mine.sum())
        centred[mine] -= means[-1]
    within = centred.T @ centred / len(z) + 1e-3 * np.eye(z.shape[1])
    offsets = (np.stack(means) - z.mean(0)) * np.sqrt(counts)[:, None]
    basis = np.linalg.svd(offsets, full_matrices=False)[2][: lab.settings["content_directions"]].T
    solved = np.linalg.solve(within, basis)
    return torch.from_numpy(basis @ np.linalg.solve(basis.T @ solved, solved.T)).float()


def keep_content(projection: Tensor, z_text: Tensor, z: Tensor) -> Tensor:
    """P z_text + (I - P) z for latents `(..., latent, frames)`: content of z_text, the rest of z."""
    return z + projection @ (z_text - z)


@dataclass
class Pairs:
    """Training batches of a system, a function of the seed and the step."""

    lab: Lab
    clap: Clap
    kind: str
    batch_size: int
    frames: int
    seed: int
    projection: Tensor | None = None

    def __post_init__(self):
        if self.kind not in PAIRS:
            raise LatentError(f"Pairs can be {' or '.join(PAIRS)}, not {self.kind!r}.")
        self.sentences = self.lab.sentences("train")
        self.conditions = training_conditions(self.lab, self.clap)

    def pair(self, sentence: Sentence, style: str, take: int) -> tuple[Tensor, Tensor]:
        """z_text and z_audio `(latent, frames)` of a sentence, cut to the shorter of the two."""
        z_text = self.lab.spoken(sentence)[f"{self.kind}_{take}"]
        z_audio = self.lab.latents(sentence)[style]
        frames = min(z_text.shape[1], z_audio.shape[1])
        z_text, z_audio = (torch.from_numpy(z[:, :frames]) for z in (z_text, z_audio))
        return z_text, z_audio if self.projection is None else keep_content(self.projection, z_text, z_audio)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """A batch of random stretches; one shorter than `frames` is padded."""
        random = np.random.default_rng([self.seed, step, 2])
        latent = self.lab.vits.dims.latent
        z = torch.zeros(2, self.batch_size, latent, self.frames)
        frames, conditions = [], []
        for row in range(self.batch_size):
            place = int(random.integers(len(self.sentences)))
            style = int(random.integers(len(self.lab.styles)))
            take = int(random.integers(self.lab.settings["data"]["takes"]))
            both = torch.stack(self.pair(self.sentences[place], self.lab.styles[style], take))
            start = int(random.integers(max(1, both.shape[2] - self.frames + 1)))
            both = both[:, :, start : start + self.frames]
            z[:, row, :, : both.shape[2]] = both
            frames.append(both.shape[2])
            conditions.append(self.conditions[place, style])
        return {
            "z_text": z[0],
            "z_audio": z[1],
            "frames": torch.tensor(frames),
            "condition": torch.stack(conditions),
        }


def checkpoint(lab: Lab, name: str, seed: int) -> Path:
    return lab.root / "checkpoints" / f"ld-{name}-s{seed}.safetensors"


def diffusion_of(lab: Lab, name: str, seed: int) -> tuple[LatentDiffusion, Tensor | None]:
    """A system's diffusion, trained now if need be, and its content projection (or None).

    A system with `weights_of` has that other system's.
    """
    system = system_of(lab.profile, name)
    if "weights_of" in system:
        return diffusion_of(lab, system["weights_of"], seed)
    if ("diffusion", name, seed) in lab.kept:
        return lab.kept["diffusion", name, seed]
    settings, model_of_style = lab.settings, clap_of(lab)
    process = PROCESSES[system["method"]](**settings["processes"][system["method"]])
    dims = DenoiserDims(latent=lab.vits.dims.latent, condition=model_of_style.size, **settings["denoiser"])
    section = settings["diffusion"]
    config = training(section, seed, "frames")
    seed_everything(seed)
    model = LatentDiffusion(process, dims, settings["drop_condition"]).to(lab.device)
    projection = content_projection(lab) if system.get("content") == "kept" else None
    pairs = Pairs(lab, model_of_style, system["pairs"], config.batch_size, section["frames"], seed, projection)
    model.set_scale([torch.from_numpy(lab.latents(s)[k]).to(lab.device) for s in pairs.sentences for k in lab.styles])
    shared = {k: system.get(k) for k in ("method", "pairs", "content")}
    described = (settings["processes"], settings["denoiser"], settings["drop_condition"], section)
    mark = fingerprint(lab.encoder_mark, audio_hash(lab), shared, described, settings["content_directions"], seed)

    def loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return parallel.mean(model.loss, batch, batch["frames"].float())

    train_once(checkpoint(lab, name, seed), mark, model, loss, pairs, config, lab.device)
    found = model.eval(), None if projection is None else projection.to(lab.device)
    lab.kept["diffusion", name, seed] = found
    return found


def main() -> None:
    """Train one system and what it needs, on one device or under torchrun."""
    options = cli.options("lib.papers.ld.train", "Train one latent diffusion.", system="palette")
    with cli.told(), parallel.joined(options.device) as device:
        lab = Lab(study.load_profile(options.profile), device)
        if system_of(lab.profile, options.system)["method"] not in PROCESSES:
            raise LatentError(f"The system {options.system} has no diffusion to train: choose palette or i2sb.")
        with parallel.in_turn():
            make(lab)
        encoder = encoder_of(lab)
        with parallel.in_turn():
            encode_all(lab, encoder)
        diffusion_of(lab, options.system, options.seed)


if __name__ == "__main__":
    main()
