import hashlib

import numpy as np
import pytest

from lib import audio
from lib.corpora.recorded import g722

# SHA-256 of what FFmpeg's decoder makes of `codes()`, 16-bit little endian
REFERENCE = "988ec868859606debfa8a37981ea417b3fa8fe9c5702c968a54e75d3ec5645da"


def codes() -> np.ndarray:
    """Random codes, which reach every table entry and both limits, then runs of single codes."""
    random = np.random.default_rng(0).integers(0, 256, 8000, np.uint8)
    runs = (np.full(500, code, np.uint8) for code in (0, 255, 63))
    return np.concatenate([random, *runs])


def test_the_decoder_agrees_bit_by_bit_with_ffmpeg():
    wave = g722.decode(codes())
    assert wave.dtype == np.int16 and len(wave) == 2 * len(codes())
    assert hashlib.sha256(wave.astype("<i2").tobytes()).hexdigest() == REFERENCE


def test_a_file_is_read_as_samples_at_16_khz(tmp_path):
    codes().tofile(tmp_path / "a.g722")
    wave = g722.read(tmp_path / "a.g722")
    assert wave.dtype == np.float32
    assert len(wave) == 19_000
    assert np.abs(wave).max() <= 1


def test_missing_empty_and_silent_files_are_named(tmp_path):
    with pytest.raises(audio.AudioError, match="none.g722: no such file"):
        g722.read(tmp_path / "none.g722")
    (tmp_path / "empty.g722").touch()
    with pytest.raises(audio.AudioError, match="empty.g722: the recording is empty"):
        g722.read(tmp_path / "empty.g722")
    (tmp_path / "silent.g722").write_bytes(b"\xfa" * 100)
    with pytest.raises(audio.AudioError, match="silent.g722: the recording is silent"):
        g722.read(tmp_path / "silent.g722")
