"""Which choices of a latent sampler keep the words: small trainings, one change at a time.

    python -m lib words palette:sampled:x0 palette:sampled:x0:wide palette:aligned:x0 --steps 600 --sampling 12 1

A choice is process:pairs:prediction, or with one of `CHANGES` after it. The test sentences are sampled without a
condition and Whisper reads what the frozen decoder says. Nothing here is judged by its style, so in training a random
vector stands for each style, and no CLAP is needed.
"""

import time
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor

from lib.methods.latent_diffusion import LatentDiffusion
from lib.metrics import wer
from lib.papers.ld.data import LatentError
from lib.papers.ld.measure import decode, text_latents
from lib.papers.ld.study import Study
from lib.study.part import Part
from lib.study.profile import load_profile, merge

SIZE = 64  # of a condition
CHANGES = {  # what each puts over the section ld of the profile, given the process and the network's sizes there
    "wide": lambda process, dims: {"denoiser": {"channels": 2 * dims["channels"]}},
    "deep": lambda process, dims: {"denoiser": {"levels": dims["levels"] + 1, "blocks": dims["blocks"] + 1}},
    "linear": lambda process, dims: {"processes": {process: {"schedule": "linear"}}},
    "published": lambda process, dims: {"processes": {process: {"least": 0.0}}},  # next to nothing of x_0 is left at T
    "raw": lambda process, dims: {},  # z as it is, each channel on its own scale
}


class Unjudged(Study):
    """The latent study with a random vector and a little noise as a style's condition."""

    clap_hash = "random vectors"

    @cached_property
    def clap(self) -> SimpleNamespace:
        return SimpleNamespace(size=SIZE)

    @cached_property
    def conditions(self) -> Tensor:
        def drawn(seed: int, *shape: int) -> Tensor:
            return torch.randn(*shape, SIZE, generator=torch.Generator().manual_seed(seed))

        styles = torch.stack([drawn(100 + place) for place in range(len(self.corpus.styles))])
        return styles + 0.3 * drawn(1, len(self.paired), len(styles))


class Raw(Unjudged):
    """Latents that nothing standardises."""

    def _diffusion_part(self, name: str, seed: int) -> Part:
        part = super()._diffusion_part(name, seed)

        def build() -> LatentDiffusion:
            model = part.build()
            model.set_scale = lambda latents: None
            return model

        return replace(part, build=build)


def study_of(choice: str, name: str, profile: str, steps: int, device: str) -> Study:
    """The study in which a choice is the system `name`. Errors as `words`."""
    process, pairs, prediction, change = (choice.split(":") + [""] * 4)[:4]
    changes = [key for key in CHANGES if process != "i2sb" or key not in ("linear", "published")]
    if choice.count(":") not in (2, 3) or change not in ("", *changes):
        known = ", ".join(changes)
        raise LatentError(
            f"{choice!r}: give process:pairs:prediction, such as palette:aligned:x0, or {known} after it."
        )
    own = {"systems": {name: {"method": process, "pairs": pairs}}, "diffusion": {"steps": steps}}
    settings = load_profile(profile, {"ld": own | {"processes": {process: {"prediction": prediction}}}})
    if change:
        settings = merge(settings, {"ld": CHANGES[change](process, settings["ld"]["denoiser"])})
    return (Raw if change == "raw" else Unjudged)(settings, device)


def words(profile: str, choices: list[str], steps: int, sampling: list[int], device: str = "cpu") -> list[dict]:
    """A line by choice and number of sampling steps, with the mean CER and the seconds of a training step and sample.

    Raises LatentError for a choice of another form and DiffusionError for a prediction that its process does not have.
    """
    lines = []
    for choice in choices:
        name = f"words_{choice.replace(':', '_')}_{steps}"
        study = study_of(choice, name, profile, steps, device)
        model, (z_text, frames) = study.diffusion(name, 0), text_latents(study)
        for count in sampling:
            began = time.time()
            z = model.sample(z_text, frames, guidance=0.0, steps=count)
            seconds = (time.time() - began) / len(frames)
            said = [sentence.text for sentence in study.tested]
            cer = wer.score(decode(study, z, frames), said, device=device)["cer"].mean()
            lines.append({"choice": choice, "trained": steps})
            lines[-1] |= {"sampling steps": count, "CER": float(cer), "sentences": len(said)}
            lines[-1] |= {"s a training step": study.trained(name, 0)["seconds_trained"] / steps}
            lines[-1] |= {"s a sentence": seconds}
    return lines
