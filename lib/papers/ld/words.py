"""Which choices of a latent sampler keep the words: small trainings, one change at a time.

    python -m lib words palette:sampled:x0 palette:aligned:x0 --steps 600 --sampling 12 1

A choice is process:pairs:prediction. The test sentences are sampled without a condition and Whisper reads what the
frozen decoder says. Nothing here is judged by its style, so in training a random vector stands for each style, and
no CLAP is needed.
"""

import time
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor

from lib.metrics import wer
from lib.papers.ld.data import LatentError
from lib.papers.ld.measure import decode, text_latents
from lib.papers.ld.study import Study
from lib.study.profile import load_profile

SIZE = 64  # of a condition


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


def words(profile: str, choices: list[str], steps: int, sampling: list[int], device: str = "cpu") -> list[dict]:
    """A line by choice and number of sampling steps, with the mean CER and the seconds of a training step and sample.

    Raises LatentError for a choice of another form and DiffusionError for a prediction that its process does not have.
    """
    lines = []
    for choice in choices:
        if choice.count(":") != 2:
            raise LatentError(f"{choice!r}: give process:pairs:prediction, such as palette:aligned:x0.")
        method, pairs, prediction = choice.split(":")
        name = f"words_{choice.replace(':', '_')}_{steps}"
        own = {"data": {"draws": 0}, "systems": {name: {"method": method, "pairs": pairs}}}
        own |= {"processes": {method: {"prediction": prediction}}, "diffusion": {"steps": steps}}
        study = Unjudged(load_profile(profile, {"ld": own}), device)
        model, (z_text, frames) = study.diffusion(name, 0), text_latents(study)
        for count in sampling:
            began = time.time()
            z = model.sample(z_text, frames, guidance=0.0, steps=count)
            seconds = (time.time() - began) / len(frames)
            said = [sentence.text for sentence in study.tested]
            cer = wer.score(decode(study, z, frames), said, device=device)["cer"].mean()
            lines.append({"process": method, "pairs": pairs, "estimates": prediction, "trained": steps})
            lines[-1] |= {"sampling steps": count, "CER": float(cer), "sentences": len(said)}
            lines[-1] |= {"s a training step": study.trained(name, 0)["seconds_trained"] / steps}
            lines[-1] |= {"s a sentence": seconds}
    return lines
