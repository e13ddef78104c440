"""The one training loop of the study.

A run is described by a `TrainConfig` and a fingerprint of everything it depends on. The batch at a step is a
function of the seed and the step alone, and a checkpoint holds weights, optimiser, scheduler and random state, so
a run that was killed and started again ends with the same weights, bit for bit on a CPU.
"""

import json
import math
import time
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from lib.files import file_hash, replace_file, write_json


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
    precision: str = "float32"  # "float32" or "bfloat16" (autocast)
    checkpoint_every: int = 200  # steps
    seed: int = 0

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


def fit(
    model: nn.Module,
    loss: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    batch_at: Callable[[int], dict[str, Tensor]],
    config: TrainConfig,
    resume_path: Path,
    fingerprint: str,
    device: torch.device | str = "cpu",
    label: str = "training",
) -> list[dict[str, float]]:
    """Train the parameters of `model` that require a gradient, in place.

    loss: a batch to its losses, of which "total" is minimised. batch_at: a micro-batch number to a batch on the
    device. resume_path: the checkpoint, read if it has this fingerprint and removed by the caller when the
    result is safe. Returns one record per `log_every`-th step: step, losses, rate, seconds.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(
        trainable.values(), config.learning_rate, config.betas, config.eps, config.weight_decay
    )
    seed_everything(config.seed)
    start, history, spent = _resume(resume_path, fingerprint, model, optimiser, device)
    log_every = max(1, config.steps // 200)
    began = time.monotonic() - spent
    autocast = (
        torch.autocast(torch.device(device).type, torch.bfloat16) if config.precision == "bfloat16" else nullcontext()
    )
    for step in tqdm(range(start, config.steps), initial=start, total=config.steps, desc=label, mininterval=2):
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        for micro in range(config.accumulate):
            with autocast:
                losses = loss(batch_at(step * config.accumulate + micro))
            (losses["total"] / config.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(trainable.values(), config.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if (step + 1) % log_every == 0 or step + 1 == config.steps:
            history.append(_record(step + 1, losses, config.rate(step), time.monotonic() - began, label))
        if (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
            _save(resume_path, fingerprint, step + 1, model, optimiser, history, time.monotonic() - began)
    return history


def _record(step: int, losses: dict[str, Tensor], rate: float, seconds: float, label: str) -> dict[str, float]:
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not math.isfinite(values["total"]):
        raise FloatingPointError(
            f"{label}: the loss is {values['total']} at step {step}: lower the learning rate or check the corpus"
        )
    return {"step": step, **values, "rate": rate, "seconds": seconds}


def saved_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters and buffers, on the CPU."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items() if k not in frozen}


def keep(path: Path, state: dict[str, Tensor], mark: str, facts: dict) -> None:
    """Write a finished training: its weights with their fingerprint, then `facts` and the weights' SHA-256 beside them.

    The checkpoint to resume from goes last. The file's one metadata entry is `fingerprint`: the order of several is
    not fixed.
    """
    with replace_file(path) as temporary:
        save_file(state, temporary, {"fingerprint": mark})
    write_json(path.with_suffix(".json"), facts | {"fingerprint": mark, "sha256": file_hash(path)})
    path.with_suffix(".resume.pt").unlink(missing_ok=True)


def is_kept(path: Path, mark: str) -> bool:
    """Whether a training with this fingerprint has ended, and its weights are still what they were then.

    Facts that state no SHA-256, as they were written before, are taken at their word.
    """
    try:
        facts = json.loads(path.with_suffix(".json").read_text())
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("fingerprint")
        digest = file_hash(path)
    except Exception:  # missing, or damaged in one of safetensors' own ways: it is trained again
        return False
    return written == facts.get("fingerprint") == mark and facts.get("sha256", digest) == digest


def _save(path, fingerprint, step, model, optimiser, history, seconds) -> None:
    state = {
        "fingerprint": fingerprint,
        "step": step,
        "model": saved_state(model),
        "optimiser": optimiser.state_dict(),
        "history": history,
        "seconds": seconds,
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with replace_file(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, fingerprint: str, model, optimiser, device) -> tuple[int, list[dict], float]:
    if not path.exists():
        return 0, [], 0.0
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch does not look at the checksums
                raise ValueError(f"{path.name} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file; a checkpoint is only ever a saving of time
        print(f"{path.name} cannot be read and is left aside: training starts from the first step")
        return 0, [], 0.0
    if state["fingerprint"] != fingerprint:
        print(f"{path.name} belongs to another configuration and is left aside: training starts from the first step")
        return 0, [], 0.0
    model.load_state_dict({k: v.to(device) for k, v in state["model"].items()}, strict=False)
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return state["step"], state["history"], state["seconds"]


def describe(config: TrainConfig) -> dict:
    return asdict(config)
