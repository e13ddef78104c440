import os
import subprocess
import sys

import librosa
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from lib.files import ROOT
from lib.metrics import MetricError, filterbank_mcd
from lib.metrics.dtw import Warping, warp

LENGTHS = [(40, 50), (1, 1), (1, 50), (17, 33), (30, 11), (2, 2), (40, 1), (25, 25)]


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
    return total, path[::-1]


def sequences(size: int, ties: bool = False) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pairs of sequences of `LENGTHS`; with ties, of few values, so that many predecessors are equally good."""
    random = np.random.default_rng(size)
    make = (lambda n: random.integers(0, 3, (n, size)).astype(float)) if ties else lambda n: random.random((n, size))
    return [make(n) for n, _ in LENGTHS], [make(m) for _, m in LENGTHS]


def path_of(warping: Warping) -> list[tuple[int, int]]:
    return list(zip(warping.rows.tolist(), warping.columns.tolist(), strict=True))


def equals_librosas(warping: Warping, one: np.ndarray, other: np.ndarray) -> bool:
    accumulated, path = librosa.sequence.dtw(one.T, other.T)
    same_path = np.array_equal(path[::-1], np.stack([warping.rows, warping.columns], 1))
    return same_path and warping.total == accumulated[-1, -1]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", [1, 8, 25])
def test_cost_mean_and_path_are_those_of_the_literal_recurrence(size, ties):
    first, second = sequences(size, ties)
    for warping, one, other in zip(warp(first, second), first, second, strict=True):
        total, path = literal(cdist(one, other))
        assert warping.total == pytest.approx(total[-1, -1], abs=1e-12)
        assert warping.mean_accumulated == pytest.approx(total.mean(), abs=1e-12)
        assert path_of(warping) == path


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", [1, 7, 8, 24, 25, 192])
def test_costs_and_paths_are_librosas_to_the_last_bit(size, ties):
    first, second = sequences(size, ties)
    for warping, one, other in zip(warp(first, second), first, second, strict=True):
        assert equals_librosas(warping, one, other)


def test_costs_and_paths_of_real_speech_are_librosas_to_the_last_bit(recordings):
    made = [filterbank_mcd.cepstra([recording.wave])[0][0].numpy() for recording in recordings[:12]]
    for warping, one, other in zip(warp(made[:-1], made[1:]), made[:-1], made[1:], strict=True):
        assert equals_librosas(warping, one, other)


def test_the_number_of_threads_changes_nothing():
    first, second = sequences(25)
    expected = warp(first, second)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found = warp(first, second)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert [path_of(each) for each in found] == [path_of(each) for each in expected]
    assert [each.total for each in found] == [each.total for each in expected]


def test_the_metrics_are_imported_without_the_compiler():
    script = "import sys, lib.metrics.dtw; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


WARPED = "import numpy as np; from lib.metrics.dtw import warp; print(warp([np.eye(3)], [np.eye(3)[:2]])[0].total)"


def test_processes_that_compile_at_once_find_the_same_and_later_ones_compile_nothing(tmp_path):
    cache = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "text": True, "cwd": ROOT, "env": cache}
    both = [subprocess.Popen([sys.executable, "-c", WARPED], **pipes) for _ in range(2)]
    assert {process.communicate()[0].strip() for process in both} == {str(np.sqrt(2))}
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("dtw*.nb?")}
    assert subprocess.run([sys.executable, "-c", WARPED], check=True, **pipes).stdout.strip() == str(np.sqrt(2))
    assert kept and {path: path.stat().st_mtime_ns for path in tmp_path.rglob("dtw*.nb?")} == kept


def test_where_no_compiled_code_can_be_kept_it_is_compiled_each_time(tmp_path):
    (file := tmp_path / "file").write_text("")
    settings = {"cwd": ROOT, "env": os.environ | {"NUMBA_CACHE_DIR": str(file / "below")}, "text": True}
    found = subprocess.run([sys.executable, "-c", WARPED], stdout=subprocess.PIPE, check=True, **settings)
    assert found.stdout.strip() == str(np.sqrt(2))


def test_equal_sequences_take_the_diagonal():
    points = np.arange(12.0)[:, None]
    [warping] = warp([points], [points])
    assert warping.total == 0.0
    assert path_of(warping) == [(i, i) for i in range(12)]


def test_no_pairs_have_no_paths():
    assert warp([], []) == []


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (np.ones((3, 2)), np.ones((3, 4)), "Pair 0 has frames of shapes \\(3, 2\\) and \\(3, 4\\)"),
        (np.ones((0, 2)), np.ones((3, 2)), "Pair 0 has frames of shapes \\(0, 2\\)"),
        (np.ones(3), np.ones((3, 1)), "Pair 0 has frames of shapes \\(3,\\)"),
        (np.ones((3, 2)), np.full((3, 2), np.nan), "Pair 0 holds NaN or infinite"),
    ],
)
def test_sequences_without_a_path_are_named(one, other, sentence):
    with pytest.raises(MetricError, match=sentence):
        warp([one], [other])


def test_it_is_never_worse_than_fastdtw_on_real_speech(speech):
    from fastdtw import fastdtw

    one, other = (filterbank_mcd.cepstra([wave])[0][0].numpy() for wave in speech[:2])
    approximate, _ = fastdtw(one, other, dist=lambda a, b: np.linalg.norm(a - b))
    assert approximate * 0.97 < warp([one], [other])[0].total <= approximate + 1e-6
