"""How long a profile's trainings take on this device: a few real steps of each are timed, the rest is multiplied.

    python -m lib estimate --profile paper --device cuda

Every paper's models are built at the profile's sizes with random weights and take real steps (forward, backward,
clipping, AdamW) on random batches of the length of the profile's speech, so no corpus and no checkpoint is needed. A
CPU takes eight utterances of a batch and the time is scaled up to the whole batch. What is not in it: data, features
and latents, synthesis, recognition and scoring; and trainings are counted one after another, so that several machines
or GPUs divide the hours.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import nn

from lib.study.cost import Stage
from lib.study.provenance import device_name
from lib.study.registry import papers
from lib.training.loop import autocast

ON_A_CPU = 8  # utterances of a batch: of two, what a step costs whatever its batch would be counted too often
STEPS, LONGEST = 3, 6.0  # timed steps, and the seconds after which no further one is taken


def stages(profile: dict) -> Iterator[Stage]:
    """What a profile trains, in the order of the papers; systems that cost the same are one stage."""
    for paper in papers().values():
        if not paper.across:
            yield from paper.room("cost").stages(profile)


def estimate(profile: dict, device: str, tell: Callable[[str], None] = lambda line: None) -> list[dict]:
    """One entry per stage: paper, stage, trainings, steps of each, utterances and seconds a step, hours in all."""
    entries = []
    for stage in stages(profile):
        tell(f"timing {stage.paper} {stage.name}")
        seconds = seconds_per_step(stage, device)
        config = stage.config
        hours = seconds * config.steps * stage.trainings / 3600
        entries.append({"paper": stage.paper, "stage": stage.name, "trainings": stage.trainings, "steps": config.steps})
        entries[-1] |= {"batch": config.batch_size * config.accumulate}
        entries[-1] |= {"s_per_step": float(f"{seconds:.3g}"), "hours": float(f"{hours:.3g}")}
    return entries


def present(device: str) -> str:
    """The device to time: the CPU, saying so, where the GPU that was asked for is another machine's."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and found == "cpu":
        print("No GPU is visible here: these are the times of this machine's CPU.", file=sys.stderr)
    return found if device == "auto" or device.startswith("cuda") else device


def summary(entries: list[dict], device: str) -> str:
    """The whole in words."""
    hours = sum(entry["hours"] for entry in entries)
    long = f"{hours:,.0f} hours ({hours / 24:,.0f} days)" if hours > 48 else f"{hours:.1f} hours"
    return (
        f"About {long} of training on one {device_name(device)}, one training after another; synthesis, recognition "
        "and scoring come on top."
    )


def seconds_per_step(stage: Stage, device: str) -> float:
    """Median time of a few training steps after a first one, for the whole batch."""
    config = stage.config
    batch = config.batch_size if device.startswith("cuda") else min(ON_A_CPU, config.batch_size)
    model, loss = stage.build(device, batch)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, config.learning_rate, config.betas, config.eps, fused=True)
    taken: list[float] = []
    while len(taken) <= STEPS and sum(taken) < LONGEST:
        began = time.perf_counter()
        with autocast(config.precision, device):
            total = loss()
        total.backward()
        nn.utils.clip_grad_norm_(trained, config.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return median(taken[1:] or taken) * config.batch_size / batch * config.accumulate
