"""Dynamic time warping of many pairs of sequences, in threads: librosa's costs and paths to the last bit.

Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978, with steps
(1, 1), (1, 0), (0, 1) of weight 1 and no window: D(i, j) = C(i, j) + min(D(i-1, j-1), D(i-1, j), D(i, j-1)), with C the
Euclidean distance. librosa's loop takes any steps; this one knows the three, and a pair's distances never leave the
cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import sqrt

import numpy as np

from lib.metrics import MetricError, check_pairs
from lib.workers import map_in_threads


@dataclass(frozen=True)
class Warping:
    """An optimal path: cost at its end, mean of the whole accumulated-cost matrix, and its steps from start to end.

    rows, columns (steps,): the frames of the first and of the second sequence that each step matches.
    """

    total: float
    mean_accumulated: float
    rows: np.ndarray
    columns: np.ndarray


def warp(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[Warping]:
    """Optimal paths between sequences of frames, `first[i]` (n, d) and `second[i]` (m, d), in float64.

    Of equally good predecessors the diagonal one is taken, then (i, j - 1). As many pairs at once as torch has threads.
    Raises MetricError for sequences without frames, with NaN or infinite values, or of frames of two sizes.
    """
    check_pairs(first, second)
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        if np.ndim(one) != 2 or np.ndim(other) != 2 or not len(one) or not len(other) or one.shape[1] != other.shape[1]:
            raise MetricError(
                f"Pair {index} has frames of shapes {np.shape(one)} and {np.shape(other)}: give (frames, d) and the "
                "same d on both sides."
            )
    return map_in_threads(partial(_warp, _compiled()), range(len(first)), first, second)


def _warp(walk: Callable, index: int, one: np.ndarray, other: np.ndarray) -> Warping:
    accumulated = np.empty((len(one), len(other)))
    path = np.empty((2, len(one) + len(other) - 1), dtype=np.int64)
    columns = np.ascontiguousarray(other.T, dtype=np.float64)
    steps, mean = walk(np.ascontiguousarray(one, dtype=np.float64), columns, accumulated, path)
    if not np.isfinite(accumulated[-1, -1]):
        raise MetricError(f"Pair {index} holds NaN or infinite values: repair or drop it.")
    rows, columns = path[:, :steps][:, ::-1].copy()
    return Warping(float(accumulated[-1, -1]), mean, rows, columns)


@lru_cache(maxsize=1)
def _compiled() -> Callable:
    """`_walk` as numba compiles it, kept in numba's cache where that can be written.

    With one signature in the file, processes that compile at once all write the same entry, each as a whole.
    """
    import numba

    matrix, result = numba.float64[:, ::1], numba.types.Tuple((numba.int64, numba.float64))
    signature = result(matrix, matrix, matrix, numba.int64[:, ::1])
    try:
        return numba.njit(signature, nogil=True, cache=True)(_walk)
    except (RuntimeError, OSError):
        return numba.njit(signature, nogil=True)(_walk)


def _walk(x, y, accumulated, path):
    """Fill `accumulated` (n, m) and `path` (2, n + m - 1), end first, of x (n, d) and y transposed (d, m).

    Returns the path's steps and the mean of `accumulated`. Sums run in librosa's order, so that ties fall as there.
    Eight coefficients are taken at once: a sum kept in memory between them takes twice the time.
    """
    n, size, m = x.shape[0], x.shape[1], y.shape[1]
    cost = np.empty(m)
    everything = 0.0
    for i in range(n):
        cost[:] = 0.0
        for d in range(0, size - size % 8, 8):
            a0, a1, a2, a3 = x[i, d], x[i, d + 1], x[i, d + 2], x[i, d + 3]
            a4, a5, a6, a7 = x[i, d + 4], x[i, d + 5], x[i, d + 6], x[i, d + 7]
            for j in range(m):
                square = cost[j] + (a0 - y[d, j]) ** 2
                square += (a1 - y[d + 1, j]) ** 2
                square += (a2 - y[d + 2, j]) ** 2
                square += (a3 - y[d + 3, j]) ** 2
                square += (a4 - y[d + 4, j]) ** 2
                square += (a5 - y[d + 5, j]) ** 2
                square += (a6 - y[d + 6, j]) ** 2
                cost[j] = square + (a7 - y[d + 7, j]) ** 2
        for d in range(size - size % 8, size):
            for j in range(m):
                cost[j] += (x[i, d] - y[d, j]) ** 2
        here, above = accumulated[i], accumulated[max(i - 1, 0)]
        for j in range(m):
            cost[j] = sqrt(cost[j])
        for j in range(1, m):
            here[j] = np.inf if i == 0 else (above[j] if above[j] < above[j - 1] else above[j - 1])
        here[0] = last = row = cost[0] + (above[0] if i else 0.0)
        for j in range(1, m):
            last = (here[j] if here[j] < last else last) + cost[j]
            here[j] = last
            row += last
        everything += row
    i, j, steps = n - 1, m - 1, 1
    path[0, 0], path[1, 0] = i, j
    while i or j:
        square = 0.0
        for d in range(size):
            square += (x[i, d] - y[d, j]) ** 2
        own = sqrt(square)
        if i and j and accumulated[i - 1, j - 1] + own == accumulated[i, j]:
            i, j = i - 1, j - 1
        elif j and (not i or accumulated[i, j - 1] + own == accumulated[i, j]):
            j -= 1
        else:
            i -= 1
        path[0, steps], path[1, steps] = i, j
        steps += 1
    return steps, everything / (n * m)
