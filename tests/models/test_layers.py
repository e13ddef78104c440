"""The layers of the TTS models are torch's own functions, on whichever path a CPU takes."""

import pytest
import torch
import torch.nn.functional as F
from synthetic_batch import make_batch

from lib.models import layers
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims, loss
from lib.models.layers import BatchNorm1d, Conv1d, Linear, attention, dropout
from lib.models.stylespeech import StyleSpeech, StyleSpeechDims

SIZES = {"n_symbols": 20, "hidden": 16, "filter": 24, "encoder_layers": 2, "decoder_layers": 2, "predictor_filter": 16}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Linear(6, 10), (3, 7, 6)),
        (Linear(6, 10, bias=False), (5, 6)),
        (Conv1d(6, 10, 1), (3, 7, 6)),
        (Conv1d(6, 10, 5), (3, 7, 6)),
        (Conv1d(1, 10, 3), (3, 7, 1)),
        (BatchNorm1d(6), (3, 7, 6)),
    ],
)
def test_a_layer_and_its_gradients_are_those_of_torch(layer, shape, monkeypatch):
    x, results = torch.randn(shape, dtype=torch.float32), []
    for transposed in (False, True):
        for arranged in (True, False):
            monkeypatch.setattr(layers, "ARRANGED", arranged)
            given = (x.transpose(0, 1).contiguous().transpose(0, 1) if transposed else x).detach().requires_grad_()
            out = layer(given)
            (out * torch.arange(out.numel()).view(out.shape)).sum().backward()
            results.append([out.detach(), given.grad, *(p.grad for p in layer.parameters())])
            layer.zero_grad(set_to_none=True)
    for result in results[:-1]:
        for ours, expected in zip(result, results[-1], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [FastSpeech2(FastSpeech2Dims(**SIZES)), StyleSpeech(StyleSpeechDims(**SIZES))])
def test_a_model_and_its_gradients_are_those_of_torchs_layers(model, monkeypatch):
    batch, results = make_batch((5, 9), 0, speaker=True), []
    for arranged in (True, False):
        monkeypatch.setattr(layers, "ARRANGED", arranged)
        total = loss(model.eval()(batch), batch)["total"]
        total.backward()
        results.append([total.detach(), *(p.grad for p in model.parameters())])
        model.zero_grad(set_to_none=True)
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_attention_in_bfloat16_is_that_of_float32_but_for_rounding():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, n, 8) for n in (5, 7, 7))
    keep = torch.arange(7)[None] < torch.tensor([7, 4])[:, None]
    with torch.autocast("cpu", torch.bfloat16):
        low = attention(q, k, v, keep)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None])
    torch.testing.assert_close(low.float(), expected, rtol=0, atol=0.03)


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_dropout_drops_its_share_scales_the_rest_and_repeats_with_its_seed(p):
    x = torch.full((40, 51, 33), 2.0)
    torch.manual_seed(0)
    first = dropout(x, p, training=True)
    torch.manual_seed(0)
    assert torch.equal(dropout(x, p, training=True), first)
    assert not torch.equal(dropout(x, p, training=True), first)
    dropped = first == 0
    error = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(dropped.float().mean() - p) < 4 * error
    torch.testing.assert_close(first[~dropped], torch.full_like(first[~dropped], 2 / (1 - p)), rtol=1e-4, atol=0)
    together = (dropped[:, 1:] & dropped[:, :-1]).float().mean()
    assert abs(together - p**2) < 6 * error  # neighbours are decided apart
    assert torch.equal(dropout(x, p, training=False), x)
