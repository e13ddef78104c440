"""Other ways to make attention weights sparse, to compare pruning with (claim SP12).

Scores `(batch, heads, queries, keys)` hold minus infinity at padded keys; the weights of a row sum to one.
"""

import entmax
import torch
from torch import Tensor


def top_k(scores: Tensor, valid: Tensor, fraction: float) -> Tensor:
    """Softmax over the largest `ceil(fraction * N)` scores of each row, N the utterance's valid keys.

    scores `(batch, heads, queries, keys)`, valid `(batch, keys)`; equal scores at the border are all kept.
    (Gupta et al. 2021, arXiv 2106.06899; there with a fixed count.)
    """
    count = (valid.sum(1) * fraction).ceil().long().clamp_min(1)
    largest = scores.detach().topk(int(count.max()), dim=-1).values
    border = largest.gather(-1, (count - 1)[:, None, None, None].expand(*scores.shape[:3], 1))
    return torch.softmax(scores.masked_fill(scores < border, -torch.inf), -1)


def entmax15(scores: Tensor) -> Tensor:
    """1.5-entmax over the last dimension: `max(z / 2 - tau, 0) ** 2`, tau such that a row sums to one.

    Exact, by sorting (Peters et al. 2019, arXiv 1905.05702, algorithm 2). Every row needs one finite score.
    """
    return entmax.entmax15(scores.float(), dim=-1)
