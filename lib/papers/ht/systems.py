"""The systems of the HyperTTS study as models: a backbone and what adapts it, by the names of a profile."""

import copy

from torch import Tensor, nn

from lib.methods.conditioning import ConcatenationAdapters, ConditionalLayerNorm, PrefixTuning, lora_rank
from lib.methods.hypertts import HyperAdapters, StaticAdapters, count
from lib.models.fastspeech2 import FastSpeech2
from lib.models.fft_block import NO_HOOKS, Hooks

ALTERNATIVES = {
    "concatenation": ConcatenationAdapters,
    "layer_norm": ConditionalLayerNorm,
    "prefix": PrefixTuning,
}
UNTRAINED = ("none", "recording", "vocoded_recording")


class TTSError(ValueError):
    """A system or checkpoint that cannot be used; the message names it and the fix."""


def system_of(profile: dict, name: str) -> dict:
    """A system's entry in the profile, with its name. Raises TTSError naming the systems there are."""
    if name == "backbone":
        return {"name": name, "method": "backbone"}
    if name not in profile["systems"]:
        raise TTSError(f"there is no system {name!r}: choose one of {', '.join(profile['systems'])}")
    return {"name": name, **profile["systems"][name]}


class Adapted(nn.Module):
    """A backbone and the module, if any, that adapts it to the batch's speakers."""

    def __init__(self, backbone: FastSpeech2, adapter: nn.Module | None = None):
        super().__init__()
        self.backbone, self.adapter = backbone, adapter

    def hooks(self, speaker: Tensor) -> Hooks:
        return NO_HOOKS if self.adapter is None else self.adapter.hooks(speaker)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.backbone(batch, self.hooks(batch["speaker"]))

    def synthesise(self, symbols: Tensor, lengths: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols `(batch, symbols)` and speakers `(batch, 256)` to log-mel and frame counts."""
        return self.backbone.synthesise(symbols, lengths, speaker, self.hooks(speaker))


def assemble(backbone: FastSpeech2, system: dict) -> Adapted:
    """The untrained system on a copy of the backbone, with a gradient on what its method trains."""
    backbone, method = copy.deepcopy(backbone), system["method"]
    if method in ("none", "backbone", "finetune"):
        return Adapted(backbone).requires_grad_(method != "none")
    backbone.requires_grad_(False)
    if method == "lora":
        return Adapted(_with_lora(backbone, system))
    return Adapted(backbone, _adapter(backbone, system))


def _adapter(backbone: FastSpeech2, system: dict) -> nn.Module:
    method, modules = system["method"], system["modules"]
    if method == "adapter":
        return StaticAdapters(backbone.sites(modules), system.get("bottleneck", 32))
    if method == "hypernetwork":
        names = ("bottleneck", "d_s", "layer_embedding", "biases", "init_std")
        sites = {module: backbone.sites(module) for module in modules}
        return HyperAdapters(sites, speaker=backbone.dims.speaker, **{k: system[k] for k in names if k in system})
    if method not in ALTERNATIVES:
        raise TTSError(f"{system['name']}: unknown method {method!r}: choose adapter, hypernetwork, lora, finetune, "
                       f"none, {', '.join(ALTERNATIVES)}")  # fmt: skip
    adapter = ALTERNATIVES[method](backbone.sites(modules), _budget(backbone, system), backbone.dims.speaker)
    return adapter.bind(backbone) if hasattr(adapter, "bind") else adapter


def _budget(backbone: FastSpeech2, system: dict) -> int:
    """Trainable parameters of the hypernetwork that the system is compared with."""
    return count(_adapter(backbone, {**system, "method": "hypernetwork"}))


def _with_lora(backbone: FastSpeech2, system: dict) -> FastSpeech2:
    from peft import LoraConfig, inject_adapter_in_model

    rank = lora_rank(backbone.sites(system["modules"]), _budget(backbone, system))
    parts = {"e": "encoder", "d": "decoder"}
    blocks = "|".join(parts[module] for module in system["modules"])
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=rf"({blocks})\.\d+\.attention\.(query|key|value|out)"
    )
    return inject_adapter_in_model(config, backbone)
