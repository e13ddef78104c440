"""Principal angles between the column spaces of weight matrices, batched on any device.

Knyazev and Argentati, "Principal angles between subspaces in an A-based scalar product: algorithms and
perturbation estimates", SIAM J. Sci. Comput. 2002, algorithm 3.1. With orthonormal bases Q of the two column
spaces, the cosines of the angles are the singular values of Qa' Qb, which say nothing about angles below about
1e-8. The sines are the singular values of Qb - Qa Qa' Qb and are accurate there, so each angle up to 45 degrees
is taken from its sine and each larger one from its cosine.

Most pairs of a model need no basis at all. Where A and the change D = B - A are well-conditioned side by side, the
Cholesky factor R of [A D]'[A D] holds the coordinates of B along and across the space of A, and the tangents of
the angles are the singular values of R22 (R11 + R12)^-1: three matrix products, and an error that is relative to
each angle.

Angles are in radians, 0 (shared direction) to pi/2 (orthogonal), largest first. A matrix with at least as many
columns as rows and of full rank spans the whole space, so its angles to any other are 0, however much it was
trained: compare the leading directions (`rank`) of square and wide matrices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from functools import lru_cache

import numpy as np
import scipy.linalg
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from lib.workers import map_in_threads

CHUNK = 1 << 25
ROWS = 2048  # of which the products are summed: their differences stay in a CPU's cache
WELL_CONDITIONED = 1e6
SIDE_BY_SIDE = 1e4  # condition number up to which tangents are right to about 1e-8 of themselves
STEEPEST = 10.0  # tangent
LARGE = 1e60  # entries up to which a sum of squares is far from the largest float64, and over which from the smallest
SPREAD = 1e-2  # singular values, over the largest one, that the eigenvectors of A A' are as good for


class SubspaceError(ValueError):
    """Matrices that have no principal angles; the sentence names the matrix."""


def principal_angles(first: Tensor, second: Tensor, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """Angles (batch, most) in float64 between `first` (batch, n, p) and `second` (batch, n, q), and their number.

    Both are compared in float64 on their own device. Pair b has count[b] = min(rank of both) angles, the first
    ones of its row; the rest of the row is 0. The rank is the number of singular values above
    max(n, p) eps times the largest one, as in scipy.linalg.orth. With `rank` the leading left singular vectors,
    `rank` of them at most, stand for each matrix: the principal subspace of that dimension.
    Raises SubspaceError for a rank below 1.
    """
    if rank is not None and rank < 1:
        raise SubspaceError(f"The rank is {rank}: give at least 1, or None for the whole column space.")
    if rank is not None or 2 * first.shape[2] > first.shape[1] or first.shape != second.shape:
        return _from_bases(first.double(), second.double(), rank)
    angles, sure = _from_tangents(first, second)
    count = torch.full((len(first),), first.shape[2], device=first.device)
    if not sure.all():
        others, count[~sure] = _from_bases(first[~sure].double(), second[~sure].double(), None)
        angles[~sure] = torch.nn.functional.pad(others, (0, angles.shape[1] - others.shape[1]))
    return angles[:, : int(count.max()) if len(count) else 0], count


def _from_bases(first: Tensor, second: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """`principal_angles` of any pairs, from their orthonormal bases."""
    one, one_rank = _bases(first, rank)
    other, other_rank = _bases(second, rank)
    count = torch.minimum(one_rank, other_rank)
    angles = one.new_zeros(len(one), int(count.max()) if len(count) else 0)
    for ranks in {tuple(pair) for pair in torch.stack([one_rank, other_rank], 1).tolist()}:
        chosen = (one_rank == ranks[0]) & (other_rank == ranks[1])
        if max(ranks) < first.shape[1]:
            angles[chosen, : min(ranks)] = _between(one[chosen, :, : ranks[0]], other[chosen, :, : ranks[1]])
    return angles, count


def compare(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], *, device: str = "cpu", rank: int | None = None
) -> dict[str, np.ndarray]:
    """Principal angles (count,) in radians, float64, between the weights of a model before and after, by name.

    A weight (out, in) is compared by its column space, a vector as a matrix of one column, a kernel with more
    axes as (out, the rest). On a CPU each of torch's threads takes a pair, the largest first; elsewhere
    weights of one shape are stacked on `device`, as many at once as fit `CHUNK` numbers.
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
    on_cpu, parts = torch.device(device).type == "cpu", []
    for shape, names in sorted(groups.items(), key=lambda group: -math.prod(group[0])):
        size = 1 if on_cpu else max(1, CHUNK // math.prod(shape))
        parts += [(shape, names[start : start + size]) for start in range(0, len(names), size)]

    @torch.inference_mode()
    def work(part: tuple[tuple[int, int], list[str]]) -> dict[str, np.ndarray]:
        shape, names = part
        weights = ([model[name].detach().reshape(shape) for name in names] for model in (before, after))
        found = principal_angles(*(torch.stack(each).to(device) for each in weights), rank)
        rows = zip(names, *(values.cpu().numpy() for values in found), strict=True)
        return {name: row[:count] for name, row, count in rows}

    with _blas_threads().limit(limits=1, user_api="blas") if on_cpu else nullcontext():
        found = map_in_threads(work, parts) if on_cpu else map(work, parts)
        angles = {name: row for each in found for name, row in each.items()}
    return {name: angles[name] for name in before}


@lru_cache(maxsize=1)
def _blas_threads() -> ThreadpoolController:
    """SciPy's BLAS and NumPy's, whose own threads would wait for each other where pairs have threads already."""
    return ThreadpoolController()


def _check_weight(name: str, before: Tensor, after: Tensor) -> None:
    if before.shape != after.shape:
        raise SubspaceError(
            f"The weight {name} has shape {tuple(before.shape)} before and {tuple(after.shape)} after: "
            "compare models of one architecture."
        )
    if before.ndim == 0 or before.numel() == 0:
        raise SubspaceError(f"The weight {name} has shape {tuple(before.shape)}, which spans nothing: leave it out.")
    for weight in (before, after):
        peak = _largest(weight[None]).item() if torch.is_floating_point(weight) else math.nan
        if not math.isfinite(peak):
            raise SubspaceError(f"The weight {name} holds NaN, infinite or integer entries: leave it out.")
        if not peak:
            raise SubspaceError(f"The weight {name} is zero and spans nothing: leave it out.")


def _from_tangents(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Angles (batch, p), largest first, of tall pairs (batch, n, p), and (batch,) whether they can be relied on."""
    columns = first.shape[2]
    gram = first.new_zeros(len(first), 2 * columns, 2 * columns, dtype=torch.float64)
    for one, other in zip(first.split(ROWS, 1), second.split(ROWS, 1), strict=True):
        one = one.double()
        change = other.double() - one
        for corner, (left, right) in {(0, 0): (one, one), (1, 0): (change, one), (1, 1): (change, change)}.items():
            row, column = (slice(side * columns, (side + 1) * columns) for side in corner)
            gram[:, row, column] += left.mT @ right  # the lower triangle is all that is read
    scale = gram.diagonal(dim1=1, dim2=2).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    gram /= scale[:, :, None]
    gram /= scale[:, None]
    scale, change_scale = scale.split(columns, 1)
    lower, condition = _cholesky(gram)[::2]
    ratio = change_scale / scale
    along = lower[:, :columns, :columns].mT + lower[:, columns:, :columns].mT * ratio[:, None]
    outside = lower[:, columns:, columns:].mT * ratio[:, None]
    # QR and not LU, which gives wrong answers in some builds of MKL once torch has been told its number of threads
    basis, triangle = torch.linalg.qr(torch.where(along.isfinite(), along, 0.0).mT)
    quotient = torch.linalg.solve_triangular(triangle, basis.mT @ outside.mT, upper=True).mT
    finite = quotient.isfinite().all(-1).all(-1)
    tangents = _singular_values(torch.where(finite[:, None, None], quotient, 0.0))
    sure = finite & (condition < SIDE_BY_SIDE) & (tangents[:, 0] < STEEPEST)
    return tangents.atan(), sure


def _singular_values(matrices: Tensor) -> Tensor:
    """Singular values (batch, p), largest first, of square matrices: from A'A where all are within `SPREAD`."""
    squares = torch.linalg.eigvalsh(matrices.mT @ matrices).flip(1)
    values, uneven = squares.clamp(min=0.0).sqrt(), ~(squares[:, -1] > SPREAD**2 * squares[:, 0])
    if uneven.any():
        values[uneven] = torch.linalg.svdvals(matrices[uneven])
    return values


def _full_rank(matrices: Tensor) -> Tensor:
    """(batch,) whether wide or square matrices have full rank.

    They have it where AA' has a Cholesky factor after twice what rounding may hide has been taken off its diagonal.
    """
    scaled = _scaled(matrices)
    gram, epsilon = _gram(scaled.mT), max(scaled.shape[1:]) * torch.finfo(torch.float64).eps
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal -= 4 * epsilon * diagonal.sum(1, keepdim=True)
    doubtful = torch.linalg.cholesky_ex(gram).info > 0
    full = ~doubtful
    if doubtful.any():
        values = torch.linalg.svdvals(scaled[doubtful])
        full[doubtful] = values[:, -1] > epsilon * values[:, 0]
    return full


def _bases(matrices: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """Orthonormal columns (batch, n, most) and how many of them, (batch,), span each column space.

    Cholesky QR does for well-conditioned matrices, singular vectors for the others. Leading directions are
    eigenvectors of A A' or of A'A where the spectrum is flat enough for their squares.
    """
    rows, columns = matrices.shape[1:]
    smaller = min(rows, columns)
    most = smaller if rank is None else min(rank, smaller)
    if rank is not None:
        basis, doubtful = _leading(matrices, most)
    elif columns >= rows:
        doubtful = ~_full_rank(matrices)
        basis = torch.eye(rows, dtype=matrices.dtype, device=matrices.device).expand(len(matrices), -1, -1).clone()
    else:
        basis, condition = _cholesky_qr(matrices)
        doubtful = ~(condition < WELL_CONDITIONED)
    found = torch.full((len(matrices),), most, device=matrices.device)
    if doubtful.any():
        vectors, values, _ = torch.linalg.svd(matrices[doubtful], full_matrices=False)
        tolerance = values[:, :1] * max(rows, columns) * torch.finfo(torch.float64).eps
        basis[doubtful] = vectors[:, :, :most]
        found[doubtful] = (values > tolerance).sum(dim=1).clamp(max=most)
    return basis, found


def _leading(matrices: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Leading left singular vectors (batch, n, most) from eigenvectors, and (batch,) where they are not to be used.

    An eigenvector of A A' is off by rounding times the square of the spread sigma_1 / sigma_most of the singular
    values where a singular vector is off by rounding times the spread itself.
    """
    scaled = _scaled(matrices)
    tall = scaled.shape[1] > scaled.shape[2]
    values, vectors = _eigenvectors(_gram(scaled if tall else scaled.mT), most)
    doubtful = ~(values[:, -1] > SPREAD**2 * values[:, 0])
    basis, condition = _cholesky_qr(scaled @ vectors) if tall else (vectors, torch.ones_like(values[:, 0]))
    return basis, doubtful | ~(condition < WELL_CONDITIONED)


def _eigenvectors(symmetric: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The `most` largest eigenvalues (batch, most) and their eigenvectors (batch, n, most), largest first.

    LAPACK finds these alone in half the time of all; the libraries of a GPU give all or none.
    """
    size = symmetric.shape[1]
    if symmetric.device.type != "cpu" or 2 * most > size:
        values, vectors = torch.linalg.eigh(symmetric)
        return values[:, -most:].flip(1), vectors[:, :, -most:].flip(2)
    values, vectors = symmetric.new_zeros(len(symmetric), most), symmetric.new_zeros(len(symmetric), size, most)
    for pair, matrix in enumerate(symmetric.numpy()):
        found = scipy.linalg.eigh(matrix, subset_by_index=(size - most, size - 1), check_finite=False)
        values[pair], vectors[pair] = (torch.from_numpy(part[..., ::-1].copy()) for part in found)
    return values, vectors


def _largest(matrices: Tensor) -> Tensor:
    """The largest absolute entry (batch,) of each matrix; NaN where it holds NaN."""
    ends = [matrix.aminmax() for matrix in matrices]  # a tenth of the time of a maximum norm, or of all at once
    return torch.stack([torch.maximum(-low, high) for low, high in ends]) if ends else matrices.new_zeros(0)


def _scaled(matrices: Tensor) -> Tensor:
    """Matrices whose squares neither overflow nor vanish: each over its largest entry, where one needs it."""
    largest = _largest(matrices)[:, None, None]
    if ((largest > 1 / LARGE) & (largest < LARGE)).all():
        return matrices
    return matrices / largest.clamp(min=torch.finfo(torch.float64).tiny)


def _gram(tall: Tensor) -> Tensor:
    """A'A (batch, p, p) of `tall` (batch, n, p); NumPy computes one triangle alone."""
    if tall.device.type != "cpu":
        return tall.mT @ tall
    return torch.from_numpy(np.stack([matrix.T @ matrix for matrix in tall.numpy()]))


def _cholesky(gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L and L^-1 of LL' = `gram` (batch, p, p), and an upper bound (batch,) of the condition number of L.

    The bound is that of the Frobenius norms; where there is no L it is infinite and L the identity.
    """
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    lower, failed = torch.linalg.cholesky_ex(gram)
    lower = torch.where(failed[:, None, None] > 0, identity, lower)
    inverse = torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)
    bound = torch.linalg.matrix_norm(lower) * torch.linalg.matrix_norm(inverse)
    return lower, inverse, torch.where(failed > 0, torch.inf, bound)


def _cholesky_qr(tall: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns (batch, n, p) of `tall` matrices, and an upper bound (batch,) of their condition numbers.

    Twice Q = A L'^-1 with A'A = LL' (Yamamoto et al. 2015): orthonormal to rounding where the condition number is
    below about 1e7, and mostly matrix products.
    """
    basis, condition = _scaled(tall), tall.new_zeros(len(tall))
    for _ in range(2):
        _, inverse, bound = _cholesky(basis.mT @ basis)
        condition = torch.maximum(condition, bound)
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
