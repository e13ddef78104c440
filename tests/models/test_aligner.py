"""The aligner against brute force on tiny lattices, its prior against scipy, and what it does with padding."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from lib.models import aligner
from lib.models.aligner import Aligner, AlignerDims, AlignerError

SHAPES = [(5, 3), (6, 6), (4, 1), (7, 4)]  # frames, symbols
NO_BLANK = -1e4
DIMS = AlignerDims(n_symbols=12, n_mels=6, embedding=8, shared=5, speaker=4, temperature=0.3)


def monotonic_paths(frames: int, symbols: int):
    """Every way to cut the frames into `symbols` runs of at least one frame, as durations."""
    for cuts in itertools.combinations(range(1, frames), symbols - 1):
        yield np.diff([0, *cuts, frames])


def path_score(scores: np.ndarray, durations: np.ndarray) -> float:
    return scores[np.arange(len(scores)), np.repeat(np.arange(len(durations)), durations)].sum()


def lattices(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A padded batch of random scores with the shapes above; the padding is full of large numbers."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.full((len(SHAPES), 8, 7), 50.0)
    for item, (frames, symbols) in zip(scores, SHAPES, strict=True):
        item[:frames, :symbols] = 2 * torch.randn(frames, symbols, generator=generator)
    frames, symbols = torch.tensor(SHAPES).T
    return scores, symbols, frames


def batch_of(lengths: list[tuple[int, int]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random utterances of (frames, symbols), padded."""
    rng = np.random.default_rng(seed)
    frames, symbols = torch.tensor(lengths).T
    mel = torch.zeros(len(lengths), int(frames.max()), DIMS.n_mels)
    ids = torch.zeros(len(lengths), int(symbols.max()), dtype=torch.long)
    for i, (t, k) in enumerate(lengths):
        mel[i, :t] = torch.from_numpy(rng.normal(size=(t, DIMS.n_mels))).float()
        ids[i, :k] = torch.from_numpy(rng.integers(1, DIMS.n_symbols, k))
    speaker = torch.from_numpy(rng.normal(size=(len(lengths), DIMS.speaker))).float()
    return {"mel": mel, "symbols": ids, "speaker": speaker, "frame_lengths": frames, "symbol_lengths": symbols}


def item(batch: dict[str, torch.Tensor], i: int) -> dict[str, torch.Tensor]:
    """Utterance i alone, without padding."""
    one = {name: value[i : i + 1] for name, value in batch.items()}
    one["mel"] = one["mel"][:, : int(one["frame_lengths"])]
    one["symbols"] = one["symbols"][:, : int(one["symbol_lengths"])]
    return one


def make(seed: int = 0) -> Aligner:
    torch.manual_seed(seed)
    return Aligner(DIMS)


def test_forward_sum_adds_all_monotonic_paths():
    scores, symbols, frames = lattices()
    expected = []
    for lattice, (t, k) in zip(scores, SHAPES, strict=True):
        normalised = lattice[:t, :k].double().log_softmax(1).numpy()
        paths = [path_score(normalised, d) for d in monotonic_paths(t, k)]
        expected.append(-np.logaddexp.reduce(paths) / k)
    assert float(aligner.forward_sum(scores, symbols, frames, NO_BLANK)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_forward_sum_adds_all_paths_with_blanks():
    scores, symbols, frames = (values[:1] for values in lattices())
    t, k = SHAPES[0]
    with_blank = torch.cat([torch.full((t, 1), aligner.BLANK), scores[0, :t, :k]], 1).double().log_softmax(1).numpy()
    paths = [
        with_blank[np.arange(t), path].sum()
        for path in itertools.product(range(k + 1), repeat=t)
        if [symbol for symbol, _ in itertools.groupby(path) if symbol] == list(range(1, k + 1))
    ]
    expected = -np.logaddexp.reduce(paths) / k
    assert float(aligner.forward_sum(scores, symbols, frames)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_viterbi_finds_the_best_monotonic_path(seed):
    scores, symbols, frames = lattices(seed)
    durations = aligner.viterbi(scores, symbols, frames)
    for found, lattice, (t, k) in zip(durations.numpy(), scores.numpy(), SHAPES, strict=True):
        best = max(monotonic_paths(t, k), key=lambda d: path_score(lattice[:t].astype(np.float64), d))
        assert found[:k].tolist() == best.tolist() and not found[k:].any()


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_prior_is_the_beta_binomial_distribution(scale):
    shapes = [(5, 3), (300, 41), (7, 1)]
    frames, symbols = torch.tensor(shapes).T
    prior = aligner.beta_binomial_prior(symbols, frames, scale).numpy()
    assert prior.shape == (3, 300, 41)
    for found, (t, k) in zip(prior, shapes, strict=True):
        at = np.arange(1, t + 1)[:, None]
        expected = betabinom.logpmf(np.arange(k), k - 1, scale * at, scale * (t + 1 - at))
        assert np.allclose(found[:t, :k], expected, atol=1e-5)
        assert not found[t:].any() and not found[:, k:].any()


def test_gradients_of_the_losses_are_those_of_finite_differences():
    scores, symbols, frames = lattices()
    durations = aligner.viterbi(scores, symbols, frames)
    for loss in (
        lambda x: aligner.forward_sum(x, symbols, frames),
        lambda x: aligner.binarisation(x.masked_fill(x > 40, aligner.MASKED), durations),
    ):
        x = scores.clone().requires_grad_(True)
        loss(x).backward()
        assert not x.grad[2, :, 1:].any(), "padded symbols have no gradient"
        for place in ((0, 2, 1), (1, 3, 3), (3, 6, 3)):
            up, down = scores.clone(), scores.clone()
            up[place] += 1e-2
            down[place] -= 1e-2
            assert float(x.grad[place]) == pytest.approx(float(loss(up) - loss(down)) / 2e-2, abs=2e-3)


def test_binarisation_is_the_mean_surprise_on_the_hard_path():
    scores = torch.tensor([[[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]])
    log_soft = scores[0].log_softmax(1)
    expected = -(log_soft[0, 0] + log_soft[1, 0] + log_soft[2, 1]) / 3
    assert float(aligner.binarisation(scores, torch.tensor([[2, 1]]))) == pytest.approx(float(expected))


def test_hard_alignment_has_one_symbol_at_each_frame():
    hard = aligner.hard_alignment(torch.tensor([[2, 1, 3], [1, 2, 0]]), 6)
    assert hard[0].argmax(1).tolist() == [0, 0, 1, 2, 2, 2]
    assert hard.sum(1).tolist() == [[2, 1, 3], [1, 2, 0]] and hard[1, 3:].sum() == 0


def test_an_utterance_is_aligned_alike_alone_and_in_a_batch():
    model, batch = make(), batch_of([(9, 4), (14, 6), (5, 5), (3, 1)])
    batch["mel"][0, 9:] = math.nan
    together, durations = model(batch), aligner.durations_of(model, batch)
    losses = []
    for i in range(4):
        one = item(batch, i)
        scores = model(one)
        assert torch.allclose(together[i, : scores.shape[1], : scores.shape[2]], scores[0], atol=1e-5)
        assert torch.equal(durations[i, : scores.shape[2]], aligner.durations_of(model, one)[0])
        losses.append(float(aligner.loss(model, one | {"binarise": torch.tensor(0.0)})["total"].detach()))
    assert float(aligner.loss(model, batch)["total"].detach()) == pytest.approx(np.mean(losses), rel=1e-5)


def test_durations_are_whole_frames_that_fill_the_utterance():
    batch = batch_of([(30, 8), (40, 40), (25, 3)])
    durations = aligner.durations_of(make(), batch)
    assert durations.sum(1).tolist() == [30, 40, 25]
    assert torch.equal(durations > 0, aligner.length_mask(batch["symbol_lengths"], 40))


def test_losses_under_bfloat16_autocast_are_float32_and_near():
    model, batch = make(), batch_of([(9, 4), (14, 6)]) | {"binarise": torch.tensor(1.0)}
    expected = aligner.loss(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        losses = aligner.loss(model, batch)
    losses["total"].backward()
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert float(losses["total"].detach()) == pytest.approx(float(expected["total"].detach()), rel=2e-2)


def test_aligner_learns_durations_from_pairs_alone():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sounds = 3 * rng.normal(size=(12, 6))
    texts = [rng.permutation(np.arange(1, 12))[:6] for _ in range(16)]
    exact = rng.integers(2, 7, (16, 6))
    mels = [np.repeat(sounds[text], d, 0) for text, d in zip(texts, exact, strict=True)]
    batch = {
        "mel": torch.nn.utils.rnn.pad_sequence([torch.from_numpy(m).float() for m in mels], batch_first=True),
        "symbols": torch.from_numpy(np.stack(texts)),
        "speaker": torch.zeros(16, 4),
        "frame_lengths": torch.tensor([len(m) for m in mels]),
        "symbol_lengths": torch.full((16,), 6),
    }
    model = Aligner(DIMS)
    before = (aligner.durations_of(model, batch).numpy() - exact).cumsum(1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(50):
        losses = aligner.loss(model, batch | {"binarise": torch.tensor(float(step > 30))})
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
    after = (aligner.durations_of(model, batch).numpy() - exact).cumsum(1)
    assert np.abs(before).mean() > 1
    assert np.abs(after).mean() < 0.5 * np.abs(before).mean()


def test_what_cannot_be_aligned_is_told_in_a_sentence():
    model, batch = make(), batch_of([(9, 4), (3, 5)])
    with pytest.raises(AlignerError, match="^Utterance 1 has 3 frames for 5 symbols: give a recording of the whole"):
        model(batch)
    with pytest.raises(AlignerError, match="^Utterance 1 has no symbols: give its phonemes"):
        aligner.check_lengths(torch.tensor([2, 0]), torch.tensor([3, 3]))
    empty = torch.zeros(0, dtype=torch.long)
    with pytest.raises(AlignerError, match="^The batch has no utterances"):
        aligner.viterbi(torch.zeros(0, 1, 1), empty, empty)
    spoilt = batch_of([(9, 4), (8, 5)])
    spoilt["mel"][1, 2, 3] = math.nan
    with pytest.raises(
        AlignerError, match="^The log-mel of utterance 1 holds numbers that are not finite: check its recording"
    ):
        aligner.durations_of(model, spoilt)
    scores, symbols, frames = lattices()
    scores[2, 1, 0] = math.inf
    with pytest.raises(AlignerError, match="^The alignment scores of utterance 2 holds numbers that are not finite"):
        aligner.viterbi(scores, symbols, frames)
    with pytest.raises(ValueError, match="unknown aligner sizes \\['width'\\]: choose from"):
        AlignerDims.from_dict({"n_symbols": 3, "width": 4})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible to torch")
def test_alignment_on_a_gpu_is_that_of_the_cpu():
    model, batch = make(), batch_of([(9, 4), (14, 6)])
    expected = aligner.loss(model, batch)["total"], aligner.durations_of(model, batch)
    model, batch = model.cuda(), {name: value.cuda() for name, value in batch.items()}
    assert float(aligner.loss(model, batch)["total"]) == pytest.approx(float(expected[0]), rel=1e-4)
    assert torch.equal(aligner.durations_of(model, batch).cpu(), expected[1])
