"""The embedded corpus: speech built here from synthetic voices, with exact phoneme durations.

A recipe names base voices (hibari, joe, flite's, mixtures of Kokoro's), speakers (a base, an envelope warp, an
F0 scale, a role) and how many utterances of each split a speaker of each role gets. Each utterance must pass
a gate (Whisper tiny.en WER, DistillMOS) or is set aside, listed and replaced. Every finished utterance is a
file, so a build that was stopped goes on where it was.
"""

import hashlib
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from lib import audio
from lib.corpora import world
from lib.corpora.corpus import SPLITS, Corpus, CorpusError, Utterance, full_disk
from lib.corpora.embedded import parts, voices
from lib.corpora.embedded.gate import judge
from lib.corpora.embedded.recipe import Job, digest, plan, read_sentences, resolve
from lib.corpora.made import collect, complete, finished, keep, set_aside
from lib.files import BUILT
from lib.workers import map_in_processes, one_thread

BATCH = 8  # utterances a worker judges together
ROUNDS = 4  # sentences set aside are replaced by the next ones, at most this often


def speak(job: Job, recipe: dict) -> list[tuple[str, np.ndarray, dict]]:
    """(speaker, wave, fields of its `Utterance`) for every speaker of a job; WORLD analyses the base once."""
    base = recipe["bases"][job.base]
    key = f"{recipe['seed']}/{job.base}/{job.split}/{job.sentence}"
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")
    speech = voices.say(job.text, base, seed)
    analysis, made = None, []
    for speaker in job.speakers:
        entry = recipe["speakers"][speaker]
        warp, f0_scale = float(entry.get("warp", 1.0)), float(entry.get("f0", 1.0))
        wave = speech.wave
        if (warp, f0_scale) != (1.0, 1.0):
            analysis = analysis or world.analyse(speech.wave)
            wave = voices.level(world.shift(analysis, warp, f0_scale))
        fields = {
            "utterance": job.name(speaker),
            "speaker": speaker,
            "text": job.text,
            "phonemes": speech.phonemes,
            "durations": tuple(float(length) / audio.RATE for length in speech.lengths),
            "role": entry["role"],
            "split": job.split,
            "condition": "typical",
            "path": f"audio/{speaker}/{job.name(speaker)}.flac",
            "seconds": len(wave) / audio.RATE,
            "recipe": {"base": job.base, **base, "seed": seed, "warp": warp, "f0_scale": f0_scale},
        }
        made.append((speaker, wave, fields))
    return made


@one_thread()
def work(jobs: list[Job], recipe: dict, folder: Path) -> None:
    """Make, judge and write all utterances of some jobs."""
    made = []
    for job in jobs:
        try:
            made += speak(job, recipe)
        except ValueError as error:
            for speaker in job.speakers:
                set_aside(folder, job.name(speaker), speaker, job.text, reason=str(error))
    if made:
        qualities = judge([wave for _, wave, _ in made], [fields["text"] for *_, fields in made], recipe["gate"])
        for (speaker, wave, fields), quality in zip(made, qualities, strict=True):
            if quality["reason"]:
                set_aside(folder, fields["utterance"], speaker, fields["text"], **quality)
                continue
            quality.pop("reason")
            keep(folder, wave, Utterance(**{**fields, "recipe": fields["recipe"] | quality}))


def build(recipe: dict, root: str | Path = BUILT, cores: int | None = None) -> Corpus:
    """Build, finish or just load the corpus of a recipe, in `<root>/embedded-<hash>/`.

    cores: worker processes, by default all there are. Raises `VoiceError` for a missing or damaged voice package and
    `CorpusError` for a wrong recipe, a full disk or a speaker left with no utterances.
    """
    sentences = read_sentences()
    recipe = resolve(recipe)
    versions = parts.verify_bases(list(recipe["bases"].values()))
    identity = digest(recipe, versions, sentences)
    folder = Path(root) / f"embedded-{identity}"
    if (corpus := complete(folder, identity)) is not None:
        return corpus
    with full_disk(folder):
        corpus = _rounds(recipe, sentences, folder, identity, cores or len(os.sched_getaffinity(0)))
        corpus.save()
    return corpus


def _rounds(recipe: dict, sentences: dict, folder: Path, identity: str, cores: int) -> Corpus:
    """Make all utterances, then replacements for those set aside, until each speaker has its count."""
    spares: dict[tuple[str, str], int] = {}
    for _ in range(ROUNDS):
        jobs = plan(recipe, sentences, spares)
        make = partial(work, recipe=recipe, folder=folder)
        for _ in map_in_processes(make, _missing(jobs, folder), cores, label="utterances", size=_size):
            pass
        utterances, aside = collect(folder, [(name, job.name(name)) for job in jobs for name in job.speakers])
        found = Counter((item.speaker, item.split) for item in utterances)
        short = {
            (name, split): count - found[name, split]
            for name, entry in recipe["speakers"].items()
            for split, count in recipe["counts"][entry["role"]].items()
            if count > found[name, split]
        }
        if not short:
            break
        spares = {key: spares.get(key, 0) + short.get(key, 0) for key in spares.keys() | short.keys()}
    for name, entry in recipe["speakers"].items():
        for split, count in recipe["counts"][entry["role"]].items():
            if count and not found[name, split]:
                reasons = [e["reason"] for e in aside if e["speaker"] == name]
                raise CorpusError(
                    f"Speaker {name} has no {split} utterance left ({reasons[0]}); "
                    "choose a milder recipe or a looser gate."
                )
    order = list(recipe["speakers"])
    utterances.sort(key=lambda u: (order.index(u.speaker), SPLITS.index(u.split), u.utterance))
    aside.sort(key=lambda entry: entry["utterance"])
    return Corpus(folder, "embedded", identity, utterances, aside)


def _missing(jobs: list[Job], folder: Path) -> list[list[Job]]:
    """What is not made yet, in portions of about `BATCH` utterances."""
    chunks: list[list[Job]] = [[]]
    for job in jobs:
        absent = tuple(name for name in job.speakers if finished(folder, name, job.name(name)) is None)
        if not absent:
            continue
        if _size(chunks[-1]) >= BATCH:
            chunks.append([])
        chunks[-1].append(replace(job, speakers=absent))
    return chunks if chunks[0] else []


def _size(jobs: list[Job]) -> int:
    return sum(len(job.speakers) for job in jobs)
