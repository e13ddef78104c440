"""Whisper: log-mel on the device, an encoder of a shorter context, batched greedy decoding.

Radford et al., "Robust speech recognition via large-scale weak supervision", 2022. The network itself is
transformers' `WhisperForConditionalGeneration`; its encoder is run here on a shorter context than 30 s where
the caller asks for it, which is what makes short utterances cheap.

A multilingual Whisper reads <|startoftranscript|> <|en|> <|transcribe|> <|notimestamps|> before the transcript where an
English-only one reads <|startoftranscript|> <|notimestamps|> (fig. 1); large-v3 and its kin hear 128 mel bands, not 80.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.whisper.weights import WhisperError
from lib.pretrained import Pretrained

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import WhisperForConditionalGeneration

RATE = 16000
HOP = 160
LONGEST = 30.0
TOKENS_PER_SECOND = 10
THINNING = 4
TAIL = 1600
MULTILINGUAL = 51865  # tokens; OpenAI's own rule: a Whisper with at least as many is multilingual
LANGUAGE = ("<|en|>", "<|transcribe|>")


@dataclass
class Whisper:
    """A Whisper on one device that writes English, with its tokenizer and the tokens it must not write."""

    network: WhisperForConditionalGeneration
    tokenizer: Tokenizer
    suppressed: list[int]
    suppressed_first: list[int]
    pretrained: Pretrained
    device: torch.device
    start: int = field(init=False)
    end: int = field(init=False)
    no_timestamps: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.tokenizer.token_to_id("<|startoftranscript|>")
        self.end = self.tokenizer.token_to_id("<|endoftext|>")
        self.no_timestamps = self.tokenizer.token_to_id("<|notimestamps|>")

    def transcribe(
        self, waves: list[np.ndarray], batch_size: int = 16, max_new_tokens: int = 224, context_seconds: float = LONGEST
    ) -> list[str]:
        """Greedy transcripts of mono 16 kHz `waves`, each at most 30 s.

        Whisper sees every wave padded with silence to 30 s. A shorter `context_seconds` computes only the
        smallest multiple of it that holds the wave in full and thins the silence after it, see `encode`.
        Neither the context nor the transcript of a wave depends on the batch it is in. At most 10 tokens a
        second of audio, and never more than `max_new_tokens`, are written, so loops of the decoder end soon.
        Raises WhisperError for audio that is longer, not finite or not mono.
        """
        contexts = [_context(check(wave, index), context_seconds) for index, wave in enumerate(waves)]
        order = sorted(range(len(waves)), key=lambda index: (contexts[index], len(waves[index])))
        texts = [""] * len(waves)
        while order:
            batch = [index for index in order[:batch_size] if contexts[index] == contexts[order[0]]]
            order = order[len(batch) :]
            encoded = self.encode([waves[index] for index in batch], contexts[batch[0]])
            limits = [_limit(len(waves[index]), max_new_tokens) for index in batch]
            for index, text in zip(batch, self.decode(encoded, limits), strict=True):
                texts[index] = text
        return texts

    @torch.inference_mode()
    def encode(self, waves: list[np.ndarray], context_seconds: float = LONGEST) -> Encoded:
        """Encoder states of `waves`, none longer than `context_seconds`; 50 positions a second of context.

        With the full 30 s these are Whisper's own states. With less, the silence from `context_seconds` to
        30 s is represented by every 4th of its positions, whose attention logits carry log 4. Leaving the
        silence out altogether is cheaper still, but the decoder then loops on short utterances.
        """
        return encode(self, waves, context_seconds)

    @torch.inference_mode()
    def decode(self, encoded: Encoded, limits: list[int]) -> list[str]:
        """Greedy decoding, at most `limits[i]` tokens for utterance i, and no more than the decoder has room for."""
        batch = encoded.states.shape[0]
        *before, last = prompt(self)
        room = self.network.config.max_target_positions - len(before) - 1
        limits = [min(most, room) for most in limits]
        decoder = Decoder(self.network, encoded)
        banned = torch.zeros(self.network.config.vocab_size, device=self.device)
        banned[self.suppressed] = -math.inf
        banned[self.end + 1 :] = -math.inf
        first = banned.clone()
        first[self.suppressed_first] = -math.inf
        limit = torch.tensor(limits, device=self.device)
        tokens = torch.full((batch, max(limits)), self.end, device=self.device)
        done = torch.zeros(batch, dtype=torch.bool, device=self.device)
        for known in before:
            decoder.step(torch.full((batch,), known, device=self.device))
        token = torch.full((batch,), last, device=self.device)
        for position in range(max(limits)):
            scores = decoder.step(token) + (banned if position else first)
            token = scores.argmax(dim=-1).masked_fill(done, self.end)
            tokens[:, position] = token
            done = done | (token == self.end) | (position + 1 >= limit)
            if done.all():
                break
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in tokens.cpu().tolist()]


def is_multilingual(model: Whisper) -> bool:
    """Whether a Whisper has to be told the language: as its generation configuration says, else by its vocabulary."""
    said = getattr(model.network.generation_config, "is_multilingual", None)
    return model.network.config.vocab_size >= MULTILINGUAL if said is None else bool(said)


def prompt(model: Whisper) -> list[int]:
    """The tokens that come before the transcript."""
    told = [model.tokenizer.token_to_id(token) for token in LANGUAGE] if is_multilingual(model) else []
    return [model.start, *told, model.no_timestamps]


def encode(model: Whisper, waves: list[np.ndarray], context_seconds: float) -> Encoded:
    """As `Whisper.encode`; gradients flow where they are enabled."""
    samples = round(context_seconds * RATE)
    padded = torch.zeros(len(waves), min(samples + TAIL, round(LONGEST * RATE)))
    for index, wave in enumerate(waves):
        if len(check(wave, index)) > samples:
            raise WhisperError(
                f"Audio {index} lasts {len(wave) / RATE:.1f} s, longer than the context of "
                f"{context_seconds:g} s: raise context_seconds."
            )
        padded[index, : len(wave)] = torch.from_numpy(np.asarray(wave, dtype=np.float32))
    features = log_mel(padded.to(model.device), model.network.config.num_mel_bins)
    return encode_features(model.network, features, samples // (2 * HOP))


@dataclass
class Encoded:
    """Encoder states (batch, positions, channels) and what is added to the attention logits of each position.

    `log_weights` (positions,) is log n where one position stands for n positions of silence, else 0.
    """

    states: Tensor
    log_weights: Tensor


class Decoder:
    """Whisper's decoder with the keys and values of all earlier tokens kept.

    As transformers' decoder, but the encoder positions carry `encoded.log_weights`, (positions,) or (batch, positions).
    """

    def __init__(self, network: WhisperForConditionalGeneration, encoded: Encoded) -> None:
        self.decoder = network.model.decoder
        self.bias = encoded.log_weights.reshape(-1, 1, 1, encoded.log_weights.shape[-1])
        self.position = 0
        self.heads = network.config.decoder_attention_heads
        self.states = encoded.states
        self.cross: list[tuple[Tensor, Tensor] | None] = [None] * len(self.decoder.layers)
        self.past: list[tuple[Tensor, Tensor] | None] = [None] * len(self.decoder.layers)

    def step(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of what follows `tokens` (batch,)."""
        return self.read(tokens[:, None])[:, 0]

    def read(self, tokens: Tensor) -> Tensor:
        """Logits (batch, length, vocabulary) of what follows each of `tokens` (batch, length), one or the first."""
        decoder, end = self.decoder, self.position + tokens.shape[1]
        hidden = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[self.position : end]
        self.position = end
        for index, layer in enumerate(decoder.layers):
            hidden = hidden + self._attend_past(index, layer.self_attn, layer.self_attn_layer_norm(hidden))
            keys, values = self._heard(index, layer.encoder_attn)
            query = self._split(layer.encoder_attn.q_proj(layer.encoder_attn_layer_norm(hidden)))
            bias = self.bias.to(query.dtype)
            read = nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
            hidden = hidden + layer.encoder_attn.out_proj(self._merge(read))
            inner = nn.functional.gelu(layer.fc1(layer.final_layer_norm(hidden)))
            hidden = hidden + layer.fc2(inner)
        return nn.functional.linear(decoder.layer_norm(hidden), decoder.embed_tokens.weight)

    def _heard(self, index: int, attention: nn.Module) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of the encoder states, computed when they are first asked for."""
        if self.cross[index] is None:
            self.cross[index] = self._split(attention.k_proj(self.states)), self._split(attention.v_proj(self.states))
        return self.cross[index]

    def _attend_past(self, index: int, attention: nn.Module, hidden: Tensor) -> Tensor:
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        query, keys, values = (self._split(project(hidden)) for project in projections)
        if self.past[index] is not None:
            keys = torch.cat([self.past[index][0], keys], dim=2)
            values = torch.cat([self.past[index][1], values], dim=2)
        self.past[index] = keys, values
        attend = nn.functional.scaled_dot_product_attention
        return attention.out_proj(self._merge(attend(query, keys, values, is_causal=query.shape[2] > 1)))

    def _split(self, hidden: Tensor) -> Tensor:
        return hidden.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _merge(self, heads: Tensor) -> Tensor:
        return heads.transpose(1, 2).flatten(2)


def check(wave: np.ndarray, index: int) -> np.ndarray:
    """`wave` itself if it is finite mono audio of at most 30 s; WhisperError naming `index` otherwise."""
    wave = np.asarray(wave)
    if wave.ndim != 1 or wave.size == 0 or not np.issubdtype(wave.dtype, np.floating):
        raise WhisperError(f"Audio {index} is not a one-dimensional array of floats: give mono 16 kHz audio.")
    if not np.isfinite(wave).all():
        raise WhisperError(f"Audio {index} holds NaN or infinite samples: repair or drop it.")
    if len(wave) > LONGEST * RATE:
        raise WhisperError(
            f"Audio {index} lasts {len(wave) / RATE:.1f} s, longer than Whisper's 30 s: cut it into parts."
        )
    return wave


def log_mel(padded: Tensor, bands: int = 80) -> Tensor:
    """Whisper's log-mel (batch, bands, frames) of (batch, samples): 25 ms windows every 10 ms, in [-1, ~1.5].

    log10 of the mel power spectrum, floored at 8 (80 dB) below the utterance's largest value.
    """
    spectrum = torch.stft(padded, 400, HOP, window=torch.hann_window(400, device=padded.device), return_complex=True)
    power = spectrum[..., :-1].abs().square()
    levels = (_filters(bands).to(padded.device).T @ power).clamp(min=1e-10).log10()
    return (torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def encode_features(network: WhisperForConditionalGeneration, features: Tensor, positions: int = 1500) -> Encoded:
    """Encoder states of log-mel (batch, 80, frames) that is silent after the first 2 `positions` frames.

    With all 1500 positions this is transformers' encoder on 3000 frames.
    """
    encoder = network.model.encoder
    hidden = nn.functional.gelu(encoder.conv1(features))
    hidden = nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
    everywhere = encoder.embed_positions.weight
    silence = hidden[:, -2:-1]
    hidden = hidden[:, :positions] + everywhere[:positions]
    log_weights = torch.zeros(positions, device=hidden.device)
    if positions < len(everywhere):
        groups = everywhere[positions:].split(THINNING)
        tail = torch.stack([group[len(group) // 2] for group in groups])
        sizes = torch.tensor([float(len(group)) for group in groups], device=hidden.device)
        hidden = torch.cat([hidden, silence + tail], dim=1)
        log_weights = torch.cat([log_weights, sizes.log()])
    mask = log_weights.expand(len(hidden), 1, hidden.shape[1], -1) if positions < len(everywhere) else None
    for layer in encoder.layers:
        hidden = layer(hidden, mask)
    return Encoded(encoder.layer_norm(hidden), log_weights)


def _context(wave: np.ndarray, context_seconds: float) -> float:
    return min(math.ceil(len(wave) / RATE / context_seconds) * context_seconds, LONGEST)


def _limit(samples: int, most: int) -> int:
    return min(most, 16 + math.ceil(TOKENS_PER_SECOND * samples / RATE))


@lru_cache(maxsize=2)
def _filters(bands: int) -> Tensor:
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(201, 0.0, 8000.0, bands, RATE, norm="slaney", mel_scale="slaney")
