"""The data of the latent diffusion study: what the VITS voice joe says, in styles whose effect is known.

Every sentence is spoken once (its recording) and restyled by WORLD, so all its styles share text, speaker and timing.
z_text is drawn again from the same text: with the recording's durations ("shared") or with sampled durations of its
own ("sampled", as in the paper). Each sentence is one file of the cache, named by a hash of the settings.
"""

from __future__ import annotations

import multiprocessing
import os
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lib import audio, study, text
from lib.corpora.embedded.recipe import read_sentences
from lib.corpora.styled import styles
from lib.corpora.world import Analysis
from lib.files import cache_root, fingerprint, replace_file
from lib.models.mel import log_mel
from lib.models.vits import model as vits
from lib.models.vits.model import Vits
from lib.study.protocol import resolve_device
from lib.workers import end_with_parent

FORMAT = 2  # raise it when the code makes other data from the same settings
SPEAKER = "joe"
PAIRS = ("shared", "sampled")
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


@dataclass
class Lab:
    """What every run of a profile shares: settings, device, the frozen voice and the cached data."""

    profile: dict
    device: str = "cpu"
    cores: int | None = None
    kept: dict = field(default_factory=dict, repr=False)  # what was computed once, by name

    def __post_init__(self):
        self.device = resolve_device(self.device)
        self.cores = self.cores or len(os.sched_getaffinity(0))

    @property
    def settings(self) -> dict:
        return self.profile["ld"]

    @property
    def root(self) -> Path:
        return study.results_root(self.profile)

    @cached_property
    def hash(self) -> str:
        """Names the data by all that decides them."""
        sentences = [(s.name, s.text) for s in self.sentences()]
        return fingerprint(FORMAT, self.settings["data"], sentences, vits.find().sha256)

    @property
    def folder(self) -> Path:
        return cache_root() / f"latents-{self.hash}"

    @property
    def encoder_mark(self) -> str:
        """Names the posterior encoder by all that decides it."""
        return fingerprint(self.hash, self.settings["posterior"], self.device.split(":")[0])

    @property
    def encoded(self) -> Path:
        return self.folder / f"encoded-{self.encoder_mark}"

    @cached_property
    def vits(self) -> Vits:
        return vits.load(device=self.device)

    @property
    def styles(self) -> list[str]:
        """The styles that z_audio exists in, the neutral one first."""
        return list(self.settings["data"]["trained"])

    def levels(self, style: str) -> dict[str, str]:
        """The levels a style names. Raises LatentError for a style that the profile does not have."""
        known = self.settings["data"]["styles"]
        if style not in known:
            raise LatentError(f"There is no style {style!r}: choose one of {', '.join(known)}.")
        return known[style]

    def prompt(self, style: str) -> str:
        """The English prompt of a style: the factors it names, or all of them for the neutral one."""
        return styles.prompt(self.levels(style) or styles.DEFAULTS)

    def sentences(self, *splits: str) -> list[Sentence]:
        """The sentences of some splits, or of all."""
        return [
            s for s in _sentences(tuple(self.settings["data"]["sentences"].items())) if s.split in (splits or SPLITS)
        ]

    def spoken(self, sentence: Sentence) -> dict[str, np.ndarray]:
        """A sentence's arrays, see `speak`. Raises LatentError when its file is missing or damaged (then deleted)."""
        return _load(self.folder / f"{sentence.name}.npz")

    def latents(self, sentence: Sentence) -> dict[str, np.ndarray]:
        """z_audio `(latent, frames)` of a sentence by style or other speaker, made by the posterior encoder."""
        return _load(self.encoded / f"{sentence.name}.npz")

    def wave(self, sentence: Sentence, style: str) -> np.ndarray:
        """The restyled recording at the voice's rate, float32."""
        return floats(self.spoken(sentence)[f"wave_{style}"])


SPLITS = ("train", "validation", "test")


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
def _load(path: Path) -> dict[str, np.ndarray]:
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


def make(lab: Lab) -> None:
    """Speak and restyle every sentence that has no file yet, on all cores."""
    missing = [s for s in lab.sentences() if not (lab.folder / f"{s.name}.npz").is_file()]
    if not missing:
        return
    chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
    workers = min(lab.cores, len(chunks) // 2)
    if workers < 2:  # starting processes costs more than they save
        return _work(missing, lab.settings["data"], lab.folder)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread) as pool:
        jobs = [pool.submit(_work, chunk, lab.settings["data"], lab.folder) for chunk in chunks]
        for job in tqdm(jobs, desc="styled speech", mininterval=2):
            job.result()


def _one_thread() -> None:
    """Results do not depend on the number of cores."""
    end_with_parent()
    torch.set_num_threads(1)


def _work(sentences: list[Sentence], data: dict, folder: Path) -> None:
    for sentence in sentences:
        arrays = speak(sentence, data, _voice())
        with replace_file(folder / f"{sentence.name}.npz") as temporary, open(temporary, "wb") as file:
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
        found[f"f0_{name}"] = _f0_of_frames(analysis, change, frames, hop / rate)
        found[f"energy_{name}"] = 10 * np.log10((styled[: frames * hop].reshape(-1, hop) ** 2).mean(1) + 1e-8)
        found |= _as_heard(name, styled, analysis, change, vowels, 0.0, rate)
    random = np.random.default_rng(fingerprint_seed(data["seed"], sentence.name, "draws"))
    for draw in range(data["draws"]):
        levels = {factor: str(random.choice(list(names))) for factor, names in styles.PHRASES.items()}
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


def _f0_of_frames(analysis: Analysis, change: styles.Change, frames: int, seconds: float) -> np.ndarray:
    """F0 (frames,) in Hz at the middle of each latent frame."""
    f0 = styles.restyled_f0(analysis.f0, change)
    places = np.round((np.arange(frames) + 0.5) * seconds / styles.FRAME).astype(int)
    return f0[np.minimum(places, len(f0) - 1)].astype(np.float32)


def _as_heard(name, styled, analysis, change, vowels: int, pause: float, rate: int) -> dict[str, np.ndarray]:
    """mel_name and truth_name of a restyled wave."""
    wave = heard(styled, rate)
    f0 = styles.restyled_f0(analysis.f0, change)
    semitones = 12 * np.log2(f0[f0 > 0] / 100) if (f0 > 0).any() else np.zeros(1)
    level = 10 * np.log10((audio.fit(wave, len(wave) // 160 * 160).reshape(-1, 160) ** 2).mean(1) + 1e-10)
    sounding = level > level.max() - 25
    seconds = len(wave) / audio.RATE
    truth = (
        semitones.mean(),
        np.subtract(*np.percentile(semitones, [95, 5])),
        level[sounding].mean(),
        vowels / (sounding.sum() * 0.01 + pause),
        pause / seconds,
    )
    mel = log_mel(torch.from_numpy(np.ascontiguousarray(wave)).unsqueeze(0))[0].numpy()
    return {f"mel_{name}": mel.astype(np.float16), f"truth_{name}": np.array(truth, np.float32)}
