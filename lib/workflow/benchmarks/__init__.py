"""What is timed against what: one `Comparison` per row of the benchmark, and the speech that all of them use.

A comparison is built by a function of (speech, device); ours runs on the device, a peer where it can: those that
know no GPU stay on the CPU. Peers are imported when they first run, so that a missing one costs only its own row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.audio import RATE
from lib.corpora.embedded import build as kokoro
from lib.papers.common import audit
from lib.study import load_profile
from lib.workers import map_in_threads

SECONDS = (2.0, 2.5, 3.0, 3.5, 4.0)
SAMPLE = 32  # utterances that peers are timed on which take them one by one and seconds for each
CHANGES = ("tempo_1.25", "pitch_4", None)  # None: another utterance


@dataclass(frozen=True)
class Speech:
    """Utterances of 2 to 4 s at 16 kHz, what is `heard` in place of each, and its text."""

    waves: list[np.ndarray]
    heard: list[np.ndarray]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.waves)

    @property
    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(zip(self.heard, self.waves, strict=True))

    @property
    def seconds(self) -> float:
        return sum(map(len, self.waves)) / RATE

    def sample(self) -> tuple[Speech, np.ndarray]:
        """`SAMPLE` utterances, evenly spread, and their places."""
        places = np.unique(np.linspace(0, len(self) - 1, min(SAMPLE, len(self))).round().astype(int))
        return Speech(*([each[i] for i in places] for each in (self.waves, self.heard, self.texts))), places

    def describe(self, count: str = "utterances") -> str:
        return f"{len(self)} {count}, {self.seconds:.0f} s"


@dataclass(frozen=True)
class Bound:
    """The part of a row's work that no arrangement of ours avoids, timed alone on the same data and device."""

    what: str
    work: Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """One row: the same work done by us and by a peer, and how far the two answers are apart.

    difference(ours, theirs) is in `unit` and at most `limit` where the two give the same answer; `packages` are the
    peer's, by the names pip knows; `bound` is what ours cannot do without; `share` is how much of the work theirs does,
    where it does the same for one utterance after the other; `keep` is whatever must live as long as the row.
    """

    name: str
    peer: str
    size: str
    packages: tuple[str, ...]
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    difference: Callable[[Any, Any], float]
    limit: float
    unit: str
    bound: Bound
    keep: object = None
    share: float = 1.0


def embedded_speech(size: int) -> Speech:
    """`size` utterances of the smoke profile's corpus (built on first use), cut or repeated to the lengths `SECONDS`.

    Of each three, the first is heard a quarter faster, the second 4 semitones higher, the third as another utterance.
    """
    corpus = kokoro.build(load_profile("smoke")["corpus"])
    recorded = [(corpus.wave(item), item.text) for item in corpus.utterances]
    waves = [_cut(recorded[i % len(recorded)][0], i // len(recorded), SECONDS[i % len(SECONDS)]) for i in range(size)]

    def hear(index: int) -> np.ndarray:
        change = CHANGES[index % len(CHANGES)]
        if change is None:
            return _cut(recorded[(index + 7) % len(recorded)][0], 0, SECONDS[(index + 1) % len(SECONDS)])
        return audit.distort(waves[index], audit.BY_NAME[change], analysis=audit.analyse(waves[index]))

    heard = map_in_threads(hear, range(size))
    return Speech(waves, heard, [recorded[i % len(recorded)][1] for i in range(size)])


def _cut(wave: np.ndarray, turn: int, seconds: float) -> np.ndarray:
    """`seconds` of a wave that starts over where it ends, from `turn` times 0.37 s on."""
    start, samples = round(0.37 * RATE * turn) % len(wave), round(seconds * RATE)
    return np.take(wave, np.arange(start, start + samples), mode="wrap")


def largest(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Largest difference of any number in two lists of arrays; infinite where shapes differ."""
    if [np.shape(a) for a in ours] != [np.shape(b) for b in theirs]:
        return float("inf")
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(ours, theirs, strict=True))
