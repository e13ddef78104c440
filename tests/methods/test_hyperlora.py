"""LoRA and its hypernetwork on Whisper tiny.en, against W + B A written out for each utterance, and against PEFT."""

import copy
import json
from contextlib import contextmanager

import pytest
import torch

from lib.methods import hyperlora
from lib.methods.hyperlora import HyperLora, StaticLora, budget, find
from lib.methods.low_rank import HyperLoraError, LowRank
from lib.models.whisper import model as whisper
from lib.models.whisper import sizes
from lib.models.whisper.model import Decoder
from lib.models.whisper.states import EncoderStates, mean_states, prepare
from lib.models.whisper.training import loss


@pytest.fixture(scope="module")
def model():
    return sizes.load("tiny.en")


@pytest.fixture(scope="module")
def short(recordings):
    return sorted(recordings, key=lambda r: len(r.wave))[:3]


@pytest.fixture(scope="module")
def examples(model, short):
    return [prepare(model, r.utterance, r.wave, r.text) for r in short]


@pytest.fixture(scope="module")
def cache(model, tmp_path_factory):
    return EncoderStates(model, tmp_path_factory.mktemp("states"))


@pytest.fixture(scope="module")
def embeddings(cache, examples):
    return mean_states(cache, examples)


def disturb(adaptation, size: float = 0.02):
    """Random values in everything that is trained, so that every utterance has an update of its own."""
    with torch.no_grad():
        for parameter in adaptation.parameters():
            parameter.normal_(std=size)
    return adaptation


def hyper_lora(model, embeddings, **options) -> HyperLora:
    torch.manual_seed(0)
    method = HyperLora(model.network, embeddings.shape[1], **options)
    method.standardise(embeddings)
    return disturb(method)


@pytest.fixture(scope="module")
def twin(model):
    return copy.deepcopy(model.network)


@contextmanager
def written_out(twin, update: LowRank, index: int):
    """The twin network with every matrix W + scale B A of one utterance, the sum spelled out for a row in 97."""
    own = {path: twin.get_submodule(path).weight.clone() for path in update.factors}
    for path, (down, up) in update.factors.items():
        for row in range(0, len(own[path]), 97):
            spelled = sum(up[index, row, k] * down[index, k] for k in range(down.shape[1]))
            torch.testing.assert_close(update.delta(path)[index, row], update.scale * spelled, rtol=1e-4, atol=1e-7)
        twin.get_submodule(path).weight.copy_(own[path] + update.scale * up[index] @ down[index])
    yield twin
    for path, weight in own.items():
        twin.get_submodule(path).weight.copy_(weight)


def literal_logits(network, states, tokens):
    """transformers' own decoder for one utterance."""
    return network(decoder_input_ids=tokens[None], encoder_outputs=(states[None],)).logits[0]


@pytest.fixture(scope="module")
def tokens(model):
    return torch.tensor(
        [[model.start, model.no_timestamps, 887, 338, 262], [model.start, model.no_timestamps, 1, 2, 3]]
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rank": 2, "hidden": 5, "alpha": 6.0},
        {"names": ["decoder"], "rank": 1},
        {"names": ["decoder.cross.k", "decoder.W2"], "layers": [0, -1], "fixed": "A"},
        {"rank": 1, "layers": [-1], "fixed": "B"},
    ],
)
@torch.no_grad()
def test_a_batch_has_the_logits_of_each_utterances_written_out_weights(
    model, twin, cache, examples, embeddings, tokens, options
):
    method = hyper_lora(model, embeddings, **options)
    encoded = cache.read(examples[:2])
    encoded = whisper.Encoded(encoded.states, torch.zeros_like(encoded.log_weights))
    update = method.update(embeddings[:2])
    with method.applied(model.network, embeddings[:2]):
        theirs = model.network(decoder_input_ids=tokens, encoder_outputs=(encoded.states,)).logits
        ours = Decoder(model.network, encoded).read(tokens)
    plain = Decoder(model.network, encoded).read(tokens)
    for index in range(2):
        with written_out(twin, update, index) as network:
            expected = literal_logits(network, encoded.states[index], tokens[index])
        scale = float(expected.abs().max())
        assert float((theirs[index] - expected).abs().max()) < 1e-5 * scale
        assert float((ours[index] - expected).abs().max()) < 1e-5 * scale
    assert not torch.allclose(ours, plain, atol=1e-3)
    assert not torch.allclose(update.delta(method.paths[0])[0], update.delta(method.paths[0])[1])


@torch.no_grad()
def test_encoder_updates_are_those_of_each_utterances_written_out_weights(model, twin, examples, embeddings):
    method = hyper_lora(model, embeddings, names=["encoder"], rank=2)
    waves = [example.wave[:16000] for example in examples[:2]]
    assert method.changes_encoder
    with method.applied(model.network, embeddings[:2]):
        together = model.encode(waves, 1.0).states
    for index in range(2):
        padded = torch.nn.functional.pad(torch.from_numpy(waves[index])[None], (0, whisper.TAIL))
        with written_out(twin, method.update(embeddings[:2]), index) as network:
            expected = whisper.encode_features(network, whisper.log_mel(padded), 50).states[0]
        assert float((together[index] - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@torch.no_grad()
def test_beams_of_an_utterance_share_its_update(model, embeddings):
    method = hyper_lora(model, embeddings)
    layer, hidden = model.network.model.decoder.layers[1].fc1, torch.randn(6, 1, 384)
    with method.applied(model.network, embeddings[:2]):
        together = layer(hidden)
    for utterance in range(2):
        rows = slice(3 * utterance, 3 * utterance + 3)
        with method.applied(model.network, embeddings[utterance : utterance + 1]):
            torch.testing.assert_close(together[rows], layer(hidden[rows]), rtol=1e-4, atol=1e-5)


def test_rank_4_on_the_decoders_w1_adapts_30720_weights(model):
    numbers = budget(StaticLora(model.network), model.network)
    assert numbers["generated_parameters"] == numbers["trainable_parameters"] == 30_720
    assert numbers["generated_share"] == pytest.approx(0.0814, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "generated", "trained"),
    [
        ({"rank": 4}, 30_720, 30_720 + 384 * 30_720),
        ({"rank": 4, "hidden": 16}, 30_720, 30_720 + 384 * 16 + 16 + 16 * 30_720),
        ({"rank": 1, "layers": [-1]}, 1_920, 1_920 + 384 * 1_920),
        ({"rank": 1, "layers": [-1], "fixed": "B"}, 384, 384 + 384 * 384),
    ],
)
def test_generated_and_trained_weights_are_counted_apart(model, options, generated, trained):
    numbers = budget(HyperLora(model.network, 384, **options), model.network)
    assert (numbers["generated_parameters"], numbers["trainable_parameters"]) == (generated, trained)


def test_full_fine_tuning_trains_every_parameter_once(model):
    numbers = budget(hyperlora.full_fine_tuning(model.network), model.network)
    assert numbers["trainable_share"] == numbers["generated_share"] == 100.0


def test_fine_tuning_of_a_side_or_of_matrices_is_counted(model):
    network = model.network
    decoder = sum(p.numel() for p in network.model.decoder.parameters())
    assert hyperlora.count(hyperlora.full_fine_tuning(network, "decoder")) == decoder
    assert hyperlora.count(hyperlora.matrix_fine_tuning(network, ["decoder.W1"])) == 4 * 384 * 1536
    biases = sum(p.numel() for name, p in network.named_parameters() if name.endswith("bias"))
    assert hyperlora.count(hyperlora.bias_only(network)) == biases
    assert not hyperlora.bias_only(network, "decoder").changes_encoder


@pytest.mark.parametrize("name", hyperlora.TARGETS)
def test_every_target_name_finds_one_matrix_in_each_layer(model, name):
    side, leaf = name.split(".", 1)
    found = find(model.network, [name])
    assert len(found) == 4
    assert all(path.startswith(f"model.{side}.layers.") for path in found)
    assert {tuple(linear.weight.shape) for linear in found.values()} == {
        {"W1": (1536, 384), "W2": (384, 1536)}.get(leaf, (384, 384))
    }


def test_a_name_cut_at_a_dot_means_all_that_start_with_it(model):
    assert len(find(model.network, ["decoder.cross"])) == 16
    assert len(find(model.network, ["encoder", "encoder.W1"])) == 4 * 6
    assert list(find(model.network, ["decoder.W1"], [-1])) == ["model.decoder.layers.3.fc1"]


def methods(model, embeddings):
    return {
        "static": StaticLora(model.network, ["decoder.W1", "decoder.self.v"]),
        "linear": HyperLora(model.network, embeddings.shape[1]),
        "mlp": HyperLora(model.network, embeddings.shape[1], hidden=8),
        "fixed": HyperLora(model.network, embeddings.shape[1], fixed="B"),
        "full": hyperlora.full_fine_tuning(model.network),
        "bias": hyperlora.bias_only(model.network, "decoder"),
    }


@torch.no_grad()
@pytest.mark.parametrize("name", ["static", "linear", "mlp", "fixed", "full", "bias"])
def test_an_untrained_method_changes_nothing(model, cache, examples, embeddings, tokens, name):
    method = methods(model, embeddings)[name]
    encoded = cache.read(examples[:2])
    plain = Decoder(model.network, encoded).read(tokens)
    with method.applied(model.network, embeddings[:2]):
        assert torch.equal(Decoder(model.network, encoded).read(tokens), plain)


@pytest.mark.parametrize("name", ["static", "linear", "mlp", "fixed", "full", "bias"])
def test_training_lowers_the_loss_and_leaves_the_network_as_it_was(model, cache, examples, embeddings, name):
    before = {path: p.clone() for path, p in model.network.state_dict().items()}
    torch.manual_seed(0)
    method = methods(model, embeddings)[name]
    optimiser = torch.optim.Adam(method.parameters(), 1e-5 if name in ("full", "bias") else 1e-3)
    losses = []
    for _ in range(2 if name == "full" else 4):
        total = loss(model, examples[:1], cache, method, embeddings[:1])["total"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(total.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is None and not p.requires_grad for p in model.network.parameters())
    after = model.network.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[path], value) for path, value in before.items())
    assert not any(m._forward_hooks for m in model.network.modules())


@pytest.mark.parametrize("hidden", [None, 8])
def test_gradients_reach_every_part_of_the_generator(model, cache, examples, embeddings, hidden):
    method = hyper_lora(model, embeddings, hidden=hidden, names=["decoder.W1", "decoder.cross.q"], rank=2)
    loss(model, examples[:2], cache, method, embeddings[:2])["total"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert (method.shared.grad != 0).float().mean() > 0.99


def test_gradients_reach_an_encoders_update(model, cache, examples):
    method = disturb(StaticLora(model.network, ["encoder.W1"], rank=1))
    loss(model, examples[:1], cache, method)["total"].backward()
    assert all(part.abs().sum() > 0 for part in method.shared.grad.split([384, 1536] * 4))


def test_an_error_inside_the_block_leaves_the_network_as_it_was(model, embeddings):
    own = model.network.model.decoder.layers[0].fc1.bias
    for method in (hyperlora.bias_only(model.network), hyper_lora(model, embeddings)):
        with pytest.raises(RuntimeError), method.applied(model.network, embeddings):
            raise RuntimeError
    assert model.network.model.decoder.layers[0].fc1.bias is own
    assert not model.network.model.decoder.layers[0].fc1._forward_hooks


def test_a_saved_method_gives_the_same_update(model, embeddings):
    method = hyper_lora(model, embeddings, rank=2, fixed="A")
    again = HyperLora(model.network, embeddings.shape[1], rank=2, fixed="A")
    again.load_state_dict(method.state_dict())
    path = method.paths[0]
    assert torch.equal(again.update(embeddings).delta(path), method.update(embeddings).delta(path))


@pytest.mark.parametrize("kind", ["static", "generated", "generated, fixed factor"])
@torch.no_grad()
def test_peft_loads_an_exported_adapter_and_gives_the_same_logits(
    model, twin, cache, examples, embeddings, tokens, tmp_path, kind
):
    from peft import PeftModel

    names = ["decoder.W1", "decoder.cross.v"]
    if kind == "static":
        update = disturb(StaticLora(model.network, names, rank=3, alpha=5.0)).update()
    else:
        fixed = "A" if "fixed" in kind else None
        method = hyper_lora(model, embeddings, names=names, rank=3, alpha=5.0, fixed=fixed)
        update = method.update(embeddings[1:2])
    update.export(tmp_path / "adapter", "openai/whisper-tiny.en")
    assert sorted(p.name for p in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    theirs = PeftModel.from_pretrained(twin, tmp_path / "adapter")
    states = cache.read(examples[1:2]).states
    expected = theirs(decoder_input_ids=tokens[:1], encoder_outputs=(states,)).logits
    theirs.unload()
    with update.applied(model.network):
        ours = model.network(decoder_input_ids=tokens[:1], encoder_outputs=(states,)).logits
    assert float((ours - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    plain = model.network(decoder_input_ids=tokens[:1], encoder_outputs=(states,)).logits
    assert float((plain - expected).abs().max()) > 1e-2


def test_an_export_replaces_the_one_before(model, tmp_path):
    for rank in (2, 1):
        StaticLora(model.network, rank=rank).update().export(tmp_path, "openai/whisper-tiny.en")
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"names": ["decoder.W3"]}, "No matrix of Whisper is called 'decoder.W3': choose from encoder.self.q"),
        ({"names": ["encoder.cross.q"]}, "No matrix of Whisper is called 'encoder.cross.q'"),
        ({"names": []}, "No matrix is named"),
        ({"layers": [4]}, "The decoder has no layer 4: choose layers from -4 to 3"),
        ({"rank": 385}, "Rank 385 does not fit model.decoder.layers.0.fc1, a matrix of 1536 x 384: .* from 1 to 384"),
        ({"rank": 0}, "Rank 0 does not fit"),
        ({"fixed": "W"}, "The factor 'W' cannot be fixed"),
    ],
)
def test_an_impossible_choice_is_named(model, options, sentence):
    with pytest.raises(HyperLoraError, match=sentence):
        StaticLora(model.network, **options)


@pytest.mark.parametrize("shape", [(2, 256), (384,), (0, 384), None])
def test_an_embedding_of_another_size_is_refused(model, shape):
    method = HyperLora(model.network, 384)
    given = None if shape is None else torch.zeros(shape)
    with pytest.raises(HyperLoraError, match="takes one embedding of 384 numbers per utterance and got (none|shape)"):
        method.update(given)


def test_embeddings_of_another_batch_are_refused(model, cache, examples, embeddings):
    method = hyper_lora(model, embeddings)
    with pytest.raises(HyperLoraError, match="The updates of 2 utterances met 3 rows"):
        loss(model, examples, cache, method, embeddings[:2])


def test_an_unknown_side_is_named(model):
    with pytest.raises(HyperLoraError, match="Whisper has no side 'middle'"):
        hyperlora.bias_only(model.network, "middle")
