"""Weights that differ within a batch, and encoder states that are kept, against doing without."""

from __future__ import annotations

import copy
import tempfile

import torch
from torch import Tensor

from lib.methods.hypertts import Adapter, Hypernetwork, apply_adapter
from lib.methods.low_rank import LowRank
from lib.models.whisper import sizes as whisper
from lib.models.whisper.model import Decoder
from lib.models.whisper.states import EncoderStates, encode_with_gradients, prepare
from lib.models.whisper.training import teacher_forcing
from lib.workflow.benchmarks import Bound, Comparison, Speech

RANK = 4
TOKENS = 24
FRAMES = 200
CHANNELS, LAYERS = 256, 6  # the decoder of HyperTTS's backbone
BATCH = 16
CONTEXT = 5.0


def lora_peft(speech: Speech, device: str) -> Comparison:
    """One LoRA per utterance on W1 of Whisper's decoder: batched products against PEFT's `adapter_names`."""
    model = whisper.load("tiny.en", device)
    decoder, size = model.network.model.decoder, len(speech)
    generator = torch.Generator().manual_seed(0)
    states = torch.cat([model.encode(speech.waves[i : i + BATCH], CONTEXT).states for i in range(0, size, BATCH)])
    tokens = torch.randint(0, 50000, (size, TOKENS), generator=generator).to(device)
    paths = [f"layers.{layer}.fc1" for layer in range(len(decoder.layers))]
    wide, narrow = decoder.layers[0].fc1.weight.shape
    factors = {
        path: (
            torch.randn(size, RANK, narrow, generator=generator).to(device) / narrow**0.5,
            torch.randn(size, wide, RANK, generator=generator).to(device) / wide**0.5,
        )
        for path in paths
    }
    update, names = LowRank(factors), [f"utterance_{i}" for i in range(size)]
    prepared: dict = {}

    @torch.inference_mode()
    def plain() -> Tensor:
        return decoder(input_ids=tokens, encoder_hidden_states=states, use_cache=False).last_hidden_state

    def ours() -> Tensor:
        with update.applied(decoder):
            return plain()

    @torch.inference_mode()
    def theirs() -> Tensor:
        if not prepared:
            prepared["model"] = _with_peft(decoder, factors, names)
        settings = {"encoder_hidden_states": states, "use_cache": False, "adapter_names": names}
        return prepared["model"](input_ids=tokens, **settings).last_hidden_state

    shape = ("LoRA of each utterance", "PEFT, adapter_names", f"{size} utterances, {TOKENS} tokens", ("peft",))
    bound = Bound("the decoder without any LoRA", plain)
    return Comparison(*shape, ours, theirs, _largest, 1e-3, "of any hidden state", bound)


def _with_peft(decoder: torch.nn.Module, factors: dict[str, tuple[Tensor, Tensor]], names: list[str]):
    """A copy of the decoder in PEFT's hands, with one LoRA adapter per utterance."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["fc1"])
    model = get_peft_model(copy.deepcopy(decoder), config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    for path, (down, up) in factors.items():
        layer = model.base_model.model.get_submodule(path)
        for index, name in enumerate(names):
            layer.lora_A[name].weight.data.copy_(down[index])
            layer.lora_B[name].weight.data.copy_(up[index])
    return model.to(decoder.device).eval()


def hypernetwork_loop(speech: Speech, device: str) -> Comparison:
    """The adapters that HyperTTS generates for a decoder's layers: the batch at once, or utterance by utterance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Hypernetwork(LAYERS, CHANNELS, init_std=0.03).to(device).eval()
        hidden = torch.randn(len(speech), FRAMES, CHANNELS).to(device)
        speakers = torch.nn.functional.normalize(torch.rand(len(speech), 256), dim=1).to(device)
        static = torch.nn.Sequential(*(Adapter(CHANNELS) for _ in range(LAYERS))).to(device)

    def adapt(embeddings: Tensor, h: Tensor) -> Tensor:
        weights = network(embeddings)
        for layer in range(LAYERS):
            h = apply_adapter(h, weights, layer)
        return h

    @torch.inference_mode()
    def ours() -> Tensor:
        return adapt(speakers, hidden)

    @torch.inference_mode()
    def theirs() -> Tensor:
        return torch.cat([adapt(speakers[i : i + 1], hidden[i : i + 1]) for i in range(len(speech))])

    @torch.inference_mode()
    def shared() -> Tensor:
        return static(hidden)

    size = f"{len(speech)} utterances, {FRAMES} frames"
    names = ("Hypernetwork adapters", "a loop over the batch", size, ("torch",))
    bound = Bound("static adapters, one for all utterances", shared)
    return Comparison(*names, ours, theirs, _largest, 1e-3, "of any hidden state", bound)


def encoder_states_kept(speech: Speech, device: str) -> Comparison:
    """An epoch's forward passes of Whisper's decoder: encoder states read from files, or computed again.

    The files hold float16, so the logits differ in the third digit.
    """
    model, folder = whisper.load("tiny.en", device), tempfile.TemporaryDirectory()
    kept = EncoderStates(model, folder.name, batch_size=BATCH)
    examples = [prepare(model, str(i), speech.waves[i], speech.texts[i], CONTEXT) for i in range(len(speech))]
    batches = [examples[i : i + BATCH] for i in range(0, len(examples), BATCH)]
    for batch in batches:
        kept.read(batch)

    def epoch(encode) -> list[Tensor]:
        tokens = [teacher_forcing(model, batch)[0] for batch in batches]
        return [Decoder(model.network, encode(b)).read(t).amax(-1) for t, b in zip(tokens, batches, strict=True)]

    @torch.inference_mode()
    def ours() -> list[Tensor]:
        return epoch(kept.read)

    @torch.inference_mode()
    def theirs() -> list[Tensor]:
        return epoch(lambda batch: encode_with_gradients(model, batch))

    inputs = [(teacher_forcing(model, batch)[0], kept.read(batch)) for batch in batches]

    @torch.inference_mode()
    def decoder_alone() -> list[Tensor]:
        return [Decoder(model.network, states).read(tokens) for tokens, states in inputs]

    def difference(a: list[Tensor], b: list[Tensor]) -> float:
        return max(_largest(x, y) for x, y in zip(a, b, strict=True))

    names = ("Whisper decoder, states kept", "states computed again", speech.describe(), ("torch",))
    bound = Bound("the decoder alone", decoder_alone)
    return Comparison(*names, ours, theirs, difference, 0.1, "of any largest logit", bound, folder)


def _largest(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")


ROWS = (lora_peft, hypernetwork_loop, encoder_states_kept)
