"""The study of HyperTTS (arXiv 2404.04645), from the profile's section ht.

    python -m lib prepare ht --profile demo             features and the backbone
    python -m lib run ht hypertts_d --seed 0            train one system, let it speak, measure it

The system `generated_parameters` measures what the hypernetworks generate and trains nothing of its own; the run
`other_corpus` is that on a real voice.
"""

import time

import pandas as pd

from lib import audio
from lib.papers.common.real_voice import RealVoice
from lib.papers.ht.measure import (
    duration_rows,
    generated_rows,
    is_first,
    measure,
    speak,
    test_utterances,
    training_rows,
)
from lib.papers.ht.real import other_corpus
from lib.papers.ht.systems import BACKBONE, GENERATED, METHODS, OTHER, Systems
from lib.study.part import Measured
from lib.study.variant import Choice


class Study(Systems):
    """HyperTTS, its baselines and ablations: claims HT1 to HT10."""

    choices = {
        "d_s": Choice(low=1, high=512),
        "bottleneck": Choice(low=1, high=512),
        "modules": Choice(("e", "v", "d", "ev", "ed", "vd", "evd")),
        "conditioning": Choice(METHODS, place="systems.{system}.method"),
        "layer_embedding": Choice((True, False)),
    }

    def shared(self) -> dict:
        facts = {"corpus": self.corpus.hash, "features": self.features.root.name}
        path, trained = self.train(BACKBONE, 0), self.trained(BACKBONE, 0)
        kept = ("fingerprint", "trainable_parameters", "steps", "seconds_trained", "validation")
        return facts | {BACKBONE: {"file": path.name} | {name: trained[name] for name in kept}}

    def measure(self, name: str, seed: int) -> Measured:
        if name == GENERATED:
            return Measured(generated_rows(self))
        if name == OTHER:
            rows, facts = other_corpus(self, RealVoice(self.profile, self.device, self.cores))
            return Measured(rows, facts=facts)
        began, utterances = time.time(), test_utterances(self, name, seed)
        waves = speak(self, name, seed, utterances)
        seconds = {"synthesis_seconds": time.time() - began, "audio_seconds": sum(map(len, waves)) / audio.RATE}
        tables, facts = [measure(self, name, seed, utterances, waves)], {k: round(v, 2) for k, v in seconds.items()}
        if self.system(name)["method"] not in ("recording", "vocoded_recording"):
            tables.append(duration_rows(self, name, seed, utterances))
        if self.has_weights(name):
            trained = self.trained(name, seed)
            tables.append(training_rows(trained))
            facts |= {key: trained.get(key) for key in ("validation", "seconds_trained", "speed")}
        by_id = {u.utterance: wave for u, wave in zip(utterances, waves, strict=True)}
        return Measured(pd.concat(tables, ignore_index=True), by_id, facts)

    def factors(self, name: str, seed: int) -> dict:
        """The columns that all rows of a system share; a run of several systems has those of each of them."""
        if name in (GENERATED, OTHER):
            return {}
        system = self.system(name)
        method, hyper = system["method"], system["method"] == "hypernetwork"
        return {
            "method": method,
            "system": name,
            "modules": system.get("modules"),
            "d_s": system.get("d_s") if hyper else None,
            "bottleneck": system.get("bottleneck") if hyper or method == "adapter" else None,
            "layer_embedding": system.get("layer_embedding", True) if hyper else None,
            "trainable": self.trained(name, seed)["trainable_parameters"] if self.has_weights(name) else 0,
            "seed": seed,
        }

    def players(self) -> dict[str, str]:
        """One test sentence of a few speakers of each role."""
        chosen = []
        for role, speakers in self.settings["evaluate"]["players"].items():
            for speaker in self.corpus.speakers(role)[:speakers]:
                chosen += self.corpus.select(role=role, split="test", speaker=speaker)[:1]
        return {u.utterance: u.text for u in chosen}

    def is_listened(self, name: str, seed: int) -> bool:
        return is_first(self, seed)

    def facts(self) -> dict:
        return {"vocoder": self.vocoder(), "backbone_hash": self.start_of(BACKBONE, 0)}
