"""Any text, any bytes for audio, any manifest: read, or refused with the error that says so; no crash, no hang."""

from __future__ import annotations

import json
import math
import resource
import struct
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from faults import processes
from lib import audio, text
from lib.corpora.corpus import Corpus, CorpusError, Utterance

SLOWEST = timedelta(seconds=20)  # an input that takes longer is a hang
GIBIBYTE = 1 << 30


def _tried(check, strategy, tries: int) -> int:
    """Run a check on `tries` inputs of a strategy; returns how many were answered."""
    answered = 0

    def each(value) -> None:
        nonlocal answered
        check(value)
        answered += 1

    quiet = {"database": None, "deadline": SLOWEST, "suppress_health_check": list(HealthCheck)}
    seed(0)(settings(max_examples=tries, **quiet)(given(strategy)(each)))()
    return min(answered, tries)


PIECES = ("the", "cat's", "3.14", "$5", "Dr.", "co-op", "naïve", "O'Neil", "£2m", "—", "…", "1990s", "e.g.", "AB")
WORDS = st.lists(st.sampled_from(PIECES)).map(" ".join)


def texts(folder: Path, tries: int, random: np.random.Generator) -> int:
    """Text to phonemes that the models know, or a TextError."""

    def check(value: str) -> None:
        try:
            phonemes = text.phonemize(value)
        except text.TextError:
            return
        assert "".join(text.SYMBOLS[index] for index in text.encode(phonemes)) == phonemes

    return _tried(
        check, st.one_of(st.text(max_size=60), WORDS, st.tuples(WORDS, st.text(max_size=20)).map("".join)), tries
    )


def _sound(kind: str) -> bytes:
    import io

    import soundfile

    made = io.BytesIO()
    soundfile.write(made, (np.sin(np.arange(400) / 5) * 9000).astype(np.int16), 16000, format=kind, subtype="PCM_16")
    return made.getvalue()


@st.composite
def _damaged(draw, whole: bytes) -> bytes:
    """A file with some bytes changed, and perhaps its end cut off or something put after it."""
    content = bytearray(whole)
    for place, byte in draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8)):
        content[place] = byte
    return bytes(content[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else content) + draw(
        st.binary(max_size=8)
    )


def recordings(folder: Path, tries: int, random: np.random.Generator) -> int:
    """Bytes to mono samples at 16 kHz that are finite, or an AudioError."""
    file = folder / "sound.wav"

    def check(content: bytes) -> None:
        file.write_bytes(content)
        try:
            wave = audio.read(file)
        except audio.AudioError:
            return
        assert wave.ndim == 1 and wave.dtype == np.float32 and np.isfinite(wave).all()

    header = b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt "
    return _tried(
        check,
        st.one_of(
            _damaged(_sound("WAV")), _damaged(_sound("FLAC")), st.binary(max_size=200), st.binary().map(header.__add__)
        ),
        tries,
    )


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=4,
)


def _utterance(words: str, name: str = "u1") -> Utterance:
    return Utterance(name, "s1", words, "|a|", (0.1, 0.2, 0.1), "adaptation", "train", "typical", f"{name}.flac", 0.4)


@st.composite
def _manifests(draw) -> bytes:
    """A manifest of one utterance with any text, with values replaced, or damaged, or of any bytes."""
    record = asdict(_utterance(draw(st.text(max_size=30))))
    kind = draw(st.sampled_from(("text", "values", "bytes", "any")))
    if kind == "values":
        for key in draw(st.lists(st.sampled_from(sorted(record)), max_size=3)):
            record[key] = draw(VALUES)
    line = json.dumps(record, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
    if kind == "bytes":
        return draw(_damaged(line))
    return draw(st.binary(max_size=100)) if kind == "any" else line


def manifests(folder: Path, tries: int, random: np.random.Generator) -> int:
    """A manifest to a corpus that is written and read again the same, or a CorpusError."""
    about = {"name": "any", "hash": "0", "utterances": 1, "set_aside": []}
    (folder / "corpus.json").write_text(json.dumps(about))

    def check(content: bytes) -> None:
        (folder / "manifest.jsonl").write_bytes(content)
        try:
            corpus = Corpus.load(folder)
        except CorpusError:
            return
        (utterance,) = corpus.utterances
        assert math.isfinite(utterance.seconds)
        if all(letter < "\ud800" or letter > "\udfff" for letter in str(utterance)):
            corpus.save()
            assert Corpus.load(folder) == corpus

    return _tried(check, _manifests(), tries)


def _load_many(folder: Path, lines: int) -> tuple[int, int]:
    """Write a manifest of so many utterances of 60 symbols, read it, tabulate it: their number and peak bytes."""
    alike = {"role": "adaptation", "split": "train", "condition": "typical", "seconds": 6.0}
    utterances = [
        Utterance(
            f"speaker{i % 500:03d}-{i:06d}",
            f"speaker{i % 500:03d}",
            f"Sentence number {i} is as long as those of an audio book often are, about fifteen words.",
            "|" + "a" * 58 + "|",
            tuple(0.1 for _ in range(60)),
            path=f"speaker{i % 500:03d}/{i:06d}.flac",
            **alike,
        )
        for i in range(lines)
    ]
    Corpus(folder, "many", "0" * 12, utterances).save()
    del utterances
    corpus = Corpus.load(folder)
    count = len(corpus.table()), len(corpus.select(speaker="speaker000")), len(corpus.speakers())
    return count, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def many_lines(folder: Path, tries: int, random: np.random.Generator, lines: int = 200_000) -> int:
    """A corpus of `lines` utterances written, read and tabulated in a process of at most 2 GiB."""
    recovered = 0
    for number in range(tries):
        outcome = processes.run(_load_many, folder / f"many-{number}", lines)
        count, peak = outcome.value or ((0, 0, 0), math.inf)
        print(f"{lines} manifest lines: {peak / GIBIBYTE:.2f} GiB")
        recovered += outcome.status == 0 and count == (lines, lines // 500, 500) and peak <= 2 * GIBIBYTE
    return recovered
