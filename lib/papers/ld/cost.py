"""How long trainings in VITS's latent space take: the encoder that undoes its decoder, and the diffusions."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lib.methods.latent_diffusion import PROCESSES, LatentDiffusion
from lib.models.denoiser import DenoiserDims
from lib.models.vits import model as vits
from lib.papers.ld.posterior import encode, mel_distance, training
from lib.papers.ld.systems import POSTERIOR, Systems
from lib.study.cost import Stage, kinds


def stages(profile: dict) -> Iterator[Stage]:
    section = profile["ld"]
    inverse = training(section["posterior"], 0, "channels", "layers", "frames", "styled", "segment")

    def encoder(device: str, size: int):
        voice, own = Systems(profile, device).vits, section["posterior"]
        hop, latent, frames = voice.dims.hop, voice.dims.latent, own["frames"]
        model = vits.PosteriorEncoder(latent, own["channels"], 5, own["layers"]).to(device)
        z, waves = torch.randn(size, latent, frames, device=device), torch.randn(size, frames * hop, device=device) / 9
        styled = max(1, own["styled"] * size // own["batch_size"])
        restyled = torch.randn(styled, 2 * own["segment"] * hop, device=device) / 9
        lengths = torch.full((size,), frames, device=device)

        def loss() -> Tensor:
            likelihood = vits.inversion_loss(voice, model, z, lengths, waves)
            found = encode(voice, model, restyled)
            return likelihood + mel_distance(voice, voice.decoder, found, restyled, own["segment"])

        return model, loss

    if not Systems(profile).shipped(POSTERIOR):
        yield Stage("LD", "posterior encoder", 1, inverse, encoder)
    config = training(section["diffusion"], 0, "frames")
    condition = 512 if section["clap"]["model"] == "laion" else section["clap"]["dims"]["size"]
    dims = DenoiserDims(condition=condition, **section["denoiser"])

    def diffusion(method: str):
        def make(device: str, size: int):
            frames = section["diffusion"]["frames"]
            model = LatentDiffusion(PROCESSES[method](**section["processes"][method]), dims, section["drop_condition"])
            model = model.to(device).train()
            batch = {key: torch.randn(size, dims.latent, frames, device=device) for key in ("z_text", "z_audio")}
            batch |= {"frames": torch.full((size,), frames, device=device)}
            batch |= {"condition": torch.randn(size, condition, device=device)}
            return model, lambda: model.loss(batch)["total"]

        return make

    def method(name: str) -> str | None:
        system = section["systems"][name]
        return system["method"] if system["method"] in PROCESSES and "weights_of" not in system else None

    for used, _, runs in kinds(profile, "LD", method):
        yield Stage("LD", f"diffusion ({used})", runs, config, diffusion(used))
