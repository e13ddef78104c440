"""Whisper of any size, English-only or multilingual, from the hub or a folder; `lib.models.whisper.model` runs it."""

import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from lib import pretrained
from lib.models.whisper.model import LANGUAGE, Whisper, is_multilingual
from lib.models.whisper.weights import WhisperError, from_ctranslate2, from_transformers


@lru_cache(maxsize=2)
def load(name: str = "tiny.en", device: str = "cpu", path: str | Path | None = None, network: bool = False) -> Whisper:
    """A Whisper in float32 on `device`, its weights from where `lib.pretrained.whisper` finds them.

    Raises PretrainedError for weights that are nowhere, WhisperError for files that are no Whisper, or not all of one.
    The same model is returned again for the same arguments.
    """
    found = pretrained.whisper(name, path, network)
    model, suppressed, suppressed_first = _read(found.path)
    model = model.to(device).eval().requires_grad_(False)
    tokens = _tokenizer(found.path)
    recogniser = Whisper(model, tokens, suppressed, suppressed_first, found, torch.device(device))
    told = LANGUAGE if is_multilingual(recogniser) else ()
    needed = ("<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>", *told)
    missing = [token for token in needed if tokens.token_to_id(token) is None]
    if missing:
        raise WhisperError(
            f"The tokenizer in {found.path} has no {missing[0]}: give the tokenizer.json of this Whisper."
        )
    return recogniser


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
