"""How long adaptations of Whisper take: on encoder states that are kept, and through its encoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lib.models.whisper.model import Decoder, Encoded
from lib.study.cost import Stage, kinds
from lib.training.loop import TrainConfig

WHISPER = {  # channels, layers on each side, heads (Radford et al. 2022, table 1)
    "tiny": (384, 4, 6),
    "base": (512, 6, 8),
    "small": (768, 12, 12),
    "medium": (1024, 24, 16),
    "large": (1280, 32, 20),
}
TOKENS = 30  # of a transcript


def stages(profile: dict) -> Iterator[Stage]:
    section = profile["ha"]
    shared = {key: value for key, value in section["train"].items() if key != "rates"} | {"learning_rate": 1e-4}

    def kind(name: str) -> tuple[bool, TrainConfig, str] | None:
        system = section["systems"][name]
        own = {key: system[key] for key in ("steps", "batch_size") if key in system}
        whisper = (system.get("whisper") or section["whisper"]).get("name") or "base"
        return (
            None
            if system["method"] == "none"
            else (through_encoder(system), TrainConfig.from_dict(shared | own), whisper)
        )

    for (encoder, config, whisper), _, runs in kinds(profile, "HA", kind):
        name = f"{'encoder and decoder' if encoder else 'decoder'} of Whisper {whisper}, batches of {config.batch_size}"
        yield Stage("HA", name, runs, config, whisper_step(whisper, section["context"], encoder))


def through_encoder(system: dict) -> bool:
    """Whether gradients of a system of the HA study reach Whisper's encoder."""
    if system["method"] in ("full", "bias"):
        return system.get("side") != "decoder"
    return any(target.startswith("encoder") for target in system.get("targets", []))


def whisper_step(name: str, context: int, encoder: bool):
    """A step of a Whisper of this name's size with random weights; context in seconds."""
    size = name.split("/")[-1].removeprefix("whisper-").split(".")[0].split("-")[0]
    channels, layers, heads = WHISPER.get(size, WHISPER["base"])
    positions = 50 * context

    def make(device: str, batch: int):
        from transformers import WhisperConfig, WhisperForConditionalGeneration

        sizes = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * channels}
        both = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sizes.items()}
        config = WhisperConfig(vocab_size=51864, d_model=channels, max_source_positions=positions, **both)
        network = WhisperForConditionalGeneration(config).to(device).train()
        if not encoder:
            network.requires_grad_(False)
            for layer in network.model.decoder.layers:
                layer.fc1.requires_grad_(True)
        mel = torch.randn(batch, config.num_mel_bins, 2 * positions, device=device)
        states = torch.randn(batch, positions, channels, device=device)
        tokens = torch.randint(50000, (batch, TOKENS), device=device)

        def loss() -> Tensor:
            heard = network.model.encoder(mel).last_hidden_state if encoder else states
            logits = Decoder(network, Encoded(heard, torch.zeros(positions, device=device))).read(tokens)
            return nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())

        return network, loss

    return make
