"""Voice quality: local jitter, local shimmer and harmonics-to-noise ratio, batched over voiced stretches.

Cycles are marked as Praat does (Boersma, "To PointProcess (periodic, cc)"): from the largest extremum near the
middle of a voiced stretch outwards, each next mark is where one period of sound correlates best with the period
around the last mark. All stretches of a batch take their steps together. Boersma, "Accurate short-term analysis
of the fundamental frequency and the harmonics-to-noise ratio of a sampled sound", 1993, gives the ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.audio import RATE

HOP = 160
LOWEST, HIGHEST = 0.8, 1.25
LEAST_CORRELATION = 0.3
PERIOD_FACTOR = 1.3
AMPLITUDE_FACTOR = 1.6
SHORTEST_PERIOD, LONGEST_PERIOD = 1.6, 320.0
AMPLITUDE_REACH = 0.2
HNR_WINDOW = 960
UPSAMPLING = 4
CHUNK = 2048


@dataclass(frozen=True)
class Cycles:
    """Marks of vocal cycles: times (stretches, most) in samples, which of them count, and the wave of each stretch."""

    times: Tensor
    valid: Tensor
    wave: Tensor

    def periods(self) -> tuple[Tensor, Tensor]:
        """Periods (stretches, most - 1) in samples between neighbouring marks, and which of them count."""
        period = self.times.diff(dim=1)
        fits = (period >= SHORTEST_PERIOD) & (period <= LONGEST_PERIOD)
        return period, self.valid[:, 1:] & self.valid[:, :-1] & fits


def measure(waves: Tensor, f0: Tensor) -> dict[str, Tensor]:
    """`jitter` (%), `shimmer` (%), `hnr` (dB) of `waves` (batch, samples) with F0 (batch, frames) in Hz, 0 unvoiced.

    Each is a float64 tensor (batch,); it is NaN where a wave has no voiced frame or too few cycles.

    Jitter is the mean absolute difference of consecutive periods over the mean period, shimmer the same of the
    amplitudes of consecutive cycles. As in Praat, a pair counts where its periods differ by a factor of at most
    1.3 (and its amplitudes by at most 1.6), and the amplitude is the RMS in a Hann window of 0.2 periods to
    either side of the mark. HNR is the mean over voiced frames of 10 log10(r / (1 - r)), r the normalised
    autocorrelation at the period. A perfectly periodic signal has jitter 0, shimmer 0 and no upper bound of HNR
    (values are cut at 100 dB). The level of a wave does not matter.
    """
    waves = waves.double()
    marks = cycles(waves, f0)
    period, usable = marks.periods()
    steady = _ratio(period) <= PERIOD_FACTOR
    pairs = usable[:, 1:] & usable[:, :-1] & steady
    jitter = _relative_change(period, usable, pairs, marks.wave, len(waves))
    inner = Cycles(marks.times[:, 1:-1], marks.valid[:, 1:-1], marks.wave)
    level = _amplitudes(waves, inner, period[:, :-1], period[:, 1:])
    known = usable[:, 1:] & usable[:, :-1] & (level > 0)
    together = pairs[:, 1:] & pairs[:, :-1] & known[:, 1:] & known[:, :-1] & (_ratio(level) <= AMPLITUDE_FACTOR)
    shimmer = _relative_change(level, known, together, marks.wave, len(waves))
    return {"jitter": 100 * jitter, "shimmer": 100 * shimmer, "hnr": harmonics_to_noise(waves, f0)}


def cycles(waves: Tensor, f0: Tensor) -> Cycles:
    """Marks of the vocal cycles in every voiced stretch of `waves` (batch, samples), F0 (batch, frames) every 10 ms."""
    wave, first, last = _stretches(f0 > 0)
    if len(wave) == 0:
        return Cycles(waves.new_zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool, device=waves.device), wave)
    begin, end = (first - 0.5) * HOP, (last + 0.5) * HOP
    start = _extremum(waves, f0, wave, (begin + end) / 2)
    sides = [_walk(waves, f0, wave, start, begin, end, direction) for direction in (-1, 1)]
    (left, left_valid), (right, right_valid) = sides
    inside = torch.ones(len(wave), 1, dtype=torch.bool, device=waves.device)
    return Cycles(
        torch.cat([left.flip(1), start[:, None], right], dim=1),
        torch.cat([left_valid.flip(1), inside, right_valid], dim=1),
        wave,
    )


def harmonics_to_noise(waves: Tensor, f0: Tensor) -> Tensor:
    """Mean HNR (batch,) in dB over the voiced frames of `waves` (batch, samples); NaN where there are none.

    Frames of 60 ms (4.5 periods of 75 Hz), Hann; the autocorrelation, over that of the window, is interpolated to
    a quarter of a sample and searched from 0.8 to 1.25 periods.
    """
    rows, frames = torch.nonzero(f0 > 0, as_tuple=True)
    padded = torch.nn.functional.pad(waves, (HNR_WINDOW // 2, HNR_WINDOW // 2 + HOP))
    pieces = padded.unfold(1, HNR_WINDOW, HOP)
    total, count = waves.new_zeros(len(waves)), waves.new_zeros(len(waves))
    for start in range(0, len(rows), CHUNK):
        row, frame = rows[start : start + CHUNK], frames[start : start + CHUNK]
        strength = _periodicity(pieces[row, frame], RATE / f0[row, frame].double())
        ratio = 10 * torch.log10(strength / (1 - strength))
        total.index_add_(0, row, ratio)
        count.index_add_(0, row, torch.ones_like(ratio))
    return total / count


def _stretches(voiced: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The wave, first and last frame of every run of voiced frames (batch, frames)."""
    edges = torch.nn.functional.pad(voiced.int(), (1, 1)).diff(dim=1)
    wave, first = torch.nonzero(edges == 1, as_tuple=True)
    return wave, first, torch.nonzero(edges == -1, as_tuple=True)[1] - 1


def _period_at(f0: Tensor, wave: Tensor, time: Tensor) -> Tensor:
    """Period in samples at `time` (stretches,); 0 where the nearest frame is unvoiced."""
    frame = (time / HOP).round().long().clamp(0, f0.shape[1] - 1)
    value = f0[wave, frame].double()
    return torch.where(value > 0, RATE / value.clamp(min=1.0), 0.0)


def _samples(waves: Tensor, wave: Tensor, places: Tensor) -> Tensor:
    """Samples at integer `places` (stretches, ...), 0 outside the wave."""
    index = places.clamp(0, waves.shape[1] - 1)
    found = waves[wave.view(-1, *[1] * (places.ndim - 1)), index]
    return torch.where(index == places, found, 0.0)


def _extremum(waves: Tensor, f0: Tensor, wave: Tensor, middle: Tensor) -> Tensor:
    """Time of the largest magnitude within half a period of `middle` (stretches,)."""
    half = _period_at(f0, wave, middle).clamp(min=2.0) / 2
    offsets = torch.arange(-int(half.max()) - 1, int(half.max()) + 2, device=waves.device)
    places = middle.round().long()[:, None] + offsets
    magnitude = _samples(waves, wave, places).abs().masked_fill(offsets.abs() > half[:, None], -1.0)
    return places.gather(1, magnitude.argmax(dim=1, keepdim=True))[:, 0].double()


def _walk(
    waves: Tensor, f0: Tensor, wave: Tensor, start: Tensor, begin: Tensor, end: Tensor, direction: int
) -> tuple[Tensor, Tensor]:
    """Marks (stretches, steps) from `start` outwards, and which of them count."""
    time, alive = start, torch.ones_like(start, dtype=torch.bool)
    times, valid = [], []
    while True:
        period = _period_at(f0, wave, time)
        alive = alive & (period > 0)
        moving = torch.nonzero(alive)[:, 0]
        if len(moving) == 0:
            break
        lag, correlation = _best_lag(waves, wave[moving], time[moving], period[moving], direction)
        time = time.index_add(0, moving, direction * lag)
        alive = alive & (time >= begin) & (time <= end)
        times.append(time)
        good = torch.zeros_like(alive).index_fill(0, moving[correlation > LEAST_CORRELATION], True)
        valid.append(alive & good)
    return torch.stack(times, dim=1), torch.stack(valid, dim=1)


def _best_lag(waves: Tensor, wave: Tensor, time: Tensor, period: Tensor, direction: int) -> tuple[Tensor, Tensor]:
    """Lag in samples, 0.8 to 1.25 periods, where the sound correlates best with the period around `time`."""
    half = int(period.max() / 2) + 1
    reach = torch.arange(-half, half + 1, device=waves.device)
    within = (reach.abs() <= period[:, None] / 2).double()
    shortest = (LOWEST * period).floor().long() - 1
    lags = torch.arange(int(((HIGHEST - LOWEST) * period).max()) + 4, device=waves.device)
    centre = time.round().long()
    here = _samples(waves, wave, centre[:, None] + reach) * within
    span = centre[:, None] + direction * shortest[:, None]
    offsets = torch.arange(-half, half + len(lags), device=waves.device)
    region = _samples(waves, wave, span + direction * offsets)
    windows = region.unfold(1, 2 * half + 1, 1)
    product = torch.einsum("slw,sw->sl", windows, here if direction > 0 else here.flip(1))
    energy = torch.einsum("slw,sw->sl", windows.square(), within)
    norm = (energy * here.square().sum(dim=1, keepdim=True)).sqrt()
    correlation = torch.where(norm > 0, product / norm.clamp(min=1e-300), 0.0)
    lag = shortest[:, None] + lags
    allowed = (lag >= LOWEST * period[:, None]) & (lag <= HIGHEST * period[:, None])
    place = correlation.masked_fill(~allowed, -2.0).argmax(dim=1, keepdim=True).clamp(1, len(lags) - 2)
    before, at, after = (correlation.gather(1, place + shift)[:, 0] for shift in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = torch.where(bend < 0, 0.5 * (before - after) / bend.clamp(max=-1e-300), 0.0).clamp(-0.5, 0.5)
    return (shortest + place[:, 0]).double() + shift, at


def _amplitudes(waves: Tensor, marks: Cycles, before: Tensor, after: Tensor) -> Tensor:
    """RMS (stretches, marks) around each mark in a Hann window that reaches 0.2 periods to either side."""
    centre = marks.times.round().long()
    widest = int(AMPLITUDE_REACH * LONGEST_PERIOD) + 1
    total, weights = torch.zeros_like(marks.times), torch.zeros_like(marks.times)
    for offset in range(-widest, widest + 1):
        distance = centre + offset - marks.times
        width = AMPLITUDE_REACH * torch.where(distance < 0, before, after).abs().clamp(1.0, LONGEST_PERIOD)
        weight = torch.where(distance.abs() < width, 0.5 + 0.5 * torch.cos(math.pi * distance / width), 0.0)
        total += weight * _samples(waves, marks.wave, centre + offset).square()
        weights += weight
    return (total / weights.clamp(min=1e-300)).sqrt()


def _ratio(values: Tensor) -> Tensor:
    """The larger over the smaller of neighbouring values (stretches, most - 1)."""
    one, other = values[:, 1:].abs(), values[:, :-1].abs()
    return torch.maximum(one, other) / torch.minimum(one, other).clamp(min=1e-300)


def _relative_change(values: Tensor, usable: Tensor, pairs: Tensor, wave: Tensor, count: int) -> Tensor:
    """Mean absolute difference over `pairs` by the mean of the `usable` values, per wave (count,); NaN without any."""
    rows = [values.new_zeros(count) for _ in range(4)]
    parts = (values.diff(dim=1).abs() * pairs, pairs, values * usable, usable)
    for row, part in zip(rows, parts, strict=True):
        row.index_add_(0, wave, torch.nan_to_num(part.double()).sum(dim=1))
    change, number, total, size = rows
    return (change / number) / (total / size)


def _periodicity(frames: Tensor, period: Tensor) -> Tensor:
    """Normalised autocorrelation (frames,), above 0 and below 1, at the period of each frame (frames, 960)."""
    window = torch.hann_window(HNR_WINDOW, dtype=frames.dtype, device=frames.device)
    size = 1 << (2 * HNR_WINDOW - 1).bit_length()
    most = int(HIGHEST * float(period.max()) * UPSAMPLING) + 3
    found = _autocorrelation((frames - frames.mean(dim=1, keepdim=True)) * window, size)
    curve = (found / _autocorrelation(window[None], size))[:, :most]
    lags = torch.arange(curve.shape[1], device=frames.device) / UPSAMPLING
    allowed = (lags >= LOWEST * period[:, None]) & (lags <= HIGHEST * period[:, None])
    place = curve.masked_fill(~allowed, -2.0).argmax(dim=1, keepdim=True).clamp(1, curve.shape[1] - 2)
    before, at, after = (curve.gather(1, place + shift)[:, 0] for shift in (-1, 0, 1))
    bend = before - 2 * at + after
    peak = torch.where(bend < 0, at - 0.125 * (before - after).square() / bend.clamp(max=-1e-300), at)
    return peak.clamp(1e-10, 1 - 1e-10)


def _autocorrelation(frames: Tensor, size: int) -> Tensor:
    """Autocorrelation at quarters of a sample, 1 at lag 0."""
    power = torch.fft.rfft(frames, size).abs().square()
    found = torch.fft.irfft(power, UPSAMPLING * size)
    return found / found[:, :1].clamp(min=1e-300)
