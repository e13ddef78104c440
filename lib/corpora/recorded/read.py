"""From the files of recorded speech to a manifest: what all loaders share.

A loader lists its corpus as `Clip`s; `prepare` reads, trims and resamples them in parallel, sets the unusable ones
aside with their reasons and writes `<root>/<name>-<hash>/`: 16 kHz mono FLAC, `manifest.jsonl` and `corpus.json`.
The hash covers every clip and the content of its file, so a changed recording makes another corpus. What is finished
is written down with its SHA-256 in `prepared.jsonl`: a preparation that was stopped goes on where it was, and a
damaged file is made again.
"""

import concurrent.futures
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from unicodedata import normalize

import numpy as np

from lib import audio, text
from lib.corpora.corpus import Corpus, CorpusError, Utterance, full_disk, write_text
from lib.corpora.recorded.clip import Clip, safe_name, samples, with_splits
from lib.files import BUILT, file_hash, fingerprint, named
from lib.workers import map_in_processes

FORMAT = 1  # raise it when the code makes other audio from the same clips
RECOGNISER = "Whisper tiny.en"
LONGEST_ID = 200  # bytes
JOURNAL = "prepared.jsonl"
CHUNK = 16  # clips a worker takes together


def prepare(
    clips: Sequence[Clip],
    name: str,
    root: str | Path = BUILT,
    cores: int | None = None,
    trim: bool = True,
    recogniser: Callable[[list[np.ndarray]], list[str]] | None = None,
) -> Corpus:
    """Prepare, finish or just check the corpus of some clips, in `<root>/<name>-<hash>/`.

    cores: worker processes, by default all there are; trim: cut the silence at either end; recogniser: waves at 16 kHz
    to texts, for clips without transcripts (by default Whisper tiny.en). Raises `CorpusError` for an id that occurs
    twice, a sentence in two splits, a full disk, or when no clip is usable.
    """
    clips = with_texts(clips)
    with_splits([clip for clip in clips if not clip.machine])  # a sentence in two splits is told before the long work
    identity = _identity(clips, name, trim)
    folder = Path(root) / f"{safe_name(name)}-{identity}"
    usable = [clip for clip in clips if not clip.problem]
    try:
        with full_disk(folder):
            done = _finish(usable, folder, cores or len(os.sched_getaffinity(0)), trim)
            _transcribe(usable, done, folder, recogniser or whisper)
            clips = with_splits([_with_transcript(clip, done) for clip in clips])
            corpus = _corpus(clips, done, folder, name, identity)
            _save(corpus)
    except OSError as error:
        raise CorpusError(f"{folder}: cannot be written ({error.strerror or error}); choose another root.") from None
    return corpus


def _save(corpus: Corpus) -> None:
    """Write the manifest, unless it is there already and has durations as well."""
    plain = {item.utterance: item for item in corpus.utterances}
    try:
        known = Corpus.load(corpus.root).utterances
    except CorpusError:
        known = []
    same = all(replace(item, phonemes="", durations=()) == plain.get(item.utterance) for item in known)
    if not (same and any(item.durations for item in known)):
        corpus.save()


def check_ids(clips: Sequence[Clip]) -> None:
    """Raise `CorpusError` naming the files where two clips have one id, or an id is too long for a file name."""
    seen: dict[str, Clip] = {}
    for clip in clips:
        if len(clip.utterance.encode()) > LONGEST_ID:
            raise CorpusError(f"{clip.utterance[:60]}…: the utterance id is too long; give the file a shorter path.")
        if len(safe_name(clip.speaker).encode()) > LONGEST_ID:
            raise CorpusError(f"{clip.file}: the speaker's name {clip.speaker[:60]}… is too long; shorten it.")
        if (other := seen.setdefault(clip.utterance, clip)) is not clip:
            raise CorpusError(
                f"{other.file} and {clip.file} both give the utterance id {clip.utterance}; rename or remove one."
            )


def with_texts(clips: Sequence[Clip]) -> list[Clip]:
    """A corpus's clips with their texts as sentences (`lib.text.sentences`). Raises `CorpusError` as `check_ids`."""
    clips = [_with_text(clip) for clip in clips]
    check_ids(clips)
    spelt = text.sentences([clip.text for clip in clips])
    return [replace(clip, text=sentence) for clip, sentence in zip(clips, spelt, strict=True)]


def _with_text(clip: Clip) -> Clip:
    """A clip whose text is on one line and whose file is spelt as it is there, set aside where there is no text."""
    sentence, speaker = (" ".join(normalize("NFC", value).split()) for value in (clip.text, clip.speaker))
    clip = replace(clip, text=sentence, speaker=speaker, file=named(clip.file))
    if clip.problem or clip.machine or clip.text:
        return clip
    return replace(clip, problem=f"{clip.file.name}: no transcript; write down what is said.")


def _identity(clips: Sequence[Clip], name: str, trim: bool) -> str:
    """Twelve hex digits that change with any clip or the content of any file."""
    files = sorted({clip.file for clip in clips if clip.file.is_file()})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        digests = dict(zip(files, pool.map(file_hash, files), strict=True))
    records = [asdict(clip) | {"file": digests.get(clip.file)} for clip in clips]
    return fingerprint(FORMAT, RECOGNISER, name, trim, records)


def _finish(clips: Sequence[Clip], folder: Path, cores: int, trim: bool) -> dict[str, dict]:
    """Outcome of every clip by id; what is missing or damaged is made and written down as it comes."""
    done = _intact(_outcomes(folder / JOURNAL), clips, folder)
    write_text(folder / JOURNAL, "".join(json.dumps(outcome) + "\n" for outcome in done.values()))
    missing = [clip for clip in clips if clip.utterance not in done]
    work = partial(make, folder=folder, trim=trim)
    for outcomes in map_in_processes(work, chunks(missing), cores, label="recordings", size=len):
        done |= _written(outcomes, folder)
    return done


def _written(outcomes: list[dict], folder: Path) -> dict[str, dict]:
    """Write down some outcomes; returns them by id."""
    with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write("".join(json.dumps(outcome) + "\n" for outcome in outcomes))
    return {outcome["utterance"]: outcome for outcome in outcomes}


def _outcomes(journal: Path) -> dict[str, dict]:
    """Outcomes that an earlier run wrote down, the last of each id; lines cut short or damaged are left out."""
    outcomes = {}
    content = journal.read_text(encoding="utf-8", errors="replace") if journal.is_file() else ""
    for line in content.split("\n"):
        try:
            outcome = json.loads(line)
            whole = isinstance(outcome["samples"], int) if "sha256" in outcome else isinstance(outcome["reason"], str)
            if whole and isinstance(outcome.get("heard", ""), str):
                outcomes[outcome["utterance"]] = outcome
        except (ValueError, KeyError, TypeError):
            continue
    return outcomes


def _intact(outcomes: dict[str, dict], clips: Sequence[Clip], folder: Path) -> dict[str, dict]:
    """The outcomes of these clips whose files are there, unchanged."""
    known = [clip for clip in clips if clip.utterance in outcomes]

    def whole(clip: Clip) -> bool:
        outcome, path = outcomes[clip.utterance], folder / clip.path
        return "reason" in outcome or (path.is_file() and file_hash(path) == outcome["sha256"])

    with concurrent.futures.ThreadPoolExecutor() as pool:
        flags = list(pool.map(whole, known))
    return {clip.utterance: outcomes[clip.utterance] for clip, flag in zip(known, flags, strict=True) if flag}


def chunks(clips: Sequence[Clip]) -> list[Sequence[Clip]]:
    return [clips[start : start + CHUNK] for start in range(0, len(clips), CHUNK)]


def make(clips: Sequence[Clip], folder: Path, trim: bool) -> list[dict]:
    """Read and write some clips; their outcomes: id with samples and sha256, or with the reason it is set aside."""
    outcomes = []
    for clip in clips:
        wave, reason = speech(clip, trim)
        if wave is None:
            outcomes.append({"utterance": clip.utterance, "reason": reason})
            continue
        audio.write(folder / clip.path, wave)
        digest = file_hash(folder / clip.path)
        outcomes.append({"utterance": clip.utterance, "samples": len(wave), "sha256": digest})
    return outcomes


def speech(clip: Clip, trim: bool) -> tuple[np.ndarray | None, str]:
    """A clip's samples as they are written and "", or None and why it is set aside."""
    try:
        if clip.language == "en" and not clip.machine:
            text.phonemize(clip.text)
        return samples(clip, trim), ""
    except (audio.AudioError, text.TextError) as error:
        return None, str(error).replace(str(clip.file), clip.file.name)


def whisper(waves: list[np.ndarray]) -> list[str]:
    """Transcripts of mono 16 kHz waves by `RECOGNISER`, on a GPU where there is one."""
    import torch

    from lib.models.whisper import sizes as models

    return models.load("tiny.en", "cuda" if torch.cuda.is_available() else "cpu").transcribe(waves)


def _transcribe(
    clips: Sequence[Clip], done: dict[str, dict], folder: Path, recogniser: Callable[[list[np.ndarray]], list[str]]
) -> None:
    """Add what the recogniser hears to the outcomes of the prepared clips that want it; written down as it comes."""
    missing = [clip for clip in clips if clip.machine and not done[clip.utterance].keys() & {"reason", "heard"}]

    def listen(some: Sequence[Clip]) -> list[dict]:
        sentences = recogniser([audio.read(folder / clip.path) for clip in some])
        pairs = zip(some, sentences, strict=True)
        return [done[clip.utterance] | {"heard": " ".join(sentence.split())} for clip, sentence in pairs]

    for outcomes in map_in_processes(listen, chunks(missing), 1, label="transcripts", size=len):
        done |= _written(outcomes, folder)


def _with_transcript(clip: Clip, done: dict[str, dict]) -> Clip:
    """A clip with the recogniser's text, or set aside where it holds nothing that could be spoken."""
    if clip.problem or not clip.machine or "heard" not in done[clip.utterance]:
        return clip
    heard = done[clip.utterance]["heard"]
    recipe = {**clip.recipe, "transcript": RECOGNISER}
    try:
        text.phonemize(heard)
    except text.TextError:
        problem = f"{clip.file.name}: {RECOGNISER} hears no words; write down what is said."
        return replace(clip, recipe=recipe, problem=problem)
    return replace(clip, text=heard, recipe=recipe)


def _corpus(clips: Sequence[Clip], done: dict[str, dict], folder: Path, name: str, identity: str) -> Corpus:
    utterances, set_aside = [], []
    for clip in clips:
        reason = clip.problem or done[clip.utterance].get("reason", "")
        if reason:
            entry = {"utterance": clip.utterance, "speaker": clip.speaker, "text": clip.text, "reason": reason}
            set_aside.append(entry)
            continue
        seconds = done[clip.utterance]["samples"] / audio.RATE
        utterances.append(
            Utterance(
                clip.utterance, clip.speaker, clip.text, "", (), clip.role, clip.split, clip.condition, clip.path,
                seconds, clip.recipe,
            )
        )  # fmt: skip
    if not utterances:
        reason = f" ({set_aside[0]['reason']})" if set_aside else ""
        raise CorpusError(f"{name}: none of its {len(clips)} utterances is usable{reason}.")
    return Corpus(folder, name, identity, utterances, set_aside)
