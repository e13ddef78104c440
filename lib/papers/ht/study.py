"""The systems of the HyperTTS study: build one, train it, load it back, let it speak.

    backbone   FastSpeech 2 pre-trained on the pre-training speakers; every other system starts from it
    tts_0      the backbone as it is
    tts_ft     all its weights fine-tuned on the adaptation speakers
    the rest   the backbone frozen and a small module trained beside it (`lib.methods.hypertts`, HT9's alternatives)

A trained system is a safetensors file of what training changed, with the fingerprint of everything it depends on;
`train` returns at once when that file exists and resumes from its checkpoint when it was interrupted.
"""

import hashlib
import json
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib import cli, study, text
from lib.corpora import source
from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.features import Features, features_of
from lib.files import cache_root, file_hash, fingerprint
from lib.methods.hypertts import count
from lib.models import fastspeech2, vocoder
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims
from lib.models.mel import MelDims
from lib.papers.ht.systems import UNTRAINED, Adapted, TTSError, assemble, system_of
from lib.study.protocol import resolve_device
from lib.training import parallel
from lib.training.loop import BucketedBatches, TrainConfig, fit, seed_everything
from lib.training.weights import is_kept, keep, load_weights, saved_state


@dataclass
class Bench:
    """What every system of a profile shares: its parameters, corpus, features, mel analysis and device."""

    profile: dict
    device: str = "cpu"
    cores: int | None = None  # processes that build the corpus and its features; None: all cores

    def __post_init__(self):
        self.device = resolve_device(self.device)
        self.cores = self.cores or len(os.sched_getaffinity(0))

    @cached_property
    def corpus(self) -> Corpus:
        return source.build(self.profile["corpus"], cores=self.cores)

    @cached_property
    def features(self) -> Features:
        cache = cache_root()
        return features_of(self.corpus, cache, self.mel, self.cores)

    @cached_property
    def mel(self) -> MelDims:
        return MelDims(**self.profile["features"])

    @cached_property
    def dims(self) -> FastSpeech2Dims:
        return FastSpeech2Dims.from_dict({"n_symbols": len(text.SYMBOLS), **self.profile["backbone"]})

    @property
    def root(self) -> Path:
        return study.results_root(self.profile)

    def checkpoint(self, run_id: str) -> Path:
        return self.root / "checkpoints" / f"{run_id}.safetensors"


def run_id(system: str, seed: int) -> str:
    return f"ht-{system}-s{seed}"


def train(bench: Bench, name: str, seed: int) -> Path:
    """Train a system, or find it trained; returns its safetensors file, beside which lies `<run_id>.json`.

    The backbone it starts from is trained first if need be. Raises TTSError for a system without weights.
    """
    system, path = system_of(bench.profile, name), bench.checkpoint(run_id(name, seed))
    if system["method"] in UNTRAINED:
        raise TTSError(f"{name} has no weights of its own to train")
    mark = fingerprint_of(bench, system, seed)
    if is_kept(path, mark):
        return path
    role = "pretraining" if name == "backbone" else "adaptation"
    config = _train_config(bench, system, seed)
    seed_everything(seed)
    start = FastSpeech2(bench.dims) if name == "backbone" else load_backbone(bench)
    model = assemble(start, system).to(bench.device)
    _set_mode(model, system)
    frozen_before = _frozen_hash(model)
    features = bench.features
    rows = features.rows(bench.corpus.select(role=role, split="train"))
    sampler = BucketedBatches(features.frames(rows), config.batch_size, seed)
    began = time.time()
    history = fit(
        model,
        lambda batch: fastspeech2.loss(parallel.forward(model, batch), batch),
        lambda step: features.batch(rows[sampler(step)]),
        config,
        path.with_suffix(".resume.pt"),
        mark,
        bench.device,
        run_id(name, seed),
    )
    facts = {
        "system": system,
        "seed": seed,
        "trainable_parameters": count(model),
        "backbone_parameters": sum(p.numel() for p in start.parameters()),
        "backbone_changed": int(_frozen_hash(model) != frozen_before) if system["method"] != "finetune" else 1,
        "seconds_trained": history[-1]["seconds"],
        "wall_seconds": time.time() - began,
        "speed": history.speed,
        "validation": validation_loss(bench, model, role),
        "history": history,
    }
    keep(path, saved_state(model), mark, facts)
    return path


def _train_config(bench: Bench, system: dict, seed: int) -> TrainConfig:
    section = dict(bench.profile["pretrain" if system["name"] == "backbone" else "adapt"])
    rates = section.pop("learning_rates", {})
    if system["method"] in rates:
        section["learning_rate"] = rates[system["method"]]
    return TrainConfig.from_dict(section, seed=seed)


def _set_mode(model: Adapted, system: dict) -> None:
    """A frozen backbone keeps its batch-norm statistics and drops nothing out; what is trained is in training mode."""
    model.train()
    if system["method"] not in ("backbone", "finetune"):
        model.backbone.eval()


def _frozen_hash(model: Adapted) -> str:
    """SHA-256 of every bit of the backbone's own weights and statistics, without what a method added to it."""
    digest = hashlib.sha256()
    for name, value in model.backbone.state_dict().items():
        if "lora_" not in name:
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def validation_loss(bench: Bench, model: Adapted, role: str) -> dict[str, float]:
    """Mean losses over the role's validation utterances, in evaluation mode."""
    rows = bench.features.rows(bench.corpus.select(role=role, split="validation"))
    model.eval()
    batches = [bench.features.batch(rows[i : i + 16], bench.device) for i in range(0, len(rows), 16)]
    losses = [fastspeech2.loss(model(batch), batch) for batch in batches]
    return {name: float(np.mean([float(loss[name]) for loss in losses])) for name in losses[0]} if losses else {}


def fingerprint_of(bench: Bench, system: dict, seed: int) -> str:
    """Everything that the weights of a system depend on, in twelve digits."""
    p = bench.profile
    shared = (
        bench.corpus.hash,
        p["features"],
        bench.dims.to_dict(),
        p["pretrain"],
        bench.device.split(":")[0],
    )
    if system["name"] == "backbone":
        return fingerprint(shared, seed)
    return fingerprint(shared, p["adapt"], system, seed, file_hash(train(bench, "backbone", 0)))


def load_backbone(bench: Bench) -> FastSpeech2:
    """The pre-trained backbone (seed 0), trained now if it is not there."""
    path = train(bench, "backbone", 0)
    model = Adapted(FastSpeech2(bench.dims))
    load_weights(model, path)
    return model.backbone.to(bench.device)


def restore(bench: Bench, name: str, seed: int) -> Adapted:
    """A trained system in evaluation mode, trained now if it is not there."""
    system, backbone = system_of(bench.profile, name), load_backbone(bench)
    if system["method"] == "none":
        return assemble(backbone, system).eval()
    path = train(bench, name, seed)
    model = assemble(backbone, system).to(bench.device)
    load_weights(model, path)
    return model.eval()


def facts_of(bench: Bench, name: str, seed: int) -> dict:
    """What `train` wrote beside the weights: parameter counts, losses, times."""
    return json.loads(bench.checkpoint(run_id(name, seed)).with_suffix(".json").read_text())


def history_of(bench: Bench, name: str, seed: int) -> pd.DataFrame:
    """Learning curve of a trained system: step, losses, rate, seconds."""
    return pd.DataFrame(facts_of(bench, name, seed)["history"])


def enrolment(bench: Bench, speakers: list[str]) -> Tensor:
    """GE2E centroid of each speaker's enrolment (training-split) utterances, `(speakers, 256)`.

    Raises TTSError for a speaker with no such utterance.
    """
    out = []
    for speaker in speakers:
        utterances = bench.corpus.select(split="train", speaker=speaker)
        if not utterances:
            raise TTSError(f"speaker {speaker} has no utterances to enrol with: check the corpus's set-aside list")
        out.append(bench.features.centroid(bench.features.rows(utterances)))
    return torch.from_numpy(np.stack(out))


def synthesise(bench: Bench, model: Adapted, utterances: list[Utterance], batch_size: int = 16) -> list[np.ndarray]:
    """The texts of some utterances in their speakers' voices: one 16 kHz waveform each.

    The model sees phonemes and the speaker's enrolment centroid only; durations, pitch and energy are predicted.
    """
    speak = vocoder.load(bench.profile["vocoder"], bench.mel, bench.device)
    centroids = dict(zip(names := sorted({u.speaker for u in utterances}), enrolment(bench, names), strict=True))
    waves: dict[int, np.ndarray] = {}
    order = sorted(range(len(utterances)), key=lambda i: len(utterances[i].phonemes))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        symbols = [torch.tensor(text.encode(utterances[i].phonemes)) for i in chosen]
        lengths = torch.tensor([len(s) for s in symbols])
        padded = torch.nn.utils.rnn.pad_sequence(symbols, batch_first=True)
        speaker = torch.stack([centroids[utterances[i].speaker] for i in chosen])
        mel, frames = model.synthesise(*(t.to(bench.device) for t in (padded, lengths, speaker)))
        waves |= dict(zip(chosen, speak(mel, frames), strict=True))
    return [waves[i] for i in range(len(utterances))]


def vocode(bench: Bench, utterances: list[Utterance], batch_size: int = 16) -> list[np.ndarray]:
    """The recordings' own log-mels through the vocoder: what a perfect acoustic model would give."""
    speak = vocoder.load(bench.profile["vocoder"], bench.mel, bench.device)
    rows, waves = bench.features.rows(utterances), []
    for start in range(0, len(rows), batch_size):
        batch = bench.features.batch(rows[start : start + batch_size], bench.device)
        waves += speak(batch["mel"], batch["frame_lengths"])
    return waves


def ready(bench: Bench) -> Bench:
    """The bench with its features, which one process makes and all read."""
    with parallel.in_turn():
        bench.features  # noqa: B018 - made on first use
    return bench


def main() -> None:
    """Train one system: `python -m lib.papers.ht.study --profile demo --system hypertts_d --seed 0 --device cuda`.

    On several GPUs: `torchrun --nproc-per-node 8 -m lib.papers.ht.study ...` with the same arguments.
    """
    options = cli.options("lib.papers.ht.study", "Train one system of the HyperTTS study.", system="backbone")
    with cli.told(), parallel.joined(options.device) as device:
        path = train(ready(Bench(study.load_profile(options.profile), device)), options.system, options.seed)
        if parallel.first():
            print(path)


if __name__ == "__main__":
    main()
