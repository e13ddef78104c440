"""The factorial experiment's models: HyperTTS's adapters on a backbone with dense and with pruned decoder attention.

    backbone_dense, backbone_pruned   HyperTTS's backbone trained on for the same steps, under either rule of attention
    <cell>_<attention>                that backbone frozen, and a cell's adapters trained on the adaptation speakers

Learned pruning (arXiv 2308.14909) acts as on StyleSpeech: soft masks, then hard ones with the thresholds fixed. The
adapters never see a soft mask. A trained model is a safetensors file with the fingerprint of what it depends on.
"""

import json
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.corpora.corpus import Utterance
from lib.files import file_hash, fingerprint, replace_file, write_json
from lib.methods.sparse_attention import Rule, SparseSelfAttention, SparseSettings, count_kept, sparsity_loss
from lib.models import fastspeech2
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims
from lib.models.fft_block import NO_HOOKS, Hooks, length_mask
from lib.papers.ht.study import Study
from lib.papers.ht.systems import Adapted, TTSError, assemble
from lib.study import protocol
from lib.training.loop import BucketedBatches, TrainConfig, fit, seed_everything
from lib.training.weights import load_weights, metadata, saved_state


class AcrossBench(protocol.Study):
    """`settings` is the profile's section xp, `ht` the study whose backbone it goes on from."""

    paper = "xp"

    @cached_property
    def ht(self) -> Study:
        return Study(self.profile, self.device, self.cores)

    @property
    def dims(self) -> FastSpeech2Dims:
        return self.ht.dims

    def rule(self, attention: str) -> SparseSettings:
        """A rule of attention by its name in the profile. Raises TTSError for one that is not there."""
        rules = self.settings["attention"]
        if attention not in rules:
            raise TTSError(f"there is no attention {attention!r} in section xp: choose one of {', '.join(rules)}")
        shared = {name: self.settings[name] for name in ("soft_steps", "theta_scale")}
        return SparseSettings.from_dict(shared | rules[attention])


class PrunedFastSpeech2(FastSpeech2):
    """HyperTTS's backbone whose decoder attends under a rule; it keeps the dense one's parameter names.

    Learned pruning adds one number per decoder block, `theta`. A new or restored model is in the last phase of its
    schedule; training calls `at_step` before each batch.
    """

    def __init__(self, dims: FastSpeech2Dims, settings: SparseSettings):
        super().__init__(dims)
        self.settings = settings
        learned = settings.method == "learned"
        self.register_parameter("theta", nn.Parameter(torch.zeros(dims.decoder_layers)) if learned else None)
        self.rules = {f"d{i}": Rule(settings, self.theta, i) for i in range(dims.decoder_layers)}
        for block, rule in zip(self.decoder, self.rules.values(), strict=True):
            block.attention = SparseSelfAttention(block.attention, rule)

    def at_step(self, step: int) -> None:
        """Enter the phase of a training step, counted from 0."""
        for rule in self.rules.values():
            rule.phase = self.settings.phase(step)

    def forward(self, batch: dict[str, Tensor], hooks: Hooks = NO_HOOKS) -> dict[str, Tensor]:
        """`FastSpeech2.forward`, and while masks are soft "mask", their means `(blocks, batch, heads)`."""
        out = super().forward(batch, hooks)
        means = [rule.mean for rule in self.rules.values() if rule.mean is not None]
        for rule in self.rules.values():
            rule.mean = None
        return out | ({"mask": torch.stack(means)} if means else {})

    @torch.no_grad()
    def kept(self, batch: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """Share of connections that the hard mask keeps in one teacher-forced pass, by block, each `(batch,)`."""
        for rule in self.rules.values():
            rule.observed = []
        try:
            self(batch)
            observed = {site: rule.observed[0] for site, rule in self.rules.items()}
        finally:
            for rule in self.rules.values():
                rule.observed = None
        lengths, shares = batch["frame_lengths"], {}
        for site, (_, weights, mask) in observed.items():
            valid = length_mask(lengths, weights.shape[-1])
            mask = (torch.ones_like(weights) if mask is None else mask).expand_as(weights)
            shares[site] = (count_kept(mask, valid) / (weights.shape[1] * lengths**2)).cpu().numpy().astype(np.float64)
        return shares


def run_id(name: str, seed: int) -> str:
    return f"xp-{name}-s{seed}"


def train_backbone(bench: AcrossBench, attention: str) -> Path:
    """HyperTTS's backbone trained on under a rule of attention, or found; returns its safetensors file.

    The backbone that it goes on from is trained first if need be.
    """
    rule, path = bench.rule(attention), bench.checkpoint(f"backbone_{attention}", 0)
    start = bench.ht.train("backbone", 0)
    mark = _mark(bench, file_hash(start), bench.settings["backbone"], rule.to_dict())
    if path.exists() and metadata(path).get("fingerprint") == mark:
        return path
    seed_everything(0)
    model = PrunedFastSpeech2(bench.dims, rule)
    model.load_state_dict(bench.ht.backbone().state_dict(), strict=False)
    model.to(bench.device).train()
    config = TrainConfig.from_dict(bench.settings["backbone"], seed=0)

    def losses(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        out = model(batch)
        parts = fastspeech2.loss(out, batch)
        if "mask" in out:
            parts["sparsity"] = sparsity_loss(out["mask"], rule.ratio)
            parts["total"] = parts["total"] + parts["sparsity"]
        return parts

    utterances = bench.corpus.select(role="pretraining", split="train")
    history = _fit(bench, model, losses, utterances, config, path, mark, model.at_step)
    model.at_step(config.steps)
    thetas = {site: float(each.threshold().detach()) for site, each in model.rules.items() if model.theta is not None}
    _save(model, path, mark, {"thresholds": thetas, "history": history})
    return path


def load_backbone(bench: AcrossBench, attention: str) -> PrunedFastSpeech2:
    """A backbone of `train_backbone` under its hard masks, trained now if it is not there."""
    path = train_backbone(bench, attention)
    model = PrunedFastSpeech2(bench.dims, bench.rule(attention))
    load_weights(model, path)
    return model.to(bench.device).eval()


def train_cell(bench: AcrossBench, cell: str, attention: str, seed: int) -> Path:
    """A cell's adapters on a frozen backbone, trained or found; returns their safetensors file."""
    path = bench.checkpoint(f"{cell}_{attention}", seed)
    start = file_hash(train_backbone(bench, attention))
    mark = _mark(bench, start, bench.settings["adapt"], bench.settings["cells"][cell], seed)
    if path.exists() and metadata(path).get("fingerprint") == mark:
        return path
    model = untrained(bench, cell, attention, seed).train()
    model.backbone.eval()
    utterances = bench.corpus.select(role="adaptation", split="train")
    config = TrainConfig.from_dict(bench.settings["adapt"], seed=seed)
    began = time.time()
    history = _fit(bench, model, lambda batch: fastspeech2.loss(model(batch), batch), utterances, config, path, mark)
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    facts = {"trainable_parameters": weights, "seconds_trained": history[-1]["seconds"]}
    _save(model, path, mark, facts | {"wall_seconds": time.time() - began, "history": history})
    return path


def untrained(bench: AcrossBench, cell: str | None, attention: str, seed: int = 0) -> Adapted:
    """A cell before training; without a cell the frozen backbone alone."""
    backbone = load_backbone(bench, attention)
    seed_everything(seed)
    entry = {"name": "unadapted", "method": "none"} if cell is None else {"name": cell, **bench.settings["cells"][cell]}
    return assemble(backbone, entry).to(bench.device).eval()


def restore(bench: AcrossBench, cell: str | None, attention: str, seed: int) -> Adapted:
    """A trained cell in evaluation mode, trained now if it is not there; without a cell the backbone alone."""
    model = untrained(bench, cell, attention, seed)
    if cell is not None:
        load_weights(model, train_cell(bench, cell, attention, seed))
    return model.eval()


def facts_of(bench: AcrossBench, name: str, seed: int) -> dict:
    """What training wrote beside the weights."""
    return json.loads(bench.checkpoint(name, seed).with_suffix(".json").read_text())


@torch.no_grad()
def teacher_forced(
    bench: AcrossBench, model: Adapted, utterances: list[Utterance], batch_size: int = 16
) -> dict[str, np.ndarray]:
    """What one pass with the recordings' durations, pitch and energy shows of a model, each `(utterances,)`.

    mel_l1: L1 of the log-mel after the postnet, in nats. d0, d1, …: what the adapter of a decoder block adds to the
    block's convolution output h, as 100 |adapter(h) - h| / |h| over valid frames; nothing without adapters.
    """
    rows, values = bench.features.rows(utterances), []
    for begin in range(0, len(rows), batch_size):
        batch = bench.features.batch(rows[begin : begin + batch_size], bench.device)
        keep = length_mask(batch["frame_lengths"], batch["mel"].shape[1])
        found: dict[str, Tensor] = {}
        hooks = _watched(model.hooks(batch["speaker"]), keep, found)
        error = (model.backbone(batch, hooks)["mel_postnet"] - batch["mel"]).abs().mean(-1) * keep
        values.append({"mel_l1": error.sum(1) / keep.sum(1)} | found)
    return {name: torch.cat([each[name] for each in values]).double().cpu().numpy() for name in values[0]}


def _watched(hooks: Hooks, keep: Tensor, found: dict[str, Tensor]) -> Hooks:
    """The hooks, which note by site how much they change what passes them."""

    def watch(site: str, adapter: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def apply(h: Tensor) -> Tensor:
            out, mask = adapter(h), keep.unsqueeze(-1)
            change = ((out - h) * mask).flatten(1).norm(dim=1)
            found[site] = 100 * change / (h * mask).flatten(1).norm(dim=1)
            return out

        return apply

    return Hooks(after_conv={site: watch(site, h) if site[0] == "d" else h for site, h in hooks.after_conv.items()})


def _fit(
    bench: AcrossBench,
    model: nn.Module,
    losses: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    utterances: list[Utterance],
    config: TrainConfig,
    path: Path,
    mark: str,
    at_step: Callable[[int], None] = lambda step: None,
) -> list[dict[str, float]]:
    rows = bench.features.rows(utterances)
    sampler = BucketedBatches(bench.features.frames(rows), config.batch_size, config.seed)

    def batch_at(micro: int) -> dict[str, Tensor]:
        return bench.features.batch(rows[sampler(micro)])

    resume = path.with_suffix(".resume.pt")
    return fit(model, losses, batch_at, config, resume, mark, bench.device, path.stem, at_step=at_step)


def _save(model: nn.Module, path: Path, mark: str, facts: dict) -> None:
    with replace_file(path) as temporary:
        save_file(saved_state(model), temporary, {"fingerprint": mark})
    write_json(path.with_suffix(".json"), {"fingerprint": mark, **facts})
    path.with_suffix(".resume.pt").unlink(missing_ok=True)


def _mark(bench: AcrossBench, *facts: object) -> str:
    """Everything that weights depend on, in twelve digits."""
    shared = (bench.corpus.hash, bench.profile["features"], bench.dims.to_dict(), bench.device.split(":")[0])
    rules = {name: bench.settings[name] for name in ("soft_steps", "theta_scale")}
    return fingerprint(shared, rules, facts)
