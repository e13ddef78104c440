"""Dynamic time warping of whole batches, by librosa's compiled loop.

Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978, with steps
(1, 1), (1, 0), (0, 1) of weight 1 and no window: D(i, j) = C(i, j) + min(D(i-1, j-1), D(i-1, j), D(i, j-1)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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


def warp(cost: Tensor, rows: Tensor, columns: Tensor) -> Warping:
    """Optimal paths through `cost` (batch, n, m), of which pair b uses the first rows[b] by columns[b] cells.

    Of equally good predecessors the diagonal one is taken, then (i, j - 1). Costs are not negative. Whatever stands in
    the padding is not read. Pairs are walked on the CPU in float64; what is found lies on `cost`'s device.
    """
    import librosa

    longest = int((rows + columns).max()) - 1
    totals, means, paths, lengths = [], [], np.zeros((2, len(cost), longest), dtype=np.int64), []
    for pair, (one, n, m) in enumerate(zip(cost.cpu().numpy(), rows.tolist(), columns.tolist(), strict=True)):
        accumulated, path = librosa.sequence.dtw(C=one[:n, :m].astype(np.float64))
        totals.append(accumulated[-1, -1])
        means.append(accumulated.cumsum(1)[:, -1].cumsum()[-1] / accumulated.size)
        paths[:, pair, : len(path)] = path.T
        lengths.append(len(path))
    total, mean = (torch.tensor(values, dtype=cost.dtype, device=cost.device) for values in (totals, means))
    rows, columns = torch.from_numpy(paths).to(cost.device)
    return Warping(total, mean, rows, columns, torch.tensor(lengths, device=cost.device))
