"""One training in several processes, with the result that one process has at the same batches.

    torchrun --nproc-per-node 8 -m lib train ht backbone --profile full --device cuda

Each process takes its rows of a batch through the model and then sees the outputs of all, so that a loss and what it
is divided by are those of the whole batch. Random numbers are drawn for the whole batch, the same in every process, of
which each uses its rows; batch normalisation takes its statistics over all rows. So a profile means the same on any
number of GPUs, up to the order in which sums are rounded. DistributedDataParallel averages gradients over the
processes; those that pass here are the sum of what all processes send back, which makes that the sum over the batch. A
loss that does not come through here is computed whole in every process: right, and no faster.

Only the first process writes files. The processes read them, so on several machines results and caches lie in folders
that all machines share.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn import functional as collective  # sums in which gradients go back as sums
from torch.overrides import TorchFunctionMode

PATIENCE = timedelta(hours=24)  # one process may make a corpus while the others wait
_turns: list[bool] = []  # one while a process is in a block that each does alone


class ParallelError(ValueError):
    """Processes that cannot share a training; the sentence says what to change."""


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun started; gives this one's device, or `device` itself without torchrun.

    Raises ParallelError when a machine has fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device
        return
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        place = int(os.environ["LOCAL_RANK"])
        if place >= torch.cuda.device_count():
            raise ParallelError(
                f"There are {torch.cuda.device_count()} GPUs for {os.environ['LOCAL_WORLD_SIZE']} processes: "
                "give torchrun at most one process a GPU (--nproc-per-node)."
            )
        device = f"cuda:{place}"
        torch.cuda.set_device(place)
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def size() -> int:
    """Number of processes that share the training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def first() -> bool:
    """Whether this process is the one that writes files."""
    return size() == 1 or dist.get_rank() == 0


def agree(value: int) -> int:
    """The first process's value, in every process."""
    if size() == 1:
        return value
    _together()
    told = torch.tensor(int(value))
    dist.broadcast(told, 0)
    return int(told)


def wait() -> None:
    """Wait until every process has come here."""
    if size() > 1:
        _together()
        dist.all_reduce(torch.zeros(1))


@contextmanager
def in_turn() -> Iterator[None]:
    """The first process does the block before the others, which find in files what it made.

    In the block nothing can be agreed on or waited for: the others are not there. Doing so raises a RuntimeError.
    """
    if not first():
        wait()
    _turns.append(True)
    try:
        yield
    finally:
        _turns.pop()
    if first():
        wait()


def _together() -> None:
    if _turns:
        raise RuntimeError("processes that do something in turn cannot wait for each other in it")


@dataclass(frozen=True)
class Share:
    """Which rows of a batch each process computes. One that has none computes the last row, which does not count."""

    count: int  # rows of the batch
    size: int = 1
    rank: int = 0

    def start(self, rank: int) -> int:
        return rank * self.count // self.size

    @property
    def own(self) -> int:
        """Rows of this process that count."""
        return self.counts[self.rank]

    @property
    def counts(self) -> list[int]:
        return [self.start(rank + 1) - self.start(rank) for rank in range(self.size)]

    @property
    def rows(self) -> slice:
        """The rows that this process computes."""
        start = min(self.start(self.rank), self.count - 1)
        return slice(start, start + max(1, self.own))

    def of(self, values: Sequence | Tensor) -> Any:
        """This process's rows of a list or tensor."""
        return values[self.rows]


def share(count: int) -> Share:
    return Share(count, size(), dist.get_rank()) if size() > 1 else Share(count)


def part(batch: dict[str, Any], mine: Share) -> dict[str, Any]:
    """This process's rows of whatever in a batch has one entry for each of its rows."""

    def has_rows(value: Any) -> bool:
        return len(value) == mine.count if isinstance(value, list) else isinstance(value, Tensor) and value.ndim > 0

    return {name: mine.of(value) if has_rows(value) else value for name, value in batch.items()}


def forward(
    model: Callable[[dict[str, Tensor]], Any], batch: dict[str, Tensor], dims: dict[str, int] | None = None
) -> Any:
    """`model(batch)`, a tensor or tensors by name, where each process computes its rows of the batch.

    dims: the dimension of an output that counts the rows, where it is not the first.
    """
    if size() == 1:
        return model(batch)
    mine = share(next(len(value) for value in batch.values() if isinstance(value, Tensor) and value.ndim))
    with mine_of_all(mine):
        out = model(part(batch, mine))
    if isinstance(out, Tensor):
        return _whole(out, mine, 0)
    return {name: _whole(value, mine, (dims or {}).get(name, 0)) for name, value in out.items()}


def mean(
    loss: Callable[[dict[str, Any]], dict[str, Tensor]], batch: dict[str, Any], weights: Tensor
) -> dict[str, Tensor]:
    """`loss(batch)` for losses that are means over the batch's rows with weights `(rows,)`, shared by the processes."""
    if size() == 1:
        return loss(batch)
    mine = share(len(weights))
    with mine_of_all(mine):
        parts = loss(part(batch, mine))
    weight = mine.of(weights)[: mine.own].sum() / weights.sum()
    return {name: collective.all_reduce(value * weight) for name, value in parts.items()}


def mine_of_all(mine: Share) -> AbstractContextManager:
    """A block that computes some rows as if it computed all: random numbers and batch normalisation."""
    return _RowsOfAll(mine) if mine.size > 1 else nullcontext()


def _whole(local: Tensor, mine: Share, dim: int) -> Tensor:
    """The rows of all processes; the gradients of this one's rows come from all of them, which is their sum."""
    rows = local.transpose(0, dim)
    sent = rows.new_zeros((max(mine.counts), *rows.shape[1:]))
    sent[: mine.own] = rows[: mine.own]
    parts = collective.all_gather(sent)
    return torch.cat([p[:n] for p, n in zip(parts, mine.counts, strict=True)]).transpose(0, dim)


class _RowsOfAll(TorchFunctionMode):
    """Draws for the whole batch and keeps this process's rows; normalises batches over all processes."""

    def __init__(self, mine: Share):
        super().__init__()
        self.mine = mine

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if func is torch.randn_like:
            return torch.randn(self._all(args[0].shape), dtype=args[0].dtype, device=args[0].device)[self.mine.rows]
        if func in (torch.rand, torch.randn):
            sizes = args[0] if isinstance(args[0], (tuple, list)) else args
            return func(self._all(sizes), **kwargs)[self.mine.rows]
        if func is torch.randint:
            return func(*args[:-1], self._all(args[-1]), **kwargs)[self.mine.rows]
        return func(*args, **kwargs)

    def _all(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The sizes with all rows in the place of this process's."""
        computed = max(1, self.mine.own)
        if not sizes or sizes[0] != computed:
            raise ParallelError(
                f"Random numbers of the sizes {tuple(sizes)} are not one set for each of {computed} rows: "
                "train this in one process."
            )
        return (self.mine.count, *sizes[1:])

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return x
        order = [0, *sorted(range(1, x.ndim), key=lambda dim: -x.stride(dim))]  # numbers are drawn as memory lies
        sizes = self._all(x.shape)
        ones = torch.ones([sizes[dim] for dim in order], dtype=x.dtype, device=x.device)
        kept = F.dropout(ones.permute([order.index(dim) for dim in range(x.ndim)]), p)
        return x * kept[self.mine.rows]

    def _batch_norm(self, x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        own, others = x[: self.mine.own].float(), [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = self.mine.count * x[0].numel() // x.shape[1]
        average = collective.all_reduce(own.sum(others)) / count
        variance = collective.all_reduce((own - average.view(shape)).square().sum(others)) / count
        if running_mean is not None:
            with torch.no_grad():
                running_mean.lerp_(average.to(running_mean), momentum)
                running_var.lerp_((variance * count / (count - 1)).to(running_var), momentum)
        y = (x.float() - average.view(shape)) * (variance.view(shape) + eps).rsqrt()
        y = y if weight is None else y * weight.view(shape) + bias.view(shape)
        return y.to(x.dtype)
