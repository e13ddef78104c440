"""A laboratory for atypical speech recognition: make a sentence atypical, hear it, read it with and without adaptation.

Systems are read from the checkpoints of a profile and never trained here. All atypical speech is simulated.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.disorders import corpus as simulated
from lib.corpora.disorders.corpus import Job
from lib.corpora.disorders.profile import SEVERITIES, draw_profile
from lib.methods.hyperlora import Adaptation, HyperLora, LowRankAdaptation
from lib.models import speaker
from lib.models.mel import MelDims
from lib.models.whisper.decoding import transcribe
from lib.models.whisper.model import HOP, RATE, Whisper
from lib.models.whisper.states import EncoderStates, Example, log_weights, mean_states, prepare
from lib.papers.ha.systems import Adaptations, Systems, group_of
from lib.study.heard import ExploreError, Heard, Panel, against, speech_panel, untrained
from lib.training.weights import load_weights

CONDITIONS = simulated.CONDITIONS
SHOWN = 4  # adapted matrices
FINEST = 96  # rows and columns of a matrix's picture


def trained(study: Systems, seed: int = 0) -> list[str]:
    """The systems that can be read with: Whisper as it is, and those with a checkpoint."""
    return [name for name in study.settings["systems"] if not missing(study, name, seed)]


def missing(study: Systems, name: str, seed: int) -> str:
    """Why a system cannot be used yet, in one sentence, or "". Raises AsrError for a system that there is not."""
    return "" if study.system(name)["method"] == "none" else untrained(study, name, seed)


def load(study: Systems, name: str, seed: int) -> Adaptations | None:
    """A system as its checkpoint holds it, in evaluation mode; None for Whisper as it is.

    Raises ExploreError for a system that has not been trained, WeightsError for a checkpoint of another configuration.
    """
    if reason := missing(study, name, seed):
        raise ExploreError(reason)
    system, study = study.system(name), study.study_of(name)
    if system["method"] == "none":
        return None
    model = study.build(system, study.training_groups(system))
    load_weights(model, study.checkpoint(name, seed))
    return model.eval()


def ranks(study: Systems) -> dict[str, str]:
    """What each system adapts in the profile's words: rank or share of the weights, by the system's name."""
    found = {}
    for name, entry in study.settings["systems"].items():
        size = f"rank {entry['rank']}" if "rank" in entry else f"{entry['budget']:g} %" if "budget" in entry else ""
        found[name] = ", ".join(part for part in (entry["method"], size, entry.get("level")) if part)
    return found


def make(
    source: Corpus, utterance: Utterance, condition: str, severity: str, draw: int = 0, snr: float | None = None
) -> tuple[np.ndarray, Utterance]:
    """A recording of `source` as a speaker of a condition and severity would say it, and its manifest entry.

    draw: another number is another speaker of the condition; a mixed one has stuttering and dysarthria. snr: dB of
    room noise, None for none. Raises ExploreError for an unknown condition or severity, and AtypicalError or
    CorpusError where the recording cannot be changed.
    """
    warnings.filterwarnings("ignore", message="pkg_resources")  # pyworld's import says where it is installed
    if condition not in CONDITIONS or severity not in SEVERITIES:
        raise ExploreError(
            f"There is no {severity} {condition}: choose one of {', '.join(CONDITIONS)}, and {', '.join(SEVERITIES)}."
        )
    cohorts = {"typical": (), "mixed": ("stuttering", "dysarthria")}.get(condition, (condition,))
    profiles = tuple(draw_profile(cohort, severity, draw) for cohort in cohorts)
    named = f"{condition}_{severity}_{utterance.utterance}"
    facts = (condition, severity if profiles else "none", utterance, profiles, draw)
    return simulated.make(source, Job(named, utterance.speaker, utterance.role, utterance.split, *facts), snr)


@torch.no_grad()
def hear_atypical(
    study: Systems,
    system: str,
    seed: int,
    utterance: Utterance,
    condition: str = "dysarthria",
    severity: str = "moderate",
    draw: int = 0,
) -> Heard:
    """A recording of the embedded corpus made atypical, read by Whisper as it is and by an adapted one.

    Shows log-mel and F0 before and after, where the last decoder layer listens while it writes, and the updates
    B A of the adapted matrices; of a hypernetwork also what it made for this utterance alone. Raises ExploreError for
    a system that has not been trained or has no adaptation for this condition or speaker.
    """
    model, source, study = load(study, system, seed), study.typical, study.study_of(system)
    wave, item = make(source, utterance, condition, severity, draw, study.settings["corpus"]["snr"])
    adaptation = None if model is None else part_for(model, item)
    example = prepare(study.model, item.utterance, wave, None, study.settings["context"])
    with tempfile.TemporaryDirectory() as folder:
        cache = EncoderStates(study.model, folder)
        own = None if model is None else embedding(model.system, cache, example, study.device)
        before, after = Listening(study.model, example), Listening(study.model, example, adaptation)
        beams = study.settings["evaluate"]["beams"]
        plain = transcribe(study.model, [example], cache, before, beams=beams)[0]
        adapted = transcribe(study.model, [example], cache, after, own, beams)[0] if model else plain
    name, dims = f"Whisper {study.settings['whisper']['name']}", MelDims()
    panels = [[speech_panel(wave, dims, f"{_words(item)}, simulated, voice of {utterance.speaker}")]]
    panels.append([speech_panel(recording := source.wave(utterance), dims, "the recording it was made from")])
    seen = {name: before} | ({f"Whisper with {system}": after} if model else {})
    panels.append([_attention(title, each.rows) for title, each in seen.items()])
    texts = [against(plain, item.text, f"{name} heard")]
    texts += [against(adapted, item.text, f"with {system}")] if model else []
    return Heard(
        title=f"{system}, seed {seed}, hears {_words(item)} (simulated)",
        wave=wave,
        text=item.text,
        panels=[row for row in [*panels, *update_panels(adaptation, own)] if row],
        transcripts=texts,
        beside={"recording": recording},
        facts=_facts(item, adaptation),
        mel=dims,
    )


def part_for(model: Adaptations, item: Utterance) -> Adaptation:
    """A system's adaptation for an utterance. Raises ExploreError where it has none."""
    group = group_of(model.system, item)
    if (found := model.of(group)) is None:
        there = ", ".join(model.names)
        raise ExploreError(f"{model.system['name']} has no adaptation for {group}: choose one of {there}")
    return found


def embedding(system: dict, cache: EncoderStates, example: Example, device: str) -> Tensor | None:
    """The embedding `(1, size)` that a hypernetwork is given for one utterance; None for other methods."""
    if system["method"] != "hyper":
        return None
    if system["conditioning"] == "whisper":
        return mean_states(cache, [example])
    return torch.from_numpy(speaker.embed([example.wave], device)).to(device)


@dataclass
class Listening:
    """An adaptation, or none, that keeps where the last decoder layer listens: `rows`, one per step of the decoding.

    A row is `(positions,)`, the mean over heads, of the positions that hear the utterance, 50 a second. Of a beam
    search it is the first hypothesis's at that step.
    """

    model: Whisper
    example: Example
    adaptation: Adaptation | None = None
    rows: list[Tensor] = field(default_factory=list)

    @property
    def changes_encoder(self) -> bool:
        return self.adaptation is not None and self.adaptation.changes_encoder

    @contextmanager
    def applied(self, network: nn.Module, embeddings: Tensor | None = None) -> Iterator[None]:
        """As `Adaptation.applied`; the hooks come after an update's own and so see its effect."""
        cross, heads = network.model.decoder.layers[-1].encoder_attn, network.config.decoder_attention_heads
        bias, keys = log_weights(self.model, self.example.context), []

        def keep_keys(module: nn.Module, given: tuple, output: Tensor) -> None:
            keys.append(output[0].unflatten(-1, (heads, -1)).transpose(0, 1))

        def keep_row(module: nn.Module, given: tuple, output: Tensor) -> None:
            query = output[0].unflatten(-1, (heads, -1)).transpose(0, 1)
            weights = torch.softmax(query @ keys[-1].mT * query.shape[-1] ** -0.5 + bias, -1)
            self.rows.append(weights.mean(0)[0, : self.example.positions].float().cpu())

        with self.adaptation.applied(network, embeddings) if self.adaptation else nullcontext():
            handles = [cross.k_proj.register_forward_hook(keep_keys), cross.q_proj.register_forward_hook(keep_row)]
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()


def _attention(title: str, rows: list[Tensor]) -> Panel:
    """The rows from the first written token on; the first two are given to every transcript."""
    weights = torch.stack(rows[1:] or rows).numpy()
    step = (1.0, 2 * HOP / RATE)
    return Panel("attention", f"where {title} listens", weights, names=("Time (s)", "Token written"), step=step)


def update_panels(adaptation: Adaptation | None, own: Tensor | None) -> list[list[Panel]]:
    """The updates of up to four adapted matrices, and of a hypernetwork their part that is this utterance's alone.

    That part is the update less the one for the mean training embedding. Nothing for methods that are not low-rank.
    """
    if not isinstance(adaptation, LowRankAdaptation):
        return []
    mine = updates(adaptation, own)
    rows = [[_matrix(f"update, {_place(path)}", weights) for path, weights in mine.items()]]
    if isinstance(adaptation, HyperLora):
        usual = updates(adaptation, adaptation.mean[None])
        rows.append([_matrix(f"{_place(path)}: its own part", mine[path] - usual[path]) for path in mine])
    return rows


def updates(adaptation: LowRankAdaptation, own: Tensor | None) -> dict[str, Tensor]:
    """(alpha / rank) B A of the last adapted matrices for one utterance, `(out, in)`, by path."""
    low_rank = adaptation.update(own)
    return {path: low_rank.delta(path)[0].float().cpu() for path in list(low_rank.factors)[-SHOWN:]}


def _place(path: str) -> str:
    """ "model.decoder.layers.3.fc1" as "decoder 4, fc1"."""
    _, side, _, layer, leaf = path.split(".", 4)
    return f"{side} {int(layer) + 1}, {leaf}"


def _matrix(title: str, weights: Tensor) -> Panel:
    return Panel("weights", title, coarse(weights).numpy(), names=("Block of inputs", "Block of outputs"))


def coarse(weights: Tensor, most: int = FINEST) -> Tensor:
    """A matrix as at most `most` by `most` blocks, each its entry of largest magnitude: what a picture can show."""
    high, wide = (-(-size // most) for size in weights.shape)
    padded = nn.functional.pad(weights, (0, -weights.shape[1] % wide, 0, -weights.shape[0] % high))
    blocks = padded.unfold(0, high, high).unfold(1, wide, wide).flatten(2)
    return blocks.gather(2, blocks.abs().argmax(2, keepdim=True)).squeeze(2)


def _words(item: Utterance) -> str:
    return item.condition if item.condition == "typical" else f"{item.recipe['severity']} {item.condition}"


def _facts(item: Utterance, adaptation: Adaptation | None) -> dict[str, str]:
    facts = {"length": f"{item.seconds:.2f} s", "changes to the speech": str(item.recipe["events"])}
    if adaptation is not None:
        facts["adapted weights"] = str(adaptation.adapted)
    if isinstance(adaptation, LowRankAdaptation):
        facts["rank"] = str(adaptation.rank)
    return facts
