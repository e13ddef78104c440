"""The backbone's shapes, masks, length regulator and losses."""

import pytest
import synthetic_batch
import torch
from synthetic_batch import alone

from lib.methods.conditioning import ConcatenationAdapters, ConditionalLayerNorm, PrefixTuning
from lib.methods.hypertts import HyperAdapters
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims, expand, loss
from lib.models.fft_block import FFTBlock, length_mask

DIMS = FastSpeech2Dims(
    n_symbols=20, hidden=16, filter=24, kernels=(3, 1), encoder_layers=2, decoder_layers=2, predictor_filter=16,
    bins=8, postnet_layers=3, postnet_channels=12, max_symbols=30, max_frames=120,
)  # fmt: skip


@pytest.fixture
def model() -> FastSpeech2:
    torch.manual_seed(0)
    return FastSpeech2(DIMS).eval()


def make_batch(symbol_counts=(5, 9), seed=0) -> dict[str, torch.Tensor]:
    return synthetic_batch.make_batch(symbol_counts, seed, speaker=True)


def test_an_utterance_gives_the_same_output_alone_and_in_a_batch(model):
    batch = make_batch()
    together = model(batch)
    for i in range(2):
        single = model(alone(batch, i))
        for name, value in single.items():
            torch.testing.assert_close(together[name][i : i + 1, : value.shape[1]], value, rtol=1e-4, atol=1e-5)


def test_synthesis_alone_and_in_a_batch_agree(model):
    batch = make_batch()
    mel, frames = model.synthesise(batch["symbols"], batch["symbol_lengths"], batch["speaker"])
    for i in range(2):
        n = batch["symbol_lengths"][i : i + 1]
        single, count = model.synthesise(batch["symbols"][i : i + 1, : int(n)], n, batch["speaker"][i : i + 1])
        assert int(count) == int(frames[i])
        torch.testing.assert_close(mel[i : i + 1, : int(count)], single, rtol=1e-4, atol=1e-5)


def test_length_regulator_repeats_each_symbol_for_its_frames():
    h, durations = torch.randn(3, 6, 4), torch.randint(0, 4, (3, 6))
    durations[:, 0] += 1
    out = expand(h, durations)
    for i in range(3):
        expected = torch.cat([h[i, j].repeat(int(durations[i, j]), 1) for j in range(6)])
        torch.testing.assert_close(out[i, : len(expected)], expected)
        assert out[i, len(expected) :].abs().sum() == 0


def test_loss_counts_valid_positions_only(model):
    batch = make_batch()
    out = model(batch)
    parts = loss(out, batch)
    errors = [(out["mel"][i, :t] - batch["mel"][i, :t]).abs().flatten() for i, t in enumerate(batch["frame_lengths"])]
    torch.testing.assert_close(parts["mel"], torch.cat(errors).mean())
    logs = [
        (out["duration"][i, :n] - torch.log1p(batch["durations"][i, :n].float())).square()
        for i, n in enumerate(batch["symbol_lengths"])
    ]
    torch.testing.assert_close(parts["duration"], torch.cat(logs).mean())
    torch.testing.assert_close(parts["total"], sum(v for k, v in parts.items() if k != "total"))


def test_attention_is_softmax_of_scaled_products_over_valid_keys():
    torch.manual_seed(0)
    block = FFTBlock(8, 2, 12, (3, 1), 0.0).eval()
    x, mask = torch.randn(1, 6, 8), length_mask(torch.tensor([4]), 6)
    attention = block.attention
    expected = torch.zeros(6, 8)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        q, k, v = (f(x[0])[:, part] for f in (attention.query, attention.key, attention.value))
        weights = torch.softmax(q @ k[:4].T / 2.0, dim=1)
        expected[:, part] = weights @ v[:4]
    torch.testing.assert_close(attention(x, mask)[0], attention.out(expected), rtol=1e-4, atol=1e-5)


def test_too_many_phonemes_is_one_clear_sentence(model):
    symbols = torch.ones(1, 31, dtype=torch.long)
    with pytest.raises(ValueError, match="31 phonemes are more than the model's 30 positions"):
        model.synthesise(symbols, torch.tensor([31]), torch.randn(1, 256))


def test_too_many_frames_is_one_clear_sentence(model):
    with pytest.raises(ValueError, match="121 frames are more than the model's 120 positions"):
        model.decode(torch.randn(1, 121, 16), torch.tensor([121]))


def test_unknown_module_letter_is_refused(model):
    with pytest.raises(ValueError, match="unknown modules"):
        model.sites("ex")


def test_adapters_only_touch_the_modules_they_are_in(model):
    batch = make_batch()
    adapters = HyperAdapters({"d": model.sites("d")}, init_std=0.5)
    plain, adapted = model(batch), model(batch, adapters.hooks(batch["speaker"]))
    torch.testing.assert_close(plain["duration"], adapted["duration"])
    assert not torch.allclose(plain["mel"], adapted["mel"])


@pytest.mark.parametrize("method", [ConcatenationAdapters, ConditionalLayerNorm, PrefixTuning])
def test_alternatives_come_near_the_budget_and_reach_the_output(model, method):
    sites = model.sites("d")
    budget = 20_000
    adapter = method(sites, budget)
    trained = sum(p.numel() for p in adapter.parameters())
    assert abs(trained - budget) / budget < 0.05
    for p in adapter.parameters():
        torch.nn.init.normal_(p, std=0.3)
    batch = make_batch()
    assert not torch.allclose(model(batch)["mel"], model(batch, adapter.hooks(batch["speaker"]))["mel"])


@pytest.mark.parametrize("method", [ConcatenationAdapters, ConditionalLayerNorm])
def test_untrained_alternatives_change_nothing(model, method):
    adapter = method(model.sites("d"), 20_000)
    adapter = adapter.bind(model) if hasattr(adapter, "bind") else adapter
    batch = make_batch()
    torch.testing.assert_close(
        model(batch)["mel"], model(batch, adapter.hooks(batch["speaker"]))["mel"], rtol=1e-4, atol=1e-5
    )
