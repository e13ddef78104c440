"""The systems of the zero-shot study: StyleSpeech under one rule of sparse attention each, and how they are trained.

    dense      StyleSpeech trained on the speakers of `train_roles`; every system of its seed goes on from it, or with
               `own_dense` false every system from that of seed 0
    baseline   the same model for `train.steps` more steps
    the rest   those steps under the system's own masks or regulariser (`lib.methods.sparse_attention`)

With `from_scratch`, as in the paper, there is no common start: every system, or one that says so itself, trains from
random weights for the steps of `train`, which is then the whole training.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from lib import text
from lib.corpora.corpus import Utterance
from lib.files import file_hash
from lib.methods.sparse_attention import PrunedTTS, SparseSettings
from lib.models.stylespeech import StyleSpeech, StyleSpeechDims
from lib.study import protocol, watch
from lib.study.part import Part
from lib.study.shipped import Lesson
from lib.training import parallel
from lib.training.loop import BucketedBatches, TrainConfig
from lib.training.weights import load_weights

DENSE = "dense"  # the common start
COST = "attention_cost"  # no model: what a block's attention costs
# Keys of a system that SparseSettings has not.
OWN = ("name", "soft_scale", "train", "model", "method", "episodic", "from_scratch")


class ZeroShotError(ValueError):
    """A system, speaker or reference that the zero-shot study cannot use; the sentence says what to change."""


class Systems(protocol.Study):
    """What of pruned self-attention is trained; `settings` is the profile's section sp."""

    paper = "sp"
    error = ZeroShotError
    shares: ClassVar[dict] = {
        DENSE: {"system": "baseline", "metric": ["secs", "cos", "cer"], "variant": "zero_shot", "split": "test"}
    }

    @cached_property
    def dims(self) -> StyleSpeechDims:
        return StyleSpeechDims.from_dict({"n_symbols": len(text.SYMBOLS), **self.settings["model"]})

    def sparse(self, name: str) -> SparseSettings:
        """A system's rule of attention. Phase 1 lasts `soft_steps`, times the system's `soft_scale`.

        Raises ValueError for an R outside (0, 1) and for settings that there are not.
        """
        entry = self.system(name)
        values = {key: value for key, value in entry.items() if key not in OWN}
        soft = round(self.settings["soft_steps"] * entry.get("soft_scale", 1.0))
        shared = {"soft_steps": soft, "theta_scale": self.settings["theta_scale"]}
        return SparseSettings.from_dict({"method": entry["method"], **shared, **values})

    def from_scratch(self, name: str) -> bool:
        """Whether a system starts from random weights rather than from its seed's dense model."""
        return name == DENSE or self.system(name).get("from_scratch", self.settings["from_scratch"])

    def dense_seed(self, seed: int) -> int:
        """The seed of the dense model that a seed's systems go on from."""
        return seed if self.settings["own_dense"] else 0

    def build(self, name: str) -> PrunedTTS:
        """A system with random weights; `dense` is StyleSpeech as published.

        Raises ZeroShotError for a system of another size where all start from the same weights.
        """
        if name == DENSE:
            return PrunedTTS(StyleSpeech(self.dims), SparseSettings())
        changes = self.system(name).get("model", {})
        if changes and not self.from_scratch(name):
            raise ZeroShotError(f"{name} changes the model's size: set from_scratch, or leave it out")
        sizes = StyleSpeechDims.from_dict(self.dims.to_dict() | changes)
        return PrunedTTS(StyleSpeech(sizes), self.sparse(name))

    def training_utterances(self, split: str = "train") -> list[Utterance]:
        """The utterances of a split of all the speakers that training sees."""
        return [u for role in self.settings["train_roles"] for u in self.corpus.select(role=role, split=split)]

    def made_by(self, name: str) -> str:
        return "baseline" if name == DENSE and self.settings["from_scratch"] else name

    def lesson(self, name: str) -> Lesson:
        needs = {"features": self.profile["features"], "model": self.dims.to_dict()}
        return Lesson.of(self.corpus, self.training_utterances(), **needs)

    def part(self, name: str, seed: int) -> Part:
        dense, s = name == DENSE, self.settings
        if self.made_by(name) != name:
            raise ZeroShotError(
                f"{name} is no training of its own in this profile: {self.made_by(name)} is the same model"
            )
        own = {} if dense else self.system(name).get("train", {})
        config = TrainConfig.from_dict({**s["dense" if dense else "train"], **own}, seed=seed)
        validation = self.training_utterances("validation")

        def build() -> PrunedTTS:
            model = self.build(name)
            if not self.from_scratch(name):
                load_weights(model.backbone, self.train(DENSE, self.dense_seed(seed)))
            return model.train()

        def start(model: PrunedTTS):
            def losses(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
                return model.loss(parallel.forward(model, batch, {"mask": 1}), batch)

            return Batches(self, name, config.batch_size, seed), losses

        return Part(
            config,
            self._depends(name, seed),
            build,
            start,
            at_step=lambda model: model.at_step,
            unseen=watch.on_features(self, validation),
            saved=lambda model: saved(model, name),
            details=lambda model: {
                "validation": watch.mean_losses(self, model, model.loss, validation),
                "thresholds": model.thresholds(),
                "after": None if self.from_scratch(name) else self.run_id(DENSE, self.dense_seed(seed)),
            },
        )

    def _depends(self, name: str, seed: int) -> tuple:
        s = self.settings
        shared = [self.corpus.hash, self.profile["features"], self.dims.to_dict(), s["train_roles"]]
        shared += [self.device.split(":")[0], seed]
        if name == DENSE:
            return shared, s["dense"]
        start = None if self.from_scratch(name) else file_hash(self.train(DENSE, self.dense_seed(seed)))
        entry = {key: value for key, value in self.system(name).items() if key != "name"}
        return shared, start, s["train"], self.sparse(name).to_dict(), entry


def saved(model: PrunedTTS, name: str) -> nn.Module:
    """What of a system is in its file: the dense model's has StyleSpeech's names, so that every system takes it."""
    return model.backbone if name == DENSE else model


class Batches:
    """Training batches of a system, a function of the seed and the micro-batch alone.

    An `episodic` system's are the episodes of Meta-StyleSpeech (Min et al. 2021, section 3.2): the style comes from
    another utterance of the speaker (support) than the one to be spoken (query). Its query texts have no recording and
    are judged by discriminators; here the query is recorded, so the loss is that of all other systems.
    """

    def __init__(self, study: Systems, name: str, size: int, seed: int):
        utterances = study.training_utterances()
        self.features, self.seed = study.features, seed
        self.rows = self.features.rows(utterances)
        self.sampler = BucketedBatches(self.features.frames(self.rows), size, seed)
        self.speakers = np.array([u.speaker for u in utterances])
        self.episodic = name != DENSE and study.system(name).get("episodic", False)

    def __call__(self, micro: int) -> dict[str, torch.Tensor]:
        """As `FastSpeech2.forward` takes it; with reference and reference_lengths for an episodic system."""
        chosen = self.sampler(micro)
        batch = self.features.batch(self.rows[chosen])
        if not self.episodic:
            return batch
        support = self.features.batch(self.rows[self.support(micro, chosen)])
        return batch | {"reference": support["mel"], "reference_lengths": support["frame_lengths"]}

    def support(self, micro: int, chosen: np.ndarray) -> np.ndarray:
        """For each chosen utterance another of its speaker, or itself where the speaker has no other."""
        random, found = np.random.default_rng([self.seed, micro, 1]), []
        for item in chosen:
            others = np.setdiff1d(np.flatnonzero(self.speakers == self.speakers[item]), [item])
            found.append(random.choice(others) if len(others) else item)
        return np.array(found)


def parameter_counts(study: Systems) -> dict[str, dict[str, int]]:
    """Weights of every system of the paper's size: at the paper's sizes and in this profile ("here")."""
    paper = StyleSpeechDims(n_symbols=study.dims.n_symbols)
    counts = {}
    for name, entry in study.settings["systems"].items():
        if entry["method"] != "cost" and "model" not in entry:
            models = {
                "at the paper's sizes": PrunedTTS(StyleSpeech(paper), study.sparse(name)),
                "here": study.build(name),
            }
            counts[name] = {size: sum(p.numel() for p in model.parameters()) for size, model in models.items()}
    return counts
