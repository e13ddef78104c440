"""The recognisers of the HA study by the names of a profile: which adaptation, of what size, for whom.

    none      Whisper as it is
    full      fine-tuning of everything, or of one side
    matrices  fine-tuning of whole matrices
    bias      fine-tuning of the biases
    lora      a learned low-rank update of some matrices
    hyper     a hypernetwork that makes such an update for each utterance from its embedding

A system has one adaptation for everybody, or one for each cohort or speaker (`level`), of the profile's Whisper or of
one of its own (`whisper`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.corpora.corpus import Utterance
from lib.files import fingerprint
from lib.methods import hyperlora
from lib.methods.hyperlora import Adaptation, HyperLora, StaticLora
from lib.models.speaker import SIZE
from lib.models.whisper.model import Encoded
from lib.models.whisper.states import Example
from lib.models.whisper.training import loss
from lib.papers.ha.data import AsrError, Recordings
from lib.study import watch
from lib.study.part import Part
from lib.training import parallel
from lib.training.loop import BucketedBatches, TrainConfig

METHODS = ("none", "full", "matrices", "bias", "lora", "hyper")
LEVELS = ("all", "cohort", "speaker")
OF_METHODS = {  # keys of a system's entry that only some methods have
    **{"targets": ("matrices", "lora", "hyper"), "side": ("full", "bias")},
    **dict.fromkeys(("budget", "rank"), ("lora", "hyper")),
    **dict.fromkeys(("conditioning", "embedding", "hidden"), ("hyper",)),
}
KEYS = {*OF_METHODS, "name", "method", "level", "without", "steps", "batch_size", "rate", "checkpoint_every", "whisper"}
LARGEST_RANK = 64
EVERYBODY = "all"
HEARD = 8  # utterances heard together
SEVEREST = {"severe": 0, "moderate": 1, "mild": 2}  # an order of utterances by the severity in their recipe


class Systems(Recordings):
    """What of the recognisers is trained; `settings` is the profile's section ha."""

    def system(self, name: str) -> dict:
        """A system's entry in the profile, with its name and defaults. Raises AsrError for what cannot be built."""
        system = {"level": EVERYBODY, **super().system(name)}
        unknown = sorted(set(system) - KEYS)
        if unknown or system.get("method") not in METHODS or system["level"] not in LEVELS:
            what = unknown[0] if unknown else f"{system.get('method')}, level {system['level']}"
            raise AsrError(f"{name}: {what} is unknown; methods are {', '.join(METHODS)}, levels {', '.join(LEVELS)}")
        for key in (key for key in system if system["method"] not in OF_METHODS.get(key, METHODS)):
            raise AsrError(
                f"{name}: {key} means nothing to the method {system['method']}: leave it out, or choose a system of "
                f"the method {' or '.join(OF_METHODS[key])}"
            )
        if system["method"] in ("lora", "hyper") and ("budget" in system) == ("rank" in system):
            raise AsrError(f"{name}: give either a budget (% of the network's weights) or a rank")
        if system["method"] == "hyper":
            system = {"conditioning": "whisper", "embedding": "utterance", "hidden": None} | system
        return system

    def study_of(self, name: str) -> Systems:
        """The study that a system runs in: this one, or one like it with the Whisper that is the system's own."""
        given = self.system(name).get("whisper") or self.settings["whisper"]
        if given == self.settings["whisper"]:
            return self
        beside = vars(self).setdefault("_beside", {})
        if (mark := fingerprint(given)) not in beside:
            profile = self.profile | {"ha": self.settings | {"whisper": given}}
            beside[mark] = other = type(self)(profile, self.device, self.cores, self.own)
            other.changed = self.changed
            if "corpus" in vars(self):  # what is not open yet is opened where it is needed
                other.corpus = self.corpus
        return beside[mark]

    def ready(self) -> None:
        for study in {id(study): study for study in (self, *map(self.study_of, self.settings["systems"]))}.values():
            study.fill()

    def part(self, name: str, seed: int) -> Part:
        """A system's adaptations. Raises AsrError for bad settings or data."""
        if (study := self.study_of(name)) is not self:
            return study.part(name, seed)
        system = self.system(name)
        groups, config = self.training_groups(system), self.train_config(system, seed)
        depends = self.identity, system, vars(config), self.device.split(":")[0], sorted(groups)

        def start(model: Adaptations) -> tuple[Callable, Callable]:
            batches = Batches(self, model, groups, config)
            return batches, batches.losses

        def unseen(model: Adaptations, losses: Callable) -> Callable[[], float] | None:
            heard = self.select("adaptation", "validation") or self.select("adaptation", "test")
            found: dict[str, list[Utterance]] = {}
            for item in watch.some(heard):
                if (group := group_of(system, item)) in model.names:
                    found.setdefault(group, []).append(item)
            return Batches(self, model, found, config).mean if found else None

        return Part(config, depends, lambda: self.build(system, groups).train(), start, unseen=unseen)

    def train_config(self, system: dict, seed: int) -> TrainConfig:
        """The profile's training settings with what the system sets itself; the rate is its own or its method's."""
        section = {key: value for key, value in self.settings["train"].items() if key != "rates"}
        section |= {key: system[key] for key in ("steps", "batch_size", "checkpoint_every") if key in system}
        kind = {"matrices": "full"}.get(system["method"], system["method"])
        if kind == "hyper":
            kind = "hyper_mlp" if system["hidden"] else "hyper_linear"
        rate = system.get("rate") or self.settings["train"]["rates"][kind]
        return TrainConfig.from_dict(section | {"learning_rate": rate}, seed=seed)

    def training_groups(self, system: dict) -> dict[str, list[Utterance]]:
        """The training utterances of each group. Raises AsrError for a cohort with one speaker, and for none at all."""
        if system["method"] == "none":
            raise AsrError(f"{system['name']} is Whisper as it is: there is nothing to train, choose another system")
        chosen = [u for u in self.select("adaptation", "train") if u.condition != system.get("without")]
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
                        f"The cohort {cohort} has one training speaker ({speakers.pop()}): a cohort's adaptation needs "
                        "two or more, adapt to the speaker instead (level: speaker)."
                    )
        if system["level"] == "speaker":
            kept = self.individuals()
            groups = {name: items for name, items in groups.items() if name in kept}
        return groups

    def individuals(self) -> list[str]:
        """The speakers who get a LoRA of their own: training speakers with a test sentence, cohorts in turn, the
        severest first."""
        tested = {item.speaker: item for item in self.select("adaptation", "test")}
        by_cohort: dict[str, list[Utterance]] = {}
        for item in sorted(tested.values(), key=severity_of):
            by_cohort.setdefault(item.condition, []).append(item)
        queues, chosen = list(by_cohort.values()), []
        while any(queues) and len(chosen) < self.settings["evaluate"]["individual"]:
            chosen += [queue.pop(0).speaker for queue in queues if queue]
        return chosen[: self.settings["evaluate"]["individual"]]

    def build(self, system: dict, groups: dict[str, list[Utterance]]) -> Adaptations:
        """The untrained adaptations of a system, a hypernetwork's standardised on the training embeddings."""
        hyper = system["method"] == "hyper"
        table = self.embeddings(system["conditioning"], system["embedding"]) if hyper else {}
        parts = {group: adaptation(self.model.network, system) for group in groups}
        for group, items in groups.items() if hyper else ():
            parts[group].standardise(torch.stack([table[item.utterance] for item in items]))
        return Adaptations(system, parts).to(self.device)

    def conditions(self, system: dict, names: Sequence[str]) -> Tensor | None:
        """The embeddings (utterances, size) that a hypernetwork is given; None for other methods."""
        if system["method"] != "hyper":
            return None
        table = self.embeddings(system["conditioning"], system["embedding"])
        return torch.stack([table[name] for name in names])


def adaptation(network: nn.Module, entry: dict) -> Adaptation:
    """The untrained adaptation that a system's entry describes."""
    if entry["method"] == "full":
        return hyperlora.full_fine_tuning(network, entry.get("side"))
    if entry["method"] == "bias":
        return hyperlora.bias_only(network, entry.get("side"))
    targets = entry["targets"]
    if entry["method"] == "matrices":
        return hyperlora.matrix_fine_tuning(network, targets)
    size = entry if "rank" in entry else vars(size_for(network, targets, entry["budget"]))
    options = {name: size.get(name) for name in ("rank", "layers", "fixed")}
    if entry["method"] == "lora":
        return StaticLora(network, targets, **options)
    width = SIZE if entry.get("conditioning") == "ge2e" else network.config.d_model
    return HyperLora(network, width, targets, hidden=entry.get("hidden"), **options)


class Adaptations(nn.Module):
    """The adaptations of one system by group: "all", a cohort's name or a speaker's."""

    def __init__(self, system: dict, parts: dict[str, Adaptation]):
        super().__init__()
        self.system, self.names = system, list(parts)
        self.parts = nn.ModuleList(parts.values())

    def of(self, group: str) -> Adaptation | None:
        return self.parts[self.names.index(group)] if group in self.names else None


@dataclass(frozen=True)
class StatesRead:
    """The encoder states of one batch, read ahead, in the place of the cache they came from."""

    encoded: Encoded

    def read(self, examples: Sequence[Example]) -> Encoded:
        return self.encoded


class Batches:
    """Training batches of a system, a function of the step alone; steps are shared between its groups in turn."""

    def __init__(self, study: Systems, model: Adaptations, groups: dict[str, list[Utterance]], config: TrainConfig):
        self.study, self.model, self.names = study, model, list(groups)
        self.examples = {group: [study.examples[u.utterance] for u in items] for group, items in groups.items()}
        self.samplers = {
            group: BucketedBatches(np.array([len(e.wave) for e in mine]), config.batch_size, config.seed)
            for group, mine in self.examples.items()
        }
        named = [example.name for mine in self.examples.values() for example in mine]
        own = study.conditions(model.system, named)
        self.table = None if own is None else dict(zip(named, own, strict=True))

    def __call__(self, step: int) -> dict:
        group = self.names[step % len(self.names)]
        batch = [self.examples[group][index] for index in self.samplers[group](step // len(self.names))]
        mine, cache = parallel.share(len(batch)).of(batch), self.study.cache
        states = cache if self.model.of(group).changes_encoder else StatesRead(cache.read(mine))
        return {"group": group, "examples": batch, "states": states}

    def losses(self, batch: dict) -> dict[str, Tensor]:
        """Cross-entropy of a batch's transcripts, nats a token."""
        part = self.model.of(batch["group"])

        def of_some(some: dict) -> dict[str, Tensor]:
            own = None if self.table is None else torch.stack([self.table[e.name] for e in some["examples"]])
            return loss(self.study.model, some["examples"], batch["states"], part, own)

        written = torch.tensor([len(example.tokens or ()) + 1.0 for example in batch["examples"]])
        return parallel.mean(of_some, {"examples": batch["examples"]}, written)

    @torch.no_grad()
    def mean(self) -> float:
        """Mean cross-entropy of all utterances in evaluation mode, each by its group's adaptation."""
        self.model.eval()
        chunks = [
            {"group": group, "examples": mine[start : start + HEARD], "states": self.study.cache}
            for group, mine in self.examples.items()
            for start in range(0, len(mine), HEARD)
        ]
        total = sum(float(self.losses(chunk)["total"]) * len(chunk["examples"]) for chunk in chunks)
        self.model.train()
        return total / sum(map(len, self.examples.values()))


def group_of(system: dict, item: Utterance) -> str:
    """The group of a system that an utterance belongs to."""
    return {"all": EVERYBODY, "cohort": item.condition, "speaker": item.speaker}[system["level"]]


def severity_of(item: Utterance) -> int:
    """A place in an order from severe to unknown."""
    return SEVEREST.get(item.recipe.get("severity"), 3)


@dataclass(frozen=True)
class Size:
    """Rank, layers (from the end, None for all) and fixed factor of a low-rank update, and its weights."""

    rank: int
    layers: tuple[int, ...] | None
    fixed: str | None
    weights: int


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
