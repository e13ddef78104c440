"""What all recognisers of a profile share: corpus, Whisper, prepared utterances, encoder states, embeddings.

The frozen encoder's states of every utterance are files, made once (`lib.models.whisper.states`). So are the two
embeddings that hypernetworks are conditioned on: the mean encoder state of the utterance itself, and GE2E.
"""

from __future__ import annotations

import unicodedata
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.disorders import corpus as simulated
from lib.corpora.source import build
from lib.files import cache_root, fingerprint, read_array, write_array
from lib.metrics import wer
from lib.models import speaker
from lib.models.whisper import sizes
from lib.models.whisper.model import Whisper
from lib.models.whisper.states import EncoderStates, Example, mean_states, prepare
from lib.papers.ha import source
from lib.papers.ha.source import AsrError
from lib.study import protocol
from lib.workers import map_in_processes

CONDITIONINGS = ("whisper", "ge2e")
CHUNK = 8  # utterances a worker encodes together
FEW = 32  # fewer are encoded without a pool
LATIN = 0.9  # least share of Latin letters in an English transcript


class Recordings(protocol.Study):
    """A profile's corpus of atypical speech as its Whisper hears it, on one device.

    set_aside: utterances that Whisper cannot be trained on or tested with, and why; the others are used.
    """

    paper = "ha"
    error = AsrError

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.set_aside: list[dict] = []
        if self.settings["language"] != "en":
            raise AsrError(
                f"The language {self.settings['language']!r} is not English: this study's Whisper is English-only, "
                "set ha.language to en and give English recordings."
            )

    @cached_property
    def typical(self) -> Corpus:
        """The profile's own corpus, whose recordings are made atypical."""
        return build(self.profile["corpus"], cores=self.cores)

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus that `ha.corpus.source` names, or the simulated one."""
        if self.settings["corpus"].get("source"):
            return source.recorded(self.settings["corpus"], self.cores)
        recipe = {key: value for key, value in self.settings["corpus"].items() if key != "source"}
        return simulated.build(recipe, self.typical, cores=self.cores)

    @cached_property
    def model(self) -> Whisper:
        return recogniser(self.settings["whisper"], self.device)

    @cached_property
    def identity(self) -> str:
        """Everything that encoder states and embeddings depend on, in twelve digits."""
        return fingerprint(self.corpus.hash, self.model.pretrained.sha256, self.settings["context"])

    @cached_property
    def folder(self) -> Path:
        return cache_root() / f"asr-{self.identity}"

    @cached_property
    def cache(self) -> EncoderStates:
        return EncoderStates(self.model, self.folder / "states")

    @cached_property
    def examples(self) -> dict[str, Example]:
        """Every usable utterance by its id, in the corpus's order. Raises AsrError when none is left."""
        found = {}
        for item in self.corpus.utterances:
            try:
                check_english(item.utterance, item.text)
                if item.split == "test":
                    check_words(item.utterance, item.text)
                wave = self.corpus.wave(item)
                found[item.utterance] = prepare(self.model, item.utterance, wave, item.text, self.settings["context"])
            except ValueError as error:
                self.set_aside.append({"utterance": item.utterance, "speaker": item.speaker, "reason": str(error)})
        if not found:
            reasons = [entry["reason"] for entry in self.set_aside]
            raise AsrError(f"{self.corpus.name}: no utterance can be used{f': {reasons[0]}' if reasons else '.'}")
        return found

    @cached_property
    def utterances(self) -> list[Utterance]:
        """The manifest entries of `examples`, in their order."""
        return [item for item in self.corpus.utterances if item.utterance in self.examples]

    def select(self, role: str | None = None, split: str | None = None) -> list[Utterance]:
        return [u for u in self.utterances if role in (None, u.role) and split in (None, u.split)]

    def embeddings(self, kind: str, level: str = "utterance") -> dict[str, Tensor]:
        """The conditioning embedding (size,) of every utterance by its id.

        kind: "whisper" or "ge2e"; level: "utterance", or "speaker" for the mean over the speaker's utterances of the
        same split (a speaker's test utterances are transcribed together, without transcripts).
        """
        if kind not in CONDITIONINGS or level not in ("utterance", "speaker"):
            raise AsrError(f"There is no conditioning {kind!r} by {level!r}: choose whisper or ge2e, "
                           "utterance or speaker.")  # fmt: skip
        table = torch.from_numpy(self._stored(kind)).to(self.device)
        rows = dict(zip(self.examples, table, strict=True))
        if level == "utterance":
            return rows
        groups: dict[tuple[str, str], list[Tensor]] = {}
        for item in self.utterances:
            groups.setdefault((item.speaker, item.split), []).append(rows[item.utterance])
        return {u.utterance: torch.stack(groups[u.speaker, u.split]).mean(0) for u in self.utterances}

    def _stored(self, kind: str) -> np.ndarray:
        """Embeddings (utterances, size) in the order of `examples`, from their file, which is made if need be."""
        found = read_array(self.table_path(kind))
        if found is None:
            self.fill()
            found = read_array(self.table_path(kind))
        return found

    def table_path(self, kind: str) -> Path:
        return self.folder / f"{kind}-{fingerprint(list(self.examples))}.table"

    def ready(self) -> None:
        self.fill()

    def fill(self) -> None:
        """Make the encoder states and embeddings that are missing, in the same portions however often it was stopped.

        In this process on a GPU or for few utterances, else in several.
        """
        examples = list(self.examples.values())
        whole = all(read_array(self.table_path(kind)) is not None for kind in CONDITIONINGS)
        if whole and all(self.cache.path(example).exists() for example in examples):
            return
        chunks = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)]
        alone = self.cores == 1 or len(examples) < FEW or self.device != "cpu"
        work = partial(_encode_alone, given=self.settings["whisper"], root=self.cache.root)
        here = partial(_encode, cache=self.cache, device=self.device)
        label = {"label": "encoder states", "size": len}
        made = list(map_in_processes(here if alone else work, chunks, 1 if alone else self.cores, 1, **label))
        for kind in CONDITIONINGS:
            write_array(self.table_path(kind), np.concatenate([tables[kind] for tables in made]))


def recogniser(given: dict, device: str) -> Whisper:
    """The Whisper of a profile's `whisper` entry: name, and if need be path, and network (may it be fetched)."""
    return sizes.load(given["name"], device, given.get("path"), given.get("network", False))


def check_english(name: str, text: str) -> None:
    """Raise AsrError for a transcript that is missing or written in another alphabet than English's."""
    letters = [c for c in unicodedata.normalize("NFKD", text) if c.isalpha()]
    if not letters:
        raise AsrError(f"Utterance {name} has no transcript: write one or leave the utterance out.")
    if sum(c.isascii() for c in letters) < LATIN * len(letters):
        raise AsrError(
            f"The transcript of utterance {name} is not English ({text[:30]!r}): this Whisper writes English only, "
            "leave the utterance out."
        )


def check_words(name: str, text: str) -> None:
    """Raise AsrError for a transcript of which no error rate can be counted."""
    if not wer.has_words(text):
        raise AsrError(
            f"The transcript of test utterance {name} has no words ({text[:30]!r}): errors cannot be counted in it, "
            "write what is said or put the utterance into the training split."
        )


def _encode(chunk: list[Example], cache: EncoderStates, device: str) -> dict[str, np.ndarray]:
    mean = mean_states(cache, chunk).cpu().numpy()
    return {"whisper": mean, "ge2e": speaker.embed([example.wave for example in chunk], device)}


def _encode_alone(chunk: list[Example], given: dict, root: Path) -> dict[str, np.ndarray]:
    return _encode(chunk, EncoderStates(recogniser(given, "cpu"), root), "cpu")
