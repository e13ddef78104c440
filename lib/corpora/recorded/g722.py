"""G.722 at 64 kbit/s to 16 kHz speech: the decoder of ITU-T Recommendation G.722 (2012), sections 4 and 6.

Every byte holds a 6-bit code of the lower and a 2-bit code of the higher sub-band and yields two samples. Block names
in the docstrings are the Recommendation's. All arithmetic is on integers, as it prescribes.
"""

from pathlib import Path

import numba
import numpy as np

from lib import audio

_LOG_STEP_LOW = np.array([-60, -30, 58, 172, 334, 538, 1198, 3042], np.int64)
_STEP_OF_LOW = np.array([0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0], np.int64)
_LOG_STEP_HIGH = np.array([798, -214], np.int64)  # by the lower bit of the code
_EXPONENTIAL = np.floor(2 ** (11 + np.arange(32) / 32) + 0.5).astype(np.int64)
_LEVELS_2 = np.array([-7408, -1616, 7408, 1616], np.int64)
_HALF_4 = [20456, 12896, 8968, 6288, 4240, 2584, 1200]
_LEVELS_4 = np.array([0, *(-level for level in _HALF_4), *_HALF_4, 0], np.int64)
_HALF_6 = [24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000]
_HALF_6 += [5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728]
_LEVELS_6 = np.array(
    [-136] * 4 + [-level for level in _HALF_6] + [*_HALF_6, 432, 136, -432, -136], np.int64
)  # fmt: skip
_MIRROR = np.array([3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11], np.int64)


def read(path: str | Path) -> np.ndarray:
    """A raw .g722 file as (samples,) float32 at 16 kHz. Raises `AudioError` for a missing, empty or silent file."""
    path = Path(path)
    if not path.is_file():
        raise audio.AudioError(f"{path}: no such file; fetch the corpus again.")
    codes = np.frombuffer(path.read_bytes(), np.uint8)
    return audio.check(decode(codes) / np.float32(32768), path)


def decode(codes: np.ndarray) -> np.ndarray:
    """(bytes,) uint8 -> (2 * bytes,) int16."""
    return _decode(codes.astype(np.int64))


@numba.njit(cache=True)
def _clip(value, low=-32768, high=32767):
    return min(max(value, low), high)


@numba.njit(cache=True)
def _step(log_step, bias):
    """SCALEL and SCALEH: the quantiser's step from its logarithm."""
    shift = bias - (log_step >> 11)
    value = _EXPONENTIAL[(log_step >> 6) & 31]
    return (value >> shift if shift >= 0 else value << -shift) << 2


@numba.njit(cache=True)
def _adapt(poles, zeros, differences, partial, reconstructed, difference, estimate, zero_estimate):
    """Block 4: update the predictor of a sub-band in place; returns its next estimate and that of its zeros.

    poles (2,), zeros (6,): coefficients; differences (6,), partial (2,), reconstructed (2,): the last signals.
    """
    signal = _clip(estimate + difference)
    part = _clip(zero_estimate + difference)
    same_1, same_2 = (part < 0) == (partial[0] < 0), (part < 0) == (partial[1] < 0)
    quadruple = _clip(poles[0] << 2)
    second = (_clip(-quadruple if same_1 else quadruple) >> 7) + (128 if same_2 else -128)
    second = _clip(second + ((poles[1] * 32512) >> 15), -12288, 12288)
    first = _clip((192 if same_1 else -192) + ((poles[0] * 32640) >> 15))
    bound = _clip(15360 - second)
    poles[0], poles[1] = _clip(first, -bound, bound), second
    gain = 0 if difference == 0 else 128
    for i in range(6):
        same = (differences[i] < 0) == (difference < 0)
        zeros[i] = _clip((gain if same else -gain) + ((zeros[i] * 32640) >> 15))
    for i in range(5, 0, -1):
        differences[i] = differences[i - 1]
    differences[0] = difference
    partial[1], partial[0] = partial[0], part
    reconstructed[1], reconstructed[0] = reconstructed[0], signal
    from_poles = 0
    for i in range(2):
        from_poles += (poles[i] * _clip(2 * reconstructed[i])) >> 15
    from_zeros = 0
    for i in range(6):
        from_zeros += (zeros[i] * _clip(2 * differences[i])) >> 15
    from_zeros = _clip(from_zeros)
    return _clip(_clip(from_poles) + from_zeros), from_zeros


@numba.njit(cache=True)
def _decode(codes):
    poles, zeros = np.zeros((2, 2), np.int64), np.zeros((2, 6), np.int64)
    differences = np.zeros((2, 6), np.int64)
    partial, reconstructed = np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int64)
    estimate, zero_estimate = np.zeros(2, np.int64), np.zeros(2, np.int64)
    log_step, step = np.zeros(2, np.int64), np.array([32, 8], np.int64)
    history = np.zeros(24, np.int64)
    wave = np.zeros(2 * len(codes), np.int16)
    for index in range(len(codes)):
        low, high = codes[index] & 63, codes[index] >> 6
        lower = _clip(estimate[0] + ((step[0] * _LEVELS_6[low]) >> 15), -16384, 16383)
        coarse = (step[0] * _LEVELS_4[low >> 2]) >> 15
        log_step[0] = _clip(((log_step[0] * 127) >> 7) + _LOG_STEP_LOW[_STEP_OF_LOW[low >> 2]], 0, 18432)
        step[0] = _step(log_step[0], 8)
        difference = (step[1] * _LEVELS_2[high]) >> 15
        higher = _clip(estimate[1] + difference, -16384, 16383)
        log_step[1] = _clip(((log_step[1] * 127) >> 7) + _LOG_STEP_HIGH[high & 1], 0, 22528)
        step[1] = _step(log_step[1], 10)
        for band in range(2):
            change = coarse if band == 0 else difference
            estimate[band], zero_estimate[band] = _adapt(
                poles[band], zeros[band], differences[band], partial[band], reconstructed[band], change,
                estimate[band], zero_estimate[band],
            )  # fmt: skip
        history[:22] = history[2:].copy()
        history[22], history[23] = lower + higher, lower - higher
        even, odd = 0, 0
        for i in range(12):
            even += history[2 * i] * _MIRROR[i]
            odd += history[2 * i + 1] * _MIRROR[11 - i]
        wave[2 * index], wave[2 * index + 1] = _clip(odd >> 11), _clip(even >> 11)
    return wave
