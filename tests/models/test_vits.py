"""The Piper voice in PyTorch against onnxruntime for the same noise, its steps, and training of its inverse."""

import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lib import text
from lib.corpora.embedded import voices
from lib.models.vits import model as vits
from lib.models.vits import weights as vits_weights
from lib.models.vits.layers import inverse_spline
from lib.pretrained import PretrainedError

PHONEMES = [text.phonemize("An old map."), text.phonemize("Yes.")]
SMALL = {"channels": 16, "latent": 8, "inner": 32, "layers": 2, "flows": 2, "flow_layers": 2, "decoder": 32}
TINY = vits.VitsDims(symbols=20, rates=(4, 4), kernels=(8, 8), **SMALL)


@pytest.fixture(scope="module")
def joe() -> vits.Vits:
    return vits.load()


@pytest.fixture(scope="module")
def tiny() -> vits.Vits:
    torch.manual_seed(0)
    return vits.Vits(TINY).eval().requires_grad_(False)


def spoken(model: vits.Vits, ids, lengths, durations, noise) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves `(batch, samples)` and frames `(batch,)` of every step, for noise `(batch, latent, frames)` or longer."""
    expanded = model.expand(model.encode(ids, lengths), durations)
    z_p = model.sample_prior(expanded, noise[:, :, : expanded.m.shape[2]])
    return model.decode(model.to_latent(z_p, expanded.lengths), expanded.lengths), expanded.lengths


@pytest.mark.parametrize(("scale", "duration_scale"), [(0.0, 0.0), (0.667, 0.8)])
def test_output_equals_onnxruntime_for_the_same_noise(joe, scale, duration_scale, record_property):
    ids, lengths, _ = joe.ids(PHONEMES[:1])
    random = np.random.default_rng(3)
    duration_noise = random.standard_normal((1, 2, ids.shape[1]), np.float32)
    noise = random.standard_normal((1, 192, 1000), np.float32)
    wave, frames = voices._joe()[0].run(
        None,
        {
            "input": ids.numpy(),
            "input_lengths": lengths.numpy(),
            "scales": np.array([scale, 1, duration_scale], np.float32),
            "duration_noise": duration_noise,
            "latent_noise": noise,
        },
    )
    with torch.no_grad():
        scaled = torch.from_numpy(duration_noise) * (duration_scale / vits.DURATION_NOISE_SCALE)
        durations = joe.durations(joe.encode(ids, lengths), scaled)
        waves, _ = spoken(joe, ids, lengths, durations, torch.from_numpy(noise) * (scale / vits.NOISE_SCALE))
    ours = waves[0].numpy()
    np.testing.assert_array_equal(durations[0], frames.ravel())
    error = float(np.abs(ours - wave.ravel()).max())
    record_property("largest_error", error)
    print(f"largest error of {len(ours)} samples at noise {scale}, {duration_scale}: {error:.1e}")
    assert np.abs(wave).max() > 0.1
    assert error < 1e-3


def test_ids_are_those_the_corpus_speaks(joe):
    _, id_map = voices._joe()
    assert joe.id_map == id_map
    ids, owner = vits_weights.spell("|aɪ|".replace("aɪ", "I"), id_map)
    assert ids == [1, 0, *id_map["a"], 0, *id_map["ɪ"], 0, 2]
    assert owner == [0, 0, 1, 1, 1, 1, 2]


def test_waves_end_with_the_frames(joe):
    ids, lengths, _ = joe.ids(PHONEMES[:1])
    torch.manual_seed(0)
    with torch.no_grad():
        durations = joe.durations(joe.encode(ids, lengths), torch.randn(1, 2, ids.shape[1]))
        waves, frames = spoken(joe, ids, lengths, durations, torch.randn(1, 192, 1000))
    assert waves.shape == (1, int(frames[0]) * 256)
    assert int(durations.sum()) == int(frames[0])
    assert joe.dims.hop == 256 and joe.dims.rate == 22050


def test_an_utterance_does_not_depend_on_its_batch(tiny):
    torch.manual_seed(2)
    ids, lengths = torch.randint(0, 20, (2, 9)), torch.tensor([9, 5])
    noise, duration_noise, durations = torch.randn(2, 8, 40), torch.randn(2, 2, 9), torch.randint(1, 5, (2, 9))
    durations[1, 5:] = 7  # after the utterance: not counted
    frames = [int(durations[0].sum()), int(durations[1, :5].sum())]
    both, counted = spoken(tiny, ids, lengths, durations, noise)
    alone, _ = spoken(tiny, ids[1:, :5], lengths[1:], durations[1:, :5], noise[1:])
    assert counted.tolist() == frames and frames[1] < frames[0]
    samples = frames[1] * 16
    torch.testing.assert_close(both[1, :samples], alone[0], atol=1e-5, rtol=1e-5)
    assert both[1, samples:].abs().max() == 0
    predicted = [
        tiny.durations(tiny.encode(ids, lengths), duration_noise)[1, :5],
        tiny.durations(tiny.encode(ids[1:, :5], lengths[1:]), duration_noise[1:, :, :5])[0],
    ]
    assert predicted[0].tolist() == predicted[1].tolist()


def test_gradients_reach_the_latent_and_the_prior_through_frozen_weights(tiny):
    ids, lengths = torch.randint(0, 20, (1, 6)), torch.tensor([6])
    z = torch.randn(1, 8, 10, requires_grad=True)
    tiny.decode(z).square().sum().backward()
    assert (z.grad.abs().sum(1) > 0).all()
    prior = tiny.encode(ids, lengths)
    m = prior.m.clone().requires_grad_()
    expanded = tiny.expand(vits.Prior(prior.hidden, m, prior.logs, lengths), torch.full((1, 6), 2))
    z_p = tiny.sample_prior(expanded, torch.zeros_like(expanded.m))
    tiny.to_latent(z_p, expanded.lengths).square().sum().backward()
    assert (m.grad.abs().sum(1) > 0).all()
    assert all(p.grad is None for p in tiny.parameters())


def test_spline_is_inverted():
    """The forward spline is written here from equation 4 of Durkan et al., in float64."""
    torch.manual_seed(0)
    y = torch.linspace(-6, 6, 97, dtype=torch.float64)
    widths, heights, slopes = (torch.randn(10 - (i == 2), dtype=torch.float64) for i in range(3))
    x = inverse_spline(y, *(part.expand(97, -1) for part in (widths, heights, slopes)))

    def knots(logits):
        return torch.cat([torch.zeros(1), (0.001 + 0.99 * logits.softmax(0)).cumsum(0)]) * 10 - 5

    x_k, y_k = knots(widths), knots(heights)
    d = torch.cat([torch.ones(1), 0.001 + F.softplus(slopes), torch.ones(1)])
    for value, expected in zip(x, y, strict=True):
        if abs(float(expected)) > 5:
            assert value == expected
            continue
        k = min(int((value >= x_k[1:-1]).sum()), 9)
        s, t = (y_k[k + 1] - y_k[k]) / (x_k[k + 1] - x_k[k]), (value - x_k[k]) / (x_k[k + 1] - x_k[k])
        top = (y_k[k + 1] - y_k[k]) * (s * t**2 + d[k] * t * (1 - t))
        assert y_k[k] + top / (s + (d[k + 1] + d[k] - 2 * s) * t * (1 - t)) == pytest.approx(float(expected), abs=1e-6)


def test_posterior_encoder_has_the_authors_shapes_and_a_frame_per_frame():
    encoder = vits.PosteriorEncoder(layers=2)
    magnitudes = vits.spectrogram(torch.randn(2, 12 * 256) * 0.1)
    assert magnitudes.shape == (2, 513, 12)
    m, logs = encoder(magnitudes, torch.tensor([12, 7]))
    assert m.shape == logs.shape == (2, 192, 12)
    assert m[1, :, 7:].abs().max() == 0
    alone, _ = encoder(magnitudes[1:, :, :7], torch.tensor([7]))
    torch.testing.assert_close(m[1:, :, :7], alone, atol=1e-5, rtol=1e-5)


def test_a_few_steps_lower_the_inversion_loss():
    dims = vits.VitsDims(channels=16, latent=8, inner=32, layers=1, flows=1, flow_layers=1, decoder=16)
    torch.manual_seed(0)
    model = vits.Vits(dims).eval().requires_grad_(False)
    model.decoder.conv_post.weight.mul_(30)  # an untrained decoder is almost silent
    encoder = vits.PosteriorEncoder(8, 32, layers=2)
    optimiser = torch.optim.Adam(encoder.parameters(), 3e-3)
    z, frames = torch.randn(4, 8, 12), torch.tensor([12, 12, 12, 12])
    waves, values = model.decode(z, frames), []
    for _ in range(20):
        loss = vits.inversion_loss(model, encoder, z, frames, waves)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.97 * values[0]


def test_missing_and_damaged_voices_are_told_in_one_sentence(tmp_path):
    with pytest.raises(PretrainedError, match="The voice is not at .*other.onnx: give a Piper .onnx file"):
        vits.load(tmp_path / "other.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(vits_weights.find().path.read_bytes()[:100_000])
    with pytest.raises(vits.VitsError, match="damaged.onnx cannot be read as ONNX"):
        vits.load(damaged)
    lonely = tmp_path / "lonely.onnx"
    shutil.copy(vits_weights.find().path, lonely)
    with pytest.raises(vits.VitsError, match="lonely.onnx.json is missing or damaged"):
        vits.load(lonely)


def test_an_onnx_file_that_is_no_voice_is_refused(tmp_path):
    import onnx

    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "empty.onnx")
    (tmp_path / "empty.onnx.json").write_text('{"phoneme_id_map": {}, "audio": {"sample_rate": 22050}}')
    with pytest.raises(vits.VitsError, match="give a single-speaker VITS voice"):
        vits.load(tmp_path / "empty.onnx")


def test_input_that_cannot_be_spoken_is_told_in_one_sentence(joe, tiny):
    with pytest.raises(
        vits.VitsError, match=r"The latent has shape \(1, 7, 5\): this voice needs \(batch, 8, frames\)"
    ):
        tiny.decode(torch.zeros(1, 7, 5))
    with pytest.raises(vits.VitsError, match="nothing to speak"):
        joe.ids(["||"])
    with pytest.raises(vits.VitsError, match="has no symbol 'ж'"):
        joe.ids(["|ж|"])
    with pytest.raises(vits.VitsError, match="too short for a spectrogram"):
        vits.spectrogram(torch.zeros(1, 300))
