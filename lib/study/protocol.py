"""What every paper's study does in the same way: train a thing once, find it again, run a system, write its rows.

A paper's room (`lib.papers.<paper>`) has a subclass of `Study` that says what is trained (`part`), what is measured
(`measure`) and which factors the rows share (`factors`). The rest is here, once for all papers: weights are taken up
again only if their fingerprint and SHA-256 are right, an interrupted training goes on, rows are written before the
manifest that marks a run as finished.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from torch import nn

from lib import audio
from lib.corpora import source
from lib.corpora.corpus import Corpus
from lib.corpora.features import Features, features_of
from lib.files import cache_root, file_hash, fingerprint, locked, write_json
from lib.models import vocoder
from lib.models.layers import count
from lib.models.mel import MelDims
from lib.study import shipped
from lib.study.part import Measured, Part, with_factors
from lib.study.profile import StudyError, expected_runs, results_root
from lib.study.provenance import JUDGES, pretrained_used, resolve_device
from lib.study.rows import read_manifests, write_manifest, write_rows
from lib.study.watch import Watch
from lib.training import parallel
from lib.training.loop import fit, seed_everything
from lib.training.weights import is_kept, keep, load_weights, metadata, saved_state

STARTS = ("trained", "shipped")  # where what systems share comes from; a section that does not say: trained


class Study:
    """A paper's study in one profile, on one device.

    cores: processes that build the corpus and its features; None: all cores. own: the profile's own study, where this
    one has other settings (`lib.study.variant`): what is trained differently is then kept beside it.
    """

    paper: ClassVar[str] = ""  # lower-case id, the profile's section; "" where the corpus is enough
    error: ClassVar[type[ValueError]] = StudyError
    shares: ClassVar[dict[str, dict]] = {}  # parts that can be shipped: which rows tell how good each one is
    choices: ClassVar[dict] = {}  # flat parameters that a notebook may change, by name: `lib.study.variant.Choice`

    def __init__(self, profile: dict, device: str = "cpu", cores: int | None = None, own: Study | None = None):
        if self.paper and self.paper not in profile:
            raise StudyError(f"the profile has no section {self.paper}: load it with lib.study.load_profile")
        self.profile, self.device, self.own = profile, resolve_device(device), own
        self.changed: dict = {}  # of a study with other settings than the profile's: what they are
        self.cores = cores or len(os.sched_getaffinity(0))

    # What a paper writes.

    def part(self, name: str, seed: int) -> Part:
        """What is trained under a name: a system, or what its systems share."""
        raise NotImplementedError

    def measure(self, name: str, seed: int) -> Measured:
        """Let a system work and measure it; what it needs is trained first."""
        raise NotImplementedError

    def factors(self, name: str, seed: int) -> dict:
        """The columns that all rows of a system share."""
        raise NotImplementedError

    def shared(self) -> dict:
        """Make what all runs share; returns what R/prepared/<paper>.json says of it."""
        raise NotImplementedError

    def ready(self) -> None:
        """Make the files that trainings read, before several processes share one: the first makes them for all."""
        self.features  # noqa: B018 - made on first use

    def players(self) -> dict[str, str]:
        """Texts of the utterances whose audio is kept, by utterance."""
        return {}

    def facts(self) -> dict:
        """Facts that every manifest of the paper has beside those of all papers."""
        return {}

    def lesson(self, name: str) -> shipped.Lesson:
        """What a part of `shares` is made for, trained on and not to be trained on."""
        raise NotImplementedError

    def made_by(self, name: str) -> str:
        """The system whose weights a part of `shares` is shipped with, where nothing is trained under its own name."""
        return name

    def is_listened(self, name: str, seed: int) -> bool:
        """Whether a run's audio is kept for players."""
        return seed == self.settings["seeds"][0]

    # What is the same for all papers.

    @property
    def settings(self) -> dict:
        """The paper's section of the profile."""
        return self.profile[self.paper]

    @property
    def root(self) -> Path:
        return results_root(self.profile)

    @cached_property
    def corpus(self) -> Corpus:
        return source.build(self.profile["corpus"], cores=self.cores)

    @cached_property
    def mel(self) -> MelDims:
        return MelDims(**self.profile["features"])

    @cached_property
    def features(self) -> Features:
        return features_of(self.corpus, cache_root(), self.mel, self.cores)

    def centroid(self, speaker: str) -> np.ndarray:
        """GE2E centroid `(256,)` of a speaker's enrolment (training-split) utterances.

        Raises the paper's error for a speaker with no such utterance.
        """
        if not (utterances := self.corpus.select(split="train", speaker=speaker)):
            raise self.error(f"speaker {speaker} has no utterances to enrol with: check the corpus's set-aside list")
        return self.features.centroid(self.features.rows(utterances))

    def system(self, name: str) -> dict:
        """A system's entry in the profile, with its name. Raises the paper's error, naming the systems there are."""
        systems = self.settings["systems"]
        if name not in systems:
            raise self.error(f"there is no system {name!r} in this profile: choose one of {', '.join(systems)}")
        return {"name": name, **systems[name]}

    def run_id(self, name: str, seed: int) -> str:
        return f"{self.paper}-{name}-s{seed}" if self.paper else f"{name}-s{seed}"

    def checkpoint(self, name: str, seed: int) -> Path:
        """The file of a part's weights; of other settings than the profile's own, named by their fingerprint.

        What a changed system trains as the system that it was made from does has that one's weights.
        """
        path = self.root / "checkpoints" / f"{self.run_id(name, seed)}.safetensors"
        if self.own is None:
            return path
        added = name in self.settings["systems"] and name not in self.own.settings["systems"]
        mark, like = self.mark(self.part(name, seed)), self.changed.get("of", name) if added else name
        if self.own.mark(self.own.part(like, seed)) == mark:
            return self.own.checkpoint(like, seed)
        return path if added else path.with_stem(f"{path.stem}-{mark}")

    def mark(self, part: Part) -> str:
        return fingerprint(*part.depends)

    def mark_of(self, name: str, seed: int) -> str:
        """Names a part's weights before they are there: by what they depend on, or the shipped file."""
        source = self.shipped(name)
        return file_hash(source)[:12] if source else self.mark(self.part(name, seed))

    def shipped(self, name: str) -> Path | None:
        """The shipped file that a part is taken from; None where it is trained. Raises StudyError for a start that
        there is not.
        """
        start = self.settings.get("start", STARTS[0]) if self.paper else STARTS[0]
        if start not in STARTS:
            raise StudyError(f"start {start!r} in section {self.paper}: choose {' or '.join(STARTS)}")
        path = shipped.file_of(self.paper, name)
        there = path.exists() or path.with_suffix(".json").exists()
        if start == STARTS[0] or name not in self.shares or self.made_by(name) != name or not there:
            return None
        changed = self.own is not None and self.own.checkpoint(name, 0) != self.checkpoint(name, 0)
        return None if changed else path

    def taken(self) -> dict[str, str]:
        """The parts that are taken from shipped files, by name, for manifests."""
        return {name: shipped.told(path) for name in self.shares if (path := self.shipped(name))}

    def train(self, name: str, seed: int, again: bool = False) -> Path:
        """Train a part, or find it trained or shipped; returns its safetensors file, with a .json of facts beside it.

        An interrupted training goes on. Of two runs that need the same weights the second waits for the first's.
        again: train it although it is there, or shipped by the same recipe.
        """
        path = self.checkpoint(name, seed)
        if source := self.shipped(name):
            return shipped.take(self, name, source, path)
        part = self.part(name, seed)
        mark = self.mark(part)
        with locked(path) if parallel.first() else nullcontext():
            if not again and (is_kept(path, mark) or shipped.adopt(self, name, seed)):
                return path
            if name in self.shares and self.settings.get("start") == "shipped" and parallel.first():
                print(f"{path.stem} is trained: these weights are not shipped.", file=sys.stderr, flush=True)
            seed_everything(seed)
            model = part.build().to(self.device)
            batch_at, loss = part.start(model)
            began = time.time()
            resume = path.with_suffix(".resume.pt")
            at_step = part.at_step(model)
            watch = Watch(part.config.steps, part.unseen(model, loss))
            given = resume, mark, self.device, path.stem, at_step
            history = fit(model, loss, batch_at, part.config, *given, watch=watch)
            at_step(part.config.steps)
            facts = {
                "trainable_parameters": count(model),
                "steps": part.config.steps,
                "seconds_trained": history[-1]["seconds"],
                "wall_seconds": time.time() - began,
                "speed": history.speed,
                "history": list(history),
            }
            keep(path, saved_state(part.saved(model)), mark, facts | part.details(model))
        return path

    def restore(self, name: str, seed: int) -> nn.Module:
        """A trained part in evaluation mode, trained now if it is not there."""
        path, part = self.train(name, seed), self.part(name, seed)
        seed_everything(seed)
        model = part.build()
        load_weights(part.saved(model), path)
        return model.to(self.device).eval()

    def seed_here(self, name: str) -> int:
        """The first of the profile's seeds whose weights of a system are here, of runs that were taken up a later one
        than the first; where none are, the first.
        """
        seeds = self.settings["seeds"]
        return next((seed for seed in seeds if self.checkpoint(name, seed).is_file()), seeds[0])

    def trained(self, name: str, seed: int) -> dict:
        """What training wrote beside the weights: counts, times, losses, the learning curve.

        Raises the paper's error where it was not trained.
        """
        path = self.checkpoint(name, seed).with_suffix(".json")
        if not path.is_file():
            raise self.error(f"{path.stem} has not been trained: {self.command('train', name, seed)} does it")
        return json.loads(path.read_text())

    def prepare(self) -> None:
        """Make what all runs share; what is there is not made again. Ends by writing R/prepared/<paper>.json."""
        began, facts = time.time(), self.shared()
        if self.own is None:
            seconds = round(time.time() - began, 2)
            write_json(self.root / "prepared" / f"{self.paper}.json", facts | {"seconds": seconds})

    def run(self, name: str, seed: int) -> pd.DataFrame:
        """Train a system if need be, measure it, write its rows and manifest, keep some audio; returns the rows."""
        began, found = time.time(), self.measure(name, seed)
        rows = with_factors(found.rows, self.factors(name, seed))
        texts = self.keep_audio(name, seed, found.waves)
        self.write(name, seed, rows, began, **({"texts": texts} if texts else {}), **found.facts)
        return rows

    def keep_audio(self, name: str, seed: int, waves: dict[str, np.ndarray]) -> dict[str, str]:
        """Write the waves that players play; returns their texts by utterance."""
        if not self.is_listened(name, seed):
            return {}
        texts = {key: said for key, said in self.players().items() if key in waves and waves[key].any()}
        for key in texts:
            audio.write(self.root / "audio" / self.run_id(name, seed) / f"{key}.wav", waves[key])
        return texts

    def write(self, name: str, seed: int, rows: pd.DataFrame, began: float, **facts: object) -> None:
        """Write a run's rows and then its manifest, which marks it as finished."""
        run, facts = self.run_id(name, seed), self.facts() | facts
        spoken = ["hifigan"] if facts.get("vocoder") == vocoder.UniversalHiFiGAN.name else []
        write_rows(rows, run, self.profile)
        known = {
            "seed": seed,
            "device": self.device,
            "corpus": self.corpus.name,
            "data_hash": self.corpus.hash,
            "pretrained": pretrained_used(*JUDGES, *spoken),
        }
        known |= {"changed": self.changed} if self.changed else {}
        known |= {"shipped": taken} if (taken := self.taken()) else {}
        profile = self.own.profile if self.own else self.profile
        write_manifest(run, profile, self.settings, began, **{**known, **facts})

    def missing(self) -> list[tuple[str, int]]:
        """The runs that the profile expects and that have not finished: system and seed, seed by seed in the profile's
        order, which begins with what the gates read.
        """
        runs = expected_runs(self.profile, self.paper) - set(read_manifests(self.profile, self.paper.upper()))
        named = [(run.split("-")[1], int(run.split("-")[2].removeprefix("s"))) for run in runs]
        order = list(self.settings["systems"])
        return sorted(named, key=lambda each: (each[1], order.index(each[0])))

    def ensure(self) -> Study:
        """Do what the profile expects and is not done yet (a notebook opened on its own); returns the study."""
        todo = self.missing()
        if todo:
            self.prepare()
        for name, seed in todo:
            self.run(name, seed)
        return self

    def start_of(self, name: str, seed: int) -> str | None:
        """The fingerprint in a part's file and the hash of what its training wrote, or the hash of a shipped one: runs
        with different starts do not mix, be it the same recipe followed by two machines.
        """
        path = self.checkpoint(name, seed)
        mark = metadata(path).get("fingerprint")
        if mark in (None, shipped.MARK):
            return mark and shipped.told(path)
        facts = self.trained(name, seed)
        return f"{mark}, SHA-256 {(facts.get('made') or facts.get('sha256') or file_hash(path))[:12]}"

    def vocoder(self) -> str:
        """The name of the vocoder that speaks here, which may be the fallback of the profile's."""
        name, precision = (
            vocoder.kind(self.profile["vocoder"]).name,
            self.profile["vocoder"].get("precision", "float32"),
        )
        return name if precision == "float32" else f"{name}, {precision}"

    def command(self, verb: str, name: str, seed: int) -> str:
        return f"python -m lib {verb} {self.paper} {name} --seed {seed} --profile {self.profile['name']}"
