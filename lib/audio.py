"""Mono speech in memory: float32 in [-1, 1] at 16 kHz; reading, writing and resampling it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lib.files import name_key, replace_file, walk

RATE = 16_000
BLOCK = 1 << 22  # samples read at once: a damaged header may promise more than memory holds
SILENCE = 1e-4  # a recording whose loudest sample is below this (-80 dBFS) holds no speech
SUFFIXES = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".sph"),
    *(".voc", ".w64", ".wav"),
)  # what libsndfile reads
UNREAD = (
    *(".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".dss", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2"),
    *(".mp4", ".mpeg", ".mpg", ".pcm", ".ra", ".raw", ".spx", ".webm", ".wma", ".wmv", ".wv"),
)  # what holds recordings, too, and is told
LOUDEST = 16.0  # 24 dB beyond full scale: decoders overshoot by less, samples counted as integers by far more


class AudioError(ValueError):
    """A recording that cannot be used; the message names it and says what to do."""


def check(wave: np.ndarray, name: str | Path) -> np.ndarray:
    """Return `wave` as float32 if it is usable speech, else raise `AudioError` naming `name`.

    wave: (samples,), any real dtype, nominally in [-1, 1]. Refused: several channels, no samples, NaN or
    infinity, nothing above -80 dBFS, and samples beyond `LOUDEST`, which are counted on another scale.
    """
    wave = np.asarray(wave)
    if wave.ndim != 1:
        raise AudioError(f"{name}: expected mono samples of shape (samples,), got {wave.shape}; mix it down.")
    if wave.size == 0:
        raise AudioError(f"{name}: the recording is empty; record or fetch it again.")
    if not np.isfinite(wave).all():
        raise AudioError(f"{name}: the recording holds NaN or infinite samples; convert it again.")
    if np.abs(wave).max() < SILENCE:
        raise AudioError(f"{name}: the recording is silent (below -80 dBFS); leave it out.")
    if (peak := np.abs(wave).max()) > LOUDEST:
        raise AudioError(
            f"{name}: samples reach {peak:.6g}, where full scale is 1; divide them by their scale (32768?)."
        )
    return np.require(wave, np.float32, ["C", "W"])


def resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Band-limited resampling of (samples,) from `rate_in` to `rate_out` Hz; float32.

    The result has round(samples * rate_out / rate_in) samples.
    """
    wave = np.asarray(wave, np.float32)
    if rate_in <= 0 or rate_out <= 0:
        raise AudioError(f"Sampling rates must be positive, got {rate_in} and {rate_out} Hz.")
    if rate_in == rate_out:
        return wave
    import soxr

    return fit(soxr.resample(wave, rate_in, rate_out), round(len(wave) * rate_out / rate_in))


def fit(wave: np.ndarray, samples: int) -> np.ndarray:
    """Cut (samples_in,) or extend it with zeros to exactly `samples`."""
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


def recordings(folder: Path) -> list[Path]:
    """The recordings below a folder in order: those of a format that is read, and links to nothing that say they are.

    Of a recording in another format only (`UNREAD`), that file: `read` names it and says what to do.
    """
    files = [file for file in walk(folder) if file.suffix.lower() in SUFFIXES + UNREAD]
    ranked = sorted(files, key=lambda file: (not file.exists(), file.suffix.lower() in UNREAD))
    first: dict[str, Path] = {}
    for file in ranked:
        first.setdefault(name_key(file.with_suffix("")), file)
    readable = [file for file in files if file.exists() and file.suffix.lower() in SUFFIXES]
    return sorted({*readable, *first.values()})


@contextmanager
def opened(path: str | Path) -> Iterator:
    """A recording as an open `soundfile.SoundFile`.

    Raises `AudioError` for a missing or empty file, a link to nothing, and what libsndfile does not read.
    """
    import soundfile

    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise AudioError(f"{path}: a link to a file that is not there; put the recording itself in its place.")
    if not path.is_file():
        raise AudioError(f"{path}: no such file; build or fetch the corpus again.")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty; build or fetch it again.")
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        advice = "build or fetch it again" if path.suffix.lower() in SUFFIXES else "convert it to wav or flac"
        reason = str(error).replace(f"Error opening {str(path)!r}: ", "").rstrip(".")
        raise AudioError(f"{path}: cannot be read as audio ({reason}); {advice}.") from None


def read(path: str | Path, rate: int = RATE) -> np.ndarray:
    """Read a mono recording as (samples,) float32 at `rate` Hz.

    Raises `AudioError` for a missing, unreadable, truncated, multi-channel, empty, NaN or silent file.
    """
    path = Path(path)
    with opened(path) as file:
        promised, rate_in, channels = file.frames, file.samplerate, file.channels
        blocks = [file.read(0, dtype="float32")]
        while len(block := file.read(BLOCK, dtype="float32")):
            blocks.append(block)
        wave = np.concatenate(blocks)
    if channels != 1:
        raise AudioError(f"{path}: has {channels} channels, expected mono; mix it down.")
    if len(wave) < promised or _wav_is_truncated(path):
        raise AudioError(f"{path}: the file is truncated; build or fetch it again.")
    return resample(check(wave, path), rate_in, rate)


def _wav_is_truncated(path: Path) -> bool:
    """Whether a RIFF file is shorter than its header says (libsndfile silently reads what is there)."""
    with path.open("rb") as file:
        header = file.read(8)
    if header[:4] != b"RIFF":
        return False
    promised = int.from_bytes(header[4:8], "little")
    return promised < 0xFFFFFFFF and path.stat().st_size < promised + 8


def write(path: str | Path, wave: np.ndarray, rate: int = RATE) -> None:
    """Write (samples,) as 16-bit audio, format by suffix (.wav, .flac); the file appears whole or not at all.

    Samples outside [-1, 1] are clipped. Raises `AudioError` for unusable samples, OSError for a full disk.
    """
    import soundfile

    path = Path(path)
    pcm = np.round(np.clip(check(wave, path), -1, 1) * 32767).astype(np.int16)
    encoded = io.BytesIO()
    soundfile.write(encoded, pcm, rate, subtype="PCM_16", format=path.suffix[1:])
    with replace_file(path) as temporary:
        temporary.write_bytes(encoded.getvalue())


def active(wave: np.ndarray, floor_db: float = -40.0, frame: int = 160) -> tuple[int, int]:
    """First and one-past-last sample of the frames louder than `floor_db` below the loudest frame (dB)."""
    wave = check(wave, "wave")
    frames = fit(wave, -(-len(wave) // frame) * frame).reshape(-1, frame)
    level = np.sqrt((frames**2).mean(1))
    loud = np.flatnonzero(level > level.max() * 10 ** (floor_db / 20))
    return int(loud[0]) * frame, min(int(loud[-1] + 1) * frame, len(wave))
