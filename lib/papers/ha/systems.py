"""The recognisers of the HA study by the names of a profile: which adaptation, of what size, for whom.

    none      Whisper as it is
    full      fine-tuning of everything, or of one side
    matrices  fine-tuning of whole matrices
    bias      fine-tuning of the biases
    lora      a learned low-rank update of some matrices
    hyper     a hypernetwork that makes such an update for each utterance from its embedding

A system has one adaptation for everybody, or one for each cohort or speaker (`level`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lib.corpora.corpus import Utterance
from lib.methods import hyperlora
from lib.methods.hyperlora import Adaptation, HyperLora, StaticLora
from lib.papers.ha.data import AsrError, Bench

METHODS = ("none", "full", "matrices", "bias", "lora", "hyper")
LEVELS = ("all", "cohort", "speaker")
KEYS = {
    *("name", "method", "targets", "budget", "rank", "level", "conditioning", "embedding", "hidden", "side", "without"),
    *("steps", "batch_size", "rate", "checkpoint_every"),
}
LARGEST_RANK = 64
EVERYBODY = "all"


@dataclass(frozen=True)
class Size:
    """Rank, layers (from the end, None for all) and fixed factor of a low-rank update, and its weights."""

    rank: int
    layers: tuple[int, ...] | None
    fixed: str | None
    weights: int


def system_of(settings: dict, name: str) -> dict:
    """A system's entry in the profile, with its name and defaults. Raises AsrError for what cannot be built."""
    if name not in settings["systems"]:
        raise AsrError(f"there is no system {name!r}: choose one of {', '.join(settings['systems'])}")
    system = {"name": name, "level": EVERYBODY, **settings["systems"][name]}
    unknown = sorted(set(system) - KEYS)
    if unknown or system.get("method") not in METHODS or system["level"] not in LEVELS:
        what = unknown[0] if unknown else f"{system.get('method')}, level {system['level']}"
        raise AsrError(f"{name}: {what} is unknown; methods are {', '.join(METHODS)}, levels {', '.join(LEVELS)}")
    if system["method"] in ("lora", "hyper") and ("budget" in system) == ("rank" in system):
        raise AsrError(f"{name}: give either a budget (% of the network's weights) or a rank")
    if system["method"] == "hyper":
        system = {"conditioning": "whisper", "embedding": "utterance", "hidden": None} | system
    return system


def size_for(network: nn.Module, targets: Sequence[str], percent: float) -> Size:
    """The low-rank update of `targets` whose weights come closest to `percent` of the network's.

    Rank and number of layers (counted from the last) are free. Below one rank of one layer, one of the two factors
    stays at its random draw, so the smallest possible is the shorter side of one matrix. Of equally close sizes the
    one with more layers is taken. Raises HyperLoraError for a name that means no matrix.
    """
    whole = sum(p.numel() for p in network.model.parameters())
    wanted = percent / 100 * whole
    sites = [site_shape(path, linear) for path, linear in hyperlora.find(network, targets).items()]
    numbers = sorted({layer for layer, _, _ in sites}, reverse=True)
    found: list[tuple[float, int, Size]] = []
    for count in range(1, len(numbers) + 1):
        mine = [(out, into) for layer, out, into in sites if layer in numbers[:count]]
        for fixed, per_rank in (
            (None, sum(out + into for out, into in mine)),
            ("A", sum(out for out, _ in mine)),
            ("B", sum(into for _, into in mine)),
        ):
            most = min(LARGEST_RANK, *(min(pair) for pair in mine)) if fixed is None else 1
            rank = min(max(round(wanted / per_rank), 1), most)
            layers = None if count == len(numbers) else tuple(-1 - index for index in range(count))
            miss = abs(torch.tensor(rank * per_rank / wanted).log().item())
            found.append(
                (round(miss, 2) + (0.05 if fixed else 0.0), -count, Size(rank, layers, fixed, rank * per_rank))
            )
    return min(found, key=lambda entry: entry[:2])[2]


def site_shape(path: str, linear: nn.Linear) -> tuple[int, int, int]:
    """Layer number, output and input size of a matrix of Whisper by its path."""
    return int(path.split(".layers.")[1].split(".")[0]), linear.out_features, linear.in_features


class Systems(nn.Module):
    """The adaptations of one system by group: "all", a cohort's name or a speaker's."""

    def __init__(self, system: dict, parts: dict[str, Adaptation]):
        super().__init__()
        self.system, self.names = system, list(parts)
        self.parts = nn.ModuleList(parts.values())

    def of(self, group: str) -> Adaptation | None:
        return self.parts[self.names.index(group)] if group in self.names else None

    @property
    def adapted(self) -> int:
        """Weights that take part for one utterance."""
        return self.parts[0].adapted


def group_of(system: dict, item: Utterance) -> str:
    """The group of a system that an utterance belongs to."""
    return {"all": EVERYBODY, "cohort": item.condition, "speaker": item.speaker}[system["level"]]


def training_groups(bench: Bench, system: dict) -> dict[str, list[Utterance]]:
    """The training utterances of each group. Raises AsrError for a cohort with one speaker, and for no utterances."""
    chosen = [u for u in bench.select("adaptation", "train") if u.condition != system.get("without")]
    if not chosen:
        raise AsrError(f"{system['name']}: there are no training utterances; check the corpus's roles and splits")
    groups: dict[str, list[Utterance]] = {}
    for item in chosen:
        groups.setdefault(group_of(system, item), []).append(item)
    if system["level"] == "cohort":
        for cohort, items in groups.items():
            speakers = {item.speaker for item in items}
            if len(speakers) < 2:
                raise AsrError(
                    f"The cohort {cohort} has one training speaker ({speakers.pop()}): a cohort's adaptation needs two "
                    "or more, adapt to the speaker instead (level: speaker)."
                )
    if system["level"] == "speaker":
        kept = individuals(bench)
        groups = {name: items for name, items in groups.items() if name in kept}
    return groups


def individuals(bench: Bench) -> list[str]:
    """The speakers who get a LoRA of their own: training speakers with a test sentence, cohorts in turn, the
    severest first."""
    tested = {item.speaker: item for item in bench.select("adaptation", "test")}
    severity = {"severe": 0, "moderate": 1, "mild": 2}
    by_cohort: dict[str, list[Utterance]] = {}
    for item in sorted(tested.values(), key=lambda u: severity.get(u.recipe.get("severity"), 3)):
        by_cohort.setdefault(item.condition, []).append(item)
    queues, chosen = list(by_cohort.values()), []
    while any(queues) and len(chosen) < bench.settings["evaluate"]["individual"]:
        chosen += [queue.pop(0).speaker for queue in queues if queue]
    return chosen[: bench.settings["evaluate"]["individual"]]


def build(bench: Bench, system: dict, groups: dict[str, list[Utterance]]) -> Systems:
    """The untrained adaptations of a system, a hypernetwork's standardised on the training embeddings."""
    parts = {}
    for group, items in groups.items():
        adaptation = _adaptation(bench, system)
        if isinstance(adaptation, HyperLora):
            table = bench.embeddings(system["conditioning"], system["embedding"])
            adaptation.standardise(torch.stack([table[item.utterance] for item in items]))
        parts[group] = adaptation
    return Systems(system, parts).to(bench.device)


def _adaptation(bench: Bench, system: dict) -> Adaptation:
    network = bench.model.network
    if system["method"] == "full":
        return hyperlora.full_fine_tuning(network, system.get("side"))
    if system["method"] == "bias":
        return hyperlora.bias_only(network, system.get("side"))
    targets = system["targets"]
    if system["method"] == "matrices":
        return hyperlora.matrix_fine_tuning(network, targets)
    if "rank" in system:
        options = {"rank": system["rank"]}
    else:
        size = size_for(network, targets, system["budget"])
        options = {"rank": size.rank, "layers": size.layers, "fixed": size.fixed}
    if system["method"] == "lora":
        return StaticLora(network, targets, **options)
    table = bench.embeddings(system["conditioning"])
    width = len(next(iter(table.values())))
    return HyperLora(network, width, targets, hidden=system["hidden"], **options)


def rate_of(settings: dict, system: dict) -> float:
    """The learning rate of a system: its own, or its method's."""
    kind = {"matrices": "full"}.get(system["method"], system["method"])
    if kind == "hyper":
        kind = "hyper_mlp" if system["hidden"] else "hyper_linear"
    return system.get("rate") or settings["train"]["rates"][kind]
