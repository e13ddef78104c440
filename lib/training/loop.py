"""The one training loop of the study.

A run is described by a `TrainConfig` and a fingerprint of everything it depends on. The batch at a step is a
function of the seed and the step alone, and a checkpoint holds weights, optimiser, scheduler and random state, so
a run that was killed and started again ends with the same weights, bit for bit on a CPU.

Under torchrun several processes share every batch (`lib.training.parallel`), and the first one writes the checkpoint.
On a GPU the next batch is made by a thread and copied from pinned memory while the model works, and nothing waits for
the device between two records of the history. The optimiser is fused on CPUs, too, where it takes about a fifth of the
time of one that goes tensor by tensor.
"""

import math
import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from lib.files import replace_file
from lib.training import parallel
from lib.training.average import Average
from lib.training.loading import Meter, loaded
from lib.training.weights import saved_state

BFLOAT16_ON_CPU = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # else emulated


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; every field comes from a profile."""

    steps: int
    batch_size: int  # utterances
    learning_rate: float
    schedule: str = "constant"  # "constant", "noam" or "cosine"
    warmup: int = 0  # steps
    anneal_steps: tuple[int, ...] = ()  # after each of these steps the rate is multiplied by anneal_rate
    anneal_rate: float = 0.3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-9
    weight_decay: float = 0.0
    clip: float = 1.0  # gradient norm
    accumulate: int = 1  # micro-batches per step
    average: float = 0.0  # decay of the weights' moving average, which is then what is watched and kept; 0: none
    precision: str = "float32"  # "float32" or "bfloat16" (see `autocast`)
    checkpoint_every: int = 200  # steps
    seed: int = 0
    compile: bool = False  # torch.compile; pays on a GPU and over thousands of steps, and changes the last digits

    def __post_init__(self):
        if not 0 <= self.average < 1:
            raise ValueError(f"average: {self.average} is no decay of an average: give 0 or more, and less than 1")
        for later in ("average", "compile"):
            if not getattr(self, later):  # then not among vars(), of which the fingerprints of trainings are made
                del self.__dict__[later]

    @classmethod
    def from_dict(cls, values: dict, **fixed) -> "TrainConfig":
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(
                f"unknown training settings {sorted(unknown)}: choose from {list(cls.__dataclass_fields__)}"
            )
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists, **fixed})

    def rate(self, step: int) -> float:
        """Learning rate at a step counted from 0; Noam as in Vaswani et al. 2017, its peak at `learning_rate`."""
        step += 1
        warm = min(1.0, step / self.warmup) if self.warmup else 1.0
        rate = self.learning_rate * warm
        if self.schedule == "noam":
            rate = self.learning_rate * min(step / self.warmup, math.sqrt(self.warmup / step))
        elif self.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        elif self.schedule != "constant":
            raise ValueError(f"unknown schedule {self.schedule!r}: choose constant, noam or cosine")
        return rate * self.anneal_rate ** sum(step > at for at in self.anneal_steps)


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators."""
    import random

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class BucketedBatches:
    """Batches of similar length in an order that depends only on the seed and the step.

    lengths: `(items,)`, any unit. Each epoch is shuffled, sorted by length inside pools of `pool` batches and
    cut into batches, whose order is shuffled again.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, pool: int = 16):
        if len(lengths) == 0:
            raise ValueError("there are no utterances to train on: check the corpus's roles and splits")
        self.lengths, self.size = np.asarray(lengths), min(batch_size, len(lengths))
        self.seed, self.pool = seed, pool
        self.per_epoch = math.ceil(len(lengths) / self.size)
        self._epoch: tuple[int, list[np.ndarray]] = (-1, [])

    def __call__(self, step: int) -> np.ndarray:
        """Item indices of the batch at a step, `(batch,)`."""
        epoch, position = divmod(step, self.per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._make(epoch))
        return self._epoch[1][position]

    def _make(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        pools = np.array_split(order, max(1, round(len(order) / (self.size * self.pool))))
        by_length = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools])
        batches = [by_length[i : i + self.size] for i in range(0, len(order), self.size)]
        return [batches[i] for i in rng.permutation(len(batches))]


class History(list):
    """Records (step, losses, rate, seconds) and `speed`, how fast the training went.

    speed: steps_per_second; utilisation, a share, of the "GPU" or of the "CPU threads" (`utilisation_of`); processes.
    """

    speed: dict[str, float | str | None]


def fit(
    model: nn.Module,
    loss: Callable[[Any], dict[str, Tensor]],
    batch_at: Callable[[int], Any],
    config: TrainConfig,
    resume_path: Path,
    fingerprint: str,
    device: torch.device | str = "cpu",
    label: str = "training",
    at_step: Callable[[int], bool | None] = lambda step: None,
    records: int = 200,
    watch: Callable[[int], dict[str, float]] = lambda step: {},
) -> History:
    """Train the parameters of `model` that require a gradient, in place.

    loss: a batch to its losses, of which "total" is minimised; in several processes it is the whole batch's, as
    `lib.training.parallel` gives it. batch_at: a micro-batch number to a batch, on the CPU or the device; it changes
    nothing, since a thread may call it before its turn. at_step: called before each step; where it returns True,
    training ends there. resume_path: the checkpoint, read if it has this fingerprint and removed by the caller when the
    result is safe. label: of the progress bar, none if "". records: about how many the history has. watch: called at
    each, with the number of steps made; what it returns is part of the record.

    Raises:
        FloatingPointError: a loss is not finite.
        ValueError: a compiled training without a GPU.
        RuntimeError: called where autocast is on, which would keep the weights of the first step.
    """
    device = torch.device(device)
    if torch.is_autocast_enabled(device.type):
        raise RuntimeError(
            f"{label} began inside autocast, where weights are cast once and then kept: begin it outside"
        )
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        trainable, config.learning_rate, config.betas, config.eps, config.weight_decay, fused=True
    )
    optimiser.zero_grad(set_to_none=True)  # of whatever was done with the model before
    seed_everything(config.seed)
    start, earlier, spent, averaged = _resume(resume_path, fingerprint, model, optimiser, device)
    objective, history, meter = _objective(model, loss, config, device), History(earlier), Meter(device)
    average = Average(trainable, config.average, averaged)
    log_every = max(1, config.steps // records)
    began = time.monotonic() - spent
    batches = loaded(batch_at, range(start * config.accumulate, config.steps * config.accumulate), device)
    shown = {"desc": label, "mininterval": 2, "disable": not label or not parallel.first()}
    for step in tqdm(range(start, config.steps), initial=start, total=config.steps, **shown):
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        if at_step(step):
            break
        for micro in range(config.accumulate):
            batch = next(batches)
            with _last(objective, micro + 1 == config.accumulate):
                with autocast(config.precision, device):
                    losses = objective(batch)
                (losses["total"] / config.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(trainable, config.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update(step + 1)
        if (step + 1) % log_every == 0 or step + 1 == config.steps:
            seen = record(step + 1, losses, config.rate(step), time.monotonic() - began, label)
            with average.in_place():
                history.append(seen | watch(step + 1))
            meter.read()
        if (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps and parallel.first():
            state = {"model": saved_state(model), "optimiser": optimiser.state_dict(), "average": average.weights}
            save_checkpoint(resume_path, fingerprint, step + 1, history, time.monotonic() - began, state)
    average.keep()
    history.speed = {"steps_per_second": config.steps / max(time.monotonic() - began, 1e-9), **meter.facts()}
    return history


class _Objective(nn.Module):
    """The losses of a batch as a module, of which only "total" has a gradient."""

    def __init__(self, model: nn.Module, loss: Callable[[Any], dict[str, Tensor]]):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Any) -> dict[str, Tensor]:
        losses = self.loss(batch)
        return {name: value if name == "total" else value.detach() for name, value in losses.items()}


def _objective(model: nn.Module, loss: Callable, config: TrainConfig, device: torch.device) -> nn.Module:
    """The objective, shared by the processes where there are several, compiled where the profile asks for it."""
    objective = _Objective(model, loss)
    if parallel.size() > 1:
        if config.compile and parallel.first():
            print("several processes share this training, which is then not compiled")
        return DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=True)
    if config.compile and device.type != "cuda":
        raise ValueError(
            "compile: true is for a GPU: on this device torch cannot compile the study's models, "
            "set compile to false in the profile's train section or give --device cuda"
        )
    return torch.compile(objective, dynamic=True) if config.compile else objective


def _last(objective: nn.Module, last: bool) -> AbstractContextManager:
    """Gradients meet those of the other processes after a step's last micro-batch."""
    return objective.no_sync() if isinstance(objective, DistributedDataParallel) and not last else nullcontext()


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager:
    """A forward pass in bfloat16 where a profile asks for it; in float32 on a CPU without products of bfloat16."""
    kind = torch.device(device).type
    slow = kind == "cpu" and not BFLOAT16_ON_CPU
    return torch.autocast(kind, torch.bfloat16) if precision == "bfloat16" and not slow else nullcontext()


def record(step: int, losses: dict[str, Tensor], rate: float, seconds: float, label: str) -> dict[str, float]:
    """A step's entry of a history. Raises FloatingPointError for a loss that is not finite."""
    values = torch.stack([value.detach().double() for value in losses.values()]).tolist()  # one wait for the device
    named = dict(zip(losses, values, strict=True))
    if not math.isfinite(named["total"]):
        raise FloatingPointError(
            f"{label}: the loss is {named['total']} at step {step}: lower the learning rate or check the corpus"
        )
    return {"step": step, **named, "rate": rate, "seconds": seconds}


def save_checkpoint(
    path: Path, fingerprint: str, step: int, history: History, seconds: float, state: dict[str, Any]
) -> None:
    """Write what an interrupted training goes on from: `state`, how far it is, and the random numbers' state."""
    known = {"fingerprint": fingerprint, "step": step, "history": list(history), "seconds": seconds}
    known |= {"rng": torch.get_rng_state()}
    known |= {"cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
    with replace_file(path) as temporary:
        torch.save(known | state, temporary)


def _resume(path: Path, fingerprint: str, model, optimiser, device) -> tuple[int, list[dict], float, list[Tensor]]:
    state = read_checkpoint(path, fingerprint)
    start = state["step"] if state else 0
    if start != parallel.agree(start):
        raise parallel.ParallelError(f"{path.name} is not the same for all processes: keep results in a shared folder.")
    if state is None:
        return 0, [], 0.0, []
    model.load_state_dict({k: v.to(device) for k, v in state["model"].items()}, strict=False)
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and parallel.size() > 1:
        torch.cuda.set_rng_state(state["cuda_rng"][0])  # all processes draw the same numbers as the first
    elif state["cuda_rng"]:
        torch.cuda.set_rng_state_all(state["cuda_rng"][: torch.cuda.device_count()])
    return start, state["history"], state["seconds"], [weight.to(device) for weight in state.get("average", [])]


def read_checkpoint(path: Path, fingerprint: str) -> dict | None:
    """The checkpoint of an interrupted training with this fingerprint, or None."""
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch does not look at the checksums
                raise ValueError(f"{path.name} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file; a checkpoint is only ever a saving of time
        print(f"{path.name} cannot be read and is left aside: training starts from the first step")
        return None
    if state["fingerprint"] != fingerprint:
        print(f"{path.name} belongs to another configuration and is left aside: training starts from the first step")
        return None
    return state
