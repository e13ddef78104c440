"""Piper's ONNX voices as files hold them: the weights by name, the sizes, and how a voice spells phonemes."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.pretrained import Pretrained, PretrainedError, resolve, sha256

PARTS = {"enc_p": "text_encoder", "dp": "duration_predictor", "flow": "flow", "dec": "decoder"}
PARAMETER = re.compile(rf"({'|'.join(PARTS)})\.")
SPELLING = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "Q": "əʊ", "ʤ": "dʒ", "ʧ": "tʃ"} | {
    "T": "ɾ", "ᵊ": "ə", "—": ",", "…": ".", "“": '"', "”": '"'
}  # fmt: skip


class VitsError(ValueError):
    """A voice file that is missing, damaged or of other sizes, or input that VITS cannot take."""


@dataclass(frozen=True)
class VitsDims:
    """Sizes of a VITS; the defaults are Piper's "medium"."""

    symbols: int = 256
    channels: int = 192  # of the text encoder, the flows and the duration predictor
    latent: int = 192
    inner: int = 768
    heads: int = 2
    layers: int = 6
    window: int = 4  # symbols either side with a relative position
    flows: int = 4
    flow_kernel: int = 5
    flow_layers: int = 4
    decoder: int = 256  # channels before the first upsampling
    rates: tuple[int, ...] = (8, 8, 4)
    kernels: tuple[int, ...] = (16, 16, 8)
    block_kernels: tuple[int, ...] = (3, 5, 7)
    dilations: tuple[tuple[int, ...], ...] = ((1, 2), (2, 6), (3, 12))
    rate: int = 22050  # Hz

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return int(np.prod(self.rates))

    @property
    def frames_per_second(self) -> float:
        return self.rate / self.hop


def find(path: str | Path | None = None) -> Pretrained:
    """The voice file at `path`, or joe's in the pip package, whose SHA-256 is checked.

    Raises PretrainedError when it is missing or damaged.
    """
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise PretrainedError(f"The voice is not at {path}: give a Piper .onnx file, or give no path.")
        return Pretrained("joe", path, f"local path: {path}", sha256(path))
    return resolve("joe")


def read(path: Path) -> tuple[VitsDims, dict[str, Tensor], dict[str, list[int]]]:
    """Sizes, weights under the names of `lib.models.vits.model.Vits` and the phoneme-id map of a Piper voice.

    The map is in the .json beside the .onnx. Raises VitsError when either cannot be read or is no
    single-speaker voice of Piper.
    """
    import onnx

    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf and onnx raise many kinds for a damaged file
        raise VitsError(f"The voice {path} cannot be read as ONNX: install or download it again.") from error
    try:
        config = json.loads(path.with_suffix(".onnx.json").read_text())
        ids, rate = config["phoneme_id_map"], int(config["audio"]["sample_rate"])
    except (OSError, ValueError, KeyError) as error:
        raise VitsError(f"The file {path}.json is missing or damaged: put the voice's own .json there.") from error
    try:
        weights = {_rename(name): torch.from_numpy(value.copy()) for name, value in _parameters(graph).items()}
        return _dims(graph, weights, rate), weights, ids
    except (KeyError, StopIteration) as error:
        raise VitsError(f"The voice {path} lacks {error}: give a single-speaker VITS voice of Piper.") from error


def _parameters(graph) -> dict[str, np.ndarray]:
    """Initialisers by parameter name; those the export renamed take their node's module path."""
    from onnx import numpy_helper

    values = {tensor.name: tensor for tensor in graph.initializer}
    found = {name: name for name in values if PARAMETER.match(name)}
    for node in graph.node:
        module = node.name.strip("/").rsplit("/", 1)[0].replace("/", ".")
        for name in node.input:
            if name.startswith("onnx::Conv") and name in values:
                found[f"{module}.weight"] = name
            elif node.op_type == "Gather" and module == "enc_p.emb" and name in values:
                found["enc_p.emb.weight"] = name
            elif node.name == "/dp/flows.0/Mul" and name in values:
                found["dp.flows.0.logs"] = name
    arrays = {parameter: numpy_helper.to_array(values[name]) for parameter, name in found.items()}
    arrays["dp.flows.0.logs"] = -np.log(arrays["dp.flows.0.logs"])  # the file holds exp(-logs)
    return arrays


def _rename(name: str) -> str:
    """Piper's parameter name to ours: flows are counted without the channel flips between them."""
    part, rest = name.split(".", 1)
    if part == "flow":
        rest = re.sub(r"flows\.(\d+)", lambda match: f"layers.{int(match[1]) // 2}", rest)
    elif part == "dp":
        rest = re.sub(r"^flows\.0\.", "", rest)
        rest = re.sub(r"^flows\.(\d+)", lambda match: f"flows.{(int(match[1]) - 3) // 2}", rest)
    return f"{PARTS[part]}.{rest}"


def _dims(graph, weights: dict[str, Tensor], rate: int) -> VitsDims:
    def count(pattern: str) -> int:
        return len({match[1] for name in weights if (match := re.match(pattern, name))})

    def attribute(node: str, name: str) -> int:
        found = next(n for n in graph.node if n.name == node)
        return next(int(a.ints[0]) for a in found.attribute if a.name == name)

    symbols, channels = weights["text_encoder.emb.weight"].shape
    relative = weights["text_encoder.encoder.attn_layers.0.emb_rel_k"]
    ups = count(r"decoder\.ups\.(\d+)\.")
    blocks = count(r"decoder\.resblocks\.(\d+)\.convs\.") // ups
    if not blocks:
        raise KeyError("the residual blocks of quality medium")
    layers = [count(rf"decoder\.resblocks\.{block}\.convs\.(\d+)\.") for block in range(blocks)]
    return VitsDims(
        symbols=symbols,
        channels=channels,
        latent=weights["text_encoder.proj.weight"].shape[0] // 2,
        inner=weights["text_encoder.encoder.ffn_layers.0.conv_1.weight"].shape[0],
        heads=channels // relative.shape[2],
        layers=count(r"text_encoder\.encoder\.attn_layers\.(\d+)\."),
        window=relative.shape[1] // 2,
        flows=count(r"flow\.layers\.(\d+)\."),
        flow_kernel=weights["flow.layers.0.enc.in_layers.0.weight"].shape[2],
        flow_layers=count(r"flow\.layers\.0\.enc\.in_layers\.(\d+)\."),
        decoder=weights["decoder.conv_pre.weight"].shape[0],
        rates=tuple(attribute(f"/dec/ups.{i}/ConvTranspose", "strides") for i in range(ups)),
        kernels=tuple(weights[f"decoder.ups.{i}.weight"].shape[2] for i in range(ups)),
        block_kernels=tuple(weights[f"decoder.resblocks.{i}.convs.0.weight"].shape[2] for i in range(blocks)),
        dilations=tuple(
            tuple(attribute(f"/dec/resblocks.{i}/convs.{j}/Conv", "dilations") for j in range(layers[i]))
            for i in range(blocks)
        ),
        rate=rate,
    )


def spell(phonemes: str, id_map: dict[str, list[int]]) -> tuple[list[int], list[int]]:
    """Piper's ids for a phoneme string of `lib.text` (`|` at both ends), and the index of each id's symbol.

    The ends become `^` and `$`; a pad follows every id but the last. Raises VitsError for an empty string or a
    symbol the voice lacks.
    """
    if len(phonemes) < 3:
        raise VitsError(f"There is nothing to speak in the phonemes {phonemes!r}: give a text with words.")
    ids, owner = [], []
    for index, symbol in enumerate(phonemes):
        edge = {0: "^", len(phonemes) - 1: "$"}.get(index)
        for character in edge or SPELLING.get(symbol, symbol):
            if character not in id_map:
                raise VitsError(f"The voice has no symbol {character!r}, in {phonemes!r}.")
            own = [*id_map[character], *([] if edge == "$" else id_map["_"])]
            ids += own
            owner += [index] * len(own)
    return ids, owner
