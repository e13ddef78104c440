"""Low-rank updates of a network's matrices, one per utterance of a batch: applied, and written as PEFT checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.files import replace_file, write_json


class HyperLoraError(ValueError):
    """A matrix, rank, embedding or batch that the method cannot use; the sentence says what to choose instead."""


@dataclass(frozen=True)
class LowRank:
    """W' = W + scale B A for the matrices that `factors` names by their path in the network.

    factors: path to (A, B), A (batch, rank, in) and B (batch, out, rank). A batch of 1 serves every utterance.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    scale: float = 1.0

    def delta(self, path: str) -> Tensor:
        """scale B A of one matrix, (batch, out, in)."""
        down, up = self.factors[path]
        return self.scale * up @ down

    @property
    def changes_encoder(self) -> bool:
        """Whether encoder states depend on the update."""
        return any(path.startswith("model.encoder.") for path in self.factors)

    @contextmanager
    def applied(self, network: nn.Module, embeddings: Tensor | None = None) -> Iterator[None]:
        """Inside the block, the named linear layers of `network` compute W' x + bias; embeddings are not used.

        A layer's input is (rows, length, in) or (rows, in), with rows a multiple of the batch: the rows of an
        utterance (the beams of a search, say) lie one after the other. The network is as before after the block.
        """
        handles = []
        try:
            for path, (down, up) in self.factors.items():
                hook = partial(_add_update, path=path, down=down, up=up, scale=self.scale)
                handles.append(network.get_submodule(path).register_forward_hook(hook))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def export(self, folder: str | Path, base_model: str) -> None:
        """Write an update whose batch is 1 as a checkpoint that `PeftModel.from_pretrained` loads.

        folder: gets adapter_model.safetensors and adapter_config.json. base_model: the name or path of the network
        that the update belongs to, as PEFT records it.
        """
        from peft import LoraConfig
        from safetensors.torch import save_file

        down, _ = next(iter(self.factors.values()))
        rank = down.shape[1]
        config = LoraConfig(
            r=rank,
            lora_alpha=self.scale * rank,
            target_modules=sorted(self.factors),
            base_model_name_or_path=base_model,
            inference_mode=True,
        ).to_dict()
        tensors = {}
        for path, pair in self.factors.items():
            for name, factor in zip("AB", pair, strict=True):
                tensors[f"base_model.model.{path}.lora_{name}.weight"] = factor[0].detach().float().cpu().contiguous()
        folder = Path(folder)
        (folder / "adapter_config.json").unlink(
            missing_ok=True
        )  # no moment has one adapter's config and another's weights
        with replace_file(folder / "adapter_model.safetensors") as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
        write_json(
            folder / "adapter_config.json", {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
        )


def _add_update(
    _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, path: str, down: Tensor, up: Tensor, scale: float
) -> Tensor:
    hidden = inputs[0]
    if len(hidden) % len(down) and len(down) > 1:
        raise HyperLoraError(
            f"The updates of {len(down)} utterances met {len(hidden)} rows at {path}: give one embedding per utterance."
        )
    rows = hidden.reshape(len(down), -1, hidden.shape[-1])
    inner = torch.bmm(rows, down.to(hidden.dtype).mT)
    return output + scale * torch.bmm(inner, up.to(inner.dtype).mT).reshape(output.shape)
