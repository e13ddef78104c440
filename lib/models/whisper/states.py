"""Utterances prepared for Whisper, and the frozen encoder's states of each, computed once and kept on disk.

A file holds one utterance's states in float16 behind their SHA-256; its name is a hash of the samples, the weights
and the context. A file that is missing, or whose bytes do not match their hash, is computed and written again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib import audio
from lib.files import read_array, write_array
from lib.models.whisper import model as whisper
from lib.models.whisper.model import Encoded, Whisper, WhisperError

SAMPLES_PER_POSITION = 320


@dataclass(frozen=True)
class Example:
    """One utterance: its id, mono 16 kHz samples, transcript tokens if known, seconds of context, cache key."""

    name: str
    wave: np.ndarray
    tokens: tuple[int, ...] | None
    context: float
    key: str

    @property
    def positions(self) -> int:
        """Encoder positions that hear the utterance, 50 a second."""
        return -(-len(self.wave) // SAMPLES_PER_POSITION)


def prepare(
    model: Whisper, name: str, wave: np.ndarray, text: str | None = None, context_seconds: float = 5.0
) -> Example:
    """An utterance ready for training (with its transcript) or transcription (without).

    The context is the smallest multiple of `context_seconds` that holds the utterance, as in `Whisper.transcribe`.
    Raises WhisperError, naming the utterance, for audio longer than 30 s, silent, not finite or not mono, and for
    a transcript that is empty or longer than the decoder.
    """
    try:
        wave = audio.check(wave, f"Utterance {name}")
    except audio.AudioError as error:
        raise WhisperError(str(error)) from None
    if len(wave) > whisper.LONGEST * whisper.RATE:
        raise WhisperError(
            f"Utterance {name} lasts {len(wave) / whisper.RATE:.1f} s, longer than Whisper's 30 s: cut it into parts "
            "or leave it out."
        )
    tokens = None if text is None else _tokens(model, name, text)
    context = whisper._context(wave, context_seconds)
    stamp = f"{model.pretrained.sha256} {context:g} {whisper.THINNING} {whisper.TAIL}".encode()
    key = hashlib.sha256(stamp + wave.tobytes()).hexdigest()
    return Example(name, wave, tokens, context, key)


class EncoderStates:
    """The encoder states of prepared utterances, from files in `root` where they are there and whole."""

    def __init__(self, model: Whisper, root: str | Path, batch_size: int | None = None) -> None:
        """batch_size: utterances encoded at once, by default 1 on a CPU, so that states never depend on a batch."""
        self.model, self.root = model, Path(root)
        self.batch_size = batch_size or (1 if model.device.type == "cpu" else 32)

    def read(self, examples: Sequence[Example]) -> Encoded:
        """States of the utterances, in their order: see `stack` for utterances of different contexts."""
        found = [read_array(self.path(example)) for example in examples]
        missing = [index for index, states in enumerate(found) if states is None]
        missing.sort(key=lambda index: examples[index].context)
        while missing:
            context = examples[missing[0]].context
            group = [index for index in missing[: self.batch_size] if examples[index].context == context]
            missing = missing[len(group) :]
            encoded = self.model.encode([examples[index].wave for index in group], context).states
            for index, states in zip(group, encoded.half().cpu().numpy(), strict=True):
                write_array(self.path(examples[index]), states)
                found[index] = states
        tensors = [torch.from_numpy(states).to(self.model.device, torch.float32) for states in found]
        return stack(tensors, [log_weights(self.model, example.context) for example in examples])

    def path(self, example: Example) -> Path:
        """Where the states of `example` lie."""
        return self.root / example.key[:2] / f"{example.key}.states"


def encode_with_gradients(model: Whisper, examples: Sequence[Example]) -> Encoded:
    """The same states computed now, for methods that change the encoder; gradients flow where they are enabled."""
    states: list[Tensor | None] = [None] * len(examples)
    for context in sorted({example.context for example in examples}):
        group = [index for index, example in enumerate(examples) if example.context == context]
        encoded = whisper.encode(model, [examples[index].wave for index in group], context)
        for index, one in zip(group, encoded.states, strict=True):
            states[index] = one
    return stack(states, [log_weights(model, example.context) for example in examples])


def log_weights(model: Whisper, context: float) -> Tensor:
    """What `Whisper.encode` adds to the attention logits of each position for one context, (positions,)."""
    heard = round(context * whisper.RATE) // (2 * whisper.HOP)
    silent = len(model.network.model.encoder.embed_positions.weight) - heard
    groups = [min(whisper.THINNING, silent - first) for first in range(0, silent, whisper.THINNING)]
    return torch.tensor([1.0] * heard + [float(size) for size in groups], device=model.device).log()


def stack(states: list[Tensor], weights: list[Tensor]) -> Encoded:
    """One batch of states (positions, channels) each.

    With one context in all, `log_weights` is (positions,), as in `Whisper.encode`. Otherwise the shorter ones are
    padded, and `log_weights` is (batch, positions) with -inf at the padding.
    """
    if len({len(one) for one in states}) == 1:
        return Encoded(torch.stack(states), weights[0])
    padded = nn.utils.rnn.pad_sequence(weights, batch_first=True, padding_value=float("-inf"))
    return Encoded(nn.utils.rnn.pad_sequence(states, batch_first=True), padded)


@torch.no_grad()
def mean_states(cache: EncoderStates, examples: Sequence[Example], batch_size: int = 16) -> Tensor:
    """Utterance embeddings (utterances, channels): the mean of the encoder states that hear the utterance."""
    means = []
    for first in range(0, len(examples), batch_size):
        batch = examples[first : first + batch_size]
        states = cache.read(batch).states
        positions = torch.tensor([example.positions for example in batch], device=states.device)
        heard = torch.arange(states.shape[1], device=states.device) < positions[:, None]
        means.append((states * heard[..., None]).sum(1) / positions[:, None])
    return torch.cat(means)


def _tokens(model: Whisper, name: str, text: str) -> tuple[int, ...]:
    if not text.strip():
        raise WhisperError(f"Utterance {name} has no transcript: write one or leave the utterance out.")
    tokens = model.tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
    most = model.network.config.max_target_positions - len(whisper.prompt(model)) - 1
    if len(tokens) > most:
        raise WhisperError(
            f"The transcript of utterance {name} has {len(tokens)} tokens, more than the decoder's {most}: cut the "
            "utterance into parts."
        )
    return tuple(tokens)
