"""A real human voice beside the embedded corpus: the recordings, their durations, and what the systems share on it.

The voice is Asterisk's English prompts, a Debian package; it is fetched where apt-get can, and where it cannot the
study goes on without it. The profile's section `real` says where the recordings are and what is done with them, and
which prepared corpora's speakers HyperTTS speaks as beside it; one that is not prepared is left out.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lib.corpora import durations as aligned
from lib.corpora.corpus import Corpus, CorpusError, Utterance
from lib.corpora.features import Features, features_of
from lib.corpora.recorded import asterisk
from lib.corpora.recorded import read as recorded
from lib.corpora.recorded.clip import Clip, normalise
from lib.corpora.source import given, open_corpus
from lib.files import ROOT, cache_root, fingerprint, load_json
from lib.papers.common.alignment import ALIGNER, Aligning
from lib.papers.common.real_source import STAND_IN, here, how_to_get, since, source
from lib.study import protocol
from lib.training.weights import load_weights, metadata

ROLE = "other_corpus"  # of its rows, and the name of the runs on it
FEWEST = 8  # recordings of a speaker beside the voice: half of them are held out, the others say whose voice it is


def fetch(profile: dict) -> str:
    """Fetch the recordings where they are not there; "" or why they cannot be had."""
    if here(profile):
        return ""
    try:
        asterisk.fetch(ROOT / profile["real"]["corpus"]["source"])
    except (CorpusError, OSError) as error:
        return f"the recordings are not here: {error} Then run {how_to_get(profile)}"
    return ""


class RealVoice(protocol.Study):
    """The voice's recordings, their durations and features; `aligning` has the embedded corpus.

    Raises CorpusError where the recordings are not there.
    """

    paper = "real"
    error = CorpusError

    @cached_property
    def aligning(self) -> Aligning:
        return Aligning(self.profile, self.device, self.cores)

    @property
    def record(self) -> Path:
        """What `prepare` writes."""
        return self.root / "prepared" / f"{self.paper}.json"

    def shared(self) -> dict:
        """Fetch the recordings where they are not there, prepare and align them; says what came of it."""
        late, missing = since(self.profile, self.record) == "later", fetch(self.profile)
        if missing:
            print(missing)
            return {"late": late, "corpus": None, "missing": missing}
        self.features  # noqa: B018 - computed here, once, for all runs
        sizes = {"utterances": len(self.corpus.utterances), "held_out": len(self.held_out())}
        facts = {"late": late, "missing": "", "corpus": self.corpus.hash, "set_aside": self.corpus.set_aside}
        facts |= {"speakers": len(self.corpus.speakers())}
        return facts | sizes | self.boundary_error

    def found(self) -> dict:
        """What `prepare` wrote; it is done now where it has not been."""
        if not self.record.exists():
            self.prepare()
        return load_json(self.record, lambda _: CorpusError(f"{self.record.name} is damaged: delete it and run again"))

    def absent(self) -> dict:
        """Why there are no recordings and the line that gets them, for a manifest; nothing where they are there."""
        missing = self.found()["missing"]
        return {"missing": missing, "get_them": how_to_get(self.profile)} if missing else {}

    def told(self) -> str:
        """In a sentence, what `prepare` found: the voice, or why it is missing and the line that gets it."""
        record = self.found()
        if record["missing"]:
            return record["missing"]
        people = "one speaker" if record.get("speakers", 1) == 1 else f"{record['speakers']} speakers"
        return (
            f"{record['utterances']} recordings of {people} with durations by the aligner, "
            f"{record['held_out']} of them held out of training. On the embedded corpus, where boundaries are known, "
            f"the aligner misses them by {record['boundary_error_ms']:.1f} ms (median)."
        )

    @cached_property
    def recordings(self) -> Corpus:
        """The prompts with their texts, without durations."""
        return self._prepared(self._prompts(), self.settings["corpus"]["name"])

    @cached_property
    def everybody(self) -> Corpus:
        """The prompts, and recordings of the speakers that the profile has beside the voice, without durations."""
        beside = [clip for name, most in self.settings["corpus"]["beside"].items() for clip in speakers_of(name, most)]
        return self._prepared([*self._prompts(), *beside], "real-speakers") if beside else self.recordings

    def _prompts(self) -> list[Clip]:
        if self.settings["corpus"]["name"] == STAND_IN:
            return _clips(self.aligning.corpus.select(role="adaptation"), self.aligning.corpus)
        return [clip for clip in asterisk.clips(source(self.profile)) if not clip.machine]

    def _prepared(self, clips: list[Clip], name: str) -> Corpus:
        corpus, longest = recorded.prepare(clips, name, cores=self.cores), self.settings["corpus"]["longest"]
        kept = [item for item in corpus.utterances if item.seconds <= longest]
        return replace(corpus, utterances=kept, hash=fingerprint(corpus.hash, longest))

    @cached_property
    def corpus(self) -> Corpus:
        """Everybody's recordings with the aligner's durations."""
        path = self.aligning.train(ALIGNER, 0)
        model = self.aligning.build()
        load_weights(model, path)
        settings = self.aligning.settings | {"train": self.settings["aligner"]["voice"]}
        start, mark = model.state_dict(), metadata(path)["fingerprint"]
        return aligned.align(self.everybody, self.cache, settings, self.mel, self.device, self.cores, start, mark)

    @property
    def cache(self) -> Path:
        return cache_root()

    @cached_property
    def features(self) -> Features:
        """The voice's features, its pitch and energy in the units that the backbone was pre-trained in."""
        own = features_of(self.corpus, self.cache, self.mel, self.cores)
        return Rescaled(own.root, own.index, own.statistics, self.aligning.features.statistics)

    @property
    def boundary_error(self) -> dict[str, float]:
        """How well the aligner finds the boundaries that are known, those of the embedded corpus."""
        self.aligning.train(ALIGNER, 0)
        facts = self.aligning.trained(ALIGNER, 0)
        return {name: facts[name] for name in ("boundary_error_ms", "validation_utterances")}

    def held_out(self) -> list[Utterance]:
        """The recordings outside the training split."""
        return [item for item in self.corpus.utterances if item.split != "train"]

    def to_hear(self) -> Corpus:
        """The prompts that recognisers hear, all of them test utterances: no recogniser was trained on the voice."""
        ordered = sorted(self.recordings.utterances, key=lambda u: fingerprint(u.utterance))
        chosen = [replace(item, split="test") for item in ordered[: self.settings["heard"]]]
        return replace(self.recordings, utterances=chosen)


@dataclass
class Rescaled(Features):
    """Features whose pitch and energy are z-scores of another corpus, `target`'s, instead of their own."""

    target: dict[str, float] | None = None

    def item(self, row: int) -> dict[str, np.ndarray]:
        out = super().item(row)
        for name in ("pitch", "energy"):
            plain = out[name] * self.statistics[f"{name}_deviation"] + self.statistics[f"{name}_mean"]
            z = (plain - self.target[f"{name}_mean"]) / self.target[f"{name}_deviation"]
            out[name] = z.astype(np.float32)
        return out


def speakers_of(name: str, most: int) -> list[Clip]:
    """Recordings of a prepared corpus's speakers, nothing where it is not prepared: of each at most `most`, the same
    sentences of all where they say the same; half of the sentences are held out. Speakers with fewer than `FEWEST`
    are left out.
    """
    if given({"source": name, "if_there": True}) is None:
        return []
    corpus, chosen = open_corpus(name), []
    for speaker in corpus.speakers():
        mine = sorted(corpus.select(speaker=speaker), key=lambda item: fingerprint(normalise(item.text)))[:most]
        chosen += mine if len(mine) >= FEWEST else []
    return [replace(clip, split=_half(clip.text)) for clip in _clips(chosen, corpus, f"{Path(name).name}_")]


def _half(sentence: str) -> str:
    return "test" if int(fingerprint("held out", normalise(sentence)), 16) % 2 else "train"


def _clips(items: list[Utterance], corpus: Corpus, of: str = "") -> list[Clip]:
    """Recordings of a corpus as if their durations were not known; `of` goes before the names."""
    return [Clip(of + item.utterance, of + item.speaker, item.text, corpus.root / item.path) for item in items]


def seeds_of(study: protocol.Study, name: str) -> list[int]:
    """The seeds asked for with which the embedded corpus's run of a system exists."""
    seeds = study.settings["seeds"]
    there = seeds if name in study.settings["headline"] else seeds[:1]
    return [seed for seed in study.profile["real"]["seeds"] if seed in there]


def without_recordings() -> pd.DataFrame:
    """The row of a run that had no recordings."""
    return pd.DataFrame([{"metric": "recordings", "value": 0.0, "unit": "count", "system": "recordings"}])
