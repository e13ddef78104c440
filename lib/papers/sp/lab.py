"""A laboratory for pruned self-attention: any text in the voice of one reference recording, and what attention keeps.

Systems are read from the checkpoints of a profile and never trained here.
"""

import torch
from torch import Tensor

from lib import audio, text
from lib.corpora.corpus import Utterance
from lib.methods.sparse_attention import PrunedTTS
from lib.metrics import cos, is_silent
from lib.models import vocoder
from lib.papers.sp.speech import reference_mel
from lib.papers.sp.systems import COST, DENSE, Systems, saved
from lib.study.heard import ExploreError, Heard, Panel, attention_panels, speech_panel, transcript, untrained
from lib.training.weights import load_weights

SHOWN = 4  # decoder blocks


def trained(study: Systems, seed: int = 0) -> list[str]:
    """The systems that have a checkpoint, by the name of the profile."""
    return [name for name in study.settings["systems"] if name != COST and not missing(study, name, seed)]


def missing(study: Systems, name: str, seed: int) -> str:
    """Why a system cannot speak yet, in one sentence, or ""."""
    if name != DENSE and study.system(name)["method"] == "cost":
        return f"{name} measures what attention costs and cannot speak: choose another system"
    return untrained(study, name, seed)


def ratios(study: Systems) -> dict[float, str]:
    """The learned pruning (DP) that differs in R alone: R to the system's name."""
    found = study.settings["systems"].items()
    plain = {name: entry for name, entry in found if set(entry) == {"method", "ratio"}}
    return dict(sorted((entry["ratio"], name) for name, entry in plain.items() if entry["method"] == "learned"))


def load(study: Systems, name: str, seed: int) -> PrunedTTS:
    """A system as its checkpoint holds it, in evaluation mode and its last phase.

    Raises ExploreError for a system that has not been trained, WeightsError for a checkpoint of another model.
    """
    if reason := missing(study, name, seed):
        raise ExploreError(reason)
    model = study.build(name)
    load_weights(saved(model, name), study.checkpoint(name, seed))
    return model.to(study.device).eval()


@torch.no_grad()
def speak_pruned(
    study: Systems,
    system: str,
    seed: int,
    utterance: Utterance,
    reference: str | None = None,
    seconds: float | None = None,
) -> Heard:
    """A sentence in the voice of one reference recording, by default its own speaker's; `seconds`: so much of it.

    Shows log-mel and F0 of it and of the recording where the reference's speaker said the sentence, and the decoder's
    attention before and after pruning, white where nothing is left. Raises ExploreError for a system that has not been
    trained, ZeroShotError for a speaker with less reference speech than `seconds`.
    """
    model, owner = load(study, system, seed), reference or utterance.speaker
    mel = reference_mel(study, owner, seconds)
    symbols = torch.tensor(text.encode(utterance.phonemes))[None]
    inputs = (symbols, torch.tensor([symbols.shape[1]]), mel[None], torch.tensor([len(mel)]))
    for rule in model.rules.values():
        rule.observed = []
    said, frames = model.synthesise(*(tensor.to(study.device) for tensor in inputs))
    seen = {site: rule.observed[0] for site, rule in model.rules.items() if site[0] == "d"}
    wave = vocoder.load(study.profile["vocoder"], study.mel, study.device)(said, frames)[0]
    recorded = study.corpus.wave(utterance) if utterance.seconds and owner == utterance.speaker else None
    panels = [[speech_panel(wave, study.mel, f"{system} as {owner}")]]
    panels += [] if recorded is None else [[speech_panel(recorded, study.mel, f"recording of {owner}")]]
    first = study.corpus.wave(study.corpus.select(split="train", speaker=owner)[0])
    return Heard(
        title=f"{system}, seed {seed}, after {len(mel) / study.mel.frames_per_second:.1f} s of {owner}",
        wave=wave,
        text=utterance.text,
        panels=[*panels, *_attention(study, seen)],
        transcripts=[transcript(wave, utterance.text, device=study.device)],
        beside={"reference": first} | ({} if recorded is None else {"recording": recorded}),
        facts=_facts(study, model, model.kept({"frame_lengths": frames}, seen), wave, first),
        mel=study.mel,
    )


def _attention(study: Systems, seen: dict[str, tuple[Tensor, Tensor, Tensor | None]]) -> list[list[Panel]]:
    """A row of the decoder's attention before pruning and one after it, where it is pruned at all."""
    step, blocks = 1 / study.mel.frames_per_second, list(seen.items())[:SHOWN]
    dense = {f"block {int(site[1]) + 1}": weights[0].cpu() for site, (weights, _, _) in blocks}
    pruned = {f"block {int(site[1]) + 1}, pruned": weights[0].cpu() for site, (_, weights, _) in blocks}
    changed = any(not torch.equal(before, after) for _, (before, after, _) in blocks)
    return [attention_panels(dense, step)] + ([attention_panels(pruned, step)] if changed else [])


def _facts(study: Systems, model: PrunedTTS, kept: dict, wave, reference) -> dict[str, str]:
    facts = {"length": f"{len(wave) / audio.RATE:.2f} s"}
    if len(wave) >= cos.SHORTEST and not is_silent(wave):
        facts["COS to the reference"] = f"{cos.score([wave], [reference], device=study.device)['cos'][0]:.1f}"
    facts["connections kept in each block"] = ", ".join(f"{100 * share[0]:.0f} %" for share in kept.values())
    if thresholds := model.thresholds():
        facts["θ of each block"] = ", ".join(f"{theta:.2f}" for theta in thresholds.values())
    return facts
