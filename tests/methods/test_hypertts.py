"""HyperTTS against its equations, written out utterance by utterance, and against the paper's parameter counts."""

import pytest
import torch

from lib.methods.hypertts import Adapter, HyperAdapters, Hypernetwork, StaticAdapters, apply_adapter
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims
from lib.models.layers import count


@pytest.fixture(scope="module")
def paper_backbone() -> FastSpeech2:
    torch.manual_seed(0)
    return FastSpeech2(FastSpeech2Dims())


def hyper_adapters(backbone: FastSpeech2, modules: str, **sizes) -> HyperAdapters:
    return HyperAdapters({m: backbone.sites(m) for m in modules}, **sizes)


def test_static_adapter_counts_are_those_of_table_1(paper_backbone):
    assert count(StaticAdapters(paper_backbone.sites("e"))) == 66_688  # 66.6 k in the paper


@pytest.mark.parametrize(("modules", "published"), [("e", 151_104), ("d", 151_232), ("ed", 302_336), ("evd", 453_000)])
def test_hypernetwork_counts_are_those_of_table_1(paper_backbone, modules, published):
    assert count(hyper_adapters(paper_backbone, modules)) == pytest.approx(published, rel=0.005)


def test_the_d_s_of_the_text_gives_the_count_of_the_sweep(paper_backbone):
    assert count(hyper_adapters(paper_backbone, "d", d_s=32)) == pytest.approx(554_000, rel=0.005)


def test_backbone_has_the_papers_parameters_without_its_aligner(paper_backbone):
    assert count(paper_backbone) == pytest.approx(35.7e6, rel=0.02)


def test_static_adapter_is_the_formula():
    adapter = Adapter(6, 3)
    torch.nn.init.normal_(adapter.up.weight)
    h = torch.randn(2, 5, 6)
    for utterance in range(2):
        for frame in range(5):
            row = h[utterance, frame]
            inner = (row @ adapter.down.weight.T + adapter.down.bias).clamp_min(0)
            expected = row + inner @ adapter.up.weight.T + adapter.up.bias
            torch.testing.assert_close(adapter(h)[utterance, frame], expected)


def literal_hyper_adapter(network: Hypernetwork, v_s, layer: int, h):
    """Equations of section 3.3 for one utterance and one layer, one matrix at a time."""
    source = network.speaker_projector.weight @ v_s + network.speaker_projector.bias
    if network.layer_embedding is not None:
        source = torch.cat([source, network.layer_embedding.weight[layer]])
    s = (network.source_projector.weight @ source).clamp_min(0)
    c, r = network.channels, network.bottleneck
    w_d = (network.samplers["down"].weight @ s).reshape(c, r)
    w_u = (network.samplers["up"].weight @ s).reshape(r, c)
    b_d = network.samplers["down_bias"].weight @ s if "down_bias" in network.samplers else 0
    b_u = network.samplers["up_bias"].weight @ s if "up_bias" in network.samplers else 0
    return h + (h @ w_d + b_d).clamp_min(0) @ w_u + b_u


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("layer_embedding", [True, False])
def test_batched_hyper_adapter_is_the_formula_for_each_utterance(biases, layer_embedding):
    torch.manual_seed(1)
    network = Hypernetwork(3, 6, bottleneck=4, d_s=5, biases=biases, layer_embedding=layer_embedding, init_std=0.5)
    speaker, h = torch.nn.functional.normalize(torch.randn(4, 256), dim=1), torch.randn(4, 7, 6)
    for layer in range(3):
        out = apply_adapter(h, network(speaker), layer)
        for utterance in range(4):
            expected = literal_hyper_adapter(network, speaker[utterance], layer, h[utterance])
            torch.testing.assert_close(out[utterance], expected, rtol=1e-4, atol=1e-5)


def test_without_the_layer_embedding_every_layer_gets_the_same_weights():
    network = Hypernetwork(3, 6, layer_embedding=False, init_std=0.5)
    weights = network(torch.randn(2, 256))["down"]
    torch.testing.assert_close(weights[:, 0], weights[:, 2])


def test_layers_and_speakers_get_different_weights():
    network = Hypernetwork(3, 6, init_std=0.5)
    weights = network(torch.randn(2, 256))["down"]
    assert not torch.allclose(weights[:, 0], weights[:, 1])
    assert not torch.allclose(weights[0], weights[1])


def test_gradients_reach_every_part_of_the_hypernetwork():
    network = Hypernetwork(2, 6, init_std=0.5)
    apply_adapter(torch.randn(3, 5, 6), network(torch.randn(3, 256)), 1).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_sites_of_different_widths_cannot_share_a_hypernetwork():
    with pytest.raises(ValueError, match="one hypernetwork serves one width"):
        HyperAdapters({"e": {"e0": 8, "e1": 16}})


def test_generated_vector_holds_every_generated_weight():
    adapters = HyperAdapters({"d": {"d0": 6, "d1": 6}}, bottleneck=4)
    assert adapters.generated(torch.randn(3, 256)).shape == (3, 2 * (2 * 6 * 4 + 4 + 6))
