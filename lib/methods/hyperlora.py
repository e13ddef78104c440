"""LoRA made for each utterance by a hypernetwork, on a frozen Whisper (arXiv 2406.04240), and what it is compared with.

LoRA (Hu et al. 2022) on a set of weight matrices, by default the first MLP matrix W1 of every decoder layer:

    W' = W + (alpha / rank) B A,        A in R^{rank x in}, B in R^{out x rank}

`StaticLora` learns one pair (A, B) per matrix. `HyperLora` learns a generator from an utterance's embedding e to the
(A, B) of every matrix, so that each utterance of a batch has its own weights:

    (A, B) = shared + G(z / sqrt(d)),   z = (e - mean) / std,  d the size of e

with G linear, or an MLP with one hidden layer. `shared` starts as an untrained static LoRA (A uniform, B zero) and G's
last layer at zero, so the untrained method changes nothing. `Retrained` is ordinary fine-tuning: of everything, of the
biases, or of whole matrices.

Every method is applied for the length of a `with` block and leaves the network as it was. The updates of a batch are
batched matrix products on the outputs of the adapted layers; the network's code and weights are not touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lib.methods.low_rank import HyperLoraError, LowRank
from lib.models.layers import count

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration

SIDES = ("encoder", "decoder")
ATTENTION = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
LEAVES = (
    {f"self.{letter}": f"self_attn.{leaf}" for letter, leaf in ATTENTION.items()}
    | {f"cross.{letter}": f"encoder_attn.{leaf}" for letter, leaf in ATTENTION.items()}
    | {"W1": "fc1", "W2": "fc2"}
)
EMBEDDING, OUTPUT = "model.decoder.embed_tokens.weight", "proj_out.weight"
TARGETS = [f"{side}.{leaf}" for side in SIDES for leaf in LEAVES if (side, leaf[:5]) != ("encoder", "cross")]


def find(
    network: WhisperForConditionalGeneration, names: Sequence[str], layers: Sequence[int] | None = None
) -> dict[str, nn.Linear]:
    """The linear layers that `names` mean, by their path in `network`.

    names: any of `TARGETS`, such as "decoder.W1" or "encoder.self.v"; a name cut at a dot, such as "decoder" or
    "decoder.cross", means all that start with it. layers: numbers of the layers to take, from the end if negative.
    Raises HyperLoraError for unknown names and layers.
    """
    chosen = {}
    for name in names:
        meant = [target for target in TARGETS if f"{target}.".startswith(f"{name}.")]
        if not meant:
            raise HyperLoraError(
                f"No matrix of Whisper is called {name!r}: choose from {', '.join(TARGETS)}, or a part before a dot."
            )
        for target in meant:
            side, leaf = target.split(".", 1)
            blocks = getattr(network.model, side).layers
            for layer in range(len(blocks)) if layers is None else layers:
                if not -len(blocks) <= layer < len(blocks):
                    raise HyperLoraError(
                        f"The {side} has no layer {layer}: choose layers from {-len(blocks)} to {len(blocks) - 1}."
                    )
                path = f"model.{side}.layers.{layer % len(blocks)}.{LEAVES[leaf]}"
                chosen[path] = network.get_submodule(path)
    if not chosen:
        raise HyperLoraError(f"No matrix is named: choose at least one from {', '.join(TARGETS)}.")
    return chosen


class Adaptation(nn.Module):
    """A way to change a frozen network. `adapted` is the number of weights that take part in it for one utterance."""

    adapted: int
    paths: list[str]

    def applied(self, network: nn.Module, embeddings: Tensor | None = None) -> AbstractContextManager[None]:
        """A block in which `network` is adapted; embeddings (batch, size) where the method is conditional."""
        raise NotImplementedError

    @property
    def changes_encoder(self) -> bool:
        """Whether encoder states depend on the adaptation and so cannot be cached."""
        return any(path.startswith("model.encoder.") for path in self.paths)


class Retrained(Adaptation):
    """Ordinary fine-tuning of the parameters of `network` that `wanted` accepts by path; the network keeps its own.

    Whisper's output matrix is its token embedding, here and in the counts, whether or not a file stores it twice.
    """

    def __init__(self, network: nn.Module, wanted: Callable[[str], bool]):
        super().__init__()
        chosen = {path: p for path, p in network.named_parameters() if wanted(path) and path != OUTPUT}
        self.values = nn.ParameterList(nn.Parameter(p.detach().clone()) for p in chosen.values())
        self.copies = {path: index for index, path in enumerate(chosen)}
        if EMBEDDING in self.copies:
            self.copies[OUTPUT] = self.copies[EMBEDDING]
        self.paths = list(self.copies)
        self.adapted = count(self)

    @contextmanager
    def applied(self, network: nn.Module, embeddings: Tensor | None = None) -> Iterator[None]:
        own = {path: network.get_parameter(path) for path in self.paths}
        try:
            for path, index in self.copies.items():
                _put(network, path, self.values[index])
            yield
        finally:
            for path, parameter in own.items():
                _put(network, path, parameter)


def full_fine_tuning(network: nn.Module, side: str | None = None) -> Retrained:
    """Every parameter, or those of one side ("encoder" or "decoder", with the decoder's token embedding)."""
    return Retrained(network, partial(_on_side, _check_side(side)))


def bias_only(network: nn.Module, side: str | None = None) -> Retrained:
    """Every bias, layer norms' included (BitFit, Ben Zaken et al. 2022), or those of one side."""
    _check_side(side)
    return Retrained(network, lambda path: path.endswith(".bias") and _on_side(side, path))


def matrix_fine_tuning(
    network: WhisperForConditionalGeneration, names: Sequence[str], layers: Sequence[int] | None = None
) -> Retrained:
    """The whole of the matrices that `find` finds, without their biases."""
    paths = {f"{path}.weight" for path in find(network, names, layers)}
    return Retrained(network, paths.__contains__)


class LowRankAdaptation(Adaptation):
    """What static and generated LoRA share: the matrices, the rank, and a vector that holds all their factors.

    rank: at most the smaller side of each matrix. alpha: the scale is alpha / rank, 1 by default. fixed: "A" or "B"
    stays at a random draw that no one trains or generates, for the smallest budgets; the other factor starts at zero.
    Raises HyperLoraError for ranks below 1 or larger than a matrix, and as `find` does.
    """

    def __init__(
        self,
        network: WhisperForConditionalGeneration,
        names: Sequence[str] = ("decoder.W1",),
        rank: int = 4,
        alpha: float | None = None,
        layers: Sequence[int] | None = None,
        fixed: str | None = None,
    ):
        super().__init__()
        if fixed not in (None, "A", "B"):
            raise HyperLoraError(f"The factor {fixed!r} cannot be fixed: choose 'A', 'B' or None.")
        found = find(network, names, layers)
        self.paths, self.rank, self.fixed = list(found), rank, fixed
        self.scale = (rank if alpha is None else alpha) / rank if rank > 0 else 0.0
        self.shapes: dict[tuple[str, str], tuple[int, int]] = {}
        for path, linear in found.items():
            if not 1 <= rank <= min(linear.weight.shape):
                raise HyperLoraError(
                    f"Rank {rank} does not fit {path}, a matrix of {linear.out_features} x {linear.in_features}: "
                    f"choose a rank from 1 to {min(linear.weight.shape)}."
                )
            self.shapes[path, "A"] = (rank, linear.in_features)
            self.shapes[path, "B"] = (linear.out_features, rank)
        self.adapted = sum(math.prod(shape) for (_, kind), shape in self.shapes.items() if kind != fixed)
        self.shared = nn.Parameter(self._start(lambda kind: kind != fixed, network))
        self.register_buffer("constant", self._start(lambda kind: kind == fixed, network))

    def _start(self, wanted: Callable[[str], bool], network: nn.Module) -> Tensor:
        """The wanted factors' first values in one vector: uniform in +-1/sqrt(columns), or zero."""
        random = self.fixed or "A"
        parts = [torch.zeros(0)]
        for (_, kind), shape in self.shapes.items():
            if wanted(kind):
                values = torch.rand(math.prod(shape)) * 2 - 1 if kind == random else torch.zeros(math.prod(shape))
                parts.append(values / math.sqrt(shape[1]))
        return torch.cat(parts).to(network.device)

    def assemble(self, values: Tensor) -> LowRank:
        """The update that the vectors `values` (batch, adapted) hold, the fixed factors added."""
        places = {True: 0, False: 0}
        sources = {True: self.constant.expand(len(values), -1), False: values}
        factors: dict[str, dict[str, Tensor]] = {path: {} for path in self.paths}
        for (path, kind), shape in self.shapes.items():
            fixed, size = kind == self.fixed, math.prod(shape)
            piece = sources[fixed][:, places[fixed] : places[fixed] + size]
            factors[path][kind] = piece.unflatten(1, shape)
            places[fixed] += size
        return LowRank({path: (pair["A"], pair["B"]) for path, pair in factors.items()}, self.scale)

    def update(self, embeddings: Tensor | None = None) -> LowRank:
        """The low-rank update of each utterance."""
        raise NotImplementedError

    @contextmanager
    def applied(self, network: nn.Module, embeddings: Tensor | None = None) -> Iterator[None]:
        with self.update(embeddings).applied(network):
            yield


class StaticLora(LowRankAdaptation):
    """LoRA: one (A, B) per matrix for all utterances; train one per cohort or speaker for those levels."""

    def update(self, embeddings: Tensor | None = None) -> LowRank:
        """The update as a batch of 1; embeddings are not used."""
        return self.assemble(self.shared[None])


class HyperLora(LowRankAdaptation):
    """The hypernetwork: an utterance's embedding to the (A, B) of every matrix.

    embedding: numbers in an embedding. hidden: width of the MLP generator's hidden layer, None for the linear one.
    The other arguments are those of `LowRankAdaptation`.
    """

    def __init__(
        self,
        network: WhisperForConditionalGeneration,
        embedding: int,
        names: Sequence[str] = ("decoder.W1",),
        rank: int = 4,
        hidden: int | None = None,
        alpha: float | None = None,
        layers: Sequence[int] | None = None,
        fixed: str | None = None,
    ):
        super().__init__(network, names, rank, alpha, layers, fixed)
        last = nn.Linear(hidden or embedding, self.adapted, bias=False)
        nn.init.zeros_(last.weight)
        first = [] if hidden is None else [nn.Linear(embedding, hidden), nn.GELU()]
        self.generator = nn.Sequential(*first, last).to(network.device)
        self.register_buffer("mean", torch.zeros(embedding, device=network.device))
        self.register_buffer("std", torch.ones(embedding, device=network.device))

    def standardise(self, embeddings: Tensor) -> None:
        """Take the mean and standard deviation of the training embeddings (utterances, size) for z."""
        self._check(embeddings)
        self.mean.copy_(embeddings.mean(0))
        least = 1e-3 * float(embeddings.std(correction=0)) + 1e-6
        self.std.copy_(embeddings.std(0, correction=0).clamp_min(least))

    def update(self, embeddings: Tensor | None = None) -> LowRank:
        """Embeddings (batch, size) to the update of each utterance; HyperLoraError for another size."""
        self._check(embeddings)
        z = (embeddings.to(self.mean) - self.mean) / self.std
        return self.assemble(self.shared + self.generator(z / math.sqrt(len(self.mean))))

    def _check(self, embeddings: Tensor | None) -> None:
        size = len(self.mean)
        shape = None if embeddings is None else tuple(embeddings.shape)
        if shape is None or len(shape) != 2 or shape[1] != size or shape[0] == 0:
            raise HyperLoraError(
                f"The hypernetwork takes one embedding of {size} numbers per utterance and got "
                f"{'none' if shape is None else f'shape {shape}'}: give (utterances, {size})."
            )


def budget(adaptation: Adaptation, network: WhisperForConditionalGeneration) -> dict[str, float]:
    """Generated (adapted) and trained parameters, and each as a share of the network's parameters in %."""
    whole = sum(p.numel() for p in network.model.parameters())
    numbers = {"generated_parameters": adaptation.adapted, "trainable_parameters": count(adaptation)}
    shares = {name.replace("parameters", "share"): 100.0 * number / whole for name, number in numbers.items()}
    return numbers | shares


def _put(network: nn.Module, path: str, parameter: nn.Parameter) -> None:
    module, leaf = path.rsplit(".", 1)
    setattr(network.get_submodule(module), leaf, parameter)


def _check_side(side: str | None) -> str | None:
    if side not in (None, *SIDES):
        raise HyperLoraError(f"Whisper has no side {side!r}: choose encoder, decoder or None for both.")
    return side


def _on_side(side: str | None, path: str) -> bool:
    return side is None or path.startswith(f"model.{side}.")
