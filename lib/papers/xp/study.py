"""Runs that belong to no single paper, from the profile's section xp: exploratory, no claim rests on them.

    python -m lib prepare xp --profile demo             both backbones of the factorial experiment
    python -m lib run xp factorial --seed 0             its adapters, trained and measured
    python -m lib run xp weights_asr                    what a hypernetwork generates

HyperTTS's backbone and the hypernetworks that a run names are trained first if need be.
"""

import pandas as pd

from lib.papers.xp.measure import cell_rows, unadapted_rows
from lib.papers.xp.systems import BACKBONE, Systems
from lib.papers.xp.weights import cloud_of, cloud_rows
from lib.study.part import Measured
from lib.study.variant import Choice


class Study(Systems):
    """HyperTTS's adapters on pruned attention, and generated weights on both sides."""

    choices = {
        "ratio": Choice(low=0.01, high=0.99, place="attention.pruned.ratio"),
        "d_s": Choice(low=1, high=512, place="cells.hyper.d_s"),
    }

    def shared(self) -> dict:
        facts = {"corpus": self.corpus.hash, "starts_from": self.settings["starts_from"]}
        for attention in self.settings["attention"]:
            path = self.train(f"{BACKBONE}_{attention}", 0)
            trained = self.trained(f"{BACKBONE}_{attention}", 0)
            kept = {name: trained[name] for name in ("fingerprint", "thresholds")}
            facts[path.stem] = kept | {"loss": trained["history"][-1]["total"]}
        return facts

    def measure(self, name: str, seed: int) -> Measured:
        entry, attentions = self.system(name), self.settings["attention"]
        if entry["method"] == "generated":
            cloud = cloud_of(self, entry["of"])
            facts = {"corpus": cloud.corpus.name, "data_hash": cloud.corpus.hash, "generated_by": entry["of"]}
            return Measured(cloud_rows(cloud), facts=facts)
        first = bool(self.changed) or seed == self.settings["seeds"][0]
        tables = [unadapted_rows(self, attention) for attention in attentions] if first else []
        tables += [cell_rows(self, c, a, seed) for c in self.settings["cells"] for a in attentions]
        starts = " ".join(self.start_of(f"{BACKBONE}_{attention}", 0) for attention in attentions)
        return Measured(
            pd.concat(tables, ignore_index=True), facts={"backbone_hash": starts, "vocoder": self.vocoder()}
        )

    def factors(self, name: str, seed: int) -> dict:
        """The columns that all rows of a run share; the experiment's cells have those of each of them."""
        method = self.system(name)["method"]
        return {"seed": seed} | ({"system": name, "method": method} if method == "generated" else {})

    def is_listened(self, name: str, seed: int) -> bool:
        return False
