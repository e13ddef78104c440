"""Diffusion from a text's latent z_text to a recording's, z_audio, in a frozen VITS (arXiv 2311.10804).

Two processes over t = 0 .. T with x_0 = z_audio, and a network e(x_t, t, z_text, c) that is trained with an MSE:

`Palette` (Saharia et al. 2022, arXiv 2111.05826): x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e; sampling starts at noise.
`I2SB` (Liu et al. 2023, arXiv 2302.05872): a Schroedinger bridge between x_0 and x_T = z_text, with accumulated
variances s_t^2 from 0 to t and r_t^2 from t to T; sampling starts at z_text.

What the network estimates is the process's `prediction`: the noise as in the paper, x_0 itself, or for Palette their
rotation v = sqrt(a_t) e - sqrt(1 - a_t) x_0 (Salimans & Ho 2022, arXiv 2202.00512, section 4). An error of a noise
estimate is sqrt((1 - a_t) / a_t) times as large in Palette's x_0: about 30 times at the start.

z_text is the network's input beside x_t in both. c is the condition vector; classifier-free guidance of scale w uses
e(no c) + w (e(c) - e(no c)): 1 is the conditional estimate, 0 the unconditional one (Ho & Salimans 2022).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.models.denoiser import Denoiser, DenoiserDims
from lib.models.fft_block import length_mask


class DiffusionError(ValueError):
    """Latents, conditions or checkpoints that a diffusion model cannot take, or a sampling that left the numbers."""


def _per_item(values: Tensor, t: Tensor) -> Tensor:
    """values[t] as `(batch, 1, 1)` on t's device."""
    return values.to(t.device)[t].float().view(-1, 1, 1)


def _check_prediction(process: "Palette | I2SB", known: tuple[str, ...]) -> None:
    if process.prediction not in known:
        raise DiffusionError(
            f"{type(process).__name__} has no prediction {process.prediction!r}: choose {', '.join(known)}."
        )


@dataclass(frozen=True)
class Palette:
    """Denoising diffusion (Ho et al. 2020): `signal[t]` is a_t (alpha-bar), 1 at t = 0.

    Published schedules end at an a_T below 1e-4, where an error of the noise estimate is more than a hundred times
    as large in x_0, too much for a short training. Here a_t is mixed with a constant so that a_T is about `least`.
    """

    steps: int = 1000
    schedule: str = "cosine"  # "cosine" (Nichol & Dhariwal 2021) or "linear" (Ho et al. 2020)
    least: float = 1e-3  # 0 gives the published schedule
    prediction: str = "noise"  # what the network estimates: "noise" (the paper's), "x0" or "v"

    def __post_init__(self):
        _check_prediction(self, ("noise", "x0", "v"))

    @property
    def signal(self) -> Tensor:
        """a_t for t = 0 .. T, `(T + 1,)` float64."""
        if self.schedule == "linear":
            scale = 1000 / self.steps
            betas = torch.linspace(1e-4 * scale, 0.02 * scale, self.steps, dtype=torch.float64)
        elif self.schedule == "cosine":
            at = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
            curve = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
            betas = 1 - curve[1:] / curve[:-1]
        else:
            raise DiffusionError(f"There is no noise schedule {self.schedule!r}: choose cosine or linear.")
        published = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas.clamp_max(0.999)).cumprod(0)])
        return self.least + (1 - self.least) * published

    def q_sample(self, x_0: Tensor, z_text: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x_t of x_0 at steps t `(batch,)` (Ho et al., equation 4), and what the network shall estimate."""
        a = _per_item(self.signal, t)
        x_t = a.sqrt() * x_0 + (1 - a).sqrt() * noise
        if self.prediction == "v":
            return x_t, a.sqrt() * noise - (1 - a).sqrt() * x_0
        return x_t, x_0 if self.prediction == "x0" else noise

    def estimate(self, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """x_0 from x_t and the network's output."""
        a = _per_item(self.signal, t)
        if self.prediction == "v":
            return a.sqrt() * x_t - (1 - a).sqrt() * output
        return output if self.prediction == "x0" else (x_t - (1 - a).sqrt() * output) / a.sqrt()

    def posterior(self, x_0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x_s given x_t and x_0, for s < t (Song et al. 2021, equation 7).

        eta 1 is the DDPM posterior q(x_s | x_t, x_0), also over several steps at once; eta 0 is DDIM.
        """
        a_t, a_s = _per_item(self.signal, t), _per_item(self.signal, s)
        variance = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
        noise = (x_t - a_t.sqrt() * x_0) / (1 - a_t).sqrt()
        return a_s.sqrt() * x_0 + (1 - a_s - variance).clamp_min(0).sqrt() * noise, variance.sqrt()

    def start(self, z_text: Tensor, noise: Tensor) -> Tensor:
        """x_T."""
        return noise


@dataclass(frozen=True)
class I2SB:
    """Schroedinger bridge between x_0 and x_T = z_text with rates that are symmetric in time.

    Square roots of the rates run linearly from the ends to the middle, as in the authors' code, where beta_min is
    0.1 and beta_max 0.3.
    """

    steps: int = 1000
    beta_min: float = 0.1
    beta_max: float = 0.3
    prediction: str = "noise"  # what the network estimates: "noise" (the paper's) or "x0"

    def __post_init__(self):
        _check_prediction(self, ("noise", "x0"))

    @property
    def variances(self) -> tuple[Tensor, Tensor]:
        """s_t^2 and r_t^2 for t = 0 .. T, each `(T + 1,)` float64 (Liu et al., below equation 11)."""
        roots = torch.linspace(self.beta_min**0.5, self.beta_max**0.5, self.steps, dtype=torch.float64)
        half = roots[: (self.steps + 1) // 2] ** 2 / self.steps
        betas = torch.cat([half, half.flip(0)[self.steps % 2 :]])
        forward = torch.cat([torch.zeros(1, dtype=torch.float64), betas.cumsum(0)])
        return forward, forward.flip(0)

    def q_sample(self, x_0: Tensor, z_text: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x_t of the bridge at steps t `(batch,)` (equation 11) and the target: (x_t - x_0) / s_t (12), or x_0.

        At t = 0 and t = T x_t is x_0 and z_text exactly; the target is for t > 0.
        """
        s, r = (_per_item(part, t) for part in self.variances)
        x_t = r / (s + r) * x_0 + s / (s + r) * z_text + (s * r / (s + r)).sqrt() * noise
        return x_t, x_0 if self.prediction == "x0" else (x_t - x_0) / s.sqrt().clamp_min(1e-12)

    def estimate(self, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """x_0 from x_t and the network's output."""
        return output if self.prediction == "x0" else x_t - _per_item(self.variances[0], t).sqrt() * output

    def posterior(self, x_0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x_s given x_t and x_0, for s < t (equation 4); eta scales the latter."""
        v_t, v_s = (_per_item(self.variances[0], step) for step in (t, s))
        between = v_t - v_s
        return (between * x_0 + v_s * x_t) / v_t, eta * (v_s * between / v_t).sqrt()

    def start(self, z_text: Tensor, noise: Tensor) -> Tensor:
        """x_T."""
        return z_text


PROCESSES = {"palette": Palette, "i2sb": I2SB}


def strided(steps: int, count: int) -> list[int]:
    """`count` + 1 times from `steps` down to 0, as evenly spaced as whole numbers allow."""
    if not 1 <= count <= steps:
        raise DiffusionError(f"{count} sampling steps are not possible: choose 1 to {steps}.")
    return [round(steps * (count - i) / count) for i in range(count + 1)]


class LatentDiffusion(nn.Module):
    """A process, its denoiser and the scale of the latents; z_text and z_audio are given and returned unscaled."""

    def __init__(self, process: Palette | I2SB, dims: DenoiserDims, drop_condition: float = 0.1):
        """drop_condition: the share of training utterances whose condition is replaced by the learned null."""
        super().__init__()
        self.process, self.dims, self.drop_condition = process, dims, drop_condition
        self.network = Denoiser(dims)
        self.register_buffer("mean", torch.zeros(dims.latent, 1))
        self.register_buffer("std", torch.ones(dims.latent, 1))

    def set_scale(self, latents: list[Tensor]) -> None:
        """Mean and standard deviation of every channel from training latents, each `(latent, frames)`."""
        every = torch.cat(latents, 1)
        self._check(every.unsqueeze(0), torch.tensor([every.shape[1]]))
        self.mean.copy_(every.mean(1, keepdim=True))
        self.std.copy_(every.std(1, keepdim=True).clamp_min(1e-3))

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """MSE of the network's estimate over valid frames, as "total".

        batch: z_text and z_audio `(batch, latent, frames)` of equal length, frames `(batch,)` and condition
        `(batch, condition)`. Time, noise and dropped conditions come from torch's generator.
        """
        z_text, z_audio, frames = batch["z_text"], batch["z_audio"], batch["frames"]
        if z_text.shape != z_audio.shape:
            raise DiffusionError(
                f"z_text {tuple(z_text.shape)} and z_audio {tuple(z_audio.shape)} differ: align them first."
            )
        mask = self._check(z_audio, frames)
        x_0, x_1 = self._scaled(z_audio, mask), self._scaled(z_text, mask)
        t = torch.randint(1, self.process.steps + 1, (len(frames),), device=x_0.device)
        x_t, target = self.process.q_sample(x_0, x_1, t, torch.randn_like(x_0))
        condition = self._condition(batch["condition"], len(frames))
        dropped = torch.rand(len(frames), 1, device=x_0.device) < self.drop_condition
        condition = torch.where(dropped, self.network.null, condition)
        estimate = self.network(x_t, x_1, t / self.process.steps, condition, frames)
        error = ((estimate - target) ** 2).masked_fill(~mask, 0.0)
        return {"total": error.sum() / (mask.sum() * self.dims.latent)}

    def predict(
        self, x_t: Tensor, z_text: Tensor, t: Tensor, frames: Tensor, condition: Tensor | None, guidance: float
    ) -> Tensor:
        """The guided estimate for scaled x_t and z_text; without a condition, the unconditional one."""
        time = t / self.process.steps
        null = self.network.null.expand(len(frames), -1)
        if condition is None or guidance == 0:
            return self.network(x_t, z_text, time, null, frames)
        if guidance == 1:
            return self.network(x_t, z_text, time, condition, frames)
        both = [torch.cat([part, part]) for part in (x_t, z_text, time)]
        without, given = self.network(*both, torch.cat([null, condition]), frames.repeat(2)).chunk(2)
        return without + guidance * (given - without)

    @torch.no_grad()
    def trajectory(
        self,
        z_text: Tensor,
        frames: Tensor,
        condition: Tensor | None = None,
        *,
        guidance: float = 1.0,
        steps: int = 50,
        eta: float = 1.0,
        clip: float = 4.0,
        seed: int = 0,
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield (t, x_t, estimate of x_0) from t = T, where there is no estimate yet and x_t stands for it, to 0.

        z_text `(batch, latent, frames)`; condition `(batch, condition)`. `steps` below the process's own are
        strided; eta 1 is ancestral sampling, 0 the deterministic sampler. Estimates are held within `clip`
        standard deviations. The noise is drawn on the CPU from `seed`, the same on every device.
        """
        mask = self._check(z_text, frames)
        condition = condition if condition is None else self._condition(condition, len(frames))
        generator = torch.Generator().manual_seed(seed)

        def noise() -> Tensor:
            return torch.randn(z_text.shape, generator=generator).to(z_text)

        x_1 = self._scaled(z_text, mask)
        x_t = self.process.start(x_1, noise()) * mask
        times = strided(self.process.steps, steps)
        yield times[0], self._unscaled(x_t, mask), self._unscaled(x_t, mask)
        for now, after in zip(times[:-1], times[1:], strict=True):
            t, s = (torch.full((len(frames),), at, device=z_text.device) for at in (now, after))
            estimate = self.process.estimate(x_t, t, self.predict(x_t, x_1, t, frames, condition, guidance))
            estimate = estimate.clamp(-clip, clip) * mask
            mean, deviation = self.process.posterior(estimate, x_t, t, s, eta)
            x_t = (mean + deviation * noise()) * mask if after else estimate
            self._check_numbers(x_t, now, guidance)
            yield after, self._unscaled(x_t, mask), self._unscaled(estimate, mask)

    def sample(self, z_text: Tensor, frames: Tensor, condition: Tensor | None = None, **options) -> Tensor:
        """z `(batch, latent, frames)` in the style of `condition`; options are those of `trajectory`."""
        for _, z, _ in self.trajectory(z_text, frames, condition, **options):
            sampled = z
        return sampled

    def _scaled(self, z: Tensor, mask: Tensor) -> Tensor:
        return ((z - self.mean) / self.std).masked_fill(~mask, 0.0)

    def _unscaled(self, x: Tensor, mask: Tensor) -> Tensor:
        return (x * self.std + self.mean).masked_fill(~mask, 0.0)

    def _check(self, z: Tensor, frames: Tensor) -> Tensor:
        """The mask `(batch, 1, frames)` of latents that this model can take."""
        if z.ndim != 3 or z.shape[1] != self.dims.latent:
            raise DiffusionError(
                f"The latent has shape {tuple(z.shape)}: this model was made for (batch, {self.dims.latent}, frames)."
            )
        if z.is_cuda and self.training:  # a look at the values would wait for the device in every step
            return length_mask(frames, z.shape[2]).unsqueeze(1)
        if int(frames.max()) > z.shape[2] or len(frames) != len(z):
            raise DiffusionError(f"The latent has {z.shape[2]} frames and {frames.tolist()} shall be valid: cut these.")
        if int(frames.min()) < self.dims.shortest:
            raise DiffusionError(
                f"Utterance {int(frames.argmin())} has {int(frames.min())} latent frames, fewer than the network's "
                f"receptive field: give at least {self.dims.shortest}."
            )
        mask = length_mask(frames, z.shape[2]).unsqueeze(1)
        self._name_first_bad(z, mask, "has NaN or infinite numbers in its latent: check the recording it came from.")
        return mask

    def _check_numbers(self, x: Tensor, t: int, guidance: float) -> None:
        self._name_first_bad(
            x, torch.ones_like(x, dtype=torch.bool), f"became NaN in sampling at step {t} of {self.process.steps} with "
            f"guidance {guidance:g}: lower the guidance scale or train again with a lower learning rate."
        )  # fmt: skip

    @staticmethod
    def _name_first_bad(x: Tensor, mask: Tensor, what: str) -> None:
        bad = (~x.isfinite() & mask).flatten(1).any(1)
        if bad.any():
            raise DiffusionError(f"Utterance {int(bad.int().argmax())} {what}")

    def _condition(self, condition: Tensor, batch: int) -> Tensor:
        if condition.shape != (batch, self.dims.condition):
            raise DiffusionError(
                f"The condition has shape {tuple(condition.shape)}: give one vector of {self.dims.condition} for "
                f"each of {batch} utterances."
            )
        if not (condition.is_cuda and self.training) and not condition.isfinite().all():
            raise DiffusionError("A condition vector has NaN or infinite numbers: check the prompt or recording.")
        return condition
