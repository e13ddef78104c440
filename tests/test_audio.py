import errno
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lib import audio


def tone(seconds: float = 0.5, hertz: float = 440.0, rate: int = audio.RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_what_is_written_is_read_back_to_16_bits(tmp_path, suffix):
    path = tmp_path / f"tone{suffix}"
    audio.write(path, tone())
    wave = audio.read(path)
    assert wave.dtype == np.float32
    np.testing.assert_allclose(wave, tone(), atol=1.5 / 32768)


def test_reading_resamples_to_the_asked_rate_and_keeps_the_pitch(tmp_path):
    path = tmp_path / "tone.wav"
    audio.write(path, tone(1.0, rate=22_050), rate=22_050)
    wave = audio.read(path)
    assert len(wave) == audio.RATE
    assert np.abs(np.fft.rfft(wave)).argmax() == 440


def test_samples_beyond_full_scale_are_clipped_not_wrapped(tmp_path):
    path = tmp_path / "loud.wav"
    audio.write(path, 5 * tone())
    assert 0.999 < np.abs(audio.read(path)).max() <= 1
    assert np.sign(audio.read(path)[10]) == np.sign(tone()[10])


def test_a_truncated_wav_is_refused(tmp_path):
    path = tmp_path / "cut.wav"
    audio.write(path, tone())
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(audio.AudioError, match=r"cut\.wav: the file is truncated"):
        audio.read(path)


def test_a_truncated_flac_is_refused(tmp_path):
    path = tmp_path / "cut.flac"
    audio.write(path, np.random.default_rng(0).normal(size=16_000).clip(-1, 1) * 0.1)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(audio.AudioError, match=r"cut\.flac"):
        audio.read(path)


def test_stereo_text_empty_and_missing_files_are_refused_by_name(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone(), tone()], 1), audio.RATE)
    (tmp_path / "text.wav").write_text("not audio at all, only words")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "header.wav", np.zeros(0), audio.RATE)
    for name, words in {
        "stereo.wav": "2 channels",
        "text.wav": "cannot be read",
        "empty.wav": "empty",
        "header.wav": "empty",
        "missing.wav": "no such file",
    }.items():
        with pytest.raises(audio.AudioError, match=f"{name}.*{words}"):
            audio.read(tmp_path / name)


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (np.array([0.1, np.nan]), "NaN"),
        (np.zeros(100), "silent"),
        (np.zeros(0), "empty"),
        (np.ones((2, 9)), "mono"),
        (np.array([0.0, 300.0, -29000.0]), "reach 29000"),
    ],
)
def test_unusable_samples_are_named(wave, words):
    with pytest.raises(audio.AudioError, match=f"take 7.*{words}"):
        audio.check(wave, "take 7")


def test_a_float_file_of_samples_counted_as_integers_is_named_and_an_overshoot_is_read(tmp_path):
    tone = np.sin(np.arange(16000) * 0.1)
    soundfile.write(tmp_path / "counted.wav", 32767 * tone, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "loud.wav", 1.5 * tone, 16000, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match="counted.wav: samples reach 3276.*full scale is 1"):
        audio.read(tmp_path / "counted.wav")
    assert np.abs(audio.read(tmp_path / "loud.wav")).max() > 1.4


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "tone.wav"
    audio.write(path, tone())
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="disk is full"):
        audio.write(path, tone(hertz=200))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["tone.wav"]


def test_active_finds_where_sound_begins_and_ends():
    wave = np.concatenate([np.zeros(4000), tone(0.5), np.zeros(1600)])
    start, end = audio.active(wave)
    assert abs(start - 4000) <= 160
    assert abs(end - 12_000) <= 160


def test_real_recordings_are_read_at_16_khz(librispeech):
    files = sorted(librispeech.rglob("*.flac"))[:5]
    assert files
    for file in files:
        wave = audio.read(file)
        assert len(wave) == soundfile.info(file).frames
        assert 0.01 < np.abs(wave).max() <= 1
