"""What a profile trains, as `lib.workflow.estimate` times it: each model at its size, and a step of it on a random batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib import study, text
from lib.papers.ht.systems import UNTRAINED, assemble, system_of
from lib.training.loop import TrainConfig

SYMBOLS_PER_SECOND = 14  # phonemes, stress marks, spaces and punctuation of English at a reader's pace
SECONDS = {"libritts": 5.8, "vctk": 3.6, "embedded": 3.5}  # mean utterance: 53.8 h of 33 236; 44 h of 44 070; ours
WHISPER = {  # channels, layers on each side, heads (Radford et al. 2022, table 1)
    "tiny": (384, 4, 6),
    "base": (512, 6, 8),
    "small": (768, 12, 12),
    "medium": (1024, 24, 16),
    "large": (1280, 32, 20),
}
TOKENS = 30  # of a transcript


@dataclass(frozen=True)
class Stage:
    """Trainings of one kind: `trainings` times `config.steps` steps of what `build(device, batch)` gives.

    build: a device and a batch size to the model and a function that returns one batch's loss.
    """

    paper: str
    name: str
    trainings: int
    config: TrainConfig
    build: Callable[[str, int], tuple[nn.Module, Callable[[], Tensor]]]


def stages(profile: dict) -> Iterator[Stage]:
    """What a profile trains, in the order of the papers; systems that cost the same are one stage."""
    yield from hypertts(profile)
    yield from recognisers(profile)
    yield from pruned(profile)
    yield from diffusions(profile)
    if profile["vocoder_training"]["chapter"]:
        yield own_vocoder(profile)


def hypertts(profile: dict) -> Iterator[Stage]:
    """The backbone, and the systems by their method."""
    from lib.models import fastspeech2

    dims = fastspeech2.FastSpeech2Dims.from_dict({"n_symbols": len(text.SYMBOLS), **profile["backbone"]})

    def build(system: dict, role: str):
        def make(device: str, size: int):
            model = assemble(fastspeech2.FastSpeech2(dims), system).to(device).train()
            batch = speech_batch(size, seconds_of(profile, role), dims.n_mels, device)
            return model, lambda: fastspeech2.loss(model(batch), batch)["total"]

        return make

    backbone = TrainConfig.from_dict(profile["pretrain"])
    yield Stage("HT", "backbone", 1, backbone, build({"name": "backbone", "method": "backbone"}, "pretraining"))
    adapt = TrainConfig.from_dict({k: v for k, v in profile["adapt"].items() if k != "learning_rates"})
    kinds: dict[str, list[str]] = {}
    for system, runs in runs_by_system(profile, "HT").items():
        method = profile["systems"][system]["method"]
        if method not in UNTRAINED:
            kinds.setdefault(method, []).extend([system] * runs)
    for method, systems in kinds.items():
        yield Stage("HT", method, len(systems), adapt, build(system_of(profile, systems[0]), "adaptation"))


def recognisers(profile: dict) -> Iterator[Stage]:
    """Adaptations of Whisper's decoder on encoder states that are kept, and those that train its encoder too."""
    section = profile["ha"]
    shared = {key: value for key, value in section["train"].items() if key != "rates"} | {"learning_rate": 1e-4}
    kinds: dict[tuple, int] = {}
    for name, runs in runs_by_system(profile, "HA").items():
        system = section["systems"][name]
        if system["method"] != "none":
            own = {key: system[key] for key in ("steps", "batch_size") if key in system}
            config = TrainConfig.from_dict(shared | own)
            kinds[through_encoder(system), config] = kinds.get((through_encoder(system), config), 0) + runs
    for (encoder, config), runs in kinds.items():
        name = f"{'encoder and decoder' if encoder else 'decoder'}, batches of {config.batch_size}"
        yield Stage("HA", name, runs, config, whisper_step(section, encoder))


def through_encoder(system: dict) -> bool:
    """Whether gradients of a system of the HA study reach Whisper's encoder."""
    if system["method"] in ("full", "bias"):
        return system.get("side") != "decoder"
    return any(target.startswith("encoder") for target in system.get("targets", []))


def whisper_step(section: dict, encoder: bool):
    """A step of a Whisper of the profile's size with random weights."""
    from lib.models.whisper.model import Encoded
    from lib.models.whisper.training import decoder_logits

    size = (section["whisper"].get("name") or "base").split("/")[-1].removeprefix("whisper-")
    channels, layers, heads = WHISPER.get(size.split(".")[0].split("-")[0], WHISPER["base"])
    positions = 50 * section["context"]

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
            logits = decoder_logits(network, tokens, Encoded(heard, torch.zeros(positions, device=device)))
            return nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())

        return network, loss

    return make


def pruned(profile: dict) -> Iterator[Stage]:
    """StyleSpeech's systems by their rule of attention and size, and the common start where they have one."""
    from lib.papers.sp.systems import COST, DENSE, Systems

    bench = Systems(profile, "cpu")
    section = bench.settings

    def build(name: str):
        def make(device: str, size: int):
            model = bench.build(name).to(device).train()
            model.at_step(10**9)  # the last phase is the longest
            batch = speech_batch(size, seconds_of(profile, "pretraining"), profile["features"]["n_mels"], device)
            return model, lambda: model.loss(model(batch), batch)["total"]

        return make

    if not section["from_scratch"]:
        yield Stage("SP", DENSE, 1, TrainConfig.from_dict(section["dense"]), build(DENSE))
    kinds: dict[tuple, list[str]] = {}
    for name, runs in runs_by_system(profile, "SP").items():
        entry = section["systems"][name]
        if entry["method"] != COST.removeprefix("attention_"):
            kinds.setdefault((entry["method"], str(entry.get("model", ""))), []).extend([name] * runs)
    for (method, sizes), names in kinds.items():
        config = TrainConfig.from_dict({**section["train"], **section["systems"][names[0]].get("train", {})})
        yield Stage("SP", f"{method} {sizes}".strip(), len(names), config, build(names[0]))


def diffusions(profile: dict) -> Iterator[Stage]:
    """The diffusions of the LD study, and the encoder that undoes the frozen voice's decoder."""
    from lib.methods.latent_diffusion import PROCESSES, LatentDiffusion
    from lib.models.denoiser import DenoiserDims
    from lib.models.vits import model as vits
    from lib.papers.ld.data import Lab
    from lib.papers.ld.posterior import mel_distance, training

    section = profile["ld"]
    inverse = training(section["posterior"], 0, "channels", "layers", "frames", "styled", "segment")

    def encoder(device: str, size: int):
        voice, own = Lab(profile, device).vits, section["posterior"]
        hop, latent, frames = voice.dims.hop, voice.dims.latent, own["frames"]
        model = vits.PosteriorEncoder(latent, own["channels"], 5, own["layers"]).to(device)
        z, waves = torch.randn(size, latent, frames, device=device), torch.randn(size, frames * hop, device=device) / 9
        styled = max(1, own["styled"] * size // own["batch_size"])
        restyled = torch.randn(styled, 2 * own["segment"] * hop, device=device) / 9
        lengths = torch.full((size,), frames, device=device)

        def loss() -> Tensor:
            latents = vits.inversion_loss(voice, model, z, lengths, waves)["latent"]
            return latents + mel_distance(voice, voice.decoder, model, restyled, own["segment"])

        return model, loss

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

    kinds: dict[str, int] = {}
    for name, runs in runs_by_system(profile, "LD").items():
        system = section["systems"][name]
        if system["method"] in PROCESSES and "weights_of" not in system:
            kinds[system["method"]] = kinds.get(system["method"], 0) + runs
    for method, runs in kinds.items():
        yield Stage("LD", f"diffusion ({method})", runs, config, diffusion(method))


def own_vocoder(profile: dict) -> Stage:
    """The study's HiFi-GAN: both sides' losses in one backward pass, which costs what the two of a real step do."""
    from lib.models.hifigan_critics import adversarial_loss, critic_loss, feature_loss
    from lib.models.mel import MelDims
    from lib.papers.common.vocoder import Training, VocoderConfig

    settings, dims = VocoderConfig.of(profile), MelDims(**profile["features"])
    shared = {name: getattr(settings, name) for name in ("steps", "batch_size", "learning_rate", "precision")}

    def make(device: str, size: int):
        training = Training(settings, dims, device).train()
        mel = torch.randn(size, dims.n_mels, settings.frames, device=device)
        wave = torch.randn(size, settings.frames * dims.hop, device=device) / 9

        def loss() -> Tensor:
            made, real = training.generator(mel), training.critics(wave)
            against = critic_loss(real, training.critics(made.detach()))
            judged = training.critics(made)
            return against + adversarial_loss(judged) + feature_loss(real, judged)

        return training, loss

    return Stage("all", "vocoder", 1, TrainConfig(**shared), make)


def runs_by_system(profile: dict, paper: str) -> dict[str, int]:
    """How often a paper's systems run: once for each of their seeds."""
    counts: dict[str, int] = {}
    for run in sorted(study.expected_runs(profile, paper)):
        system = run.split("-")[1]
        counts[system] = counts.get(system, 0) + 1
    return counts


def seconds_of(profile: dict, role: str) -> float:
    """Mean length of an utterance of a role's corpus."""
    named = str(profile["corpus"].get(role, "embedded"))
    return SECONDS.get(named.split()[0], SECONDS["embedded"])


def speech_batch(size: int, seconds: float, n_mels: int, device: str) -> dict[str, Tensor]:
    """A batch as `Features.batch` gives it: `size` utterances of `seconds`, all numbers random."""
    symbols, frames = max(2, round(seconds * SYMBOLS_PER_SECOND)), round(seconds * 62.5)
    durations = torch.full((size, symbols), frames // symbols)
    durations[:, : frames % symbols] += 1
    batch = {
        "symbols": torch.randint(1, len(text.SYMBOLS), (size, symbols)),
        "durations": durations,
        "pitch": torch.randn(size, symbols),
        "energy": torch.randn(size, symbols),
        "mel": torch.randn(size, frames, n_mels),
        "speaker": nn.functional.normalize(torch.rand(size, 256), dim=1),
        "symbol_lengths": torch.full((size,), symbols),
        "frame_lengths": torch.full((size,), frames),
    }
    return {name: value.to(device) for name, value in batch.items()}
