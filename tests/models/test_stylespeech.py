"""StyleSpeech's shapes, masks, style path, losses and behaviour on references that hold no style."""

import math

import pytest
import synthetic_batch
import torch
from synthetic_batch import alone

from lib.models.fastspeech2 import loss
from lib.models.fft_block import length_mask
from lib.models.mel_style import MelStyleEncoder, ReferenceSpeechError, StyleAdaptiveLayerNorms
from lib.models.stylespeech import StyleSpeech, StyleSpeechDims, positions_in_symbol

DIMS = StyleSpeechDims(
    n_symbols=20, hidden=16, filter=24, kernels=(3, 1), encoder_layers=2, decoder_layers=2, predictor_filter=16,
    style=12, style_hidden=8, max_symbols=30, max_frames=120,
)  # fmt: skip


@pytest.fixture
def model() -> StyleSpeech:
    torch.manual_seed(0)
    return StyleSpeech(DIMS).eval()


def make_batch(symbol_counts=(5, 9), seed=0) -> dict[str, torch.Tensor]:
    return synthetic_batch.make_batch(symbol_counts, seed, shortest=2)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_an_utterance_gives_the_same_output_alone_and_in_a_batch(model):
    batch = make_batch()
    together = model(batch)
    for i in range(2):
        for name, value in model(alone(batch, i)).items():
            torch.testing.assert_close(together[name][i : i + 1, : value.shape[1]], value, rtol=1e-4, atol=1e-5)


def test_what_lies_in_the_padding_changes_nothing(model):
    batch = make_batch()
    mask = length_mask(batch["frame_lengths"]).unsqueeze(-1)
    dirty = {**batch, "mel": torch.where(mask, batch["mel"], 7.0)}
    clean, spoiled = model(batch), model(dirty)
    for name in clean:
        torch.testing.assert_close(clean[name], spoiled[name])


def test_synthesis_alone_and_in_a_batch_agree(model):
    batch = make_batch()
    mel, frames = model.synthesise(batch["symbols"], batch["symbol_lengths"], batch["mel"], batch["frame_lengths"])
    for i in range(2):
        one = alone(batch, i)
        single, count = model.synthesise(one["symbols"], one["symbol_lengths"], one["mel"], one["frame_lengths"])
        assert int(count) == int(frames[i])
        torch.testing.assert_close(mel[i : i + 1, : int(count)], single, rtol=1e-4, atol=1e-5)
        assert mel[i, int(count) :].abs().sum() == 0


def test_the_reference_decides_how_a_text_sounds(model):
    batch = make_batch((6, 6))
    symbols, lengths = batch["symbols"][:1].expand(2, -1), batch["symbol_lengths"]
    batch["mel"][1] = -batch["mel"][0]
    frames = batch["frame_lengths"][:1].expand(2)
    style = model.style(batch["mel"], frames)
    assert style.shape == (2, 12) and not torch.allclose(style[0], style[1])
    encoded, _ = model.encode(symbols, lengths, model.norms.hooks(style))
    assert not torch.allclose(encoded[0], encoded[1])


def test_gradients_reach_every_parameter(model):
    batch = make_batch()
    loss(model(batch), batch)["total"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        if name != "embedding.weight" and not name.endswith("attention.key.bias"):  # softmax ignores a key's bias
            assert parameter.grad.abs().sum() > 0, name


def test_loss_falls_in_a_few_steps():
    torch.manual_seed(0)
    model, batch = StyleSpeech(DIMS), make_batch()
    losses = []
    for _ in range(8):
        total = loss(model(batch), batch)["total"]
        gradients = torch.autograd.grad(total, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.02 * gradient
        losses.append(float(total.detach()))
    assert losses[-1] < 0.95 * losses[0]


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


def test_style_adaptive_layer_norm_is_the_formula():
    torch.manual_seed(0)
    norms = StyleAdaptiveLayerNorms(["e0", "d0"], channels=6, style=4)
    style, x = torch.randn(3, 4), torch.randn(3, 5, 6)
    hooks = norms.hooks(style)
    for place, name in enumerate(["e0.attention", "e0.conv", "d0.attention", "d0.conv"]):
        for utterance in range(3):
            maps = norms.affine.weight @ style[utterance] + norms.affine.bias
            scale, shift = maps[12 * place : 12 * place + 6], maps[12 * place + 6 : 12 * place + 12]
            expected = x[utterance] * scale + shift
            torch.testing.assert_close(hooks.norm[name](x)[utterance], expected)


def test_style_adaptive_layer_norm_starts_as_a_plain_layer_norm():
    norms = StyleAdaptiveLayerNorms(["d0"], channels=6, style=4)
    x = torch.randn(2, 5, 6)
    torch.testing.assert_close(norms.hooks(torch.zeros(2, 4)).norm["d0.conv"](x), x)


def test_style_is_the_mean_over_valid_frames_only():
    torch.manual_seed(0)
    encoder = MelStyleEncoder(80, 8, 2, 5, 12, 0.0).eval()
    mel = torch.randn(1, 20, 80)
    padded = torch.nn.functional.pad(mel, (0, 0, 0, 7), value=3.0)
    whole = encoder(mel, length_mask(torch.tensor([20])))
    torch.testing.assert_close(encoder(padded, length_mask(torch.tensor([20]), 27)), whole, rtol=1e-4, atol=1e-5)


def test_positions_count_the_frames_of_each_symbol():
    position = positions_in_symbol(torch.tensor([[2, 0, 3], [1, 1, 0]]), 5)
    assert position[0].tolist() == [0, 1, 0, 1, 2]
    assert position[1, :2].tolist() == [0, 0]


def reference(frames: int, level: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((1, frames, 80), level), torch.tensor([frames])


def test_a_reference_as_long_as_the_receptive_field_is_enough(model):
    text = torch.ones(1, 4, dtype=torch.long), torch.tensor([4])
    mel, frames = model.synthesise(*text, *reference(DIMS.shortest_reference))
    assert mel.shape == (1, int(frames), 80) and torch.isfinite(mel).all()


def test_a_reference_shorter_than_the_receptive_field_is_refused(model):
    text = torch.ones(1, 4, dtype=torch.long), torch.tensor([4])
    with pytest.raises(ReferenceSpeechError, match="has 8 frames and the style encoder sees 9 at once"):
        model.synthesise(*text, *reference(8))


def test_a_silent_reference_is_refused_and_named(model):
    batch = make_batch()
    batch["mel"][1] = math.log(1e-5)
    with pytest.raises(ReferenceSpeechError, match="reference 1 of the batch is silent"):
        model.synthesise(batch["symbols"], batch["symbol_lengths"], batch["mel"], batch["frame_lengths"])


def test_the_style_of_silence_is_finite_in_training(model):
    silence, lengths = reference(3, math.log(1e-5))
    assert torch.isfinite(model.style(silence, lengths)).all()


def test_text_that_would_last_no_frame_lasts_one(model):
    torch.nn.init.constant_(model.duration.out.bias, -20.0)
    mel, frames = model.synthesise(torch.ones(1, 4, dtype=torch.long), torch.tensor([4]), *reference(20))
    assert frames.tolist() == [1] and mel.shape[1] == 1


def test_too_many_phonemes_is_one_clear_sentence(model):
    with pytest.raises(ValueError, match="31 phonemes are more than the model's 30 positions"):
        model.synthesise(torch.ones(1, 31, dtype=torch.long), torch.tensor([31]), *reference(20))


def test_too_many_frames_is_one_clear_sentence(model):
    with pytest.raises(ValueError, match="121 frames are more than the model's 120 positions"):
        model.decode(torch.randn(1, 121, 16), torch.tensor([121]), model.norms.hooks(torch.zeros(1, 12)))


def test_unknown_sizes_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown StyleSpeech sizes \['layers'\].*decoder_layers"):
        StyleSpeechDims.from_dict({"layers": 3})


def test_parameter_count_of_the_papers_sizes():
    with torch.device("meta"):
        paper = parameters(StyleSpeech(StyleSpeechDims()))
    assert paper == 26_952_275
