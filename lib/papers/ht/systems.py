"""The systems of HyperTTS: a backbone and what adapts it, by the names of a profile, and how they are trained.

    backbone   FastSpeech 2 pre-trained on the pre-training speakers; every other system starts from it
    tts_0      the backbone as it is
    tts_ft     all its weights fine-tuned on the adaptation speakers
    the rest   the backbone frozen and a small module trained beside it (`lib.methods.hypertts`, HT9's alternatives)

A trained system is a safetensors file of what training changed.
"""

from __future__ import annotations

import copy
import hashlib
from functools import cached_property
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from lib import text
from lib.files import file_hash
from lib.methods.conditioning import ConcatenationAdapters, ConditionalLayerNorm, PrefixTuning, lora_rank
from lib.methods.hypertts import HyperAdapters, StaticAdapters
from lib.models import fastspeech2
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims
from lib.models.fft_block import NO_HOOKS, Hooks
from lib.models.layers import count
from lib.study import protocol, watch
from lib.study.part import Part
from lib.study.profile import OTHER
from lib.study.shipped import Lesson
from lib.training import parallel
from lib.training.loop import BucketedBatches, TrainConfig
from lib.training.weights import load_weights

BACKBONE = "backbone"  # the common start
GENERATED = "generated_parameters"  # no model: what the hypernetworks generate
ALTERNATIVES = {
    "concatenation": ConcatenationAdapters,
    "layer_norm": ConditionalLayerNorm,
    "prefix": PrefixTuning,
}
WHERE = {"lora": "ed", "prefix": "ed", "layer_norm": "d"}  # modules that a method can change; others change all
METHODS = ("hypernetwork", "adapter", *ALTERNATIVES, "lora", "finetune")  # that are trained
RECORDED = ("recording", "vocoded_recording")  # methods that read the recording of a sentence and can say no other
UNTRAINED = ("none", *RECORDED, "generated", OTHER)


class TTSError(ValueError):
    """A system or checkpoint that cannot be used; the message names it and the fix."""


class Systems(protocol.Study):
    """What of HyperTTS is trained; `settings` is the profile's section ht."""

    paper = "ht"
    error = TTSError
    shares: ClassVar[dict] = {BACKBONE: {"system": "tts_0", "metric": ["cos", "wer"], "split": "test"}}

    @cached_property
    def dims(self) -> FastSpeech2Dims:
        return FastSpeech2Dims.from_dict({"n_symbols": len(text.SYMBOLS), **self.settings["backbone"]})

    def system(self, name: str) -> dict:
        """A system's entry in the profile, with its name; the backbone and the real voice have one too."""
        return {"name": name, "method": name} if name in (BACKBONE, OTHER) else super().system(name)

    def has_weights(self, name: str) -> bool:
        """Whether a system has weights of its own."""
        return self.system(name)["method"] not in UNTRAINED

    def backbone(self) -> FastSpeech2:
        """The pre-trained backbone, seed 0, trained now if it is not there; on the CPU."""
        path = self.train(BACKBONE, 0)
        model = Adapted(FastSpeech2(self.dims))
        load_weights(model, path)
        return model.backbone

    def part(self, name: str, seed: int) -> Part:
        if not self.has_weights(name):
            raise TTSError(f"{name} has no weights of its own to train")
        system, role = self.system(name), "pretraining" if name == BACKBONE else "adaptation"
        config, validation = self.train_config(name, seed), self.corpus.select(role=role, split="validation")
        return Part(
            config,
            self._depends(name, seed),
            build=lambda: self.build(name),
            start=lambda model: self.start(model, self.training_rows(role), config),
            unseen=watch.on_features(self, validation),
            details=lambda model: {
                "system": system,
                "seed": seed,
                "backbone_parameters": count(FastSpeech2(self.dims)),
                "backbone_changed": int(system["method"] in ("backbone", "finetune") or self._is_changed(model)),
                "validation": watch.mean_losses(self, model, fastspeech2.loss, validation),
            },
        )

    def lesson(self, name: str) -> Lesson:
        trained = self.corpus.select(role="pretraining", split="train")
        return Lesson.of(self.corpus, trained, features=self.profile["features"], backbone=self.dims.to_dict())

    def build(self, name: str) -> Adapted:
        """A system before its training, in the mode that it trains in."""
        start = FastSpeech2(self.dims) if name == BACKBONE else self.backbone()
        return in_training(assemble(start, self.system(name)), self.system(name))

    def start(self, model: nn.Module, rows: np.ndarray, config: TrainConfig):
        """Batches of some of the features' rows, and a model's losses of one."""
        features = self.features
        sampler = BucketedBatches(features.frames(rows), config.batch_size, config.seed)

        def losses(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return fastspeech2.loss(parallel.forward(model, batch), batch)

        return lambda micro: features.batch(rows[sampler(micro)]), losses

    def training_rows(self, role: str) -> np.ndarray:
        return self.features.rows(self.corpus.select(role=role, split="train"))

    def restore(self, name: str, seed: int) -> Adapted:
        """A system in evaluation mode, trained now if it is not there; without weights of its own, the backbone."""
        if self.system(name)["method"] == "none":
            return assemble(self.backbone(), self.system(name)).to(self.device).eval()
        return super().restore(name, seed)

    def train_config(self, name: str, seed: int) -> TrainConfig:
        section = dict(self.settings["pretrain" if name == BACKBONE else "adapt"])
        rates = section.pop("learning_rates", {})
        section["learning_rate"] = rates.get(self.system(name)["method"], section["learning_rate"])
        return TrainConfig.from_dict(section | self.system(name).get("train", {}), seed=seed)

    def _depends(self, name: str, seed: int) -> tuple:
        s = self.settings
        shared = (self.corpus.hash, self.profile["features"], self.dims.to_dict(), s["pretrain"])
        shared += (self.device.split(":")[0],)
        if name == BACKBONE:
            return shared, seed
        return shared, s["adapt"], self.system(name), seed, file_hash(self.train(BACKBONE, 0))

    def _is_changed(self, model: Adapted) -> bool:
        return frozen_hash(model.backbone) != frozen_hash(self.backbone())


def in_training(model: Adapted, system: dict) -> Adapted:
    """The model in training mode; a frozen backbone keeps its batch-norm statistics and drops nothing out."""
    model.train()
    if system["method"] not in ("backbone", "finetune"):
        model.backbone.eval()
    return model


def frozen_hash(backbone: nn.Module) -> str:
    """SHA-256 of every bit of a backbone's own weights and statistics, without what a method added to it."""
    digest = hashlib.sha256()
    for name, value in backbone.state_dict().items():
        if "lora_" not in name:
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Adapted(nn.Module):
    """A backbone and the module, if any, that adapts it to the batch's speakers."""

    def __init__(self, backbone: FastSpeech2, adapter: nn.Module | None = None):
        super().__init__()
        self.backbone, self.adapter = backbone, adapter

    def hooks(self, speaker: Tensor) -> Hooks:
        return NO_HOOKS if self.adapter is None else self.adapter.hooks(speaker)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.backbone(batch, self.hooks(batch["speaker"]))

    def synthesise(self, symbols: Tensor, lengths: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols `(batch, symbols)` and speakers `(batch, 256)` to log-mel and frame counts."""
        return self.backbone.synthesise(symbols, lengths, speaker, self.hooks(speaker))


def assemble(backbone: FastSpeech2, system: dict) -> Adapted:
    """The untrained system on a copy of the backbone, with a gradient on what its method trains."""
    backbone, method = copy.deepcopy(backbone), system["method"]
    if method in ("none", "backbone", "finetune"):
        return Adapted(backbone).requires_grad_(method != "none")
    if unfit := set(system["modules"]) - set(WHERE.get(method, "evd")):
        raise TTSError(f"{system['name']}: {method} cannot change {', '.join(sorted(unfit))}: choose from "
                       f"{', '.join(WHERE.get(method, 'evd'))}")  # fmt: skip
    backbone.requires_grad_(False)
    if method == "lora":
        return Adapted(_with_lora(backbone, system))
    return Adapted(backbone, _adapter(backbone, system))


def _adapter(backbone: FastSpeech2, system: dict) -> nn.Module:
    method, modules = system["method"], system["modules"]
    if method == "adapter":
        return StaticAdapters(backbone.sites(modules), system.get("bottleneck", 32))
    if method == "hypernetwork":
        names = ("bottleneck", "d_s", "layer_embedding", "biases", "init_std")
        sites = {module: backbone.sites(module) for module in modules}
        return HyperAdapters(sites, speaker=backbone.dims.speaker, **{k: system[k] for k in names if k in system})
    if method not in ALTERNATIVES:
        raise TTSError(f"{system['name']}: unknown method {method!r}: choose none, {', '.join(METHODS)}")
    adapter = ALTERNATIVES[method](backbone.sites(modules), _budget(backbone, system), backbone.dims.speaker)
    return adapter.bind(backbone) if hasattr(adapter, "bind") else adapter


def _budget(backbone: FastSpeech2, system: dict) -> int:
    """Trainable parameters of the hypernetwork that the system is compared with."""
    return count(_adapter(backbone, {**system, "method": "hypernetwork"}))


def _with_lora(backbone: FastSpeech2, system: dict) -> FastSpeech2:
    from peft import LoraConfig, inject_adapter_in_model

    rank = lora_rank(backbone.sites(system["modules"]), _budget(backbone, system))
    parts = {"e": "encoder", "d": "decoder"}
    blocks = "|".join(parts[module] for module in system["modules"])
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=rf"({blocks})\.\d+\.attention\.(query|key|value|out)"
    )
    return inject_adapter_in_model(config, backbone)
