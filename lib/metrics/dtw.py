"""Dynamic time warping of whole batches on any device, by anti-diagonals.

Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978, with steps
(1, 1), (1, 0), (0, 1) of weight 1 and no window, as librosa.sequence.dtw has them:
D(i, j) = C(i, j) + min(D(i-1, j-1), D(i-1, j), D(i, j-1)). The cells of one anti-diagonal i + j do not
depend on each other, so n + m - 1 vector operations fill the matrices of all pairs of the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Warping:
    """Optimal paths of a batch.

    total (batch,): cost at the end of the path; mean_accumulated (batch,): mean of the whole accumulated-cost
    matrix; rows and columns (batch, steps): the path from its end to its start, of which the first
    `length` (batch,) steps count and the others repeat the start (0, 0).
    """

    total: Tensor
    mean_accumulated: Tensor
    rows: Tensor
    columns: Tensor
    length: Tensor

    def valid(self) -> Tensor:
        """Which of the steps count, (batch, steps)."""
        return torch.arange(self.rows.shape[1], device=self.rows.device) < self.length[:, None]


def warp(cost: Tensor, rows: Tensor, columns: Tensor) -> Warping:
    """Optimal paths through `cost` (batch, n, m), of which pair b uses the first rows[b] by columns[b] cells.

    Of equally good predecessors the diagonal one is taken, then (i, j - 1). Costs are not negative. Whatever
    stands in the padding is not read.
    """
    batch, n, m = cost.shape
    inside = (torch.arange(n, device=cost.device) < rows[:, None])[:, :, None]
    inside = inside & (torch.arange(m, device=cost.device) < columns[:, None])[:, None]
    accumulated = _accumulate(cost.masked_fill(~inside, math.inf))
    pair = torch.arange(batch, device=cost.device)
    total = accumulated[rows + columns - 2, pair, rows]
    finite = accumulated[:, :, 1:].masked_fill(accumulated[:, :, 1:].isinf(), 0.0)
    mean = finite.sum(dim=(0, 2)) / (rows * columns)
    return Warping(total, mean, *_backtrack(accumulated, rows, columns))


def _accumulate(cost: Tensor) -> Tensor:
    """Accumulated cost by anti-diagonal, (n + m - 1, batch, 1 + n): cell (i, j) is at [i + j, :, 1 + i]."""
    batch, n, m = cost.shape
    skewed = torch.nn.functional.pad(cost, (0, n), value=math.inf).flatten(1)[:, : n * (n + m - 1)]
    skewed = skewed.view(batch, n, n + m - 1).permute(2, 0, 1).contiguous()
    accumulated = cost.new_full((n + m - 1, batch, 1 + n), math.inf)
    accumulated[0, :, 1] = skewed[0, :, 0]
    best = cost.new_empty((batch, n))
    for diagonal in range(1, n + m - 1):
        before = accumulated[diagonal - 1]
        torch.minimum(before[:, 1:], before[:, :-1], out=best)
        if diagonal > 1:
            torch.minimum(best, accumulated[diagonal - 2, :, :-1], out=best)
        torch.add(best, skewed[diagonal], out=accumulated[diagonal, :, 1:])
    return accumulated


def _backtrack(accumulated: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Paths from their ends (rows - 1, columns - 1) to (0, 0), and their lengths."""
    batch = len(rows)
    _, _, stride = accumulated.shape
    plane = batch * stride
    flat = accumulated.flatten()
    offset = torch.arange(batch, device=rows.device) * stride + 1
    i, j = rows - 1, columns - 1
    steps = int((rows + columns).max()) - 1
    path_rows, path_columns = i.new_zeros(steps, batch), i.new_zeros(steps, batch)
    length = torch.ones_like(i)
    for step in range(steps):
        path_rows[step], path_columns[step] = i, j
        going = (i + j) > 0
        if step % 16 == 0 and not going.any():
            break
        length += going
        left = (i + j - 1).clamp(min=0) * plane + offset + i
        diagonal = (i + j - 2).clamp(min=0) * plane + offset + i - 1
        from_left, from_above, from_both = flat[left], flat[left - 1], flat[diagonal]
        both = (from_both <= torch.minimum(from_left, from_above)) & (i > 0) & (j > 0)
        across = ~both & ((from_left <= from_above) | (i == 0)) & (j > 0)
        down = going & ~across
        across = going & (across | both)
        i, j = i - down.long(), j - across.long()
    return path_rows.T, path_columns.T, length
