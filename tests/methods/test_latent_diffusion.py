"""Palette and I2SB against numerical Gaussians, guidance and masks of the sampler, and two-dimensional toys."""

import math

import pytest
import torch

from lib.methods.latent_diffusion import I2SB, DiffusionError, LatentDiffusion, Palette, strided
from lib.models.denoiser import Denoiser, DenoiserDims

DIMS = DenoiserDims(latent=3, condition=5, channels=16, levels=1, blocks=1, heads=2)
PROCESSES = [Palette(steps=50), Palette(steps=50, schedule="linear"), I2SB(steps=50), I2SB(steps=51)]
PREDICTIONS = [Palette(prediction=name) for name in ("noise", "x0", "v")] + [
    I2SB(prediction=name) for name in ("noise", "x0")
]


def times(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def awake(model: LatentDiffusion) -> LatentDiffusion:
    """Fill the weights that start at zero, so that every path of the network is heard."""
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture
def model() -> LatentDiffusion:
    torch.manual_seed(0)
    return awake(LatentDiffusion(Palette(steps=20), DIMS))


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_palette_sample_has_the_moments_of_its_steps_one_by_one(schedule):
    """x_t = sqrt(1 - b) x_(t-1) + sqrt(b) e, step after step, against the closed form."""
    process = Palette(steps=40, schedule=schedule)
    mean, variance = 1.5, 0.0
    for t in range(1, 31):
        keep = float(process.signal[t] / process.signal[t - 1])
        mean, variance = keep**0.5 * mean, keep * variance + 1 - keep
    noise = torch.randn(1, 1, 200_000, generator=torch.Generator().manual_seed(0))
    x_t, target = process.q_sample(torch.full_like(noise, 1.5), noise, times(30), noise)
    assert x_t.mean().item() == pytest.approx(mean, abs=0.01)
    assert x_t.var().item() == pytest.approx(variance, abs=0.01)
    assert target is noise


@pytest.mark.parametrize("steps", [50, 1000])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_palette_goes_from_the_data_to_noise(steps, schedule):
    signal = Palette(steps, schedule).signal
    assert signal[0] == 1
    assert (signal.diff() < 0).all()
    assert 1e-3 < signal[-1] < 1.1e-3
    assert 0 < Palette(steps, schedule, least=0).signal[-1] < 1e-4


def test_bridge_sample_has_the_moments_of_a_pinned_walk():
    """A random walk with the bridge's rates from x_0, conditioned on its end: by joint Gaussian moments."""
    process = I2SB(steps=20)
    forward, _ = process.variances
    s_t, s_end = float(forward[7]), float(forward[-1])
    gain = s_t / s_end  # cov(x_t, x_T) / var(x_T)
    mean, variance = 2.0 + gain * (-1.0 - 2.0), s_t - gain * s_t
    noise = torch.randn(1, 1, 200_000, generator=torch.Generator().manual_seed(0))
    x_0 = torch.full_like(noise, 2.0)
    x_t, target = process.q_sample(x_0, torch.full_like(noise, -1.0), times(7), noise)
    assert x_t.mean().item() == pytest.approx(mean, abs=2e-3)
    assert x_t.var().item() == pytest.approx(variance, rel=0.02)
    torch.testing.assert_close(target * s_t**0.5, x_t - x_0)


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
def test_bridge_ends_are_exact_and_its_rates_symmetric(steps):
    process = I2SB(steps)
    x_0, z_text, noise = torch.randn(3, 2, 4, 6)
    torch.testing.assert_close(process.q_sample(x_0, z_text, times(0, 0), noise)[0], x_0, rtol=0, atol=0)
    torch.testing.assert_close(process.q_sample(x_0, z_text, times(steps, steps), noise)[0], z_text, rtol=0, atol=0)
    betas = process.variances[0].diff()
    assert len(betas) == steps
    torch.testing.assert_close(betas, betas.flip(0))
    assert betas.argmax() in ((steps - 1) // 2, steps // 2)
    assert process.start(z_text, noise) is z_text


def density(x, mean, variance):
    return torch.exp(-0.5 * (x - mean) ** 2 / variance) / variance**0.5


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(("t", "s"), [(20, 19), (40, 10)])
def test_posterior_is_the_product_of_gaussians_on_a_grid(process, t, s):
    """p(x_s | x_0, x_t) is proportional to p(x_s | x_0) p(x_t | x_s); t - s > 1 is a strided step."""
    x_0, x_t = 0.7, -0.4
    grid = torch.linspace(-6, 6, 120_001, dtype=torch.float64)
    if isinstance(process, Palette):
        a_t, a_s = process.signal[t], process.signal[s]
        product = density(grid, a_s.sqrt() * x_0, 1 - a_s) * density(x_t, (a_t / a_s).sqrt() * grid, 1 - a_t / a_s)
    else:
        v = process.variances[0]
        product = density(grid, x_0, v[s]) * density(x_t, grid, v[t] - v[s])
    product /= product.sum()
    mean = (grid * product).sum()
    variance = ((grid - mean) ** 2 * product).sum()
    got, deviation = process.posterior(torch.full((1, 1, 1), x_0), torch.full((1, 1, 1), x_t), times(t), times(s))
    assert got.item() == pytest.approx(mean.item(), abs=1e-4)
    assert deviation.item() ** 2 == pytest.approx(variance.item(), rel=1e-3)


@pytest.mark.parametrize("process", [*PROCESSES, *PREDICTIONS])
def test_estimate_undoes_the_sample_and_the_last_posterior_is_the_estimate(process):
    x_0, z_text, noise = torch.randn(3, 2, 4, 6)
    x_t, target = process.q_sample(x_0, z_text, times(10, 30), noise)
    torch.testing.assert_close(process.estimate(x_t, times(10, 30), target), x_0, atol=1e-4, rtol=1e-4)
    mean, deviation = process.posterior(x_0, x_t, times(10, 30), times(0, 0))
    torch.testing.assert_close(mean, x_0, atol=1e-5, rtol=1e-5)
    assert deviation.abs().max() < 1e-3


@pytest.mark.parametrize("t", [1, 20, 400, 990, 1000])
def test_predictions_are_sides_of_one_rotation(t):
    """By angles, one number at a time: x_t = cos(p) x_0 + sin(p) e and v = cos(p) e - sin(p) x_0 = dx_t / dp."""
    x_0, noise = torch.randn(2, 1, 3, 5)
    angle = math.acos(math.sqrt(float(Palette().signal[t])))
    found = {process.prediction: process.q_sample(x_0, x_0, times(t), noise) for process in PREDICTIONS[:3]}
    for i, (clean, e) in enumerate(zip(x_0.flatten().tolist(), noise.flatten().tolist(), strict=True)):
        x_t = math.cos(angle) * clean + math.sin(angle) * e
        step = math.cos(angle + 1e-6) * clean + math.sin(angle + 1e-6) * e
        wanted = {"noise": e, "x0": clean, "v": (step - x_t) / 1e-6}
        for name, (sample, target) in found.items():
            assert sample.flatten()[i].item() == pytest.approx(x_t, abs=1e-5)
            assert target.flatten()[i].item() == pytest.approx(wanted[name], abs=1e-4)


def knowing(process: Palette | I2SB, middle: float, deviation: float) -> LatentDiffusion:
    """A diffusion whose network is the exact mean of its target where x_0 (Palette) or x_0 - z_text is Gaussian.

    x_t is that Gaussian number times a gain, plus noise: the mean is the precision-weighted one of both.
    """
    model = LatentDiffusion(process, DenoiserDims(latent=1, condition=1, channels=16, levels=1, blocks=1, heads=2))

    def exact(x_t, z_text, time, condition, frames):
        t = int((time[0] * process.steps).round())
        if isinstance(process, Palette):
            gain, variance, offset = process.signal[t].sqrt(), 1 - process.signal[t], 0.0
        else:
            s, r = (part[t] for part in process.variances)
            gain, variance, offset = r / (s + r), s * r / (s + r), z_text
        gained, doubt = deviation**2 * gain, deviation**2 * gain**2 + variance
        x_0 = offset + middle + (gained / doubt * (x_t - offset - gain * middle) if doubt else 0.0)
        if process.prediction == "x0":
            return x_0.float()
        if isinstance(process, I2SB):
            return ((x_t - x_0) / s.sqrt()).float()
        noise = (x_t - gain * x_0) / variance.sqrt()
        return (noise if process.prediction == "noise" else gain * noise - variance.sqrt() * x_0).float()

    model.network.forward = exact
    return model.eval()


@pytest.mark.parametrize("process", PREDICTIONS)
def test_samples_of_an_exact_network_are_the_gaussian_that_it_knows(process):
    z_text, frames = torch.full((1, 1, 4000), -1.0), times(4000)
    sampled = knowing(process, 0.5, 0.4).sample(z_text, frames, steps=200, seed=2)
    middle = 0.5 if isinstance(process, Palette) else -0.5
    assert sampled.mean().item() == pytest.approx(middle, abs=0.03)
    assert sampled.std().item() == pytest.approx(0.4, rel=0.05)
    few, same = (knowing(p, 0.5, 0.4).sample(z_text, frames, steps=5, seed=2) for p in (process, type(process)()))
    torch.testing.assert_close(few, same, atol=2e-3, rtol=1e-3)


def test_a_prediction_that_a_process_does_not_have_is_refused():
    with pytest.raises(DiffusionError, match="I2SB has no prediction 'v': choose noise, x0"):
        I2SB(prediction="v")
    with pytest.raises(DiffusionError, match="Palette has no prediction 'score': choose noise, x0, v"):
        Palette(prediction="score")


def test_ddim_without_noise_keeps_the_noise_of_the_sample():
    """With the true x_0, the deterministic step leads to q_sample of the same noise (Song et al. 2021)."""
    process = Palette(steps=50)
    x_0, noise = torch.randn(2, 1, 4, 6)
    x_t, _ = process.q_sample(x_0[None][0], x_0, times(40), noise)
    mean, deviation = process.posterior(x_0, x_t, times(40), times(10), eta=0.0)
    torch.testing.assert_close(mean, process.q_sample(x_0, x_0, times(10), noise)[0], atol=1e-5, rtol=1e-4)
    assert deviation == 0


def test_strided_times_are_even_and_end_at_both_ends():
    assert strided(1000, 4) == [1000, 750, 500, 250, 0]
    assert strided(5, 5) == [5, 4, 3, 2, 1, 0]
    every = strided(50, 37)
    assert len(set(every)) == 38 and sorted(every, reverse=True) == every
    with pytest.raises(DiffusionError, match="51 sampling steps are not possible: choose 1 to 50"):
        strided(50, 51)


def test_guidance_one_is_conditional_zero_unconditional_and_between_linear(model):
    x, z_text, condition = torch.randn(2, 3, 8), torch.randn(2, 3, 8), torch.randn(2, 5)
    t, frames = times(7, 7), times(8, 8)
    given = model.network(x, z_text, t / 20, condition, frames)
    without = model.network(x, z_text, t / 20, model.network.null.expand(2, -1), frames)
    assert (given - without).abs().max() > 1e-3
    assert torch.equal(model.predict(x, z_text, t, frames, condition, 1.0), given)
    assert torch.equal(model.predict(x, z_text, t, frames, condition, 0.0), without)
    assert torch.equal(model.predict(x, z_text, t, frames, None, 3.0), without)
    for w in (0.999999, 1e-6, 3.0):
        guided = model.predict(x, z_text, t, frames, condition, w)
        torch.testing.assert_close(guided, without + w * (given - without), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("process", [Palette(steps=20), I2SB(steps=20)])
def test_samples_with_guidance_zero_ignore_the_condition_and_with_one_follow_it(process):
    torch.manual_seed(0)
    model = awake(LatentDiffusion(process, DIMS))
    z_text, frames, (one, other) = torch.randn(1, 3, 8), times(8), torch.randn(2, 1, 5)
    options = {"steps": 4, "seed": 1}
    free = model.sample(z_text, frames, None, **options)
    assert torch.equal(model.sample(z_text, frames, one, guidance=0.0, **options), free)
    assert not torch.allclose(
        model.sample(z_text, frames, one, **options), model.sample(z_text, frames, other, **options)
    )


@pytest.mark.parametrize("dims", [DIMS, DenoiserDims(latent=3, condition=5, channels=16, levels=2, blocks=2, heads=2)])
def test_masked_frames_do_not_influence_valid_ones(dims):
    torch.manual_seed(0)
    network = awake(Denoiser(dims))
    x, z_text, condition = torch.randn(2, 3, 17), torch.randn(2, 3, 17), torch.randn(2, 5)
    frames, time = times(17, 13), torch.tensor([0.3, 0.3])
    out = network(x, z_text, time, condition, frames)
    x[1, :, 13:], z_text[1, :, 13:] = 1e6, float("nan")
    torch.testing.assert_close(network(x, z_text, time, condition, frames), out, rtol=0, atol=0)
    alone = network(x[1:, :, :13], z_text[1:, :, :13], time[1:], condition[1:], frames[1:])
    torch.testing.assert_close(out[1:, :, :13], alone, atol=1e-5, rtol=1e-5)
    assert out[1, :, 13:].abs().max() == 0
    assert out[0].abs().max() > 0.01


@pytest.mark.parametrize("process", [Palette(steps=20), I2SB(steps=20)])
def test_loss_counts_valid_frames_only(process):
    torch.manual_seed(0)
    model = awake(LatentDiffusion(process, DIMS))
    batch = {"z_text": torch.randn(2, 3, 12), "z_audio": torch.randn(2, 3, 12), "condition": torch.randn(2, 5)}
    batch["frames"] = times(12, 7)
    torch.manual_seed(1)
    before = model.loss(batch)["total"]
    batch["z_audio"][1, :, 7:], batch["z_text"][1, :, 7:] = 99.0, -99.0
    torch.manual_seed(1)
    torch.testing.assert_close(model.loss(batch)["total"], before)


def test_a_network_that_starts_at_zero_has_the_loss_of_its_noise():
    torch.manual_seed(0)
    model = LatentDiffusion(Palette(), DIMS)
    z = torch.randn(8, 3, 400)
    loss = model.loss({"z_text": z, "z_audio": z, "frames": torch.full((8,), 400), "condition": torch.randn(8, 5)})
    assert loss["total"].item() == pytest.approx(1.0, abs=0.1)


def test_dropped_conditions_train_the_null_and_kept_ones_do_not():
    for share, expected in ((1.0, True), (0.0, False)):
        torch.manual_seed(0)
        model = awake(LatentDiffusion(I2SB(steps=10), DIMS, drop_condition=share))
        batch = {"z_text": torch.randn(2, 3, 8), "z_audio": torch.randn(2, 3, 8), "frames": times(8, 8)}
        model.loss(batch | {"condition": torch.randn(2, 5)})["total"].backward()
        assert bool(model.network.null.grad.abs().sum() > 0) == expected


def test_the_seed_alone_decides_a_sample_and_a_trajectory_ends_in_it(model):
    z_text, frames, condition = torch.randn(2, 3, 9), times(9, 6), torch.randn(2, 5)
    first = model.sample(z_text, frames, condition, steps=5, seed=3)
    torch.manual_seed(99)
    path = list(model.trajectory(z_text, frames, condition, steps=5, seed=3))
    assert [t for t, _, _ in path] == [20, 16, 12, 8, 4, 0]
    assert torch.equal(path[-1][1], first) and torch.equal(path[-1][2], first)
    assert not torch.equal(model.sample(z_text, frames, condition, steps=5, seed=4), first)
    assert first[1, :, 6:].abs().max() == 0


def test_a_bridge_starts_at_the_text_and_an_untrained_one_stays_there():
    model = LatentDiffusion(I2SB(steps=20), DIMS).eval()
    z_text = torch.randn(1, 3, 8)
    path = list(model.trajectory(z_text, times(8), torch.randn(1, 5), steps=4, eta=0.0))
    for _, z, _ in path:
        torch.testing.assert_close(z, z_text, atol=1e-5, rtol=1e-5)


def test_latents_are_scaled_for_the_network_and_back():
    model = LatentDiffusion(I2SB(steps=20), DIMS).eval()
    latents = [5 + 3 * torch.randn(3, 60), 5 + 3 * torch.randn(3, 40)]
    model.set_scale(latents)
    assert model.mean.flatten().tolist() == pytest.approx([5] * 3, abs=1.5)
    sampled = model.sample(latents[0][None], times(60), steps=2, eta=0.0)
    torch.testing.assert_close(sampled, latents[0][None], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("process", "eta", "allowed"), [(Palette(steps=100), 1.0, 0.6), (I2SB(steps=100), 1.0, 0.3), (I2SB(100), 0.0, 0.3)]
)
def test_a_toy_in_two_dimensions_learns_where_the_condition_points(process, eta, allowed):
    """z_audio is z_text moved by plus or minus the condition's direction; a sample must move the same way."""
    torch.manual_seed(0)
    dims = DenoiserDims(latent=2, condition=1, channels=16, levels=1, blocks=1, heads=2)
    model = LatentDiffusion(process, dims)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    frames = torch.full((32,), 8)
    for _ in range(150):
        sign = torch.randint(0, 2, (32, 1)).float() * 2 - 1
        z_text = torch.randn(32, 2, 1).expand(-1, -1, 8) * 0.3
        batch = {"z_text": z_text, "z_audio": z_text + sign[:, :, None], "frames": frames, "condition": sign}
        optimiser.zero_grad()
        model.loss(batch)["total"].backward()
        optimiser.step()
    model.eval()
    moved = model.sample(z_text, frames, sign, steps=10, eta=eta) - z_text
    missed = (moved - sign[:, :, None]).abs().mean()
    assert missed < allowed  # staying at z_text misses by 1
    stronger = model.sample(z_text, frames, sign, steps=10, eta=eta, guidance=2.0) - z_text
    assert (stronger * sign[:, :, None]).mean() > (moved * sign[:, :, None]).mean()


def test_bad_latents_and_conditions_are_told_in_one_sentence(model):
    z, frames, condition = torch.randn(2, 3, 8), times(8, 8), torch.randn(2, 5)
    with pytest.raises(DiffusionError, match=r"has shape \(2, 4, 8\): this model was made for \(batch, 3, frames\)"):
        model.sample(torch.randn(2, 4, 8), frames, condition)
    with pytest.raises(DiffusionError, match="Utterance 1 has 5 latent frames, fewer than .* give at least 6"):
        model.sample(z, times(8, 5), condition)
    with pytest.raises(DiffusionError, match="has 8 frames and .* shall be valid"):
        model.sample(z, times(8, 9), condition)
    with pytest.raises(DiffusionError, match="give one vector of 5 for each of 2 utterances"):
        model.sample(z, frames, torch.randn(2, 4))
    with pytest.raises(DiffusionError, match="condition vector has NaN"):
        model.sample(z, frames, condition * float("nan"))
    with pytest.raises(DiffusionError, match="differ: align them first"):
        model.loss({"z_text": z, "z_audio": z[:, :, :7], "frames": frames, "condition": condition})
    with pytest.raises(DiffusionError, match="no noise schedule 'quadratic': choose cosine or linear"):
        model.process.__class__(schedule="quadratic").signal  # noqa: B018
    z[1, 0, 3] = float("inf")
    with pytest.raises(DiffusionError, match="Utterance 1 has NaN or infinite numbers in its latent"):
        model.sample(z, frames, condition)


def test_nan_in_sampling_names_the_step_and_the_guidance(model):
    torch.nn.init.constant_(model.network.leave.bias, float("nan"))
    with pytest.raises(DiffusionError, match="became NaN in sampling at step 20 of 20 with guidance 3: lower"):
        model.sample(torch.randn(1, 3, 8), times(8), torch.randn(1, 5), guidance=3.0, steps=4)
