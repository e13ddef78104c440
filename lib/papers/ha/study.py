"""Adapting Whisper to atypical speech (arXiv 2406.04240), from the profile's section ha.

    python -m lib prepare ha --profile demo             the corpus, the frozen encoder's states and the embeddings
    python -m lib run ha hyper --seed 0                 train one system, let it transcribe, measure it
    torchrun --nproc-per-node 8 -m lib train ha hyper --profile full --device cuda

The run `other_corpus` is that on a real voice. Metrics are by test utterance, speakers and sentences unseen unless the
role is adaptation (speakers of the training set, unseen sentences).
"""

from __future__ import annotations

import time

import pandas as pd

from lib.methods.hyperlora import TARGETS
from lib.papers.common.real_voice import ROLE, RealVoice, without_recordings
from lib.papers.ha import measure, probes
from lib.papers.ha.real import other_corpus
from lib.papers.ha.systems import EVERYBODY, LARGEST_RANK, Systems
from lib.study.part import Measured
from lib.study.profile import StudyError
from lib.study.variant import Choice

MLP = 64  # width of the MLP generator's hidden layer where the profile gives none


def matrices(given: object) -> list[str]:
    """Matrices by their names: a list, or names between commas, such as decoder.W1,decoder.W2."""
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    for name in names:
        if not any(f"{target}.".startswith(f"{name}.") for target in TARGETS):
            known = ", ".join(TARGETS)
            raise StudyError(f"targets {name!r}: give some of {known} between commas, or parts before a dot")
    return names


class Study(Systems):
    """Hypernetworks for atypical speech recognition: claims HA1 to HA12."""

    choices = {
        "rank": Choice(low=1, high=LARGEST_RANK, instead="budget"),
        "budget": Choice(low=0.00001, high=100.0, instead="rank"),
        "targets": Choice(read=matrices),
        "generator": Choice(("linear", "mlp"), read={"linear": None, "mlp": MLP}.get, place="systems.{system}.hidden"),
        "conditioning": Choice(("whisper", "ge2e")),
        "embedding": Choice(("utterance", "speaker")),
        "level": Choice(("all", "cohort", "speaker")),
    }

    def shared(self) -> dict:
        self.ready()
        return {
            "corpus": self.corpus.hash,
            "utterances": len(self.utterances),
            "set_aside": [*self.corpus.set_aside, *self.set_aside],
            "whisper": self.model.pretrained.manifest(),
            "states": self.identity,
        }

    def measure(self, name: str, seed: int) -> Measured:
        if name == ROLE:
            rows, facts = other_corpus(self, RealVoice(self.profile, self.device, self.cores))
            return Measured(rows, facts=facts)
        if (study := self.study_of(name)) is not self:
            found = study.measure(name, seed)
            return Measured(found.rows, facts=self.facts() | study.facts() | found.facts)
        system, run = self.system(name), self.run_id(name, seed)
        if (out := system.get("without")) and out not in {item.condition for item in self.utterances}:
            facts = {"missing": f"{self.corpus.name} has no speaker with {out}"}
            return Measured(without_recordings(), facts=facts)
        model = None if system["method"] == "none" else self.restore(name, seed)
        began = time.time()
        items, texts = measure.recognise(self, system, model)
        facts = {"transcription_seconds": round(time.time() - began, 2)}
        measure.keep_transcripts(self.root / "transcripts" / f"{run}.json", items, texts)
        tables, waves = [measure.scores(items, texts)], {}
        first = bool(self.changed) or seed == self.settings["seeds"][0]
        if model is not None:
            trained = self.trained(name, seed)
            tables.append(measure.weights(self, model, trained))
            facts |= {"speed": trained.get("speed"), "history": trained["history"]}
            facts["whisper_parameters"] = measure.whisper_parameters(self)
            if first:
                measure.export(self, model, self.root / "adapters" / run)
            if self.changed.get("of", name) in self.settings["evaluate"]["angles"]["systems"]:
                tables.append(probes.angles(self, model.of(EVERYBODY)))
        elif first:
            tables.append(probes.probes(self))
            waves = {item.utterance: self.corpus.wave(item) for item in measure.chosen_for_players(self)}
        rows = pd.concat(tables, ignore_index=True).assign(**measure.size_factors(self, model))
        return Measured(rows, waves, facts)

    def factors(self, name: str, seed: int) -> dict:
        if name == ROLE:  # its rows have those of several systems
            return {}
        system = self.system(name)
        modules = ", ".join(system.get("targets", [])) or system.get("side")
        return {"method": system["method"], "system": name, "seed": seed, "modules": modules}

    def players(self) -> dict[str, str]:
        """What the recogniser hears: an utterance or more of each condition."""
        return {item.utterance: item.text for item in measure.chosen_for_players(self)}

    def is_listened(self, name: str, seed: int) -> bool:
        system = {} if name == ROLE else self.system(name)
        return system.get("method") == "none" and "whisper" not in system and super().is_listened(name, seed)

    def facts(self) -> dict:
        return {"pretrained": {"whisper": self.model.pretrained.manifest()}, "set_aside": self.set_aside}
