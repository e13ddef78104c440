"""Training steps of each method: our loop against the plain eager float32 loop that a reader would write.

Both take the same model from the same weights through the same batches with the same seed. The plain loop makes a
batch when it is needed, steps AdamW as torch gives it and asks for the loss after every step; its TTS models have
torch's own layers, and with Whisper it also runs the frozen encoder in every step. Ours is `lib.training.loop.fit`: the
layers of `lib.models.layers`, a fused optimiser, the demo profile's precision, and on a GPU bfloat16, with batches made
ahead and no waiting between steps.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib.audio import RATE
from lib.corpora.features import ARRAYS, Features
from lib.methods.hyperlora import HyperLora
from lib.methods.latent_diffusion import LatentDiffusion, Palette
from lib.methods.sparse_attention import PrunedTTS, SparseSettings
from lib.models import fastspeech2, layers
from lib.models.denoiser import DenoiserDims
from lib.models.fastspeech2 import FastSpeech2
from lib.models.mel import log_mel
from lib.models.stylespeech import StyleSpeech, StyleSpeechDims
from lib.models.whisper import sizes as whisper
from lib.models.whisper.states import EncoderStates, encode_with_gradients, mean_states, prepare
from lib.models.whisper.training import loss as whisper_loss
from lib.papers.ha.systems import StatesRead
from lib.papers.ht.systems import Systems as HyperTTS
from lib.papers.ht.systems import assemble, in_training
from lib.study import load_profile
from lib.text import SYMBOLS
from lib.training.loading import each
from lib.training.loop import BucketedBatches, TrainConfig, autocast, fit, seed_everything
from lib.workflow.benchmarks import Bound, Comparison, Speech

BATCH = 8
SYMBOLS_A_SECOND = 12
LATENT, CONDITION, LATENT_FRAMES, LATENT_RATE = 192, 64, 96, 22050 / 256
CONTEXT, RANK = 5.0, 4
RATE_OF_LEARNING = 1e-3
MASKS = 0.3  # of a last loss, at most, by dropout masks alone


@dataclass
class Task:
    """A model, its losses of a batch, and its batches by number; `plain` are the losses as the plain loop has them."""

    model: nn.Module
    loss: Callable[[Any], dict[str, Tensor]]
    batch_at: Callable[[int], Any]
    plain: Callable[[Any], dict[str, Tensor]] | None = None
    plain_batch_at: Callable[[int], Any] | None = None
    precision: str = "float32"  # on a CPU
    limit: float = 0.05  # of the last loss; more where the two sides draw other dropout masks


def backbone(speech: Speech, device: str) -> Comparison:
    """The demo profile's FastSpeech 2, all its weights, as HyperTTS pre-trains it."""
    return _hypertts("FastSpeech 2", "backbone", speech, device)


def hypertts(speech: Speech, device: str) -> Comparison:
    """HyperTTS on all modules of the demo profile's backbone, which is frozen."""
    return _hypertts("HyperTTS", "hypertts_evd", speech, device)


def _hypertts(name: str, system: str, speech: Speech, device: str) -> Comparison:
    study, folder = HyperTTS(load_profile("demo")), tempfile.TemporaryDirectory()
    model = in_training(assemble(FastSpeech2(study.dims), study.system(system)).to(device), study.system(system))
    precision = study.train_config(system, 0).precision
    batch_at = _batches(speech, Path(folder.name))
    task = Task(model, lambda batch: fastspeech2.loss(model(batch), batch), batch_at, precision=precision, limit=MASKS)
    return _comparison(name, task, speech, device, folder)


def pruned_attention(speech: Speech, device: str) -> Comparison:
    """StyleSpeech of the demo profile's size under the soft masks of differentiable pruning."""
    settings, folder = load_profile("demo")["sp"], tempfile.TemporaryDirectory()
    dims = StyleSpeechDims.from_dict({"n_symbols": len(SYMBOLS), **settings["model"]})
    model = PrunedTTS(StyleSpeech(dims), SparseSettings("learned")).to(device).train()
    model.at_step(0)
    batch_at = _batches(speech, Path(folder.name))
    precision = settings["train"].get("precision", "float32")
    task = Task(model, lambda batch: model.loss(model(batch), batch), batch_at, precision=precision, limit=MASKS)
    return _comparison("pruned self-attention", task, speech, device, folder)


def hyperlora(speech: Speech, device: str) -> Comparison:
    """A linear hypernetwork for W1 of Whisper tiny.en's decoder."""
    model, folder = whisper.load("tiny.en", device), tempfile.TemporaryDirectory()
    examples = [prepare(model, str(i), speech.waves[i], speech.texts[i], CONTEXT) for i in range(len(speech))]
    kept = EncoderStates(model, folder.name)
    table = mean_states(kept, examples)
    adaptation = HyperLora(model.network, table.shape[1], rank=RANK)
    adaptation.standardise(table)
    sampler = BucketedBatches(np.array([len(wave) for wave in speech.waves]), BATCH, 0)

    def loss(batch: dict) -> dict[str, Tensor]:
        return whisper_loss(model, batch["examples"], batch["states"], adaptation, batch["embeddings"])

    def batch_at(step: int, ahead: bool = True) -> dict:
        chosen = [examples[index] for index in sampler(step)]
        read = {"states": StatesRead(kept.read(chosen))} if ahead else {}
        return {"examples": chosen, "embeddings": table[torch.from_numpy(sampler(step)).to(table.device)], **read}

    def plain(batch: dict) -> dict[str, Tensor]:
        with torch.no_grad():
            encoded = encode_with_gradients(model, batch["examples"])
        return loss(batch | {"states": StatesRead(encoded)})

    task = Task(adaptation.train(), loss, batch_at, plain, lambda step: batch_at(step, ahead=False))
    return _comparison("hypernetwork LoRA", task, speech, device, folder)


def latent_diffusion(speech: Speech, device: str) -> Comparison:
    """Palette's denoiser of the demo profile's size on random latents as long as the utterances."""
    dims = DenoiserDims(latent=LATENT, condition=CONDITION, **load_profile("demo")["ld"]["denoiser"])
    model = LatentDiffusion(Palette(), dims).to(device).train()
    generator = torch.Generator().manual_seed(0)
    frames = torch.tensor([min(LATENT_FRAMES, round(len(wave) / RATE * LATENT_RATE)) for wave in speech.waves])
    z = torch.randn(2, len(speech), LATENT, LATENT_FRAMES, generator=generator)
    conditions = torch.randn(len(speech), CONDITION, generator=generator)
    sampler = BucketedBatches(frames.numpy(), BATCH, 0)

    def batch_at(step: int) -> dict[str, Tensor]:
        rows = torch.from_numpy(sampler(step))
        return {"z_text": z[0, rows], "z_audio": z[1, rows], "frames": frames[rows], "condition": conditions[rows]}

    return _comparison("latent diffusion", Task(model, model.loss, batch_at), speech, device)


def _comparison(name: str, task: Task, speech: Speech, device: str, keep: object = None) -> Comparison:
    steps = math.ceil(len(speech) / BATCH)
    precision = "bfloat16" if device.startswith("cuda") else task.precision
    config = TrainConfig(steps, BATCH, RATE_OF_LEARNING, precision=precision, checkpoint_every=steps)
    before = {key: value.clone() for key, value in task.model.state_dict().items()}

    def moved(batch: Any) -> Any:
        return each(batch, lambda value: value.to(device))

    def ours() -> float:
        task.model.load_state_dict(before)
        with tempfile.TemporaryDirectory() as folder:
            resume = Path(folder) / "step.resume.pt"
            return fit(task.model, task.loss, task.batch_at, config, resume, "", device, "", records=1)[-1]["total"]

    @mock.patch.object(layers, "ARRANGED", False)
    def theirs() -> float:
        task.model.load_state_dict(before)
        trained = [p for p in task.model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, config.learning_rate, config.betas, config.eps, config.weight_decay)
        seed_everything(config.seed)
        for step in range(steps):
            total = (task.plain or task.loss)(moved((task.plain_batch_at or task.batch_at)(step)))["total"]
            optimiser.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(trained, config.clip)
            optimiser.step()
            value = total.item()
        return value

    batches = [moved(task.batch_at(step)) for step in range(steps)]

    def passes() -> None:
        for batch in batches:
            with autocast(precision, device):
                total = task.loss(batch)["total"]
            total.backward()
            task.model.zero_grad(set_to_none=True)

    size = f"{steps} steps of {min(BATCH, len(speech))} utterances"
    bound = Bound("forward and backward passes", passes)
    names = (f"Training, {name}", "plain eager float32 loop", size, ("torch",))
    return Comparison(
        *names, ours, theirs, lambda a, b: abs(a - b) / abs(b), task.limit, "of the last loss", bound, keep
    )


def _batches(speech: Speech, root: Path) -> Callable[[int], dict[str, Tensor]]:
    """Batches of the utterances' mels from memory-mapped files, with made-up symbols, pitch and energy."""
    own = np.random.default_rng(0)
    mels = [log_mel(torch.from_numpy(wave)[None])[0].numpy() for wave in speech.waves]
    frames = np.array([len(mel) for mel in mels])
    counts = np.array([round(SYMBOLS_A_SECOND * len(wave) / RATE) for wave in speech.waves])
    ends = [np.linspace(0, n, count + 1).round() for n, count in zip(frames, counts, strict=True)]
    arrays = {
        "mel": np.concatenate(mels),
        "symbols": own.integers(1, len(SYMBOLS), counts.sum(), dtype=np.int16),
        "durations": np.concatenate([np.diff(end) for end in ends]).astype(np.int32),
        "pitch": own.standard_normal(counts.sum(), np.float32),
        "energy": own.standard_normal(counts.sum(), np.float32),
        "speaker": own.standard_normal((len(mels), 256), np.float32) / 16,
    }
    for name in ARRAYS:
        np.save(root / f"{name}.npy", arrays[name])
    index = pd.DataFrame({"utterance": range(len(mels))})
    for unit, lengths in (("symbol", counts), ("frame", frames)):
        index[f"{unit}_end"] = lengths.cumsum()
        index[f"{unit}_start"] = lengths.cumsum() - lengths
    features, sampler = Features(root, index, {}), BucketedBatches(frames, BATCH, 0)
    return lambda step: features.batch(sampler(step))


ROWS = (backbone, hypertts, hyperlora, pruned_attention, latent_diffusion)
