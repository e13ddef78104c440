import subprocess
import sys

import numpy as np
import pytest
import torch

from lib.metrics.dtw import warp


def literal(cost: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Accumulated cost and path, cell by cell as the recurrence reads."""
    n, m = cost.shape
    total = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            before = [total[i - 1, j - 1]] if i and j else []
            before += [total[i, j - 1]] if j else []
            before += [total[i - 1, j]] if i else []
            total[i, j] = cost[i, j] + (min(before) if before else 0.0)
    i, j = n - 1, m - 1
    path = [(i, j)]
    while i or j:
        steps = [(i - 1, j - 1), (i, j - 1), (i - 1, j)]
        i, j = min((s for s in steps if min(s) >= 0), key=lambda s: total[s])
        path.append((i, j))
    return total, path


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(8, 40, 50, generator=generator, dtype=torch.float64)
    rows = torch.tensor([40, 1, 1, 17, 30, 2, 40, 25])
    columns = torch.tensor([50, 1, 50, 33, 11, 2, 1, 25])
    return cost, rows, columns


def path_of(warping, pair: int) -> list[tuple[int, int]]:
    length = int(warping.length[pair])
    return list(zip(warping.rows[pair, :length].tolist(), warping.columns[pair, :length].tolist(), strict=True))


def test_cost_mean_and_path_are_those_of_the_literal_recurrence(batch):
    warping = warp(*batch)
    for pair, (cost, n, m) in enumerate(zip(*batch, strict=True)):
        total, path = literal(cost[:n, :m].numpy())
        assert float(warping.total[pair]) == pytest.approx(total[-1, -1], abs=1e-12)
        assert float(warping.mean_accumulated[pair]) == pytest.approx(total.mean(), abs=1e-12)
        assert path_of(warping, pair) == path


def ties(shape: tuple[int, int, int]) -> torch.Tensor:
    """Costs of 0, 1 and 2, so that many cells have equally good predecessors."""
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(1)).double()


def test_single_precision_finds_the_same_paths(batch):
    single, double = warp(batch[0].float(), *batch[1:]), warp(*batch)
    assert single.total.dtype == torch.float32
    torch.testing.assert_close(single.total.double(), double.total, rtol=1e-5, atol=1e-5)
    assert torch.equal(single.rows, double.rows) and torch.equal(single.columns, double.columns)


def test_ties_are_walked_as_the_literal_recurrence_does():
    cost = ties((4, 70, 60))
    warping = warp(cost, torch.full((4,), 70), torch.full((4,), 60))
    for pair in range(4):
        assert path_of(warping, pair) == literal(cost[pair].numpy())[1]


def test_the_metrics_are_imported_without_the_compiler():
    script = "import sys, lib.metrics.dtw; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_padding_is_not_read(batch):
    cost, rows, columns = batch
    poisoned = torch.full((8, 60, 70), torch.nan, dtype=torch.float64)
    for pair in range(8):
        poisoned[pair, : rows[pair], : columns[pair]] = cost[pair, : rows[pair], : columns[pair]]
    expected, found = warp(*batch), warp(poisoned, rows, columns)
    assert torch.equal(found.total, expected.total)
    assert torch.equal(found.mean_accumulated, expected.mean_accumulated)
    assert [path_of(found, pair) for pair in range(8)] == [path_of(expected, pair) for pair in range(8)]


def test_equal_sequences_take_the_diagonal():
    points = torch.arange(12, dtype=torch.float64)
    cost = (points[:, None] - points).abs()[None]
    warping = warp(cost, torch.tensor([12]), torch.tensor([12]))
    assert float(warping.total) == 0.0
    assert path_of(warping, 0) == [(i, i) for i in reversed(range(12))]


def test_it_is_never_worse_than_fastdtw_on_real_speech(speech):
    from fastdtw import fastdtw

    from lib.metrics.filterbank_mcd import cepstra

    one, _ = cepstra(speech[:1])
    other, _ = cepstra(speech[1:2])
    total = float(warp(torch.cdist(one, other), *(torch.tensor([x.shape[1]]) for x in (one, other))).total)
    approximate, _ = fastdtw(one[0].numpy(), other[0].numpy(), dist=lambda a, b: np.linalg.norm(a - b))
    assert approximate * 0.97 < total <= approximate + 1e-6
