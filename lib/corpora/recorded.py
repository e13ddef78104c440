"""From the files of recorded speech to a manifest: what all loaders share.

A loader lists its corpus as `Clip`s; `prepare` reads, trims and resamples them in parallel, sets the unusable ones
aside with their reasons and writes `<root>/<name>-<hash>/`: 16 kHz mono FLAC, `manifest.jsonl` and `corpus.json`.
The hash covers every clip and the content of its file, so a changed recording makes another corpus. What is finished
is written down with its SHA-256 in `prepared.jsonl`: a preparation that was stopped goes on where it was, and a
damaged file is made again.
"""

import concurrent.futures
import concurrent.futures.process
import errno
import hashlib
import json
import math
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from lib import audio, text
from lib.corpus import Corpus, CorpusError, Utterance, write_text
from lib.files import file_hash, fingerprint

BUILT = Path(__file__).resolve().parents[2] / "data" / "built"
FORMAT = 1  # raise it when the code makes other audio from the same clips
KEPT_SILENCE = 0.1  # seconds left at either end
SHORTEST, LONGEST = 0.2, 30.0  # seconds of usable speech; Whisper hears 30
LONGEST_ID = 200  # bytes
CHUNK = 16  # clips a worker takes together
ALONE = 32  # so few clips are faster without worker processes


@dataclass(frozen=True)
class Clip:
    """One utterance as a corpus's files describe it, before its recording is read.

    split: empty where the sentence's hash decides it; start, end: seconds of `file` (None: its end); mix: average
    the channels of a recording that has several; language: phonemes are checked for English ("en") only; recipe: what
    the corpus says of the utterance; problem: why it is set aside, empty where it is usable.
    """

    utterance: str
    speaker: str
    text: str
    file: Path
    role: str = "adaptation"
    split: str = ""
    condition: str = "typical"
    start: float = 0.0
    end: float | None = None
    mix: bool = False
    language: str = "en"
    recipe: dict = field(default_factory=dict)
    problem: str = ""

    @property
    def path(self) -> str:
        """Where the prepared recording lies in the corpus folder."""
        return f"audio/{safe_name(self.speaker)}/{self.utterance}.flac"


def safe_name(name: str) -> str:
    """A file name without separators, spaces or a leading dot; letters of any script stay."""
    return re.sub(r"[^\w.-]+", "-", name).lstrip(".") or "-"


def normalise(sentence: str) -> str:
    """A sentence without case, punctuation and repeated spaces; two that are equal here are the same sentence."""
    plain = " ".join(re.sub(r"[^\w']+", " ", sentence.casefold().replace("’", "'")).split())
    return plain or sentence.strip()


def split_sentences(sentences: Iterable[str], test: float = 0.1, validation: float = 0.1) -> dict[str, str]:
    """The split of each normalised sentence: those with the smallest hashes are test, the next validation.

    test, validation: their shares of the distinct sentences, rounded up; one sentence is train, two are test and train.
    """
    keys = sorted(
        {normalise(sentence) for sentence in sentences}, key=lambda key: hashlib.sha256(key.encode()).digest()
    )
    tested = math.ceil(test * len(keys)) if len(keys) > 1 else 0
    validated = math.ceil(validation * len(keys)) if len(keys) > 2 else 0
    names = ["test"] * tested + ["validation"] * validated
    return dict(zip(keys, names + ["train"] * (len(keys) - len(names)), strict=True))


def with_splits(clips: Sequence[Clip]) -> list[Clip]:
    """Clips with a split each: their own, that of the same sentence elsewhere, or by the sentence's hash.

    Raises `CorpusError` naming both utterances where a sentence is in two splits.
    """
    given: dict[str, Clip] = {}
    for clip in clips:
        if clip.split:
            first = given.setdefault(normalise(clip.text), clip)
            if first.split != clip.split:
                raise CorpusError(
                    f"{first.utterance} ({first.split}) and {clip.utterance} ({clip.split}) say the same sentence; "
                    "put a sentence into one split, so that none that is tested is trained on."
                )
    free = split_sentences(c.text for c in clips if not c.problem and normalise(c.text) not in given)
    splits = free | {key: clip.split for key, clip in given.items()}
    return [replace(clip, split=splits.get(normalise(clip.text), "train")) for clip in clips]


def samples(clip: Clip, trim: bool = True) -> np.ndarray:
    """The clip's speech, (samples,) float32 at 16 kHz, silence at either end cut to `KEPT_SILENCE`.

    Raises `lib.audio.AudioError` for a recording that is unusable, or shorter or longer than the limits.
    """
    whole = clip.start == 0 and clip.end is None and not clip.mix
    wave = audio.read(clip.file) if whole else _stretch(clip)
    if trim:
        start, end = audio.active(wave)
        kept = round(KEPT_SILENCE * audio.RATE)
        wave = wave[max(0, start - kept) : end + kept]
    seconds = len(wave) / audio.RATE
    if seconds < SHORTEST:
        raise audio.AudioError(
            f"{clip.file}: {seconds:.2f} s of sound, at least {SHORTEST} s are needed; leave it out."
        )
    if seconds > LONGEST:
        raise audio.AudioError(f"{clip.file}: {seconds:.0f} s, at most {LONGEST:.0f} s are used; cut it at a pause.")
    return wave


def _stretch(clip: Clip) -> np.ndarray:
    """The part of a recording from `start` to `end`, its channels averaged where the clip says so."""
    import soundfile

    if not clip.file.is_file():
        raise audio.AudioError(f"{clip.file}: no such file; fetch the corpus again.")
    try:
        with soundfile.SoundFile(clip.file) as file:
            rate, frames, channels = file.samplerate, file.frames, file.channels
            first, last = round(clip.start * rate), frames if clip.end is None else round(clip.end * rate)
            if not 0 <= first < min(last, frames):
                raise audio.AudioError(
                    f"{clip.file}: holds {frames / rate:.2f} s, not {clip.start:.2f} to {last / rate:.2f} s; "
                    "correct its time stamps or fetch it again."
                )
            if channels > 1 and not clip.mix:
                raise audio.AudioError(f"{clip.file}: has {channels} channels, expected mono; mix it down.")
            file.seek(first)
            wave = file.read(min(last, frames) - first, dtype="float32", always_2d=True).mean(1)
    except (soundfile.SoundFileError, OSError) as error:
        raise audio.AudioError(f"{clip.file}: cannot be read as audio ({error}); fetch it again.") from None
    return audio.resample(audio.check(wave, clip.file), rate, audio.RATE)


def prepare(
    clips: Sequence[Clip], name: str, root: str | Path = BUILT, cores: int | None = None, trim: bool = True
) -> Corpus:
    """Prepare, finish or just check the corpus of some clips, in `<root>/<name>-<hash>/`.

    cores: worker processes, by default all there are; trim: cut the silence at either end. Raises `CorpusError` for an
    id that occurs twice, a sentence in two splits, a full disk, or when no clip is usable.
    """
    check_ids(clips)
    clips = with_splits([_with_text(clip) for clip in clips])
    identity = _identity(clips, name, trim)
    folder = Path(root) / f"{safe_name(name)}-{identity}"
    usable = [clip for clip in clips if not clip.problem]
    try:
        done = _finish(usable, folder, cores or len(os.sched_getaffinity(0)), trim)
        corpus = _corpus(clips, done, folder, name, identity)
        corpus.save()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise CorpusError(f"{folder}: the disk is full; free some space and run again, nothing is lost.") from None
        raise
    return corpus


def check_ids(clips: Sequence[Clip]) -> None:
    """Raise `CorpusError` naming the files where two clips have one id, or an id is too long for a file name."""
    seen: dict[str, Clip] = {}
    for clip in clips:
        if len(clip.utterance.encode()) > LONGEST_ID:
            raise CorpusError(f"{clip.utterance[:60]}…: the utterance id is too long; give the file a shorter path.")
        if (other := seen.setdefault(clip.utterance, clip)) is not clip:
            raise CorpusError(
                f"{other.file} and {clip.file} both give the utterance id {clip.utterance}; rename or remove one."
            )


def _with_text(clip: Clip) -> Clip:
    if clip.problem or clip.text.strip():
        return clip
    return replace(clip, problem=f"{clip.file.name}: no transcript; write down what is said.")


def _identity(clips: Sequence[Clip], name: str, trim: bool) -> str:
    """Twelve hex digits that change with any clip or the content of any file."""
    files = sorted({clip.file for clip in clips if clip.file.is_file()})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        digests = dict(zip(files, pool.map(file_hash, files), strict=True))
    records = [asdict(clip) | {"file": digests.get(clip.file)} for clip in clips]
    return fingerprint(FORMAT, name, trim, records)


def _finish(clips: Sequence[Clip], folder: Path, cores: int, trim: bool) -> dict[str, dict]:
    """Outcome of every clip by id; what is missing or damaged is made and written down as it comes."""
    journal = folder / "prepared.jsonl"
    done = _intact(_outcomes(journal), clips, folder)
    write_text(journal, "".join(json.dumps(outcome) + "\n" for outcome in done.values()))
    missing = [clip for clip in clips if clip.utterance not in done]
    chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
    with journal.open("a", encoding="utf-8") as record:
        for outcomes in in_parallel(make, [(chunk, folder, trim) for chunk in chunks], cores, len(missing)):
            record.write("".join(json.dumps(outcome) + "\n" for outcome in outcomes))
            record.flush()
            done |= {outcome["utterance"]: outcome for outcome in outcomes}
    return done


def _outcomes(journal: Path) -> dict[str, dict]:
    """Outcomes written down by an earlier run; lines that were cut short are left out."""
    if not journal.is_file():
        return {}
    outcomes = {}
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            outcome = json.loads(line)
            if "reason" in outcome or (isinstance(outcome["samples"], int) and outcome["sha256"]):
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


def make(clips: Sequence[Clip], folder: Path, trim: bool) -> list[dict]:
    """Read and write some clips; their outcomes: id with samples and sha256, or with the reason it is set aside."""
    outcomes = []
    for clip in clips:
        try:
            if clip.language == "en":
                text.phonemize(clip.text)
            wave = samples(clip, trim)
        except (audio.AudioError, text.TextError) as error:
            reason = str(error).replace(str(clip.file), clip.file.name)
            outcomes.append({"utterance": clip.utterance, "reason": reason})
            continue
        audio.write(folder / clip.path, wave)
        digest = file_hash(folder / clip.path)
        outcomes.append({"utterance": clip.utterance, "samples": len(wave), "sha256": digest})
    return outcomes


def in_parallel(work: Callable, arguments: Sequence[tuple], cores: int, total: int) -> Iterator[list]:
    """Results of `work(*arguments)` as they come, with a progress bar over `total` clips; each result is a list."""
    from tqdm import tqdm

    if not total:
        return
    with tqdm(total=total, desc="recordings", unit="utt") as bar:
        if cores == 1 or total <= ALONE:
            for entry in arguments:
                result = work(*entry)
                bar.update(len(result))
                yield result
            return
        with concurrent.futures.ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(work, *entry) for entry in arguments]
            try:
                for future in concurrent.futures.as_completed(futures):
                    result = future.result()
                    bar.update(len(result))
                    yield result
            except concurrent.futures.process.BrokenProcessPool:
                raise CorpusError(
                    "A worker process was killed, perhaps for want of memory; run again with fewer cores."
                ) from None
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _corpus(clips: Sequence[Clip], done: dict[str, dict], folder: Path, name: str, identity: str) -> Corpus:
    utterances, set_aside = [], []
    for clip in clips:
        reason = clip.problem or done[clip.utterance].get("reason")
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
