"""Pruned self-attention against the paper's formulas, written out connection by connection."""

import copy
import math

import pytest
import synthetic_batch
import torch
from synthetic_batch import alone

from lib.methods.attention_weights import entmax15, top_k
from lib.methods.sparse_attention import (
    METHODS,
    PrunedTTS,
    SparseSettings,
    count_kept,
    hard_mask,
    mean_mask,
    row_mean_mask,
    soft_mask,
    sparsity_loss,
    threshold_mask,
)
from lib.models import fastspeech2
from lib.models.fft_block import length_mask
from lib.models.layers import attention_scores
from lib.models.stylespeech import StyleSpeech, StyleSpeechDims
from lib.training.loop import TrainConfig, fit

DIMS = StyleSpeechDims(
    n_symbols=20, hidden=16, filter=24, kernels=(3, 1), encoder_layers=1, decoder_layers=2, predictor_filter=16,
    style=12, style_hidden=8, max_symbols=30, max_frames=120,
)  # fmt: skip
LENGTHS = torch.tensor([7, 4])
VALID = length_mask(LENGTHS)


@pytest.fixture
def scores() -> torch.Tensor:
    torch.manual_seed(0)
    return (2 * torch.randn(2, 3, 7, 7)).masked_fill(~VALID[:, None, None], -torch.inf)


@pytest.fixture
def weights(scores) -> torch.Tensor:
    return torch.softmax(scores, -1)


def connections_of(utterance: int):
    """Every valid (query, key) of an utterance."""
    n = int(LENGTHS[utterance])
    return [(i, j) for i in range(n) for j in range(n)]


def make_batch(symbol_counts=(5, 8), seed=0) -> dict[str, torch.Tensor]:
    return synthetic_batch.make_batch(symbol_counts, seed, shortest=2)


def pruned(method: str = "learned", **settings) -> PrunedTTS:
    torch.manual_seed(0)
    return PrunedTTS(StyleSpeech(DIMS), SparseSettings(method=method, **settings)).eval()


def test_vp_per_head_keeps_what_is_at_least_its_rows_mean(weights):
    mask = row_mean_mask(weights, VALID, union=False)
    for u in range(2):
        n = int(LENGTHS[u])
        for h in range(3):
            for i, j in connections_of(u):
                mean = sum(float(weights[u, h, i, k]) for k in range(n)) / n
                assert bool(mask[u, h, i, j]) == (float(weights[u, h, i, j]) >= mean)


def test_vp_keeps_for_all_heads_what_any_head_keeps(weights):
    mask = row_mean_mask(weights, VALID)
    assert mask.shape == (2, 1, 7, 7)
    for u in range(2):
        n = int(LENGTHS[u])
        for i, j in connections_of(u):
            kept = [float(weights[u, h, i, j]) >= float(weights[u, h, i, :n].double().mean()) for h in range(3)]
            assert bool(mask[u, 0, i, j]) == any(kept)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 10, 41, 299])
def test_a_row_of_equal_weights_is_kept_whole_by_vp(length):
    valid = length_mask(torch.tensor([length]), length + 3)
    scores = torch.zeros(1, 2, 1, length + 3).masked_fill(~valid[:, None, None], -torch.inf)
    assert row_mean_mask(torch.softmax(scores, -1), valid)[..., :length].all()


def test_vp_on_one_head_is_the_hard_mask_at_theta_one(weights):
    vp, dp = row_mean_mask(weights, VALID, union=False), hard_mask(weights, VALID, 1.0)
    assert torch.equal(vp, dp)


def test_fixed_threshold_ignores_the_length(weights):
    mask = threshold_mask(weights, 0.1)
    for u in range(2):
        for h in range(3):
            for i, j in connections_of(u):
                assert bool(mask[u, h, i, j]) == (float(weights[u, h, i, j]) >= 0.1)


@pytest.mark.parametrize("theta", [0.0, 0.8, 2.5])
def test_dp_masks_are_the_formulas(weights, theta):
    hard, soft = hard_mask(weights, VALID, theta), soft_mask(weights, VALID, torch.tensor(theta), 0.05)
    for u in range(2):
        n = int(LENGTHS[u])
        for h in range(3):
            for i, j in connections_of(u):
                a = float(weights[u, h, i, j])
                assert bool(hard[u, h, i, j]) == (a >= theta / n)
                expected = 1 / (1 + math.exp(-(a - theta / n) / 0.05))
                assert float(soft[u, h, i, j]) == pytest.approx(expected, abs=1e-5)


def test_sparsity_loss_is_the_formula_over_valid_frames(weights):
    thetas, ratio, blocks = [0.3, 1.7], 0.45, []
    literal = []
    for theta in thetas:
        blocks.append(mean_mask(soft_mask(weights, VALID, torch.tensor(theta)), VALID))
        for u in range(2):
            n = int(LENGTHS[u])
            for h in range(3):
                values = [
                    1 / (1 + math.exp(-(float(weights[u, h, i, j]) - theta / n) / 0.01)) for i, j in connections_of(u)
                ]
                literal.append((sum(values) / n**2 - ratio) ** 2)
    assert float(sparsity_loss(torch.stack(blocks), ratio)) == pytest.approx(sum(literal) / len(literal), rel=1e-4)


def test_counts_are_those_of_a_loop(weights):
    mask = hard_mask(weights, VALID, 1.3)
    loop = [sum(bool(mask[u, h, i, j]) for h in range(3) for i, j in connections_of(u)) for u in range(2)]
    assert count_kept(mask, VALID).tolist() == loop


def test_scores_are_scaled_products_without_padded_keys():
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    expected = (q @ k.transpose(-1, -2) / 2).masked_fill(~VALID[:, None, None], -torch.inf)
    torch.testing.assert_close(attention_scores(q, k, VALID), expected)


@torch.no_grad()
def literal_attention(attention, x, n, prune):
    """One utterance without padding: context of every head, each connection multiplied by its mask."""
    heads, out = attention.heads, torch.zeros(n, x.shape[-1])
    d = x.shape[-1] // heads
    for head in range(heads):
        part = slice(head * d, head * d + d)
        q, k, v = (layer(x[:n])[:, part] for layer in (attention.query, attention.key, attention.value))
        for i in range(n):
            a = torch.softmax(torch.stack([q[i] @ k[j] / math.sqrt(d) for j in range(n)]), 0)
            out[i, part] = sum(a[j] * prune(float(a[j]), n) * v[j] for j in range(n))
    return attention.out(out)


@pytest.mark.parametrize("phase", [1, 2])
def test_pruned_attention_is_the_formula_and_does_not_normalise_again(phase):
    model = pruned()
    model.theta.data += 1.2
    model.at_step(0 if phase == 1 else model.settings.soft_steps)
    attention, x = model.backbone.decoder[0].attention, 3 * torch.randn(2, 7, 16)

    def prune(a: float, n: int) -> float:
        return 1 / (1 + math.exp(-(a - 1.2 / n) / 0.01)) if phase == 1 else float(a >= 1.2 / n)

    out = attention(x, VALID)
    for u, n in enumerate(LENGTHS.tolist()):
        expected = literal_attention(attention, x[u], n, prune)
        torch.testing.assert_close(out[u, :n], expected, rtol=1e-4, atol=1e-4)


def test_an_open_threshold_gives_dense_attention():
    sparse, dense = pruned("threshold", threshold=0.0), pruned("dense")
    batch = make_batch()
    torch.testing.assert_close(sparse(batch)["mel"], dense(batch)["mel"], rtol=1e-4, atol=1e-5)


def test_a_row_without_connections_gives_the_output_bias_and_the_residual_passes():
    model = pruned("threshold_over_n", threshold=1e6)
    block, x = model.backbone.decoder[0], torch.randn(2, 7, 16)
    torch.testing.assert_close(block.attention(x, VALID), block.attention.out.bias.expand(2, 7, 16))
    batch = make_batch()
    assert all((share == 0).all() for share in model.kept(batch).values())
    assert torch.isfinite(model(batch)["mel"]).all()


def test_a_dense_checkpoint_loads_strictly_and_the_parameters_are_the_same():
    dense = StyleSpeech(DIMS)
    model = pruned()
    model.backbone.load_state_dict(dense.state_dict(), strict=True)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in dense.parameters()) + 2


@pytest.mark.parametrize(("encoder", "blocks"), [(False, ["d0", "d1"]), (True, ["e0", "d0", "d1"])])
def test_theta_is_one_number_per_pruned_block_and_starts_at_zero(encoder, blocks):
    assert pruned(encoder=encoder).thresholds() == dict.fromkeys(blocks, 0.0)


def test_theta_reaches_its_own_block():
    model = pruned(theta_scale=2.0)
    model.theta.data = torch.tensor([0.5, 3.0])
    assert model.thresholds() == {"d0": 1.0, "d1": 6.0}
    shares = model.kept(make_batch())
    assert (shares["d0"] > shares["d1"]).all()


def theta_gradient(model: PrunedTTS, step: int, losses=None) -> torch.Tensor | None:
    batch = make_batch()
    model.at_step(step)
    out = model(batch)
    (losses or model.loss)(out, batch)["total"].backward()
    return model.theta.grad


def test_theta_has_a_gradient_in_phase_1_and_none_in_phase_2():
    gradient = theta_gradient(pruned(soft_steps=10), step=9)
    assert gradient is not None and (gradient != 0).all()
    model = pruned(soft_steps=10)
    assert theta_gradient(model, step=10) is None
    assert all(p.grad is not None for name, p in model.named_parameters() if name != "theta")


def test_without_the_sparsity_loss_only_the_tts_loss_moves_theta():
    without = theta_gradient(pruned(sparsity_loss=False), step=0)
    tts_only = theta_gradient(pruned(), step=0, losses=fastspeech2.loss)
    with_it = theta_gradient(pruned(), step=0)
    torch.testing.assert_close(without, tts_only)
    assert not torch.allclose(without, with_it)


def test_the_schedule_is_soft_with_the_loss_then_hard_without():
    model, batch = pruned(soft_steps=2), make_batch()
    for step, phase in ((0, 1), (1, 1), (2, 2), (300, 2)):
        model.at_step(step)
        parts = model.loss(model(batch), batch)
        assert model.rules["d0"].phase == phase and ("sparsity" in parts) == (phase == 1)
    tts = fastspeech2.loss(model(batch), batch)
    torch.testing.assert_close(parts["total"], tts["total"])


def test_training_moves_theta_in_phase_1_and_leaves_it_in_phase_2(tmp_path):
    model, batch = pruned(soft_steps=2).train(), make_batch()

    def batch_at(step: int) -> dict[str, torch.Tensor]:
        model.at_step(step)
        return batch

    config = TrainConfig(steps=4, batch_size=2, learning_rate=0.1, weight_decay=0.5)
    history = fit(model, lambda b: model.loss(model(b), b), batch_at, config, tmp_path / "resume.pt", "mark")
    thetas = [record["theta_d1"] for record in history]  # of the pass before each step
    assert thetas[0] == 0 and thetas[0] != thetas[1] != thetas[2]
    assert thetas[2] == thetas[3] == model.thresholds()["d1"]
    assert ["sparsity" in record for record in history] == [True, True, False, False]


def test_without_the_hard_phase_the_mask_stays_soft_to_the_end():
    model = pruned(soft_steps=2, hard_phase=False)
    assert model.rules["d0"].phase == 1
    model.at_step(100)
    assert "mask" in model(make_batch())


def test_total_of_phase_1_is_the_tts_loss_and_the_sparsity_loss():
    model, batch = pruned(ratio=0.3), make_batch()
    model.at_step(0)
    out = model(batch)
    assert out["mask"].shape == (2, 2, 2)
    parts = model.loss(out, batch)
    torch.testing.assert_close(parts["sparsity"], (out["mask"] - 0.3).square().mean())
    torch.testing.assert_close(parts["total"], fastspeech2.loss(out, batch)["total"] + parts["sparsity"])


def test_descending_the_sparsity_loss_raises_theta_and_prunes_more():
    model, batch = pruned(ratio=0.2), make_batch()
    model.at_step(0)
    for _ in range(6):
        (gradient,) = torch.autograd.grad(sparsity_loss(model(batch)["mask"], 0.2), model.theta)
        model.theta.data -= 0.3 * gradient.sign()
    assert all(theta > 0.5 for theta in model.thresholds().values())
    assert all((share < 1).all() for share in model.kept(batch).values())


VARIANTS = [
    {"method": "row_mean"},
    {"method": "row_mean", "union": False},
    {"method": "threshold", "threshold": 0.03},
    {"method": "threshold_over_n", "threshold": 1.0},
    {"method": "learned", "encoder": True},
    {"method": "learned", "hard_phase": False},
    {"method": "top_k", "fraction": 0.4},
    {"method": "entmax"},
    {"method": "dropout", "dropout": 0.3},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_an_utterance_gives_the_same_output_and_counts_alone_and_in_a_batch(settings):
    model, batch = pruned(**settings), make_batch()
    if model.theta is not None:
        model.theta.data += 1.1
    together, kept = model(batch), model.kept(batch)
    for i in range(2):
        one = alone(batch, i)
        single = model(one)
        torch.testing.assert_close(
            together["mel"][i : i + 1, : single["mel"].shape[1]], single["mel"], rtol=1e-4, atol=1e-4
        )
        if "mask" in single:
            torch.testing.assert_close(together["mask"][:, i : i + 1], single["mask"], rtol=1e-4, atol=1e-5)
        assert model.kept(one) == {site: shares[i : i + 1] for site, shares in kept.items()}


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_every_variant_trains_and_speaks(settings):
    model, batch = pruned(**settings).train(), make_batch()
    model.at_step(0)
    model.loss(model(batch), batch)["total"].backward()
    query = model.backbone.decoder[0].attention.query.weight
    assert query.grad is not None and torch.isfinite(query.grad).all() and query.grad.abs().sum() > 0
    mel, frames = model.eval().synthesise(
        batch["symbols"], batch["symbol_lengths"], batch["mel"], batch["frame_lengths"]
    )
    assert mel.shape[:2] == (2, int(frames.max())) and torch.isfinite(mel).all()


def test_attention_dropout_acts_in_training_only():
    model, x = pruned("dropout", dropout=0.5), torch.randn(2, 7, 16)
    attention, dense = model.backbone.decoder[0].attention, pruned("dense").backbone.decoder[0].attention
    torch.testing.assert_close(attention(x, VALID), dense(x, VALID), rtol=1e-4, atol=1e-5)
    model.train()
    assert not torch.allclose(attention(x, VALID), attention(x, VALID))


def test_observing_returns_rows_that_sum_to_one_and_leaves_the_output_alone():
    model, batch = pruned("row_mean"), make_batch()
    before = model(batch)["mel"]
    seen = model.observe(batch)
    assert list(seen) == ["d0", "d1"]
    dense, weights, mask = seen["d0"]
    torch.testing.assert_close(dense.sum(-1), torch.ones_like(dense[..., 0]))
    torch.testing.assert_close(weights, dense * mask)
    torch.testing.assert_close(model(batch)["mel"], before)


def test_dense_attention_keeps_every_frame_pair_of_every_head():
    shares = pruned("dense").kept(make_batch())
    assert list(shares) == ["d0", "d1"] and all(share.tolist() == [1, 1] for share in shares.values())


def test_kept_connections_are_counted_by_the_mask_or_by_weights_above_zero():
    batch, weights = {"frame_lengths": torch.tensor([2])}, torch.tensor([[[[0.7, 0.3], [0.0, 1.0]]]])
    mask = torch.tensor([[[[True, False], [False, False]]]])
    assert pruned("top_k").kept(batch, {"d0": (weights, weights, None)})["d0"].tolist() == [0.75]
    assert pruned("dense").kept(batch, {"d0": (weights, weights, None)})["d0"].tolist() == [1.0]
    assert pruned("row_mean").kept(batch, {"d0": (weights, weights, mask)})["d0"].tolist() == [0.25]


def test_a_copy_of_a_model_has_thresholds_of_its_own():
    model = pruned()
    other = copy.deepcopy(model)
    other.theta.data += 2.0
    assert model.thresholds() == {"d0": 0.0, "d1": 0.0} and other.thresholds() == {"d0": 2.0, "d1": 2.0}
    assert other.backbone.decoder[0].attention.rule is other.rules["d0"]


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_top_k_is_the_softmax_over_the_largest_scores_of_each_row(scores, fraction):
    out = top_k(scores, VALID, fraction)
    for u in range(2):
        n = int(LENGTHS[u])
        k = math.ceil(n * fraction)
        for h in range(3):
            for i in range(n):
                row = scores[u, h, i, :n]
                chosen = sorted(range(n), key=lambda j, row=row: -float(row[j]))[:k]
                expected = torch.zeros(7)
                expected[chosen] = torch.softmax(row[chosen], 0)
                torch.testing.assert_close(out[u, h, i], expected)


def entmax_by_bisection(row: torch.Tensor) -> torch.Tensor:
    z = row.double() / 2
    low, high = z.max() - 1, z.max()
    for _ in range(80):
        middle = (low + high) / 2
        if (z - middle).clamp_min(0).square().sum() > 1:
            low = middle
        else:
            high = middle
    return (z - low).clamp_min(0).square()


def test_entmax_agrees_with_bisection_and_ignores_padded_keys(scores):
    out = entmax15(scores)
    torch.testing.assert_close(out.sum(-1), torch.ones_like(out[..., 0]))
    for u in range(2):
        n = int(LENGTHS[u])
        assert (out[u, :, :, n:] == 0).all()
        for row, exact in zip(scores[u, :, :, :n].reshape(-1, n), out[u, :, :, :n].reshape(-1, n), strict=True):
            torch.testing.assert_close(exact.double(), entmax_by_bisection(row), rtol=1e-4, atol=1e-5)


def test_entmax_of_equal_scores_is_uniform_and_of_a_far_winner_is_one_hot():
    torch.testing.assert_close(entmax15(torch.zeros(1, 300)), torch.full((1, 300), 1 / 300))
    assert entmax15(torch.tensor([[0.0, 5.0, -50.0]])).tolist() == [[0.0, 1.0, 0.0]]


def test_gradient_of_entmax_is_that_of_finite_differences():
    torch.manual_seed(0)
    scores, direction = torch.randn(2, 6), torch.randn(2, 6)
    leaf = scores.clone().requires_grad_()
    (entmax15(leaf) * direction).sum().backward()
    for u in range(2):
        for j in range(6):
            step = torch.zeros(6, dtype=torch.float64)
            step[j] = 1e-5
            up, down = (entmax_by_bisection(scores[u] + sign * step) for sign in (1, -1))
            expected = ((up - down) * direction[u]).sum() / 2e-5
            assert float(leaf.grad[u, j]) == pytest.approx(float(expected), abs=2e-3)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.2, 1.5])
def test_r_outside_zero_and_one_is_one_clear_sentence(ratio):
    with pytest.raises(ValueError, match=r"choose R inside \(0, 1\)"):
        SparseSettings(method="learned", ratio=ratio)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "magic"}, "there is no sparse attention 'magic': choose one of dense, row_mean"),
        ({"method": "top_k", "fraction": 0.0}, "kept part of each row"),
        ({"method": "dropout", "dropout": 1.0}, "probability inside"),
        ({"temperature": 0.0}, "choose T above 0"),
        ({"R": 0.4}, r"unknown sparse attention settings \['R'\].*ratio"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(values, message):
    with pytest.raises(ValueError, match=message):
        SparseSettings.from_dict(values)


def test_settings_survive_a_profile():
    settings = SparseSettings(method="learned", ratio=0.4, soft_steps=100)
    assert SparseSettings.from_dict(settings.to_dict()) == settings and settings.method in METHODS


def test_prefix_tuning_of_pruned_attention_is_refused():
    attention = pruned().backbone.decoder[0].attention
    prefix = torch.zeros(2, 1, 16)
    with pytest.raises(ValueError, match="takes no prefix"):
        attention(torch.randn(2, 7, 16), VALID, (prefix, prefix))
