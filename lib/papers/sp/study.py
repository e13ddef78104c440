"""The zero-shot study of pruned self-attention (arXiv 2308.14909), from the profile's section sp.

    python -m lib prepare sp --profile demo             features and the dense model
    python -m lib run sp dp_r45 --seed 0                train one system, let it speak, measure it

The system `attention_cost` measures what attention costs under each rule and trains nothing.
"""

import pandas as pd

from lib.papers.sp.measure import (
    cost_rows,
    kept_rows,
    mismatch_rows,
    other_rows,
    reference_rows,
    speech_rows,
    training_rows,
)
from lib.papers.sp.systems import COST, DENSE, Systems
from lib.study.listen import keep_recordings
from lib.study.part import Measured
from lib.study.variant import Choice

SIMILARITY = "CAM++ (secs) and GE2E (cos)"


class Study(Systems):
    """Pruned self-attention for zero-shot TTS: claims SP1 to SP13."""

    choices = {
        "ratio": Choice(low=0.01, high=0.99),
        "temperature": Choice(low=0.0001, high=1.0),
        "masks": Choice(
            ("dense", "row_mean", "learned", "threshold", "threshold_over_n"), place="systems.{system}.method"
        ),
        "threshold": Choice(low=0.0, high=1.0),
        "union": Choice((True, False)),
        "encoder": Choice((True, False)),
        "hard_phase": Choice((True, False)),
        "sparsity_loss": Choice((True, False)),
        "soft_scale": Choice(low=0.0, high=10.0),
    }

    def shared(self) -> dict:
        facts = {"corpus": self.corpus.hash, "features": self.features.root.name, "similarity": SIMILARITY}
        if not self.settings["from_scratch"]:
            kept = ("fingerprint", "trainable_parameters", "steps", "seconds_trained", "validation")
            for seed in sorted({self.dense_seed(seed) for seed in self.settings["seeds"]}):
                path, trained = self.train(DENSE, seed), self.trained(DENSE, seed)
                facts[path.stem] = {name: trained[name] for name in kept}
        return facts

    def measure(self, name: str, seed: int) -> Measured:
        if self.system(name)["method"] == "cost":
            return Measured(cost_rows(self))
        model = self.restore(name, seed)
        spoken, waves, set_aside = speech_rows(self, model, name, seed)
        trained = self.trained(name, seed)
        tables = [spoken, kept_rows(self, model), training_rows(trained)]
        if name in self.settings["reference_systems"]:
            tables += [reference_rows(self, model), other_rows(self, model)]
        if name == "baseline":
            tables.append(mismatch_rows(self))
            keep_recordings(self)
        facts = {key: trained.get(key) for key in ("seconds_trained", "validation", "thresholds", "speed", "after")}
        return Measured(pd.concat(tables, ignore_index=True), waves, facts | {"set_aside": set_aside})

    def factors(self, name: str, seed: int) -> dict:
        """The columns that all rows of a system share, x among them unless a row has its own."""
        if name == COST:
            return {"method": "cost", "system": name, "seed": seed}
        rule = self.sparse(name)
        swept = {"learned": rule.ratio, "threshold": rule.threshold, "threshold_over_n": rule.threshold}
        trained = self.trained(name, seed)["trainable_parameters"]
        return {"method": rule.method, "system": name, "seed": seed, "trainable": trained, "x": swept.get(rule.method)}

    def players(self) -> dict[str, str]:
        """The first test sentences of the first never-seen speakers, the first of each speaker before the second."""
        wanted = self.settings["players"]
        speakers = self.corpus.speakers("never_seen")[: wanted["speakers"]]
        each = [self.corpus.select(role="never_seen", split="test", speaker=s) for s in speakers]
        chosen = [own[i] for i in range(wanted.get("sentences", 1)) for own in each if i < len(own)]
        return {u.utterance: u.text for u in chosen}

    def is_listened(self, name: str, seed: int) -> bool:
        listed = name in self.settings["players"]["systems"]
        return bool(self.changed) or (listed and super().is_listened(name, seed))

    def facts(self) -> dict:
        return {"vocoder": self.vocoder(), "similarity": SIMILARITY}
