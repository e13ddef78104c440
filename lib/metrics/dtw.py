"""Dynamic time warping of whole batches: compiled pair by pair on a CPU, by anti-diagonals on a GPU.

Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978, with steps
(1, 1), (1, 0), (0, 1) of weight 1 and no window, as librosa.sequence.dtw has them:
D(i, j) = C(i, j) + min(D(i-1, j-1), D(i-1, j), D(i, j-1)). The cells of one anti-diagonal i + j do not
depend on each other, so n + m - 1 vector operations fill the matrices of all pairs of the batch. On a CPU a
compiled loop over the cells of one pair, which keeps one row of D and one byte per cell, is faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

DIAGONAL, ACROSS, DOWN = 0, 1, 2


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
    stands in the padding is not read. The first call on a CPU compiles the loop, or reads it from numba's cache.
    """
    compiled = cost.device.type == "cpu" and cost.dtype in (torch.float32, torch.float64)
    return _warp_pairs(cost, rows, columns) if compiled else _warp_batch(cost, rows, columns)


def _warp_pairs(cost: Tensor, rows: Tensor, columns: Tensor) -> Warping:
    """`warp` by the compiled loop, with as many threads as torch has."""
    costs, batch = cost.contiguous().numpy(), len(cost)
    sizes = torch.stack([rows, columns], dim=1).long().numpy()
    path = np.zeros((2, batch, int(sizes.sum(axis=1).max()) - 1), dtype=np.int64)
    total, mean = np.empty(batch, dtype=costs.dtype), np.empty(batch, dtype=costs.dtype)
    length, loop = np.empty(batch, dtype=np.int64), _compiled()

    def walk(pair: int) -> None:
        n, m = sizes[pair]
        total[pair], mean[pair], length[pair] = loop(costs[pair], n, m, path[0, pair], path[1, pair])

    with ThreadPoolExecutor(max(1, min(batch, torch.get_num_threads()))) as pool:
        list(pool.map(walk, range(batch)))
    return Warping(*(torch.from_numpy(values) for values in (total, mean, *path, length)))


@lru_cache(maxsize=1)
def _compiled() -> Callable:
    import numba

    return numba.njit(cache=True, nogil=True)(_walk)


def _walk(cost: np.ndarray, n: int, m: int, path_rows: np.ndarray, path_columns: np.ndarray) -> tuple:
    """Total, mean of the accumulated cost and steps of the path through cost[:n, :m], which is written.

    Compiled by numba: plain loops are the point. `above` holds the row before on the right of column j and the
    present one on its left.
    """
    steps = np.empty((n, m), dtype=np.uint8)
    above = np.empty(m, dtype=cost.dtype)
    whole = 0.0
    for i in range(n):
        corner, left = above[0], cost[i, 0]
        if i > 0:
            left += corner
        above[0] = left
        steps[i, 0] = DOWN
        row = 0.0 if math.isinf(left) else float(left)
        for j in range(1, m):
            if i == 0:
                best, step = left, ACROSS
            else:
                up = above[j]
                lower = min(up, corner)
                best = min(lower, left)
                step = DIAGONAL if corner <= best else ACROSS if left <= up else DOWN
                corner = up
            left = best + cost[i, j]
            above[j] = left
            steps[i, j] = step
            row += 0.0 if math.isinf(left) else float(left)
        whole += row
    i, j, length = n - 1, m - 1, 1
    path_rows[0], path_columns[0] = i, j
    while i > 0 or j > 0:
        step = steps[i, j]
        i -= step != ACROSS
        j -= step != DOWN
        path_rows[length], path_columns[length] = i, j
        length += 1
    return above[m - 1], whole / (n * m), length


def _warp_batch(cost: Tensor, rows: Tensor, columns: Tensor) -> Warping:
    """`warp` by anti-diagonals, on any device and for any type of float."""
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
