"""What pruned self-attention costs beside dense attention, in time and memory, measured and not assumed.

Dense attention is torch's fused kernel, which never stores the weights `(heads, frames, frames)`. A mask on the
softmax needs them whole, so this pruning saves neither time nor memory; the question is how little it adds.
"""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from lib.methods.sparse_attention import Rule, SparseSelfAttention, SparseSettings
from lib.models.fft_block import SelfAttention, length_mask

DENSE = "dense"
RATIOS = {"time": "seconds", "memory": "peak_mib"}


def attention_cost(
    variants: Mapping[str, SparseSettings],
    frames: tuple[int, ...] = (250, 500, 1000),
    batch: int = 8,
    channels: int = 256,
    heads: int = 2,
    device: str = "cpu",
    repeats: int = 7,
) -> list[dict]:
    """Time and memory of one block's self-attention under each variant, beside fused dense attention.

    variants: names to settings; "dense" is added. frames: lengths of the longest utterance, the others of the batch
    are evenly spread down to half of it. Variants take turns within each repetition.

    Returns records with variant, frames, part ("forward", without gradients, or "training", forward and backward),
    seconds (median), peak_mib (memory held at most beyond what was there before), and the ratios to dense,
    time_ratio and memory_ratio.

    Raises:
        ValueError: a variant is called "dense" and is not.
    """
    variants = {DENSE: SparseSettings(), **variants}
    if variants[DENSE].method != "dense":
        raise ValueError('a pruned variant is called "dense": give it another name')
    records = []
    for length in frames:
        for part in ("forward", "training"):
            jobs = {
                name: _job(settings, length, part == "training", batch, channels, heads, device)
                for name, settings in variants.items()
            }
            measured = _measure(jobs, device, repeats)
            for name, values in measured.items():
                ratios = {f"{k}_ratio": values[v] / measured[DENSE][v] for k, v in RATIOS.items()}
                records.append({"variant": name, "frames": length, "part": part, **values, **ratios})
    return records


def _job(
    settings: SparseSettings, length: int, training: bool, batch: int, channels: int, heads: int, device: str
) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    theta = torch.nn.Parameter(torch.ones(1)) if settings.method == "learned" else None
    attention = SparseSelfAttention(SelfAttention(channels, heads), Rule(settings, theta, 0)).to(device)
    if theta is not None:
        theta.data = theta.data.to(device)
    x = torch.randn(batch, length, channels, generator=generator).to(device).requires_grad_(training)
    valid = length_mask(torch.linspace(length // 2, length, batch).long() if batch > 1 else torch.tensor([length]))
    valid = valid.to(device)

    def run() -> None:
        with torch.set_grad_enabled(training):
            out = attention(x, valid)
        if training:
            out.sum().backward()
            attention.zero_grad(set_to_none=True)
            x.grad = None
        attention.rule.mean = None

    return run


def _measure(jobs: dict[str, Callable[[], None]], device: str, repeats: int) -> dict[str, dict[str, float]]:
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            _wait(device)
            began = time.perf_counter()
            job()
            _wait(device)
            seconds[name].append(time.perf_counter() - began)
    return {
        name: {"seconds": statistics.median(seconds[name]), "peak_mib": peak_bytes(job, device) / 2**20}
        for name, job in jobs.items()
    }


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def peak_bytes(job: Callable[[], None], device: str = "cpu") -> int:
    """Most tensor memory a job holds at once beyond what was held before it.

    On a GPU from the allocator; on a CPU from torch's profiler, between operators (a kernel's own scratch memory
    counts when it is taken and given back in different operators only).
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        job()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        job()
    held = peak = 0
    for event in sorted(profile.function_events, key=lambda e: e.time_range.start):
        held += event.self_cpu_memory_usage
        peak = max(peak, held)
    return peak
