"""The study of diffusion in the latent space of a frozen VITS (arXiv 2311.10804), from the profile's section ld.

    python -m lib prepare ld --profile demo         speech, posterior encoder, mini-CLAP, first measures
    python -m lib run ld palette --seed 0           train one diffusion, sample it, measure what it says

The rows have one speaker, joe. The style is the variant, and an utterance is a sentence in a style, which intervals
count as one unit; they say nothing about other voices.
"""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pandas as pd
import torch

from lib.papers.ld import acted, diagnostics, probes
from lib.papers.ld.clap import draws_of, probe, retrieval
from lib.papers.ld.data import PAIRS
from lib.papers.ld.decoders import CORPUS
from lib.papers.ld.measure import UNTRAINED, baseline, evaluate, player, scales
from lib.papers.ld.reconstruction import report
from lib.papers.ld.systems import CLAP, DECODERS, POSTERIOR, Systems
from lib.study.part import Measured
from lib.study.profile import profile_hash
from lib.study.provenance import pretrained_used
from lib.study.variant import Choice
from lib.workers import begin

WORTH_A_PROCESS = 100  # steps of the encoder below which another process costs more than it saves
COST = {"trainable_parameters": "count", "seconds_trained": "s"}


class Study(Systems):
    """Diffusion in a frozen VITS's latents: claims LD1 to LD9."""

    choices = {
        "guidance": Choice(read=scales),
        "method": Choice(("palette", "i2sb")),
        "pairs": Choice(PAIRS),
        "content": Choice(("kept", "random", "free")),
        "steps": Choice(low=1, high=1000, place="sampling.steps"),
        "eta": Choice(low=0.0, high=1.0, place="sampling.eta"),
        "probes": Choice(place="probes.source"),
    }

    def shared(self) -> dict:
        """Speech, posterior encoder and its latents, mini-CLAP, the measures before any change.

        The last two need nothing of the encoder: on a CPU with threads to share, a process of their own makes them
        while the encoder is trained, each with half of the threads.
        """
        seconds = _timed(speech=lambda: self.corpus)
        threads = torch.get_num_threads()
        long = self.settings["posterior"]["steps"] >= WORTH_A_PROCESS
        if self.device == "cpu" and threads > 1 and long and self.own is None:
            half, context = threads // 2, multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, context, begin, (half,)) as pool:
                beside = pool.submit(_styles_in, self.profile)
                torch.set_num_threads(threads - half)
                seconds |= _timed(posterior=lambda: self.encoded) | beside.result()
            torch.set_num_threads(threads)
        else:
            seconds |= _timed(posterior=lambda: self.encoded) | self.make_styles()
        return {
            "data_hash": self.corpus.hash,
            "encoder": self.mark_of(POSTERIOR, 0),
            "profile_hash": profile_hash(self.profile, "LD"),
            "sentences": {split: len(self.corpus.sentences(split)) for split in self.corpus.settings["sentences"]},
            "megabytes": round(sum(f.stat().st_size for f in self.corpus.root.rglob("*.npz")) / 1e6, 1),
            "seconds_of": seconds,
        }

    def make_styles(self) -> dict[str, float]:
        """Make mini-CLAP with its conditions, and the measures before any change; the seconds of each."""
        return _timed(clap=lambda: self.conditions, baseline=lambda: baseline(self))

    def measure(self, name: str, seed: int) -> Measured:
        method, waves = self.system(name)["method"], {}
        if method == "inversion":
            rows = report(self)
        elif name == "clap_probe":
            model = self.clap_of(seed)
            tables = [draws_of(self, model, *splits) for splits in (("train", "validation"), ("test",))]
            rows = [probe(*tables), retrieval(tables[1], model), *acted.clap_rows(self, model)]
            rows = pd.concat(rows, ignore_index=True)
        elif method == "probes":
            parts = (probes.variance_and_probes, diagnostics.misalignment, diagnostics.steered, diagnostics.worn)
            rows = pd.DataFrame([row for part in (*parts, acted.latent_rows) for row in part(self)])
        else:
            rows, waves = evaluate(self, name, seed)
        cost = self._cost(name, seed)
        extra = pd.DataFrame([{"metric": k, "value": float(cost[k]), "unit": unit} for k, unit in COST.items() if cost])
        rows = pd.concat([rows, extra], ignore_index=True) if cost else rows
        facts = {key: cost.get(key) for key in (*COST, "speed") if cost}
        if self.system(name).get("decoder") in CORPUS:
            facts["voices"] = f"{self.voices.corpus.name}, {self.voices.corpus.hash}"
        return Measured(rows, waves, facts)

    def _cost(self, name: str, seed: int) -> dict:
        """What training the system's part wrote; empty where nothing is trained."""
        if self.system(name)["method"] == "inversion":
            return self.trained(POSTERIOR, 0)
        if name == "clap_probe" and self.settings["clap"]["model"] == "mini":
            return self.trained(CLAP, seed)
        if decoder := self.system(name).get("decoder"):
            return self.trained(DECODERS[decoder], seed)
        untrained = self.system(name)["method"] in (*UNTRAINED, "probes")
        return {} if untrained else self.trained(self.trained_as(name), seed)

    def factors(self, name: str, seed: int) -> dict:
        trained = self._cost(name, seed).get("trainable_parameters", 0)
        return {"method": self.system(name)["method"], "system": name, "seed": seed, "trainable": trained}

    def players(self) -> dict[str, str]:
        """The first test sentences in every style, at the nominal, the largest and a changed guidance scale."""
        settings = self.settings["evaluate"]
        wanted = {None, settings["nominal"], max(settings["guidance"]), *scales(self.changed.get("guidance", []))}
        first = self.tested[: settings["players"]]
        return {player(s, style, x): s.text for s in first for style in settings["styles"] for x in wanted}

    def facts(self) -> dict:
        judges = pretrained_used("whisper-tiny.en", "ge2e")
        return {"pretrained": judges | {"vits": self.vits.pretrained.manifest(), "clap": self.clap_source()}}


def _timed(**steps: Callable[[], object]) -> dict[str, float]:
    """Do the steps; the seconds of each."""
    seconds = {}
    for name, step in steps.items():
        began = time.time()
        step()
        seconds[name] = round(time.time() - began, 1)
    return seconds


def _styles_in(profile: dict) -> dict[str, float]:
    return Study(profile).make_styles()
