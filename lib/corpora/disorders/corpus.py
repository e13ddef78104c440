"""Simulated atypical speech on disk: the embedded corpus as speakers of several conditions would say it.

Everything here is simulated (`lib.corpora.disorders.simulate`). A recipe lists groups of speakers. A simulated
speaker is a voice of the embedded corpus, a condition, a severity and a profile drawn from them. Groups of the role
adaptation take voices and sentences from the pre-training and adaptation speakers, with a training, a validation and a
test split;
groups of the role never_seen take only voices that no training speaker has, and test sentences. Every recording,
typical speech included, has the same pink room noise, set against the level of the voice before it was changed: a
weak voice is therefore nearer to the noise, as before a real microphone.

Every finished utterance is a file, so a build that was stopped goes on where it was.
"""

import hashlib
import itertools
import os
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from lib import audio, text
from lib.corpora.corpus import Corpus, CorpusError, Utterance
from lib.corpora.disorders.profile import COHORTS, SEVERITIES, Profile, draw_profile
from lib.corpora.disorders.simulate import simulate
from lib.corpora.made import collect, complete, finished, keep, set_aside
from lib.files import BUILT, fingerprint
from lib.workers import map_in_processes

VERSION = 2  # of the samples that a job gives; part of the corpus's hash
CHUNK = 6  # utterances a worker makes together
FEW = 24  # fewer are made without a pool
LONGEST = 29.0  # s: Whisper hears 30
TONE_FLOOR = 50.0  # Hz, below which pink noise is white
CONDITIONS = ("typical", *COHORTS, "mixed")


@dataclass(frozen=True)
class Job:
    """One utterance to make: of which recording, by whom, with which profiles (one after the other) and seed."""

    name: str
    speaker: str
    role: str
    split: str
    condition: str
    severity: str
    source: Utterance
    profiles: tuple[Profile, ...]
    seed: int


def plan(source: Corpus, recipe: dict) -> list[Job]:
    """Every utterance of a recipe, group by group. Raises CorpusError for a recipe that the source cannot fill."""
    jobs, number = [], 0
    for name, group in recipe["groups"].items():
        _check(name, group, recipe)
        voices = _voices(source, group["role"], recipe["seed"])
        for order, condition in enumerate(group["conditions"]):
            for index in range(group["speakers"]):
                voice = voices[(order * group["speakers"] + index) % len(voices)]
                severity = recipe["severities"][(index + order) % len(recipe["severities"])]
                jobs += _speaker(source, recipe, group, condition, severity, voice, number, index)
                number += 1
    if len({job.name for job in jobs}) < len(jobs):
        raise CorpusError("The recipe makes one speaker twice: ask for fewer speakers than there are voices.")
    return jobs


def _check(name: str, group: dict, recipe: dict) -> None:
    unknown = sorted(set(group["conditions"]) - set(CONDITIONS)) + sorted(set(recipe["severities"]) - set(SEVERITIES))
    if unknown:
        raise CorpusError(f"The group {name} asks for {unknown[0]!r}: use {', '.join((*CONDITIONS, *SEVERITIES))}.")
    if group["role"] not in ("adaptation", "never_seen"):
        raise CorpusError(f"The group {name} has the role {group['role']!r}: use adaptation or never_seen.")


def _voices(source: Corpus, role: str, seed: int) -> list[str]:
    """Voices of a role in an order drawn by the seed, so that neighbours are not variants of one voice."""
    names = source.speakers("never_seen") if role == "never_seen" else []
    if role == "adaptation":
        names = [*source.speakers("pretraining"), *source.speakers("adaptation")]
    if not names:
        raise CorpusError(f"{source.name}: no voice for the role {role}; give the source corpus more speakers.")
    return [names[index] for index in np.random.default_rng([seed, 0]).permutation(len(names))]


def mixture(recipe: dict, index: int) -> tuple[str, str]:
    """The two conditions of a mixed speaker; severities go round with `index`, so pairs move on after each round."""
    pairs = list(itertools.combinations(recipe["mixtures"], 2))
    return pairs[(index + index // len(recipe["severities"])) % len(pairs)]


def _speaker(source, recipe, group, condition, severity, voice, number, index) -> list[Job]:
    """The utterances of one simulated speaker; `number` counts all speakers, `index` those of the condition."""
    cohorts = {"typical": (), "mixed": mixture(recipe, index)}.get(condition, (condition,))
    own = recipe["seed"] * 10_000 + number
    profiles = tuple(draw_profile(cohort, severity, own) for cohort in cohorts)
    severity = severity if profiles else "none"
    speaker = "_".join((condition, *((severity,) if profiles else ()), voice))
    jobs = []
    for split in ("train", "validation", "test"):
        count = group.get(split, 0)
        items = source.select(split=split, speaker=voice)
        if len(items) < count:
            raise CorpusError(f"The voice {voice} has {len(items)} {split} sentences of {count}: ask for fewer.")
        draw = np.random.default_rng([recipe["seed"], 1, number])
        chosen = draw.permutation(len(items)) if group["role"] == "adaptation" else range(len(items))
        for place in list(chosen)[:count]:
            item = items[place]
            seed = int.from_bytes(hashlib.sha256(f"{own}/{item.utterance}".encode()).digest()[:4], "little")
            name = f"{speaker}_{item.utterance.removeprefix(voice).strip('_-')}"
            jobs.append(Job(name, speaker, group["role"], split, condition, severity, item, profiles, seed))
    return jobs


def make(source: Corpus, job: Job, snr: float | None) -> tuple[np.ndarray, Utterance]:
    """Samples and manifest entry of a job; snr: dB between the voice as recorded and the room noise, None for none.

    Raises AtypicalError or CorpusError, of one sentence, where the recording cannot be used.
    """
    before = source.wave(job.source)
    wave, phonemes, durations, events = before, job.source.phonemes, job.source.durations, ()
    if job.profiles:
        made = simulate(before, phonemes, durations, job.profiles, job.seed)
        wave, phonemes, durations, events = made.wave, made.phonemes, made.durations, made.events
    if len(wave) > LONGEST * audio.RATE:
        raise CorpusError(f"{job.name}: it lasts {len(wave) / audio.RATE:.1f} s, more than {LONGEST:g} s.")
    if snr is not None:
        level = np.sqrt(np.mean(before.astype(np.float64) ** 2)) * 10 ** (-snr / 20)
        wave = wave + level * pink_noise(len(wave), np.random.default_rng([job.seed, 9]))
    wave = (wave / max(1.0, float(np.abs(wave).max()))).astype(np.float32)
    seconds = len(wave) / audio.RATE
    durations = tuple(float(each) for each in (*durations[:-1], seconds - sum(durations[:-1])))
    entry = Utterance(
        utterance=job.name,
        speaker=job.speaker,
        text=job.source.text,
        phonemes=phonemes,
        durations=durations,
        role=job.role,
        split=job.split,
        condition=job.condition,
        path=f"audio/{job.speaker}/{job.name}.flac",
        seconds=seconds,
        recipe={
            "source": job.source.utterance,
            "voice": job.source.speaker,
            "severity": job.severity,
            "profiles": [changed(profile) for profile in job.profiles],
            "seed": job.seed,
            "snr": snr,
            "events": len([event for event in events if event.end - event.start < 0.9 * seconds]),
        },
    )
    return wave, entry


def changed(profile: Profile) -> dict:
    """Cohort, severity and the parameters of a profile that are not their defaults."""
    named = {"cohort": profile.cohort, "severity": profile.severity}
    return named | {
        f.name: getattr(profile, f.name) for f in fields(profile)[2:] if getattr(profile, f.name) != f.default
    }


def pink_noise(samples: int, random: np.random.Generator) -> np.ndarray:
    """Noise (samples,) of unit power whose power falls by 3 dB an octave above 50 Hz."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(samples, 1 / audio.RATE), TONE_FLOOR))
    noise = np.fft.irfft(spectrum, samples)
    return noise / np.sqrt(np.mean(noise**2))


def build(recipe: dict, source: Corpus, root: str | Path = BUILT, cores: int | None = None) -> Corpus:
    """Build, finish or just load the corpus of a recipe on a source corpus, in `<root>/simulated-<hash>/`.

    The hash covers the recipe, the source and every profile drawn. cores: worker processes, by default all there are.
    An utterance that cannot be made is set aside with its reason. Raises CorpusError for a wrong recipe and for a
    speaker who is left with no utterance.
    """
    jobs = plan(source, recipe)
    profiles = [[asdict(profile) for profile in job.profiles] for job in jobs]
    identity = fingerprint(VERSION, recipe, source.hash, profiles)
    folder = Path(root) / f"simulated-{identity}"
    if (corpus := complete(folder, identity)) is not None:
        return corpus
    missing = [job for job in jobs if finished(folder, job.speaker, job.name) is None]
    chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    cores = 1 if len(missing) < FEW else cores or len(os.sched_getaffinity(0))
    light = Corpus(source.root, source.name, source.hash, [])
    make_some = partial(work, source=light, snr=recipe["snr"], folder=folder)
    for _ in map_in_processes(make_some, chunks, cores, label="simulated utterances", size=len):
        pass
    utterances, aside = collect(folder, [(job.speaker, job.name) for job in jobs])
    lost = sorted({job.speaker for job in jobs} - {item.speaker for item in utterances})
    if lost:
        raise CorpusError(f"The speaker {lost[0]} has no utterance left: choose milder severities.")
    corpus = Corpus(folder, "simulated", identity, utterances, aside)
    corpus.save()
    return corpus


def work(jobs: list[Job], source: Corpus, snr: float | None, folder: Path) -> None:
    """Make and write some utterances."""
    for job in jobs:
        try:
            keep(folder, *make(source, job, snr))
        except ValueError as error:
            set_aside(folder, job.name, job.speaker, job.source.text, reason=str(error))


def syllable_rate(item: Utterance) -> float:
    """Syllables (vowels) per second of an aligned utterance, from its first to its last phone."""
    phones = [place for place, symbol in enumerate(item.phonemes) if symbol in text.PHONES]
    span = sum(item.durations[phones[0] : phones[-1] + 1])
    return sum(item.phonemes[place] in text.VOWELS for place in phones) / span


def pause_share(item: Utterance) -> float:
    """Share of an aligned utterance that is neither phone nor stress mark, from its first to its last phone."""
    phones = [place for place, symbol in enumerate(item.phonemes) if symbol in text.PHONES]
    inside = range(phones[0], phones[-1] + 1)
    spoken = text.PHONES + text.STRESS
    silent = sum(item.durations[place] for place in inside if item.phonemes[place] not in spoken)
    return silent / sum(item.durations[place] for place in inside)
