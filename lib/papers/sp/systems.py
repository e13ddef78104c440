"""The systems of the zero-shot study: StyleSpeech under one rule of sparse attention each, trained and loaded back.

    dense      StyleSpeech trained once on the speakers of `train_roles`; every system goes on from it
    baseline   the same model for `train.steps` more steps
    the rest   those steps under the system's own masks or regulariser (`lib.methods.sparse_attention`)

    torchrun --nproc-per-node 8 -m lib.papers.sp.systems --profile full --system dp_r45 --device cuda

With `from_scratch`, as in the paper, there is no common start: every system trains from random weights for the steps
of `train`, which is then the whole training. Either way all systems of a profile cost the same number of steps.
"""

import json
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lib import cli, study, text
from lib.corpora.corpus import Utterance
from lib.files import file_hash, fingerprint
from lib.methods.sparse_attention import PrunedTTS, SparseSettings
from lib.models.stylespeech import StyleSpeech, StyleSpeechDims
from lib.papers.ht.study import Bench, ready
from lib.training import parallel
from lib.training.loop import BucketedBatches, TrainConfig, fit, seed_everything
from lib.training.weights import is_kept, keep, load_weights, saved_state

DENSE = "dense"  # the common start
COST = "attention_cost"  # no model: what a block's attention costs
OWN = ("soft_scale", "train", "model", "method", "episodic")  # keys of a system that are not fields of SparseSettings


class ZeroShotError(ValueError):
    """A system, speaker or reference that the zero-shot study cannot use; the sentence says what to change."""


class ZeroShotBench(Bench):
    """What the systems of a profile share; `settings` is the profile's section sp."""

    @property
    def settings(self) -> dict:
        return self.profile["sp"]

    @cached_property
    def dims(self) -> StyleSpeechDims:
        return StyleSpeechDims.from_dict({"n_symbols": len(text.SYMBOLS), **self.settings["model"]})

    def system(self, name: str) -> dict:
        """A system's entry in the profile. Raises ZeroShotError for one that is not there."""
        systems = self.settings["systems"]
        if name not in systems:
            raise ZeroShotError(f"there is no system {name!r} in this profile: choose one of {', '.join(systems)}")
        return systems[name]

    def sparse(self, name: str) -> SparseSettings:
        """A system's rule of attention. Phase 1 lasts `soft_steps`, times the system's `soft_scale`.

        Raises ValueError for an R outside (0, 1) and for settings that there are not.
        """
        entry = self.system(name)
        values = {key: value for key, value in entry.items() if key not in OWN}
        soft = round(self.settings["soft_steps"] * entry.get("soft_scale", 1.0))
        shared = {"soft_steps": soft, "theta_scale": self.settings["theta_scale"]}
        return SparseSettings.from_dict({"method": entry["method"], **shared, **values})

    def build(self, name: str) -> PrunedTTS:
        """A system with random weights; `dense` is StyleSpeech as published.

        Raises ZeroShotError for a system of another size where all start from the same weights.
        """
        if name == DENSE:
            return PrunedTTS(StyleSpeech(self.dims), SparseSettings())
        changes = self.system(name).get("model", {})
        if changes and not self.settings["from_scratch"]:
            raise ZeroShotError(f"{name} changes the model's size: set from_scratch, or leave it out")
        sizes = StyleSpeechDims.from_dict(self.dims.to_dict() | changes)
        return PrunedTTS(StyleSpeech(sizes), self.sparse(name))


def run_id(name: str, seed: int) -> str:
    return f"sp-{name}-s{seed}"


def training_utterances(bench: ZeroShotBench, split: str = "train") -> list[Utterance]:
    """The utterances of a split of all the speakers that training sees."""
    return [u for role in bench.settings["train_roles"] for u in bench.corpus.select(role=role, split=split)]


class Batches:
    """Training batches of a system, a function of the seed and the micro-batch alone.

    An `episodic` system's are the episodes of Meta-StyleSpeech (Min et al. 2021, section 3.2): the style comes from
    another utterance of the speaker (support) than the one to be spoken (query). Its query texts have no recording and
    are judged by discriminators; here the query is recorded, so the loss is that of all other systems.
    """

    def __init__(self, bench: ZeroShotBench, name: str, size: int, seed: int):
        utterances = training_utterances(bench)
        self.bench, self.seed = bench, seed
        self.rows = bench.features.rows(utterances)
        self.sampler = BucketedBatches(bench.features.frames(self.rows), size, seed)
        self.speakers = np.array([u.speaker for u in utterances])
        self.episodic = name != DENSE and bench.system(name).get("episodic", False)

    def __call__(self, micro: int) -> dict[str, torch.Tensor]:
        """As `FastSpeech2.forward` takes it; with reference and reference_lengths for an episodic system."""
        features, chosen = self.bench.features, self.sampler(micro)
        batch = features.batch(self.rows[chosen])
        if not self.episodic:
            return batch
        support = features.batch(self.rows[self.support(micro, chosen)])
        return batch | {"reference": support["mel"], "reference_lengths": support["frame_lengths"]}

    def support(self, micro: int, chosen: np.ndarray) -> np.ndarray:
        """For each chosen utterance another of its speaker, or itself where the speaker has no other."""
        random, found = np.random.default_rng([self.seed, micro, 1]), []
        for item in chosen:
            others = np.setdiff1d(np.flatnonzero(self.speakers == self.speakers[item]), [item])
            found.append(random.choice(others) if len(others) else item)
        return np.array(found)


def train(bench: ZeroShotBench, name: str, seed: int) -> Path:
    """Train a system, or find it trained; returns its safetensors file, beside which lies `<run_id>.json`.

    The dense model that it goes on from is trained first if need be; an interrupted training goes on.
    """
    path = bench.checkpoint(run_id(name, seed))
    mark = _fingerprint(bench, name, seed)
    if is_kept(path, mark):
        return path
    config = _config(bench, name, seed)
    seed_everything(seed)
    model = bench.build(name)
    if name != DENSE and not bench.settings["from_scratch"]:
        load_weights(model.backbone, train(bench, DENSE, 0))
        seed_everything(seed)
    model.to(bench.device).train()
    began = time.time()
    history = fit(
        model,
        lambda batch: model.loss(parallel.forward(model, batch, {"mask": 1}), batch),
        Batches(bench, name, config.batch_size, seed),
        config,
        path.with_suffix(".resume.pt"),
        mark,
        bench.device,
        path.stem,
        model.at_step,
    )
    model.at_step(config.steps)
    facts = {
        "trainable_parameters": sum(p.numel() for p in model.parameters()),
        "steps": config.steps,
        "seconds_trained": history[-1]["seconds"],
        "wall_seconds": time.time() - began,
        "speed": history.speed,
        "validation": validation_loss(bench, model),
        "thresholds": model.thresholds(),
        "history": history,
    }
    keep(path, saved_state(_saved(model, name)), mark, facts)
    return path


def _saved(model: PrunedTTS, name: str) -> nn.Module:
    """What of a system is in its file: the dense model's has StyleSpeech's names, so that every system takes it."""
    return model.backbone if name == DENSE else model


def _config(bench: ZeroShotBench, name: str, seed: int) -> TrainConfig:
    section = bench.settings["dense"] if name == DENSE else bench.settings["train"]
    own = {} if name == DENSE else bench.system(name).get("train", {})
    return TrainConfig.from_dict({**section, **own}, seed=seed)


def _fingerprint(bench: ZeroShotBench, name: str, seed: int) -> str:
    """Everything that the weights of a system depend on, in twelve digits."""
    s = bench.settings
    shared = [bench.corpus.hash, bench.profile["features"], bench.dims.to_dict(), s["train_roles"]]
    shared += [bench.device.split(":")[0], seed]
    if name == DENSE:
        return fingerprint(shared, s["dense"])
    start = None if s["from_scratch"] else file_hash(train(bench, DENSE, 0))
    rule = bench.sparse(name).to_dict()
    return fingerprint(shared, start, s["train"], rule, bench.system(name))


@torch.no_grad()
def validation_loss(bench: ZeroShotBench, model: PrunedTTS) -> dict[str, float]:
    """Mean losses over the training speakers' validation utterances, in evaluation mode."""
    rows = bench.features.rows(training_utterances(bench, "validation"))
    model.eval()
    losses = []
    for start in range(0, len(rows), 16):
        batch = bench.features.batch(rows[start : start + 16], bench.device)
        losses.append(model.loss(model(batch), batch))
    names = [name for name in losses[0] if not name.startswith("theta")] if losses else []
    return {name: float(np.mean([float(loss[name]) for loss in losses])) for name in names}


def restore(bench: ZeroShotBench, name: str, seed: int) -> PrunedTTS:
    """A trained system in evaluation mode and in its last phase, trained now if it is not there."""
    path = train(bench, name, seed)
    model = bench.build(name)
    load_weights(_saved(model, name), path)
    return model.to(bench.device).eval()


def facts_of(bench: ZeroShotBench, name: str, seed: int) -> dict:
    """What `train` wrote beside the weights: sizes, times, final thetas, losses, learning curve."""
    return json.loads(bench.checkpoint(run_id(name, seed)).with_suffix(".json").read_text())


def parameter_counts(bench: ZeroShotBench) -> dict[str, dict[str, int]]:
    """Weights of every system of the paper's size: at the paper's sizes and in this profile ("here")."""
    paper = StyleSpeechDims(n_symbols=bench.dims.n_symbols)
    counts = {}
    for name, entry in bench.settings["systems"].items():
        if entry["method"] != "cost" and "model" not in entry:
            models = {
                "at the paper's sizes": PrunedTTS(StyleSpeech(paper), bench.sparse(name)),
                "here": bench.build(name),
            }
            counts[name] = {size: sum(p.numel() for p in model.parameters()) for size, model in models.items()}
    return counts


def bench_of(profile: dict, device: str) -> ZeroShotBench:
    """The bench of a profile. Raises StudyError for one without the section sp."""
    if "sp" not in profile:
        raise study.StudyError("the profile has no section sp: load it with lib.study.load_profile")
    return ZeroShotBench(profile, device)


def main() -> None:
    """Train one system, on one device or under torchrun."""
    options = cli.options("lib.papers.sp.systems", "Train one zero-shot system.", system=DENSE)
    with cli.told(), parallel.joined(options.device) as device:
        path = train(ready(bench_of(study.load_profile(options.profile), device)), options.system, options.seed)
        if parallel.first():
            print(path)


if __name__ == "__main__":
    main()
