"""Principal angles between the column spaces of weight matrices, batched on any device.

Knyazev and Argentati, "Principal angles between subspaces in an A-based scalar product: algorithms and
perturbation estimates", SIAM J. Sci. Comput. 2002, algorithm 3.1. With orthonormal bases Q of the two column
spaces, the cosines of the angles are the singular values of Qa' Qb, which say nothing about angles below about
1e-8. The sines are the singular values of Qb - Qa Qa' Qb and are accurate there, so each angle up to 45 degrees
is taken from its sine and each larger one from its cosine.

Angles are in radians, 0 (shared direction) to pi/2 (orthogonal), largest first. A matrix with at least as many
columns as rows and of full rank spans the whole space, so its angles to any other are 0, however much it was
trained: compare the leading directions (`rank`) of square and wide matrices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

CHUNK = 1 << 25
WELL_CONDITIONED = 1e6
THRESHOLDS = (0.01, 0.1, 0.5)


class SubspaceError(ValueError):
    """Matrices that have no principal angles; the sentence names the matrix."""


@torch.inference_mode()
def principal_angles(first: Tensor, second: Tensor, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """Angles (batch, most) in float64 between `first` (batch, n, p) and `second` (batch, n, q), and their number.

    Both are compared in float64 on their own device. Pair b has count[b] = min(rank of both) angles, the first
    ones of its row; the rest of the row is 0. The rank is the number of singular values above
    max(n, p) eps times the largest one, as in scipy.linalg.orth. With `rank` the leading left singular vectors,
    `rank` of them at most, stand for each matrix: the principal subspace of that dimension.
    Raises SubspaceError for other shapes, NaN or infinite entries, a zero matrix or a rank below 1.
    """
    _check_batch(first, "first"), _check_batch(second, "second")
    if first.shape[:2] != second.shape[:2]:
        raise SubspaceError(
            f"The matrices have shapes {tuple(first.shape)} and {tuple(second.shape)}: "
            "give as many of each, with the same number of rows."
        )
    if rank is not None and rank < 1:
        raise SubspaceError(f"The rank is {rank}: give at least 1, or None for the whole column space.")
    one, one_rank = _bases(first.double(), rank, "first")
    other, other_rank = _bases(second.double(), rank, "second")
    count = torch.minimum(one_rank, other_rank)
    angles = one.new_zeros(len(one), int(count.max()) if len(count) else 0)
    for ranks in {tuple(pair) for pair in torch.stack([one_rank, other_rank], 1).tolist()}:
        chosen = (one_rank == ranks[0]) & (other_rank == ranks[1])
        if max(ranks) < first.shape[1]:
            angles[chosen, : min(ranks)] = _between(one[chosen, :, : ranks[0]], other[chosen, :, : ranks[1]])
    return angles, count


def compare(
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    *,
    device: str = "cpu",
    rank: int | None = None,
) -> dict[str, np.ndarray]:
    """Principal angles (count,) in radians, float64, between the weights of a model before and after, by name.

    A weight (out, in) is compared by its column space, a vector as a matrix of one column, a kernel with more
    axes as (out, the rest). Weights of one shape are stacked on `device`, as many at once as fit `CHUNK` numbers.
    `rank` is that of `principal_angles`; the names come in the order of `before`.
    Raises SubspaceError naming the weight that is missing, of another shape, a scalar, zero, NaN or infinite.
    """
    if before.keys() != after.keys():
        only = sorted(before.keys() ^ after.keys())[0]
        raise SubspaceError(f"The weight {only} is in one of the two models only: compare models with equal names.")
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name, weight in before.items():
        _check_weight(name, weight, after[name])
        groups[weight.shape[0], weight[0].numel()].append(name)
    angles: dict[str, np.ndarray] = dict.fromkeys(before, np.zeros(0))
    for shape, names in groups.items():
        size = max(1, CHUNK // math.prod(shape))
        for start in range(0, len(names), size):
            part = names[start : start + size]
            stacks = [_stack([model[name] for name in part], shape, device) for model in (before, after)]
            for name, row, count in zip(part, *_on_host(principal_angles(*stacks, rank)), strict=True):
                angles[name] = row[:count]
    return angles


def summarise(angles: Mapping[str, np.ndarray], thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """One row per matrix: what papers report of its principal angles, in radians.

    Columns: name; angles (their number); mean, median, deviation (population), smallest, largest; geodesic, the
    Grassmann distance sqrt(sum of squares); and share_above_t, the share of angles above each threshold t.
    Raises SubspaceError where a matrix has no angles or they are not finite.
    """
    rows = []
    for name, values in angles.items():
        if len(values) == 0 or not np.isfinite(values).all():
            raise SubspaceError(f"The matrix {name} has no finite angles: leave it out.")
        row = {
            "name": name,
            "angles": len(values),
            "mean": values.mean(),
            "median": np.median(values),
            "deviation": values.std(),
            "smallest": values.min(),
            "largest": values.max(),
            "geodesic": float(np.linalg.norm(values)),
        }
        rows.append(row | {f"share_above_{limit:g}": float((values > limit).mean()) for limit in thresholds})
    return pd.DataFrame(rows)


def _check_batch(matrices: Tensor, name: str) -> None:
    if matrices.ndim != 3 or 0 in matrices.shape[1:] or not torch.is_floating_point(matrices):
        raise SubspaceError(
            f"The {name} matrices have shape {tuple(matrices.shape)} and type {matrices.dtype}: "
            "give floats of shape (batch, rows, columns), a vector as one column."
        )
    bad = ~torch.isfinite(matrices).all(dim=(1, 2)) if len(matrices) else torch.zeros(0, dtype=torch.bool)
    if bad.any():
        raise SubspaceError(f"Matrix {int(bad.int().argmax())} of the {name} ones holds NaN or infinite entries.")


def _check_weight(name: str, before: Tensor, after: Tensor) -> None:
    if before.shape != after.shape:
        raise SubspaceError(
            f"The weight {name} has shape {tuple(before.shape)} before and {tuple(after.shape)} after: "
            "compare models of one architecture."
        )
    if before.ndim == 0 or before.numel() == 0:
        raise SubspaceError(f"The weight {name} has shape {tuple(before.shape)}, which spans nothing: leave it out.")
    for weight in (before, after):
        if not torch.is_floating_point(weight) or not torch.isfinite(weight).all():
            raise SubspaceError(f"The weight {name} holds NaN, infinite or integer entries: leave it out.")
        if not weight.any():
            raise SubspaceError(f"The weight {name} is zero and spans nothing: leave it out.")


def _stack(weights: list[Tensor], shape: tuple[int, int], device: str) -> Tensor:
    return torch.stack([weight.detach().reshape(shape) for weight in weights]).to(device).double()


def _on_host(found: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    return found[0].cpu().numpy(), found[1].cpu().numpy()


def _bases(matrices: Tensor, rank: int | None, name: str) -> tuple[Tensor, Tensor]:
    """Orthonormal columns (batch, n, min(n, p)) and how many of them, (batch,), span each column space.

    Cholesky QR does for well-conditioned matrices, singular vectors for the others and for leading directions.
    """
    rows, columns = matrices.shape[1:]
    smaller = min(rows, columns)
    if rank is None:
        basis, condition = _cholesky_qr(matrices if rows > columns else matrices.mT)
        doubtful = ~(condition < WELL_CONDITIONED)
        if columns >= rows:
            basis = torch.eye(rows, dtype=basis.dtype, device=basis.device).repeat(len(basis), 1, 1)
    else:
        basis = matrices.new_zeros(len(matrices), rows, smaller)
        doubtful = torch.ones(len(matrices), dtype=torch.bool, device=matrices.device)
    found = torch.full((len(matrices),), smaller, device=matrices.device)
    if doubtful.any():
        vectors, values, _ = torch.linalg.svd(matrices[doubtful], full_matrices=False)
        tolerance = values[:, :1] * max(rows, columns) * torch.finfo(torch.float64).eps
        basis[doubtful] = vectors
        found[doubtful] = (values > tolerance).sum(dim=1)
    if (found == 0).any():
        raise SubspaceError(f"Matrix {int((found == 0).int().argmax())} of the {name} ones is zero and spans nothing.")
    return basis, found if rank is None else found.clamp(max=rank)


def _cholesky_qr(tall: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns (batch, n, p) of `tall` matrices, and an upper bound (batch,) of their condition numbers.

    Twice Q = A L'^-1 with A'A = LL' (Yamamoto et al. 2015): orthonormal to rounding where the condition number is
    below about 1e7, and mostly matrix products. The bound is that of the Frobenius norms of L and its inverse.
    """
    basis = tall / tall.abs().amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    identity = torch.eye(tall.shape[2], dtype=tall.dtype, device=tall.device)
    condition = tall.new_zeros(len(tall))
    for _ in range(2):
        lower, failed = torch.linalg.cholesky_ex(basis.mT @ basis)
        lower = torch.where(failed[:, None, None] > 0, identity, lower)
        inverse = torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)
        bound = torch.linalg.matrix_norm(lower) * torch.linalg.matrix_norm(inverse)
        condition = torch.maximum(condition, torch.where(failed > 0, torch.inf, bound))
        basis = basis @ inverse.mT
    return basis, condition


def _between(one: Tensor, other: Tensor) -> Tensor:
    """Angles (batch, min(p, q)), largest first, between orthonormal columns (batch, n, p) and (batch, n, q)."""
    if one.shape[2] < other.shape[2]:
        one, other = other, one
    product = one.mT @ other
    residual = torch.linalg.qr(other - one @ product, mode="r").R
    sines = torch.linalg.svdvals(residual).clamp(max=1.0)
    sines = torch.nn.functional.pad(sines, (0, other.shape[2] - sines.shape[1]))
    angles = torch.asin(sines)
    if (sines.square() > 0.5).any():
        cosines = torch.linalg.svdvals(product).flip(1).clamp(max=1.0)
        angles = torch.where(cosines.square() < 0.5, torch.acos(cosines), angles)
    return angles
