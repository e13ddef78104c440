"""The data of the latent diffusion study: what the VITS voice joe says, in styles whose effect is known.

Every sentence is spoken once (its recording) and restyled by WORLD, so all its styles share text, speaker and timing.
z_text is drawn again from the same text: with the recording's durations ("shared") or with sampled durations of its
own ("sampled", as in the paper). Each sentence is one file of the cache, named by a hash of the settings.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib import audio, text
from lib.corpora.embedded.recipe import read_sentences
from lib.corpora.styled import styles
from lib.files import cache_root, fingerprint, replace_file
from lib.models.mel import log_mel
from lib.models.vits import model as vits
from lib.models.vits.model import Vits
from lib.study import protocol
from lib.workers import map_in_processes

FORMAT = 2  # raise it when the code makes other data from the same settings
SPEAKER = "joe"
SPLITS = ("train", "validation", "test")
PAIRS = ("shared", "sampled", "aligned", "stretched")
TRUTHS = ("f0_mean", "f0_range", "energy_mean", "rate", "pause_share")
CHUNK = 4  # sentences of a worker's job


class LatentError(ValueError):
    """Settings, latents or files of the latent study that cannot be used; the sentence names the fix."""


@dataclass(frozen=True)
class Sentence:
    """One sentence of a split, spoken by joe."""

    name: str
    split: str
    place: int
    text: str
    phonemes: str


@dataclass(frozen=True)
class Restyled:
    """The corpus of the study: sentences by joe, each in every style. `settings` is the profile's ld.data."""

    settings: dict
    name = "joe, restyled"

    @cached_property
    def hash(self) -> str:
        """Names the data by all that decides them."""
        sentences = [(s.name, s.text) for s in self.sentences()]
        return fingerprint(FORMAT, self.settings, sentences, vits.find().sha256)

    @cached_property
    def root(self) -> Path:
        return cache_root() / f"latents-{self.hash}"

    @property
    def styles(self) -> list[str]:
        """The styles that z_audio exists in, the neutral one first."""
        return list(self.settings["trained"])

    @property
    def voices(self) -> list[str]:
        """The other speakers, made by a warped envelope."""
        return list(self.settings["speakers"])

    def levels(self, style: str) -> dict[str, str]:
        """The levels a style names. Raises LatentError for a style that the profile does not have."""
        known = self.settings["styles"]
        if style not in known:
            raise LatentError(f"There is no style {style!r}: choose one of {', '.join(known)}.")
        return known[style]

    def prompt(self, style: str) -> str:
        """The English prompt of a style: the factors it names, or all of them for the neutral one."""
        return styles.prompt(self.levels(style) or styles.DEFAULTS)

    def sentences(self, *splits: str) -> list[Sentence]:
        """The sentences of some splits, or of all."""
        return [s for s in _sentences(tuple(self.settings["sentences"].items())) if s.split in (splits or SPLITS)]

    def spoken(self, sentence: Sentence) -> dict[str, np.ndarray]:
        """A sentence's arrays, see `speak`. Raises LatentError when its file is missing or damaged (then deleted)."""
        return read(self.root / f"{sentence.name}.npz")

    def wave(self, sentence: Sentence, style: str) -> np.ndarray:
        """The restyled recording at the voice's rate, float32."""
        return floats(self.spoken(sentence)[f"wave_{style}"])

    def make(self, cores: int = 1) -> Restyled:
        """Speak and restyle every sentence that has no file yet; returns itself."""
        missing = [s for s in self.sentences() if not (self.root / f"{s.name}.npz").is_file()]
        chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
        work = partial(_make, data=self.settings, folder=self.root)
        workers = min(cores, len(chunks) // 2)  # starting processes for less costs more than they save
        list(map_in_processes(work, chunks, workers, threads=1, label="styled speech", size=len))
        return self


class Styled(protocol.Study):
    """The study's data: restyled speech, and the frozen voice that speaks it."""

    paper = "ld"
    error = LatentError

    @cached_property
    def corpus(self) -> Restyled:
        return Restyled(self.settings["data"]).make(self.cores)

    def ready(self) -> None:
        self.corpus  # noqa: B018 - made on first use

    @cached_property
    def vits(self) -> Vits:
        return vits.load(device=self.device)

    def heard(self, sentence: Sentence, style: str) -> np.ndarray:
        """The restyled recording as every metric hears it: 16 kHz."""
        return heard(self.corpus.wave(sentence, style), self.vits.dims.rate)


@lru_cache(maxsize=8)
def _sentences(counts: tuple[tuple[str, int], ...]) -> tuple[Sentence, ...]:
    found, every = [], read_sentences()
    for split, count in counts:
        if split not in SPLITS or not 0 < count <= len(every[split]):
            raise LatentError(f"The profile asks for {count} {split} sentences: there are {len(every.get(split, []))}.")
        for place, line in enumerate(every[split][:count]):
            found.append(Sentence(f"{split}_{place:03d}", split, place, line, text.phonemize(line)))
    return tuple(found)


@lru_cache(maxsize=512)
def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file. Raises LatentError when it is missing or damaged (then deleted)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise LatentError(f"{path.parent.name}/{path.name} is missing: prepare again.") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        path.unlink(missing_ok=True)
        raise LatentError(
            f"{path.parent.name}/{path.name} was damaged and is deleted: the same command again makes it anew."
        ) from error


def floats(pcm: np.ndarray) -> np.ndarray:
    return pcm.astype(np.float32) / 32767


def pcm(wave: np.ndarray) -> np.ndarray:
    return np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)


def heard(wave: np.ndarray, rate: int) -> np.ndarray:
    """A wave as every metric hears it: 16 kHz."""
    return audio.resample(np.asarray(wave, np.float32), rate, audio.RATE)


def _make(sentences: list[Sentence], data: dict, folder: Path) -> None:
    for sentence in sentences:
        write(folder / f"{sentence.name}.npz", speak(sentence, data, _voice()))


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by rename."""
    with replace_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


@lru_cache(maxsize=1)
def _voice() -> Vits:
    return vits.load()


@torch.no_grad()
def speak(sentence: Sentence, data: dict, voice: Vits) -> dict[str, np.ndarray]:
    """A sentence's recording, its restylings and its latents.

    z `(latent, frames)` is the recording's own, wave_recorded what the decoder made of it; shared_k and sampled_k are
    z_text of take k, durations_k the sampled durations per symbol id; phones `(frames,)` indexes `lib.text.SYMBOLS`.
    For every style and other speaker s: wave_s (int16, the voice's rate), f0_s (Hz, 0 unvoiced) and energy_s (dB), per
    latent frame. mel_s is the 16 kHz log-mel and truth_s the values of `TRUTHS`, also for the draws draw0, draw1, ...,
    whose levels are in levels_s and whose 16 kHz waves in heard_s.
    """
    generator = torch.Generator().manual_seed(fingerprint_seed(data["seed"], sentence.name))
    ids, lengths, (owner,) = voice.ids([sentence.phonemes])
    prior = voice.encode(ids, lengths)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def latent(durations: Tensor) -> tuple[Tensor, Tensor]:
        expanded = voice.expand(prior, durations)
        z_p = voice.sample_prior(expanded, noise(*expanded.m.shape))
        return voice.to_latent(z_p, expanded.lengths), expanded.lengths

    def sampled() -> Tensor:
        return voice.durations(prior, noise(1, 2, ids.shape[1]))

    durations = sampled()
    z, frames = latent(durations)
    phones = np.array(text.encode(sentence.phonemes))[np.repeat(owner, durations[0].numpy())]
    found = {"z": z[0].numpy(), "phones": phones, "durations": durations[0].numpy()}
    for take in range(data["takes"]):
        again = sampled()
        found[f"durations_{take}"] = again[0].numpy()
        found[f"sampled_{take}"] = latent(again)[0][0].numpy()
        found[f"shared_{take}"] = latent(durations)[0][0].numpy()
    wave = voice.decode(z, frames)[0].numpy()
    return found | _restylings(wave, sentence, owner, found["durations"], data, voice.dims.rate, voice.dims.hop)


def fingerprint_seed(*values) -> int:
    """A seed that depends on the values."""
    return int(fingerprint(*values), 16) % 2**31


def _restylings(wave, sentence: Sentence, owner, durations, data: dict, rate: int, hop: int) -> dict[str, np.ndarray]:
    analysis = styles.analyse(wave, rate)
    frames = len(wave) // hop
    vowels = sum(symbol in text.VOWELS for symbol in sentence.phonemes)
    found = {"wave_recorded": pcm(wave)}
    changes = {name: styles.change_of(data["styles"][name], data["amounts"]) for name in data["trained"]}
    changes |= {name: styles.change_of({}, data["amounts"], warp) for name, warp in data["speakers"].items()}
    for name, change in changes.items():
        styled = styles.restyle(analysis, change, rate)
        found[f"wave_{name}"] = pcm(styled)
        f0 = styles.restyled_f0(analysis.f0, change)
        found[f"f0_{name}"] = f0_of_frames(f0, styles.FRAME, frames, hop / rate)
        found[f"energy_{name}"] = energy_of_frames(styled, frames, hop)
        found |= _as_heard(name, styled, analysis, change, vowels, 0.0, rate)
    random = np.random.default_rng(fingerprint_seed(data["seed"], sentence.name, "draws"))
    for draw in range(data["draws"]):
        levels = styles.drawn(random)
        change = styles.change_of(levels, data["amounts"])
        styled, pause = styles.restyle(analysis, change, rate), data["pause"] * (random.random() < 0.5)
        if pause:
            spaces = [i for i, symbol in enumerate(sentence.phonemes) if symbol == " "]
            word = random.choice(spaces)
            at = round(durations[np.asarray(owner) <= word].sum() * hop / change.rate)
            styled = styles.add_pause(styled, min(at, len(styled) - 1), round(pause * rate))
        found[f"levels_draw{draw}"] = np.array([levels[factor] for factor in styles.PHRASES])
        found[f"heard_draw{draw}"] = pcm(heard(styled, rate))
        found |= _as_heard(f"draw{draw}", styled, analysis, change, vowels, pause, rate)
    return found


def f0_of_frames(f0: np.ndarray, step: float, frames: int, seconds: float) -> np.ndarray:
    """F0 (frames,) in Hz at the middle of each latent frame of so many seconds, from a track every `step` seconds."""
    places = np.round((np.arange(frames) + 0.5) * seconds / step).astype(int)
    return f0[np.minimum(places, len(f0) - 1)].astype(np.float32)


def energy_of_frames(wave: np.ndarray, frames: int, hop: int) -> np.ndarray:
    """Energy (frames,) in dB of each latent frame."""
    return 10 * np.log10((wave[: frames * hop].reshape(-1, hop) ** 2).mean(1) + 1e-8)


def _as_heard(name, styled, analysis, change, vowels: int, pause: float, rate: int) -> dict[str, np.ndarray]:
    """mel_name and truth_name of a restyled wave."""
    wave = heard(styled, rate)
    mel = log_mel(torch.from_numpy(np.ascontiguousarray(wave)).unsqueeze(0))[0].numpy()
    truth = truths(wave, styles.restyled_f0(analysis.f0, change), vowels, pause)
    return {f"mel_{name}": mel.astype(np.float16), f"truth_{name}": truth}


def truths(wave: np.ndarray, f0: np.ndarray, vowels: int, pause: float) -> np.ndarray:
    """The values of `TRUTHS` for a 16 kHz wave with F0 in Hz (0 unvoiced), so many vowels and seconds of pause."""
    semitones = 12 * np.log2(f0[f0 > 0] / 100) if (f0 > 0).any() else np.zeros(1)
    level = 10 * np.log10((audio.fit(wave, len(wave) // 160 * 160).reshape(-1, 160) ** 2).mean(1) + 1e-10)
    sounding = level > level.max() - 25
    values = (
        semitones.mean(),
        np.subtract(*np.percentile(semitones, [95, 5])),
        level[sounding].mean(),
        vowels / (sounding.sum() * 0.01 + pause),
        pause / (len(wave) / audio.RATE),
    )
    return np.array(values, np.float32)
