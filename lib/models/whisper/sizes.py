"""Whisper of any size: English-only ones as `lib.models.whisper.model` has them, multilingual ones told to write English.

A multilingual Whisper reads <|startoftranscript|> <|en|> <|transcribe|> <|notimestamps|> before the transcript where an
English-only one reads <|startoftranscript|> <|notimestamps|> (Radford et al. 2022, fig. 1); large-v3 and its kin hear
128 mel bands instead of 80.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lib import pretrained
from lib.models.whisper import model as whisper
from lib.models.whisper.model import Encoded, Whisper
from lib.models.whisper.weights import WhisperError, from_ctranslate2, from_transformers

MULTILINGUAL = 51865  # tokens; OpenAI's own rule: a Whisper with at least as many is multilingual
LANGUAGE = ("<|en|>", "<|transcribe|>")


class AnyWhisper(Whisper):
    """A Whisper with a longer prompt or other mel bands than the study's own recogniser."""

    @torch.inference_mode()
    def encode(self, waves: list[np.ndarray], context_seconds: float = whisper.LONGEST) -> Encoded:
        """As `Whisper.encode`."""
        for index, wave in enumerate(waves):
            whisper.check(wave, index)
        return encode(self, waves, context_seconds)

    def decode(self, encoded: Encoded, limits: list[int]) -> list[str]:
        """As `Whisper.decode`: a search with one beam is greedy."""
        from lib.models.whisper.decoding import beam_search

        return beam_search(self, encoded, limits, beams=1)


def is_multilingual(model: Whisper) -> bool:
    """Whether a Whisper has to be told the language: as its generation configuration says, else by its vocabulary."""
    said = getattr(model.network.generation_config, "is_multilingual", None)
    return model.network.config.vocab_size >= MULTILINGUAL if said is None else bool(said)


def prompt(model: Whisper) -> list[int]:
    """The tokens that come before the transcript."""
    told = [model.tokenizer.token_to_id(token) for token in LANGUAGE] if is_multilingual(model) else []
    return [model.start, *told, model.no_timestamps]


def encode(model: Whisper, waves: list[np.ndarray], context_seconds: float) -> Encoded:
    """Encoder states of `waves`, none longer than `context_seconds`, as `Whisper.encode`; gradients flow if enabled."""
    samples = round(context_seconds * whisper.RATE)
    padded = torch.zeros(len(waves), min(samples + whisper.TAIL, round(whisper.LONGEST * whisper.RATE)))
    for index, wave in enumerate(waves):
        padded[index, : len(wave)] = torch.from_numpy(np.asarray(wave, dtype=np.float32))
    features = log_mel(padded.to(model.device), model.network.config.num_mel_bins)
    return whisper.encode_features(model.network, features, samples // (2 * whisper.HOP))


def log_mel(padded: Tensor, bands: int = 80) -> Tensor:
    """Whisper's log-mel (batch, bands, frames) of (batch, samples), as `lib.models.whisper.model.log_mel` has it for 80."""
    if bands == 80:
        return whisper.log_mel(padded)
    window = torch.hann_window(400, device=padded.device)
    power = torch.stft(padded, 400, whisper.HOP, window=window, return_complex=True)[..., :-1].abs().square()
    levels = (_filters(bands).to(padded.device).T @ power).clamp(min=1e-10).log10()
    return (torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


@lru_cache(maxsize=1)
def _filters(bands: int) -> Tensor:
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(201, 0.0, 8000.0, bands, whisper.RATE, norm="slaney", mel_scale="slaney")


@lru_cache(maxsize=2)
def load(name: str = "tiny.en", device: str = "cpu", path: str | Path | None = None, network: bool = False) -> Whisper:
    """A Whisper in float32 on `device`, its weights from where `lib.pretrained.whisper` finds them.

    Raises PretrainedError for weights that are nowhere, WhisperError for files that are no Whisper, or not all of one.
    The same model is returned again for the same arguments.
    """
    if path is None and f"whisper-{name}" in pretrained.WEIGHTS and not network:
        return whisper.load(name, device, path)
    found = pretrained.whisper(name, path, network)
    model, suppressed, suppressed_first = _read(found.path)
    model = model.to(device).eval().requires_grad_(False)
    tokens = _tokenizer(found.path)
    known = (model, tokens, suppressed, suppressed_first, found, torch.device(device))
    plain = Whisper(*known)
    needed = [
        "<|startoftranscript|>",
        "<|endoftext|>",
        "<|notimestamps|>",
        *(LANGUAGE if is_multilingual(plain) else []),
    ]
    missing = [token for token in needed if tokens.token_to_id(token) is None]
    if missing:
        raise WhisperError(
            f"The tokenizer in {found.path} has no {missing[0]}: give the tokenizer.json of this Whisper."
        )
    return AnyWhisper(*known) if is_multilingual(plain) or model.config.num_mel_bins != 80 else plain


def _read(folder: Path) -> tuple[nn.Module, list[int], list[int]]:
    """The network and the tokens it must not write, at all and first; every parameter comes from the files."""
    if (folder / "model.bin").is_file():
        return from_ctranslate2(folder)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != "whisper":
            raise WhisperError(f"{folder} holds a model of the type {kind}, not a Whisper: give another id or folder.")
        found = from_transformers(folder)
        held = {key for file in pretrained.whisper_parameters(folder) for key in _keys(file)}
    except (OSError, RuntimeError, KeyError, TypeError, json.JSONDecodeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WhisperError(f"{folder} holds no Whisper model that can be read: {reason}.") from error
    missing = [name for name, _ in found[0].named_parameters() if name not in held]
    if missing:
        raise WhisperError(
            f"{folder} lacks {len(missing)} parameters of a Whisper, {missing[0]} for one: fetch it again."
        )
    return found


def _keys(file: Path) -> list[str]:
    with safe_open(file, "pt") as content:
        return list(content.keys())


def _tokenizer(folder: Path):
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise WhisperError(f"{folder / 'tokenizer.json'} is no tokenizer: {error}.") from None
