"""The clips of a listening test: the same sentences by every system, equally loud, under names that tell nothing."""

from __future__ import annotations

import os
import secrets
import warnings
from pathlib import Path

import numpy as np

from lib import audio, study
from lib.study.again import profiles, read_results
from lib.study.listen import keep_recordings
from lib.study.registry import paper as registered

LOUDNESS = -23.0  # LUFS, BS.1770-4; less where a clip would clip
PEAK = 0.98
ANCHOR = "anchor"  # the reference without what lies above 3.5 kHz (BS.1534)
NOISE = "noise"  # the reference 5 dB below white noise: what no listener who listens takes for good
REFERENCE = "reference"


class ListeningError(ValueError):
    """Clips, a test or answers that cannot be used; the message names the file and the fix."""


def from_folder(folder: Path) -> dict[str, dict[str, Path]]:
    """SYSTEM/SENTENCE.wav (or .flac, .opus) as paths by system and sentence."""
    if not folder.is_dir():
        raise ListeningError(f"{folder} is no folder: name one that holds SYSTEM/SENTENCE.wav")
    found = {each.name: clips_in(each) for each in sorted(folder.iterdir()) if each.is_dir()}
    return {system: spoken for system, spoken in found.items() if spoken}


def with_recordings(profile: dict, paper: str) -> Path:
    """The profile's results, where the recordings now are beside the speech that runs of a paper kept, if any did."""
    root = study.results_root(profile)
    if any((root / "audio").glob(f"{paper}-*-s*")) and not any((root / "audio").glob(f"{paper}-{REFERENCE}-s*")):
        keep_recordings(registered(paper).room("study").Study(profile))
    return root


def from_evidence(folder: Path, paper: str) -> tuple[dict, set[str]]:
    """The profile that a paper of a committed run was run in, and the systems of it whose clips are with the run."""
    try:
        profile = profiles(read_results(folder), [paper.upper()])[paper.upper()]
    except study.StudyError as error:
        raise ListeningError(str(error)) from error
    return profile, {
        path.name.split("-", 1)[1].rpartition("-s")[0] for path in (folder / "audio").glob(f"{paper}-*-s*")
    }


def kept(root: Path, paper: str, systems: list[str], fix: str) -> dict[str, dict[str, Path]]:
    """The clips of a paper in root/audio, of `systems` and of the recordings where the same sentences were recorded.
    Raises ListeningError with the `fix` for a system without any.
    """
    found = {}
    for system in [*systems, REFERENCE]:
        folders = sorted((root / "audio").glob(f"{paper}-{system}-s*"))
        found[system] = clips_in(folders[0]) if folders else {}
        if not found[system] and system != REFERENCE:
            raise ListeningError(
                f"{study.profile.short(root)}/audio holds no speech of {system}: {fix}, or name the systems there are "
                "with --systems"
            )
    if not systems:
        raise ListeningError(f"{study.profile.short(root)}/audio holds no speech of {paper}'s listening test: {fix}")
    if not set(found[systems[0]]) <= set(found[REFERENCE]):  # made speech, which nobody recorded
        del found[REFERENCE]
    return found


def clips_in(folder: Path) -> dict[str, Path]:
    """The clips in a folder by their names."""
    found = (path for path in folder.glob("[!.]*") if path.suffix in (".wav", ".flac", ".opus"))
    return {path.stem: path for path in sorted(found)}


def matched(clips: dict[str, dict[str, Path]], systems: list[str]) -> list[str]:
    """The sentences that all systems say. Raises ListeningError for a system, or one clip of it, that is missing."""
    for system in systems:
        if system not in clips:
            raise ListeningError(f"there are no clips of {system}: choose from {', '.join(sorted(clips))}")
    sentences = sorted(set().union(*(clips[system] for system in systems if system != REFERENCE)))
    for sentence in sentences:
        for system in systems:
            if sentence not in clips[system]:
                raise ListeningError(f"{system} has no clip of {sentence}, which others have: add it, or take it out")
    return sentences


def load(clips: dict[str, dict[str, Path]], systems: list[str], sentences: list[str]) -> tuple[dict, int]:
    """Waves by (system, sentence), all at the highest rate among the files, in Hz."""
    chosen = {(system, sentence): clips[system][sentence] for system in systems for sentence in sentences}
    rate = max((_rate(path) for path in chosen.values()), default=audio.RATE)
    return {key: audio.read(path, rate) for key, path in chosen.items()}, rate


def _rate(path: Path) -> int:
    import soundfile

    try:
        return soundfile.info(path).samplerate
    except soundfile.SoundFileError:
        audio.read(path)  # says what is wrong with it
        raise


def anchor(wave: np.ndarray, rate: int) -> np.ndarray:
    """(samples,) without what lies above 3.5 kHz: 50 dB down from 4 kHz on, no delay."""
    from scipy import signal

    return signal.fftconvolve(wave, signal.firwin(int(rate / 40) | 1, 3750, fs=rate), mode="same").astype(np.float32)


def noisy(wave: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=len(wave))
    return (wave + noise * np.sqrt(np.mean(wave**2)) * 10 ** (5 / 20)).astype(np.float32)


def level(waves: dict, rate: int) -> dict:
    """All waves at one loudness, at most `LOUDNESS`, at which none clips."""
    import pyloudnorm

    gains = {}
    for key, wave in waves.items():
        meter = pyloudnorm.Meter(rate, block_size=min(0.4, len(wave) / rate))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loudness = meter.integrated_loudness(wave.astype(float))
        loudness = loudness if np.isfinite(loudness) else 20 * np.log10(np.sqrt(np.mean(wave**2)))
        gains[key] = 10 ** ((LOUDNESS - loudness) / 20)
    least = min(1.0, *(PEAK / (gain * np.abs(waves[key]).max()) for key, gain in gains.items()))
    return {key: wave * np.float32(gains[key] * least) for key, wave in waves.items()}


def write(folder: Path, wave: np.ndarray, rate: int) -> str:
    """Write a clip under a random name and a time that all clips share; returns the name."""
    name = f"{secrets.token_hex(8)}.wav"
    if wave.ndim == 2:
        import soundfile

        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, wave, rate, subtype="PCM_16")
    else:
        audio.write(folder / name, wave, rate)
    os.utime(folder / name, (0, 0))
    return name


def headphone_tones(rate: int = 44100) -> list[tuple[np.ndarray, int]]:
    """Six trials of three 200 Hz tones, (samples, 2), and which is the quietest: one is 6 dB lower, another in
    antiphase, which loudspeakers cancel (Woods et al., Attention, Perception & Psychophysics 79, 2017).
    """
    tone = 0.25 * np.sin(2 * np.pi * 200 * np.arange(rate) / rate) * np.minimum(1, 20 * np.bartlett(rate))
    pause, found = np.zeros((rate // 2, 2)), []
    for quiet, turned in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
        sounds = [np.stack([tone, -tone if i == turned else tone], 1) * (0.5 if i == quiet else 1) for i in range(3)]
        found.append((np.concatenate([sounds[0], pause, sounds[1], pause, sounds[2]]), quiet + 1))
    return found
