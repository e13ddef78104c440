"""What several tests share: real recordings with their transcripts, and one thread for torch."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import real_recordings
import torch

from lib import audio
from lib.workers import compile_librosa

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def smoke_corpus(tmp_path_factory) -> None:
    """The smoke profile's corpus is there: built by the first test process that needs it, while the others wait."""
    from lib import study
    from lib.corpora.embedded import build as kokoro

    with open(tmp_path_factory.getbasetemp().parent / "smoke-corpus.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        kokoro.build(study.load_profile("smoke")["corpus"])


@pytest.fixture
def voiceless(tmp_path, monkeypatch) -> dict:
    """The smoke profile with a real voice whose recordings are nowhere and cannot be fetched, and its results."""
    from lib import study
    from lib.corpora.corpus import CorpusError
    from lib.corpora.recorded import asterisk
    from lib.papers.common import real_source

    def refused(to):
        raise CorpusError("Asterisk prompts: there is no apt-get here.")

    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(real_source, "INSTALLED", tmp_path / "not installed")
    monkeypatch.setattr(asterisk, "fetch", refused)
    return study.load_profile("smoke", {"real": {"corpus": {"name": "asterisk", "source": str(tmp_path / "prompts")}}})


@dataclass(frozen=True)
class Recording:
    """One real utterance: its id, its speaker, mono float32 samples at 16 kHz and what is said."""

    utterance: str
    speaker: str
    wave: np.ndarray
    text: str


@pytest.fixture(scope="session")
def librispeech(tmp_path_factory) -> Path:
    """LibriSpeech test-other as it is laid out, of it 5 speakers with 10 utterances each."""
    there, place = real_recordings.recordings_of("librispeech"), tmp_path_factory.mktemp("librispeech")
    taken: dict[str, int] = {}
    for transcript in sorted(there.glob("LibriSpeech/test-other/*/*/*.trans.txt")):
        speaker = transcript.parts[-3]
        if len(taken) == 5 and speaker not in taken:
            break
        lines = transcript.read_text().splitlines()[: 10 - taken.get(speaker, 0)]
        taken[speaker] = taken.get(speaker, 0) + len(lines)
        chapter = place / Path(*transcript.relative_to(there).parent.parts)
        chapter.mkdir(parents=True)
        (chapter / transcript.name).write_text("\n".join(lines) + "\n")
        for name in (line.split(" ", 1)[0] for line in lines):
            (chapter / f"{name}.flac").symlink_to(transcript.parent / f"{name}.flac")
    return place


@pytest.fixture(scope="session")
def recordings(request, tmp_path_factory) -> list[Recording]:
    """LibriSpeech test-other, 5 speakers with 10 utterances each; where it is not there, bundled voices' speech."""
    if real_recordings.place_of("librispeech") is None:
        return made_recordings(tmp_path_factory.getbasetemp().parent / "recordings.lock")
    librispeech, found = request.getfixturevalue("librispeech"), []
    for transcript in sorted(librispeech.glob("*/*/*/*/*.trans.txt")):
        for line in transcript.read_text().splitlines():
            utterance, text = line.split(" ", 1)
            wave = audio.read(transcript.parent / f"{utterance}.flac")
            found.append(Recording(utterance, utterance.split("-")[0], wave, text))
    return found


def made_recordings(lock: Path) -> list[Recording]:
    """Five bundled voices with ten utterances each, made by the first test process that needs them."""
    from lib import study
    from lib.corpora.corpus import ROLES
    from lib.corpora.embedded import build

    cast = ["pre_hibari", "pre_joe", "pre_hibari_low", "pre_joe_high", "pre_joe_low"]
    counts = dict.fromkeys(ROLES, {"train": 8, "validation": 1, "test": 1})
    with open(lock, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        corpus = build.build(study.load_profile("smoke")["corpus"] | {"cast": cast, "counts": counts})
    return [Recording(item.utterance, item.speaker, corpus.wave(item), item.text) for item in corpus.utterances]


@pytest.fixture(scope="session")
def recordings_of():
    """`recordings_of(corpus, count)`: real waves of a corpus, or a skip."""

    def read(name: str, count: int) -> list[np.ndarray]:
        there = real_recordings.recordings_of(name)
        files = sorted(path for path in there.rglob("*") if path.suffix in (".opus", ".wav", ".flac"))
        return [audio.read(path) for path in files[:: max(1, len(files) // count)][:count]]

    return read


@pytest.fixture(scope="session")
def speech(recordings) -> list[np.ndarray]:
    """Ten real waves of 1 to 3 seconds and of different lengths, two from each speaker."""
    return [r.wave[: 48000 - 3200 * i] for i, r in enumerate(recordings[::5])]


def pytest_configure(config: pytest.Config) -> None:
    """Once, before the processes that share the tests begin."""
    if not hasattr(config, "workerinput"):
        compile_librosa()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The notebooks first: of two processes, the one that runs them is the last to end."""
    items.sort(key=lambda item: item.path.stem != "test_notebooks_end_to_end")
