"""Whisper's weights as files hold them: CTranslate2's format, and transformers' own."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration


class WhisperError(ValueError):
    """Audio that Whisper cannot take, or weights that are not Whisper's."""


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """The variables of a CTranslate2 model file by name, as stored (float16 for half-precision models)."""
    dtypes = [np.float32, np.int8, np.int16, np.int32, np.float16]
    data = memoryview(path.read_bytes())
    place = 0

    def take(layout: str) -> int:
        nonlocal place
        value = struct.unpack_from(f"<{layout}", data, place)[0]
        place += struct.calcsize(layout)
        return value

    def text() -> str:
        nonlocal place
        length = take("H")
        place += length
        return bytes(data[place - length : place - 1]).decode()

    take("I"), text(), take("I")
    variables = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype = np.dtype(dtypes[take("B")])
        size = take("I")
        variables[name] = np.frombuffer(data[place : place + size], dtype=dtype).reshape(shape)
        place += size
    return variables


def from_ctranslate2(folder: Path) -> tuple[WhisperForConditionalGeneration, list[int], list[int]]:
    """The network, the tokens it must not write, and those it must not write first, from `folder`.

    `folder` holds model.bin and config.json. Raises WhisperError if they cannot be read.
    """
    from transformers import WhisperConfig, WhisperForConditionalGeneration
    from transformers.initialization import no_init_weights

    try:
        variables = read_ctranslate2(folder / "model.bin")
        settings = json.loads((folder / "config.json").read_text())
        channels, bins, _ = variables["encoder/conv1/weight"].shape
        config = WhisperConfig(
            vocab_size=variables["decoder/embeddings/weight"].shape[0],
            num_mel_bins=bins,
            d_model=channels,
            encoder_layers=_layers(variables, "encoder"),
            decoder_layers=_layers(variables, "decoder"),
            encoder_attention_heads=int(variables["encoder/num_heads"]),
            decoder_attention_heads=int(variables["decoder/num_heads"]),
            encoder_ffn_dim=variables["encoder/layer_0/ffn/linear_0/weight"].shape[0],
            decoder_ffn_dim=variables["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        )
        with no_init_weights():
            network = WhisperForConditionalGeneration(config)
        network.load_state_dict(_rename(variables), strict=True)
        return network, settings["suppress_ids"], settings["suppress_ids_begin"]
    except (struct.error, KeyError, IndexError, UnicodeDecodeError, RuntimeError) as error:
        raise WhisperError(f"{folder} holds no Whisper model that can be read: {error}.") from error


def from_transformers(folder: Path) -> tuple[WhisperForConditionalGeneration, list[int], list[int]]:
    """The same from a folder that transformers wrote (model.safetensors and its two configurations)."""
    from transformers import WhisperForConditionalGeneration

    network = WhisperForConditionalGeneration.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, use_safetensors=True
    )
    settings = network.generation_config
    return network, list(settings.suppress_tokens or []), list(settings.begin_suppress_tokens or [])


def _rename(variables: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """CTranslate2's variables as the state dict of WhisperForConditionalGeneration, in float32.

    CTranslate2 stacks [query; key; value] (self-attention) and [key; value] (cross-attention) and gives the
    keys a zero bias, which Whisper does not have.
    """
    state = {}

    def put(target: str, value: np.ndarray) -> None:
        state[target] = torch.from_numpy(value.astype(np.float32))

    for name, value in variables.items():
        side, *parts = name.split("/")
        kind = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}.get(parts[-1])
        if parts[0].startswith("layer_") and parts[0] != "layer_norm":
            prefix = f"model.{side}.layers.{parts[0].removeprefix('layer_')}"
            module = {"self_attention": "self_attn", "attention": "encoder_attn"}.get(parts[1])
            if parts[1] == "ffn":
                leaf = {"linear_0": "fc1", "linear_1": "fc2", "layer_norm": "final_layer_norm"}[parts[2]]
                put(f"{prefix}.{leaf}.{kind}", value)
            elif parts[2] == "layer_norm":
                put(f"{prefix}.{module}_layer_norm.{kind}", value)
            else:
                last = "linear_1" if parts[1] == "self_attention" else "linear_2"
                stacks = {"linear_0": "qkv" if parts[1] == "self_attention" else "q", "linear_1": "kv"}
                projections = ["out"] if parts[2] == last else list(stacks[parts[2]])
                for projection, part in zip(projections, np.split(value, len(projections)), strict=True):
                    if not (projection == "k" and kind == "bias"):
                        put(f"{prefix}.{module}.{projection}_proj.{kind}", part)
        elif parts[0] in ("conv1", "conv2", "layer_norm"):
            put(f"model.{side}.{parts[0]}.{kind}", value)
        elif parts[0] == "position_encodings":
            put(f"model.{side}.embed_positions.weight", value)
        elif parts[0] == "embeddings":
            put(f"model.{side}.embed_tokens.weight", value)
            put("proj_out.weight", value)
    return state


def _layers(variables: dict[str, np.ndarray], side: str) -> int:
    return len({name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")} - {"layer_norm"})
