"""Dynamic time warping of whole batches, by a compiled loop over the cells of each pair.

Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978, with steps
(1, 1), (1, 0), (0, 1) of weight 1 and no window, as librosa.sequence.dtw has them:
D(i, j) = C(i, j) + min(D(i-1, j-1), D(i-1, j), D(i, j-1)). The loop keeps one row of D and one byte per cell.
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
    stands in the padding is not read. Pairs are walked on the CPU by as many threads as torch has, in float32 or
    float64; what is found lies on `cost`'s device. The first call compiles the loop, or reads it from numba's cache.
    """
    costs, batch, device = cost.contiguous().cpu().numpy(), len(cost), cost.device
    sizes = torch.stack([rows, columns], dim=1).long().cpu().numpy()
    path = np.zeros((2, batch, int(sizes.sum(axis=1).max()) - 1), dtype=np.int64)
    total, mean = np.empty(batch, dtype=costs.dtype), np.empty(batch, dtype=costs.dtype)
    length, loop = np.empty(batch, dtype=np.int64), _compiled()

    def walk(pair: int) -> None:
        n, m = sizes[pair]
        total[pair], mean[pair], length[pair] = loop(costs[pair], n, m, path[0, pair], path[1, pair])

    with ThreadPoolExecutor(max(1, min(batch, torch.get_num_threads()))) as pool:
        list(pool.map(walk, range(batch)))
    return Warping(*(torch.from_numpy(values).to(device) for values in (total, mean, *path, length)))


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
