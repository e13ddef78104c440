"""HyperTTS and its baselines on real human voices (HT8): the run ht-other_corpus-s0, whose rows have the role of it.

The systems speak the speakers' held-out sentences twice: as they were adapted on the embedded corpus, everybody being a
new speaker to them, and adapted anew to the speakers' training sentences (`<system>_anew`).
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lib import audio
from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.features import Features
from lib.files import file_hash
from lib.models.fastspeech2 import FastSpeech2
from lib.papers.common.real_voice import ROLE, RealVoice, seeds_of, without_recordings
from lib.papers.ht.measure import measure
from lib.papers.ht.speech import synthesise, vocode
from lib.papers.ht.systems import BACKBONE, Adapted, Systems, assemble, in_training
from lib.study.part import Part
from lib.training.loop import TrainConfig, seed_everything

TESTED = "test"  # the split of every row: what is measured is outside the training split


class OnVoice(Systems):
    """The study's systems on the speakers: `base` has them as they are, a part here is one adapted anew.

    Raises CorpusError where the recordings are not there.
    """

    def __init__(self, base: Systems, voice: RealVoice):
        super().__init__(base.profile, base.device, base.cores)
        self.base, self.voice = base, voice

    @cached_property
    def corpus(self) -> Corpus:
        return self.voice.corpus

    @cached_property
    def features(self) -> Features:
        return self.voice.features

    def backbone(self) -> FastSpeech2:
        return self.base.backbone()

    def run_id(self, name: str, seed: int) -> str:
        return f"real-{name}-s{seed}"

    def part(self, name: str, seed: int) -> Part:
        """A system adapted to the speakers' training sentences from the embedded corpus's backbone."""
        system, settings = self.system(name), vars(self.train_config(name, seed)) | self.voice.settings["adapt"]
        config = TrainConfig.from_dict(settings)
        rows = self.features.rows(self.corpus.select(split="train"))
        start = file_hash(self.base.train(BACKBONE, 0))

        def build() -> Adapted:
            backbone = self.backbone()
            seed_everything(seed)  # making the backbone draws numbers, too
            return in_training(assemble(backbone, system), system)

        return Part(
            config,
            (self.corpus.hash, start, vars(config), system, self.device.split(":")[0]),
            build,
            start=lambda model: self.start(model, rows, config),
        )


def other_corpus(base: Systems, voice: RealVoice) -> tuple[pd.DataFrame, dict]:
    """Rows of all systems on the held-out prompts, and facts for the manifest; one row where there are no prompts."""
    if facts := voice.absent():
        return without_recordings(), facts
    there, prompts = OnVoice(base, voice), voice.held_out()
    tables = [aligner_rows(voice), _rows(there, "reference_vocoded", 0, vocode(there, prompts))]
    for name in voice.settings["transferred"]:
        for seed in seeds_of(base, name):
            tables.append(_rows(there, name, seed, synthesise(there, base.restore(name, seed), prompts)))
    for name in voice.settings["anew"]:
        tables.append(_rows(there, name, 0, synthesise(there, there.restore(name, 0), prompts), anew=True))
    kept = chosen_for_players(voice)
    for prompt in kept:
        audio.write(folder(base) / "recording" / f"{prompt.utterance}.wav", voice.corpus.wave(prompt))
    facts = {"corpus": voice.corpus.name, "data_hash": voice.corpus.hash}
    return pd.concat(tables, ignore_index=True), facts | {"texts": {prompt.utterance: prompt.text for prompt in kept}}


def folder(study: Systems) -> Path:
    """Where the run's audio is, a folder for each system."""
    return study.root / "audio" / ROLE


def chosen_for_players(voice: RealVoice) -> list[Utterance]:
    """The voice's held-out prompts whose audio is kept: those of the most ordinary length, in the corpus's order."""
    known = {item.utterance for item in voice.recordings.utterances}
    prompts = [item for item in voice.held_out() if item.utterance in known]
    middle = sorted(prompts, key=lambda item: abs(item.seconds - 4))[: voice.settings["players"]]
    return [prompt for prompt in prompts if prompt in middle]


def _rows(there: OnVoice, name: str, seed: int, waves: list[np.ndarray], anew: bool = False) -> pd.DataFrame:
    """Rows of what a system says, measured as on the embedded corpus; some audio is kept."""
    prompts, shown = there.voice.held_out(), f"{name}_anew" if anew else name
    rows = measure(there, shown, seed, prompts, waves).assign(role=ROLE, split=TESTED)
    kept = chosen_for_players(there.voice) if seed == 0 else []
    for prompt, wave in zip(prompts, waves, strict=True):
        if prompt in kept:
            audio.write(folder(there) / shown / f"{prompt.utterance}.wav", wave)
    variant = "adapted anew" if anew else "as adapted before"
    return rows.assign(**(there.base.factors(name, seed) | {"system": shown, "variant": variant}))


def aligner_rows(voice: RealVoice) -> pd.DataFrame:
    """How well the aligner finds known boundaries, and how many recordings it gave durations to."""
    values = voice.boundary_error | {"recordings": len(voice.corpus.utterances)}
    units = {"boundary_error_ms": "ms"}
    rows = [{"metric": k, "value": float(v), "unit": units.get(k, "count")} for k, v in values.items()]
    return pd.DataFrame(rows).assign(system="aligner")
