"""A laboratory for the HyperTTS systems: any sentence by any trained system in any voice, heard and seen at once.

Systems are read from the checkpoints of a profile and never trained here, except in the smoke profile, where that
takes seconds.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from lib import text
from lib.corpora.corpus import Utterance
from lib.methods.hypertts import HyperAdapters, StaticAdapters
from lib.metrics import is_silent
from lib.metrics.cos import SHORTEST, against
from lib.models import vocoder
from lib.models.fastspeech2 import FastSpeech2
from lib.models.layers import attention_scores
from lib.papers.ht.speech import enrolment
from lib.papers.ht.style import label
from lib.papers.ht.systems import BACKBONE, RECORDED, Adapted, Systems, assemble
from lib.study.heard import ExploreError, Heard, Panel, attention_panels, speech_panel, transcript, untrained
from lib.training.weights import load_weights


def trained(study: Systems) -> list[str]:
    """The systems that can speak: those with a checkpoint, and all in smoke, where they are trained if asked."""
    return [name for name in study.settings["systems"] if not missing(study, name, study.settings["seeds"][0])]


def missing(study: Systems, name: str, seed: int) -> str:
    """Why a system cannot speak yet, in one sentence, or "". Raises TTSError for a system that there is not."""
    method = study.system(name)["method"]
    if method in RECORDED:
        return f"{name} is no model, it reads the recordings: choose a system that speaks"
    if method == "generated":
        return f"{name} is no model, it measures what hypernetworks generate: choose a system that speaks"
    if study.profile["name"] == "smoke":
        return ""
    own = untrained(study, name, seed) if study.has_weights(name) else ""
    return untrained(study, BACKBONE, 0) or own


def load(study: Systems, name: str, seed: int) -> Adapted:
    """A system as its checkpoint holds it, in evaluation mode; trained now in the smoke profile only.

    Raises ExploreError for a system that has not been trained, WeightsError for a checkpoint of another model.
    """
    if reason := missing(study, name, seed):
        raise ExploreError(reason)
    if study.profile["name"] == "smoke":
        return study.restore(name, seed)
    start = Adapted(FastSpeech2(study.dims))
    load_weights(start, study.checkpoint(BACKBONE, 0))
    model = assemble(start.backbone, study.system(name))
    if study.has_weights(name):
        load_weights(model, study.checkpoint(name, seed))
    return model.to(study.device).eval()


def with_d_s(study: Systems, name: str, d_s: int) -> str:
    """The system that differs from a hypernetwork's in d_s alone. Raises ExploreError where there is none."""
    wanted = {**study.system(name), "d_s": d_s}
    for other, entry in study.settings["systems"].items():
        if {**entry, "name": name} == wanted:
            return other
    raise ExploreError(f"there is no {name} with d_s = {d_s}: choose one of {', '.join(map(str, sizes(study, name)))}")


def sizes(study: Systems, name: str) -> list[int]:
    """The d_s of all hypernetworks that differ from this one in d_s alone; nothing for another method."""
    mine = {key: value for key, value in study.system(name).items() if key not in ("name", "d_s")}
    same = [e for e in study.settings["systems"].values() if {k: v for k, v in e.items() if k != "d_s"} == mine]
    return sorted(entry["d_s"] for entry in same) if mine["method"] == "hypernetwork" else []


def voice(study: Systems, speaker: str, other: str | None = None, share: float = 0.0) -> Tensor:
    """A speaker's enrolment embedding `(256,)`, or a voice between two: `share` of the other's, unit norm."""
    if other is None or share == 0:
        return enrolment(study, [speaker])[0]
    one, two = enrolment(study, [speaker, other])
    return torch.nn.functional.normalize((1 - share) * one + share * two, dim=0)


def speak_hypertts(
    study: Systems, system: str, seed: int, utterance: Utterance, other: str | None = None, share: float = 0.0
) -> Heard:
    """A sentence in its speaker's voice, or in a voice that is `share` of the way to another speaker's.

    Shows log-mel and F0 of it and of the recording where there is one, the decoder's attention, and the weights
    that the system adds: of a hypernetwork those made for this voice and how they differ from the mean over all
    speakers. Raises ExploreError for a system that has not been trained.
    """
    model, embedding = load(study, system, seed), voice(study, utterance.speaker, other, share)
    symbols = torch.tensor(text.encode(utterance.phonemes))[None]
    inputs = (symbols, torch.tensor([symbols.shape[1]]), embedding[None])
    with watched({f"decoder block {i + 1}": b.attention for i, b in enumerate(model.backbone.decoder)}) as seen:
        mel, frames = model.synthesise(*(tensor.to(study.device) for tensor in inputs))
    wave = vocoder.load(study.profile["vocoder"], study.mel, study.device)(mel, frames)[0]
    named = utterance.speaker if share == 0 or other is None else f"{utterance.speaker}, {100 * share:.0f} % {other}"
    panels = [[speech_panel(wave, study.mel, f"{label(system)} as {named}")]]
    beside = {"recording": study.corpus.wave(utterance)} if utterance.seconds else {}
    panels += [[speech_panel(beside["recording"], study.mel, f"recording of {utterance.speaker}")]] if beside else []
    panels += [attention_panels(seen, 1 / study.mel.frames_per_second), *weight_panels(study, model, embedding)]
    return Heard(
        title=f"{label(system)}, seed {seed}, in the voice of {named}",
        wave=wave,
        text=utterance.text,
        panels=[row for row in panels if row],
        transcripts=[transcript(wave, utterance.text, device=study.device)],
        beside=beside,
        facts=_facts(study, model, wave, embedding),
        mel=study.mel,
    )


@torch.no_grad()
def _facts(study: Systems, model: Adapted, wave: np.ndarray, embedding: Tensor) -> dict[str, str]:
    facts = {"length": f"{len(wave) / study.mel.rate:.2f} s"}
    if len(wave) >= SHORTEST and not is_silent(wave):
        unit = torch.nn.functional.normalize(embedding, dim=0)[None].numpy()
        facts["COS to the voice asked for"] = f"{against([wave], unit, study.device)[0]:.1f}"
    if isinstance(model.adapter, HyperAdapters):
        facts["weights made for the voice"] = str(model.adapter.generated(embedding[None].to(study.device)).shape[1])
    return facts


@contextmanager
def watched(attentions: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Weights `(heads, queries, keys)` of self-attentions in the last pass inside, of a batch's first utterance."""
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, arguments: tuple, output: Tensor) -> None:
            with torch.no_grad():
                seen[name] = self_attention(module, *arguments)[0].float().cpu()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in attentions.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def self_attention(module: nn.Module, x: Tensor, mask: Tensor, prefix: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) of `lib.models.fft_block.SelfAttention`: `(batch, heads, queries, keys)`.

    x `(batch, length, channels)`, mask `(batch, length)`; a prefix's keys come before the block's own.
    """
    query, key = module.query(x), module.key(x)
    if prefix is not None:
        key = torch.cat([prefix[0], key], 1)
        mask = torch.cat([mask.new_ones(len(mask), prefix[0].shape[1]), mask], 1)
        query = torch.nn.functional.pad(query, (0, 0, prefix[0].shape[1], 0))
    q, k = (t.unflatten(-1, (module.heads, -1)).transpose(1, 2) for t in (query, key))
    weights = torch.softmax(attention_scores(q, k, mask), -1)
    return weights[:, :, weights.shape[2] - x.shape[1] :]


@torch.no_grad()
def weight_panels(study: Systems, model: Adapted, embedding: Tensor) -> list[list[Panel]]:
    """The down-projections W_d that a system adds, one picture per layer; of a hypernetwork their deviation as well.

    The deviation is from the mean of what it makes for every speaker of the corpus. Nothing for other methods.
    """
    if isinstance(model.adapter, StaticAdapters):
        sites = list(model.adapter.adapters.items())[-4:]
        return [[_matrix(f"W_d, {site_name(site)}, all voices", adapter.down.weight.T) for site, adapter in sites]]
    if not isinstance(model.adapter, HyperAdapters):
        return []
    everybody = enrolment(study, study.corpus.speakers()).to(study.device)
    rows: list[list[Panel]] = []
    for module, network in model.adapter.networks.items():
        sites = model.adapter.site_names[module][-4:]
        first = network.layers - len(sites)
        mine = network(embedding[None].to(study.device))["down"][0, first:]
        mean = network(everybody)["down"].mean(0)[first:]
        rows.append([_matrix(f"W_d, {site_name(site)}", weights) for site, weights in zip(sites, mine, strict=True)])
        parts = zip(sites, mine - mean, strict=True)
        rows.append([_matrix(f"{site_name(site)}: from the mean", weights) for site, weights in parts])
    return rows


def site_name(site: str) -> str:
    """A site in words: "d0" is "decoder 1", "pitch1" is "pitch 2"."""
    part = {"e": "encoder", "d": "decoder"}.get(site[:-1], site[:-1])
    return f"{part} {int(site[-1]) + 1}"


def _matrix(title: str, weights: Tensor) -> Panel:
    return Panel("weights", title, weights.float().cpu().numpy(), names=("Bottleneck", "Channel"))
