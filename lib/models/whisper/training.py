"""The teacher-forced loss of a batch of transcripts, Whisper's decoder in parallel over each.

The decoder reads a prompt (<|startoftranscript|> <|notimestamps|> in an English-only Whisper) and the transcript. It is
trained to write the transcript and <|endoftext|>; the prompt, which decoding gives and does not write, is not part of
the loss, nor is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from lib.models.whisper.model import Decoder, Whisper, WhisperError, prompt
from lib.models.whisper.states import EncoderStates, Example, encode_with_gradients

IGNORED = -100


class Adapted(Protocol):
    """What `lib.methods.hyperlora` offers: a block in which the network is adapted to each utterance."""

    changes_encoder: bool

    def applied(self, network: nn.Module, embeddings: Tensor | None = None) -> AbstractContextManager[None]: ...


def teacher_forcing(model: Whisper, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Decoder inputs and labels, (batch, length) each; a label of -100 is not trained on.

    Raises WhisperError, naming the utterance, where there is no transcript.
    """
    inputs, labels, before = [], [], prompt(model)
    for example in examples:
        if not example.tokens:
            raise WhisperError(f"Utterance {example.name} has no transcript: write one or leave the utterance out.")
        inputs.append(torch.tensor([*before, *example.tokens]))
        labels.append(torch.tensor([*[IGNORED] * (len(before) - 1), *example.tokens, model.end]))
    pad = nn.utils.rnn.pad_sequence
    return (
        pad(inputs, batch_first=True, padding_value=model.end).to(model.device),
        pad(labels, batch_first=True, padding_value=IGNORED).to(model.device),
    )


def loss(
    model: Whisper,
    examples: Sequence[Example],
    cache: EncoderStates,
    adaptation: Adapted | None = None,
    embeddings: Tensor | None = None,
) -> dict[str, Tensor]:
    """Mean cross-entropy (nats a token) of a batch's transcripts, as {"total": loss}.

    The encoder states come from `cache`, or are computed with gradients where `adaptation` changes the encoder.
    embeddings: (batch, size), in the order of `examples`, for an adaptation that is conditional.
    """
    inputs, labels = teacher_forcing(model, examples)
    with adaptation.applied(model.network, embeddings) if adaptation else nullcontext():
        live = adaptation is not None and adaptation.changes_encoder
        encoded = encode_with_gradients(model, examples) if live else cache.read(examples)
        logits = Decoder(model.network, encoded).read(inputs)
    return {"total": nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)}
