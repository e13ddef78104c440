import numpy as np
import pytest
import scipy.linalg
import torch

from lib.metrics import subspace
from lib.metrics.subspace import SubspaceError, principal_angles


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at_angles(angles: list[float], rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two matrices (rows, len(angles)) whose column spaces have exactly these principal angles."""
    count = len(angles)
    basis = torch.linalg.qr(random(rows, 2 * count, seed=seed)).Q
    first, orthogonal = basis[:, :count], basis[:, count:]
    turned = first * torch.tensor(angles, dtype=torch.float64).cos()
    turned = turned + orthogonal * torch.tensor(angles, dtype=torch.float64).sin()
    return first @ random(count, count, seed=seed + 1), turned @ random(count, count, seed=seed + 2)


def test_known_angles_are_found_from_1e_9_to_a_right_angle():
    expected = [np.pi / 2, 1.2, 0.8, 0.7, 1e-3, 1e-6, 1e-9]
    first, second = at_angles(expected, 40)
    found, count = principal_angles(first[None], second[None])
    assert count.tolist() == [7]
    assert np.allclose(found[0].numpy(), expected, rtol=1e-4, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-3, 0.1, 1.0, 10.0])
def test_angles_are_scipys_for_perturbations_of_every_size(scale):
    before = random(4, 48, 12)
    after = before + scale * random(4, 48, 12, seed=1)
    found, _ = principal_angles(before, after)
    expected = [scipy.linalg.subspace_angles(a.numpy(), b.numpy()) for a, b in zip(before, after, strict=True)]
    assert np.abs(found.numpy() - np.array(expected)).max() < 1e-13


def test_tall_pairs_of_every_kind_in_one_batch_agree_with_scipy():
    before, change = random(6, 60, 9), random(6, 60, 9, seed=1)
    change[1] *= 1e-9
    change[2, :, 1:] = 0.0
    before[3, :, 8] = before[3, :, 0] + 1e-5 * before[3, :, 8]
    before[4] *= torch.logspace(0, 6, 9, dtype=torch.float64)
    change[5] = -before[5] + 1e-3 * change[5]
    after = before + change
    found, count = principal_angles(before, after)
    assert count.tolist() == [9] * 6
    for row, a, b in zip(found, before, after, strict=True):
        assert np.abs(row.numpy() - scipy.linalg.subspace_angles(a.numpy(), b.numpy())).max() < 1e-8


def test_an_angle_of_1e_9_beside_large_ones_is_found_without_bases(monkeypatch):
    expected = [1.0, 0.3, 1e-4, 1e-9]
    basis = torch.linalg.qr(random(50, 8)).Q
    tangents = torch.tensor(expected, dtype=torch.float64).tan()
    first, second = basis[:, :4], basis[:, :4] + basis[:, 4:] * tangents
    monkeypatch.setattr(subspace, "_from_bases", None)
    found, _ = principal_angles(first[None], second[None])
    assert np.allclose(found[0].numpy(), expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("shape", [(24, 24), (60, 24), (24, 60)])
@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_leading_directions_of_every_shape_and_spectrum_agree_with_scipy(shape, spread):
    before = random(2, *shape)
    left, values, right = torch.linalg.svd(before, full_matrices=False)
    before = left * (values * torch.logspace(0, -spread, 24, dtype=torch.float64))[:, None] @ right
    after = before + 1e-3 * random(2, *shape, seed=1)
    found, count = principal_angles(before, after, rank=5)
    assert count.tolist() == [5, 5]
    for row, a, b in zip(found, before, after, strict=True):
        bases = [scipy.linalg.svd(matrix.numpy(), full_matrices=False)[0][:, :5] for matrix in (a, b)]
        assert np.allclose(row.numpy(), scipy.linalg.subspace_angles(*bases), atol=1e-9)


@pytest.mark.parametrize("columns", [(5, 9), (9, 5), (1, 12), (30, 30)])
def test_spaces_of_different_dimensions_agree_with_scipy(columns):
    first, second = random(3, 32, columns[0]), random(3, 32, columns[1], seed=3)
    found, count = principal_angles(first, second)
    assert count.tolist() == [min(columns)] * 3
    for row, a, b in zip(found, first, second, strict=True):
        assert np.allclose(row.numpy(), scipy.linalg.subspace_angles(a.numpy(), b.numpy()), atol=1e-12)


def test_matrices_that_lack_full_rank_have_as_many_angles_as_the_smaller_rank():
    first, second = random(3, 20, 6), random(3, 20, 6, seed=1)
    first[1, :, 4:] = first[1, :, :2] * 3
    second[2] = random(20, 1) @ random(1, 6)
    found, count = principal_angles(first, second)
    assert count.tolist() == [6, 4, 1]
    for row, number, a, b in zip(found, count, first, second, strict=True):
        assert np.allclose(row[:number].numpy(), scipy.linalg.subspace_angles(a.numpy(), b.numpy()), atol=1e-12)
        assert not row[number:].any()


def test_a_space_with_itself_or_another_basis_of_it_is_at_angle_zero():
    first = random(2, 30, 8)
    assert principal_angles(first, first)[0].max() < 1e-13
    assert principal_angles(first, first @ random(2, 8, 8, seed=2))[0].max() < 1e-12


def test_square_and_wide_matrices_of_full_rank_span_everything():
    for columns in (10, 15):
        found, count = principal_angles(random(2, 10, columns), random(2, 10, columns, seed=1))
        assert count.tolist() == [10, 10]
        assert not found.any()


def test_a_singular_square_matrix_still_has_angles():
    first, second = random(1, 10, 10), random(1, 10, 10, seed=1)
    first[0, :, 9], second[0, :, 9] = first[0, :, 0], second[0, :, 0]
    found, count = principal_angles(first, second)
    assert count.tolist() == [9]
    expected = scipy.linalg.subspace_angles(first[0].numpy(), second[0].numpy())
    assert np.allclose(found[0].numpy(), expected, atol=1e-7)
    assert expected.max() > 0.01


def test_leading_directions_are_the_left_singular_vectors():
    first, second = random(2, 16, 16), random(2, 16, 16, seed=1)
    found, count = principal_angles(first, second, rank=3)
    assert count.tolist() == [3, 3]
    for row, a, b in zip(found, first, second, strict=True):
        bases = [np.linalg.svd(matrix.numpy())[0][:, :3] for matrix in (a, b)]
        assert np.allclose(row.numpy(), scipy.linalg.subspace_angles(*bases), atol=1e-10)


def test_order_of_the_arguments_and_scale_do_not_matter():
    first, second = random(2, 24, 5), random(2, 24, 7, seed=1)
    found = principal_angles(first, second)[0]
    assert torch.allclose(found, principal_angles(second, first)[0], atol=1e-13)
    assert torch.allclose(found, principal_angles(first * 1e6, second * 1e-6)[0], atol=1e-13)


def test_a_batch_of_one_equals_a_batch_of_many():
    first, second = random(5, 24, 6), random(5, 24, 6, seed=1)
    many = principal_angles(first, second)[0]
    ones = torch.cat([principal_angles(a[None], b[None])[0] for a, b in zip(first, second, strict=True)])
    assert torch.allclose(many, ones, atol=1e-13)


def test_models_are_compared_weight_by_weight():
    before = {
        "decoder.0.fc1.weight": random(32, 8).float(),
        "decoder.0.fc1.bias": random(32, seed=1).float(),
        "decoder.1.fc1.weight": random(32, 8, seed=2).float(),
        "convolution.weight": random(32, 3, 2, seed=3).half(),
    }
    noise = {name: 1e-3 * random(*weight.shape, seed=9).to(weight.dtype) for name, weight in before.items()}
    after = {name: weight + noise[name] for name, weight in before.items()}
    found = subspace.compare(before, after)
    assert list(found) == list(before)
    for name, angles in found.items():
        matrices = [model[name].double().reshape(32, -1).numpy() for model in (before, after)]
        assert np.allclose(angles, scipy.linalg.subspace_angles(*matrices), atol=1e-12)
    assert len(found["decoder.0.fc1.bias"]) == 1


def test_chunks_do_not_change_the_angles(monkeypatch):
    before = {str(index): random(16, 4, seed=index) for index in range(5)}
    after = {name: weight + 0.1 * random(16, 4, seed=7) for name, weight in before.items()}
    whole = subspace.compare(before, after)
    monkeypatch.setattr(subspace, "CHUNK", 130)
    for name, angles in subspace.compare(before, after).items():
        assert np.allclose(angles, whole[name], atol=1e-13)


@pytest.mark.parametrize("rank", [None, 4])
def test_weights_compared_side_by_side_have_the_same_angles_in_the_same_order(rank):
    before = {str(index): random(rows, 24, seed=index) for index, rows in enumerate((24, 96, 24, 60, 12))}
    after = {name: weight + 0.1 * random(*weight.shape, seed=7) for name, weight in before.items()}
    alone, threads = subspace.compare(before, after, rank=rank), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = subspace.compare(before, after, rank=rank)
    finally:
        torch.set_num_threads(threads)
    assert list(found) == list(before)
    for name, angles in found.items():
        assert np.allclose(angles, alone[name], atol=1e-13)


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ({}, "The weight w is in one of the two models only"),
        ({"w": torch.ones(4, 2)}, "The weight w has shape \\(4, 3\\) before and \\(4, 2\\) after"),
        ({"w": torch.full((4, 3), torch.inf)}, "The weight w holds NaN, infinite"),
        ({"w": torch.zeros(4, 3)}, "The weight w is zero"),
    ],
)
def test_bad_weights_are_named(after, sentence):
    with pytest.raises(SubspaceError, match=sentence):
        subspace.compare({"w": torch.ones(4, 3)}, after)


def test_a_rank_below_one_is_refused():
    with pytest.raises(SubspaceError, match="The rank is 0"):
        principal_angles(torch.ones(1, 4, 3), torch.ones(1, 4, 3), rank=0)


def test_the_number_of_threads_that_torch_was_told_does_not_matter():
    first = random(1536, 384, seed=1)[None].repeat(7, 1, 1)
    second = first + 0.05 * torch.stack([random(1536, 384, seed=2 + i) for i in range(7)])
    expected, _ = principal_angles(first, second)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found, _ = principal_angles(first, second)
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(found, expected, atol=1e-10)
    assert np.allclose(
        expected[0].numpy(), scipy.linalg.subspace_angles(first[0].double(), second[0].double()), atol=1e-9
    )
