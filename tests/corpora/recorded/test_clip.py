"""Raw G.722 as recordings: its samples, and files that cannot be used."""

import hashlib

import numpy as np
import pytest

from lib import audio
from lib.corpora.recorded.clip import Clip, samples

# SHA-256 of what FFmpeg's decoder makes of `codes()`, 16-bit little endian
REFERENCE = "988ec868859606debfa8a37981ea417b3fa8fe9c5702c968a54e75d3ec5645da"


def codes() -> np.ndarray:
    """Random codes, which reach every table entry and both limits, then runs of single codes."""
    random = np.random.default_rng(0).integers(0, 256, 8000, np.uint8)
    return np.concatenate([random, *(np.full(500, code, np.uint8) for code in (0, 255, 63))])


def test_a_g722_file_gives_ffmpegs_samples_at_16_khz(tmp_path):
    codes().tofile(tmp_path / "a.g722")
    wave = samples(Clip("a", "s", "", tmp_path / "a.g722"), trim=False)
    assert wave.dtype == np.float32
    assert hashlib.sha256((wave * 32768).astype("<i2").tobytes()).hexdigest() == REFERENCE


@pytest.mark.parametrize(("content", "told"), [(None, "no such file"), (b"", "empty"), (b"\xfa" * 100, "silent")])
def test_missing_empty_and_silent_files_are_named(tmp_path, content, told):
    if content is not None:
        (tmp_path / "b.g722").write_bytes(content)
    with pytest.raises(audio.AudioError, match=f"b.g722: .*{told}"):
        samples(Clip("b", "s", "", tmp_path / "b.g722"))
