"""Batched fundamental frequency on any device: YIN.

de Cheveigne and Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 2002:
difference function (eq. 6), cumulative mean normalised difference (eq. 8), absolute threshold and parabolic
interpolation.
"""

import torch
from torch import Tensor


class PitchError(ValueError):
    """Settings or audio that F0 cannot be estimated with."""


def yin(
    waves: Tensor,
    rate: int = 16000,
    hop: int = 160,
    frame: int = 640,
    f0_min: float = 65.0,
    f0_max: float = 600.0,
    threshold: float = 0.15,
    voicing: float = 0.4,
    centred: bool = True,
) -> tuple[Tensor, Tensor]:
    """F0 in Hz (batch, frames), 0 where unvoiced, and the voiced mask, of `waves` (batch, samples).

    Centred, frame t compares the `frame` samples around t `hop` with those one lag later, and there are
    1 + samples // hop frames; sound outside the wave is zero. Otherwise frame t is samples t hop to
    t hop + frame and nothing else: the longer the lag, the fewer samples are compared. That is how widespread
    frame-wise implementations work, among them the one HyperTTS was evaluated with.

    The period is the first dip of the normalised difference below `threshold` between the lags rate / f0_max
    and rate / f0_min, or the deepest dip where none is that low. The frame is voiced if the dip lies below
    `voicing` (at least `threshold`) and the frame is within 60 dB of the loudest of its wave. The level of a
    wave does not matter. Zeros after the end of a wave add unvoiced frames and change no other.
    Raises PitchError for settings that leave no lags.
    """
    shortest, longest = int(rate / f0_max), int(rate / f0_min) + 1
    if waves.ndim != 2 or not torch.is_floating_point(waves):
        raise PitchError("F0 needs a batch of waves of shape (batch, samples) in floating point.")
    if not 2 <= shortest < longest or (not centred and longest >= frame):
        raise PitchError(
            f"No F0 between {f0_min:g} and {f0_max:g} Hz fits frames of {frame} samples at {rate} Hz: "
            "lengthen the frame or narrow the range."
        )
    difference = (_difference_centred if centred else _difference_within)(waves, hop, frame, longest)
    normalised = _normalise(difference)
    return _pick(normalised, rate, shortest, threshold, max(threshold, voicing))


def _difference_centred(waves: Tensor, hop: int, frame: int, longest: int) -> Tensor:
    """d(lag) = sum over the frame of (x(t) - x(t + lag))^2, (batch, frames, longest + 1)."""
    span = frame + longest
    count = 1 + waves.shape[1] // hop
    left = span // 2
    padded = torch.nn.functional.pad(waves, (left, span + hop))
    pieces = padded.unfold(1, span, hop)[:, :count]
    size = 1 << (span - 1).bit_length()
    correlation = torch.fft.irfft(
        torch.fft.rfft(pieces, size) * torch.fft.rfft(pieces[..., :frame], size).conj(), size
    )[..., : longest + 1]
    energy = torch.nn.functional.pad(pieces.square().cumsum(dim=-1), (1, 0))
    later = energy[..., frame : frame + longest + 1] - energy[..., : longest + 1]
    return (later[..., :1] + later - 2 * correlation).clamp(min=0)


def _difference_within(waves: Tensor, hop: int, frame: int, longest: int) -> Tensor:
    """d(lag) = sum over t < frame - lag of (x(t) - x(t + lag))^2, (batch, frames, longest + 1)."""
    short = max(frame - waves.shape[1], 0)
    pieces = torch.nn.functional.pad(waves, (0, short)).unfold(1, frame, hop)
    size = 1 << (2 * frame - 1).bit_length()
    correlation = torch.fft.irfft(torch.fft.rfft(pieces, size).abs().square(), size)[..., : longest + 1]
    energy = torch.nn.functional.pad(pieces.square().cumsum(dim=-1), (1, 0))
    lags = torch.arange(longest + 1, device=waves.device)
    return (energy[..., frame - lags] + energy[..., -1:] - energy[..., lags] - 2 * correlation).clamp(min=0)


def _normalise(difference: Tensor) -> Tensor:
    """d'(lag) = d(lag) / mean of d(1 ... lag); 1 at lag 0 and in silent frames."""
    lags = torch.arange(1, difference.shape[-1], device=difference.device)
    mean = difference[..., 1:].cumsum(dim=-1) / lags
    quiet = mean <= 1e-6 * mean.amax(dim=(1, 2), keepdim=True)
    ratio = torch.where(quiet, torch.ones_like(mean), difference[..., 1:] / mean.masked_fill(quiet, 1.0))
    return torch.nn.functional.pad(ratio, (1, 0), value=1.0)


def _pick(normalised: Tensor, rate: int, shortest: int, threshold: float, voicing: float) -> tuple[Tensor, Tensor]:
    """F0 of the first dip below `threshold`, else of the deepest, and whether that lies below `voicing`."""
    inner = normalised[..., shortest:-1]
    dips = (inner <= normalised[..., shortest + 1 :]) & (inner <= normalised[..., shortest - 1 : -2])
    low = dips & (inner < threshold)
    deepest = inner.masked_fill(~dips, torch.inf).argmin(dim=-1)
    lag = torch.where(low.any(dim=-1), low.to(torch.uint8).argmax(dim=-1), deepest) + shortest
    before, at, after = (normalised.gather(-1, (lag + shift)[..., None])[..., 0] for shift in (-1, 0, 1))
    voiced = (at < voicing) & dips.any(dim=-1)
    bend = before - 2 * at + after
    shift = torch.where(bend > 0, 0.5 * (before - after) / bend.clamp(min=1e-12), torch.zeros_like(bend))
    f0 = rate / (lag + shift.clamp(-0.5, 0.5))
    return torch.where(voiced, f0, torch.zeros_like(f0)), voiced
