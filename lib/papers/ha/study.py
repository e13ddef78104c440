"""Adapting Whisper to atypical speech: train a system of the profile, transcribe the test utterances, write rows.

    python -m lib.papers.ha.study prepare --profile demo
    python -m lib.papers.ha.study run --profile demo --system hyper --seed 0
    torchrun --nproc-per-node 8 -m lib.papers.ha.study train --profile full --system hyper --device cuda

`prepare` makes what all runs share: the simulated corpus, the frozen encoder's states and the conditioning
embeddings. A trained system is a safetensors file with the fingerprint of everything it depends on; an interrupted
training goes on from its checkpoint and a finished one is not repeated. Metrics are by test utterance, speakers and
sentences unseen unless the role is adaptation (speakers of the training set, unseen sentences).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from lib import audio, cli, study
from lib.corpora.corpus import Utterance
from lib.files import fingerprint, write_json
from lib.methods.hyperlora import HyperLora, LowRankAdaptation, budget
from lib.metrics import wer
from lib.models.whisper.decoding import transcribe
from lib.models.whisper.model import Encoded
from lib.models.whisper.states import Example
from lib.models.whisper.training import loss
from lib.papers.ha import measure as asr_measure
from lib.papers.ha.data import AsrError, Bench, fill
from lib.papers.ha.systems import EVERYBODY, Systems, build, group_of, rate_of, system_of, training_groups
from lib.pretrained import hub_id
from lib.study.units import unit
from lib.training import parallel
from lib.training.loop import BucketedBatches, History, TrainConfig, fit, seed_everything
from lib.training.weights import is_kept, keep, saved_state

LONGEST_KEPT = 12.0  # s of audio kept for a player


def prepare(profile: dict, device: str = "auto", cores: int | None = None) -> None:
    """Make what all runs of a profile share, and R/prepared/ha.json, which says what that is."""
    started, bench = time.time(), Bench(profile, device, cores)
    fill(bench)
    write_json(
        bench.root / "prepared" / "ha.json",
        {
            "corpus": bench.corpus.hash,
            "utterances": len(bench.utterances),
            "set_aside": [*bench.corpus.set_aside, *bench.set_aside],
            "whisper": bench.model.pretrained.manifest(),
            "states": bench.identity,
            "seconds": round(time.time() - started, 1),
        },
    )


def run(profile: dict, system: str, seed: int, device: str = "auto") -> pd.DataFrame:
    """Train a system if need be, measure it, write the run's rows and manifest; returns the rows."""
    started, bench = time.time(), Bench(profile, device)
    spec, run_id = system_of(bench.settings, system), f"ha-{system}-s{seed}"
    trained = None if spec["method"] == "none" else train(bench, system, seed)
    began = time.time()
    items, texts = recognise(bench, spec, trained)
    tables = [scores(items, texts)]
    facts = {"transcription_seconds": round(time.time() - began, 2)}
    if trained is not None:
        counts, more = sizes(bench, run_id, trained)
        tables, facts = [*tables, counts], facts | more
    first = seed == bench.settings["seeds"][0]
    if first and system in bench.settings["evaluate"]["angles"]["systems"]:
        tables.append(asr_measure.angles(bench, trained.of(EVERYBODY)))
    if first and spec["method"] == "none":
        tables.append(asr_measure.probes(bench))
        keep_audio(bench, run_id)
    if first and trained is not None:
        export(bench, trained, bench.root / "adapters" / run_id)
    keep_transcripts(bench.root / "transcripts" / f"{run_id}.json", items, texts)
    rows = pd.concat(tables, ignore_index=True).assign(**factors(bench, spec, trained), seed=seed)
    study.write_rows(rows, run_id, profile)
    study.write_manifest(
        run_id,
        profile,
        bench.settings,
        started,
        seed=seed,
        device=bench.device,
        corpus=bench.corpus.name,
        data_hash=bench.corpus.hash,
        pretrained={"whisper": bench.model.pretrained.manifest()},
        texts={item.utterance: item.text for item in chosen_for_players(bench)},
        set_aside=bench.set_aside,
        **facts,
    )
    return rows


def ensure(profile: dict, device: str = "auto") -> None:
    """Prepare and run whatever the profile expects and has no manifest yet (a notebook opened on its own)."""
    missing = sorted(study.expected_runs(profile, "HA") - set(study.read_manifests(profile, "HA")))
    if missing:
        prepare(profile, device)
    for run_id in missing:
        _, system, seed = run_id.split("-")
        run(profile, system, int(seed.removeprefix("s")), device)


def train(bench: Bench, name: str, seed: int) -> Systems:
    """A trained system, from its safetensors file where that is there. Raises AsrError for bad settings or data."""
    system, path = system_of(bench.settings, name), bench.root / "checkpoints" / f"ha-{name}-s{seed}.safetensors"
    groups = training_groups(bench, system)
    config = train_config(bench, system, seed)
    mark = fingerprint(bench.identity, system, vars(config), bench.device.split(":")[0], sorted(groups))
    seed_everything(seed)
    systems = build(bench, system, groups)
    if is_kept(path, mark):
        systems.load_state_dict(load_file(path), strict=False)
        return systems.eval()
    history = _fit(bench, systems, groups, config, path.with_suffix(".resume.pt"), mark)
    facts = {"system": system, "seed": seed, "speed": history.speed, "history": history}
    keep(path, saved_state(systems), mark, facts)
    return systems.eval()


def train_config(bench: Bench, system: dict, seed: int) -> TrainConfig:
    """The profile's training settings with what the system sets itself."""
    section = {key: value for key, value in bench.settings["train"].items() if key != "rates"}
    section |= {key: system[key] for key in ("steps", "batch_size", "checkpoint_every") if key in system}
    return TrainConfig.from_dict(section | {"learning_rate": rate_of(bench.settings, system)}, seed=seed)


@dataclass(frozen=True)
class StatesRead:
    """The encoder states of one batch, read ahead, in the place of the cache they came from."""

    encoded: Encoded

    def read(self, examples: Sequence[Example]) -> Encoded:
        return self.encoded


def _fit(
    bench: Bench, systems: Systems, groups: dict[str, list[Utterance]], config: TrainConfig, resume: Path, mark: str
) -> History:
    """Train every group's adaptation; steps are shared between the groups in turn."""
    system, names = systems.system, list(groups)
    examples = {group: [bench.examples[u.utterance] for u in items] for group, items in groups.items()}
    samplers = {
        group: BucketedBatches(np.array([len(e.wave) for e in mine]), config.batch_size, config.seed)
        for group, mine in examples.items()
    }
    table = bench.embeddings(system["conditioning"], system["embedding"]) if system["method"] == "hyper" else None

    def batch_at(step: int) -> dict:
        group = names[step % len(names)]
        batch = [examples[group][index] for index in samplers[group](step // len(names))]
        mine = parallel.share(len(batch)).of(batch)
        states = bench.cache if systems.of(group).changes_encoder else StatesRead(bench.cache.read(mine))
        return {"group": group, "examples": batch, "states": states}

    def total(batch: dict) -> dict[str, torch.Tensor]:
        def of_some(some: dict) -> dict[str, torch.Tensor]:
            own = None if table is None else torch.stack([table[example.name] for example in some["examples"]])
            return loss(bench.model, some["examples"], batch["states"], systems.of(batch["group"]), own)

        written = torch.tensor([len(example.tokens or ()) + 1.0 for example in batch["examples"]])
        return parallel.mean(of_some, {"examples": batch["examples"]}, written)

    systems.train()
    label = f"ha-{system['name']}-s{config.seed}"
    return fit(systems, total, batch_at, config, resume, mark, bench.device, label)


def recognise(bench: Bench, system: dict, systems: Systems | None) -> tuple[list[Utterance], list[str]]:
    """The test utterances that a system is measured on, and its transcripts.

    A system with an adaptation for each cohort or speaker hears its own cohorts or speakers only, and one trained
    without a cohort hears only that cohort.
    """
    tested = bench.select(split="test")
    if "without" in system:
        tested = [item for item in tested if item.condition == system["without"]]
    table = bench.embeddings(system["conditioning"], system["embedding"]) if system["method"] == "hyper" else None
    items, texts = [], []
    for group in systems.names if systems else [EVERYBODY]:
        mine = [u for u in tested if systems is None or group_of(system, u) == group]
        if not mine:
            continue
        own = None if table is None else torch.stack([table[item.utterance] for item in mine])
        texts += transcribe(
            bench.model,
            [bench.examples[item.utterance] for item in mine],
            bench.cache,
            systems.of(group) if systems else None,
            own,
            beams=bench.settings["evaluate"]["beams"],
        )
        items += mine
    if not items:
        raise AsrError(f"{system['name']}: there are no test utterances; check the corpus's roles and splits")
    return items, texts


def scores(items: list[Utterance], texts: list[str]) -> pd.DataFrame:
    """WER, CER and error counts of every utterance: tidy columns."""
    values = wer.compare(texts, [item.text for item in items])
    wide = pd.DataFrame(values).assign(**describe(items))
    long = wide.melt(id_vars=list(describe([])), var_name="metric", value_name="value")
    return long.assign(unit=long["metric"].map(unit))


def describe(items: list[Utterance]) -> dict[str, list]:
    """The factor columns of test utterances."""
    return {
        "utterance": [u.utterance for u in items],
        "speaker": [u.speaker for u in items],
        "role": [u.role for u in items],
        "split": [u.split for u in items],
        "cohort": [u.condition for u in items],
        "severity": [u.recipe.get("severity") for u in items],
    }


def sizes(bench: Bench, run_id: str, systems: Systems) -> tuple[pd.DataFrame, dict]:
    """Rows of the adapted (generated) and trained weights, in numbers and in % of Whisper's; and training facts."""
    facts = json.loads((bench.root / "checkpoints" / f"{run_id}.json").read_text())
    history = facts["history"]
    counts = budget(systems.parts[0], bench.model.network)
    whole = sum(p.numel() for p in bench.model.network.model.parameters())
    trained = sum(p.numel() for p in systems.parameters())
    values = counts | {
        "trainable_parameters": float(trained),
        "trainable_share": 100.0 * trained / whole,
        "seconds_trained": history[-1]["seconds"],
        "final_loss": history[-1]["total"],
    }
    rows = [{"metric": k, "value": float(v), "unit": unit(k)} for k, v in values.items()]
    return pd.DataFrame(rows), {"speed": facts.get("speed"), "history": history, "whisper_parameters": whole}


def factors(bench: Bench, system: dict, systems: Systems | None) -> dict:
    """The factor columns that all rows of a system share; x is the adapted share of Whisper's weights in %."""
    part = systems.parts[0] if systems else None
    low_rank = isinstance(part, LowRankAdaptation)
    return {
        "method": system["method"],
        "system": system["name"],
        "modules": ", ".join(system.get("targets", [])) or system.get("side"),
        "trainable": sum(p.numel() for p in systems.parameters()) if systems else 0,
        "rank": part.rank if low_rank else None,
        "x": budget(part, bench.model.network)["generated_share"] if systems else 0.0,
    }


def export(bench: Bench, systems: Systems, folder: Path) -> Path | None:
    """Write a system's low-rank update as a PEFT checkpoint: `folder`, or a folder in it for each of several groups.

    Of a hypernetwork, the update made for the first test utterance. None for methods that are not low-rank.
    """
    if not all(isinstance(part, LowRankAdaptation) for part in systems.parts):
        return None
    for group, part in zip(systems.names, systems.parts, strict=True):
        own = None
        if isinstance(part, HyperLora):
            table = bench.embeddings(systems.system["conditioning"], systems.system["embedding"])
            own = table[bench.select(split="test")[0].utterance][None]
        place = folder if len(systems.names) == 1 else folder / group
        with torch.no_grad():
            part.update(own).export(place, base_model(bench.settings["whisper"]))
    return folder


def base_model(given: dict) -> str:
    """What a PEFT checkpoint names as its model: the folder that the profile gives, or the hub's id."""
    return str(given["path"]) if given.get("path") else hub_id(given["name"]).partition("@")[0]


def keep_transcripts(path: Path, items: list[Utterance], texts: list[str]) -> None:
    """Write the transcripts: utterance to reference, hypothesis, role, cohort and severity."""
    columns = describe(items)
    facts = {"role": columns["role"], "cohort": columns["cohort"], "severity": columns["severity"]}
    records = {
        item.utterance: {"reference": item.text, "hypothesis": text} | {k: v[i] for k, v in facts.items()}
        for i, (item, text) in enumerate(zip(items, texts, strict=True))
    }
    write_json(path, records)


def chosen_for_players(bench: Bench) -> list[Utterance]:
    """Test utterances whose audio is kept: of each condition, the severest never-seen speakers' first."""
    order = {"severe": 0, "moderate": 1, "mild": 2}
    chosen: list[Utterance] = []
    for condition in dict.fromkeys(item.condition for item in bench.utterances):
        mine = [u for u in bench.select("never_seen", "test") if u.condition == condition and u.seconds < LONGEST_KEPT]
        firsts = {item.speaker: item for item in reversed(mine)}
        ranked = sorted(firsts.values(), key=lambda u: (order.get(u.recipe.get("severity"), 3), u.utterance))
        chosen += ranked[: bench.settings["evaluate"]["players"]]
    return chosen


def keep_audio(bench: Bench, run_id: str) -> None:
    for item in chosen_for_players(bench):
        audio.write(bench.root / "audio" / run_id / f"{item.utterance}.wav", bench.corpus.wave(item))


def main() -> None:
    """Prepare a profile, run one of its systems, or only train it (which torchrun may spread over GPUs).

    To prepare, `--threads` are processes.
    """
    about = "Adapt Whisper to atypical speech."
    options = cli.options("lib.papers.ha.study", about, steps=("prepare", "run", "train"), system="whisper_0")
    with cli.told():
        profile = study.load_profile(options.profile)
        if options.step == "prepare":
            prepare(profile, options.device, options.threads)
        elif options.step == "run":
            run(profile, options.system, options.seed, options.device)
        else:
            with parallel.joined(options.device) as device:
                bench = Bench(profile, device, options.threads)
                with parallel.in_turn():
                    fill(bench)
                train(bench, options.system, options.seed)


if __name__ == "__main__":
    main()
