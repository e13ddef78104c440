"""What is measured of a recogniser: transcripts of the test utterances, their errors, and its weights."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from lib.corpora.corpus import Utterance
from lib.files import write_json
from lib.methods.hyperlora import HyperLora, LowRankAdaptation, budget
from lib.metrics import wer
from lib.models.whisper.decoding import transcribe
from lib.papers.ha.data import AsrError
from lib.papers.ha.systems import EVERYBODY, Adaptations, Systems, group_of, severity_of
from lib.pretrained import hub_id
from lib.study.units import unit

LONGEST_KEPT = 12.0  # s of audio kept for a player


def recognise(study: Systems, system: dict, model: Adaptations | None) -> tuple[list[Utterance], list[str]]:
    """The test utterances that a system is measured on, and its transcripts.

    A system with an adaptation for each cohort or speaker hears its own cohorts or speakers only, and one trained
    without a cohort hears only that cohort.
    """
    tested = study.select(split="test")
    if "without" in system:
        tested = [item for item in tested if item.condition == system["without"]]
    items, texts = [], []
    for group in model.names if model else [EVERYBODY]:
        mine = [u for u in tested if model is None or group_of(system, u) == group]
        if not mine:
            continue
        names = [item.utterance for item in mine]
        texts += transcribe(
            study.model,
            [study.examples[name] for name in names],
            study.cache,
            model.of(group) if model else None,
            study.conditions(system, names),
            beams=study.settings["evaluate"]["beams"],
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


def weights(study: Systems, model: Adaptations, trained: dict) -> pd.DataFrame:
    """Rows of the adapted (generated) and trained weights, in numbers and in % of Whisper's, and of the training.

    trained: what training wrote beside the weights.
    """
    count = sum(p.numel() for p in model.parameters())
    last = trained["history"][-1]
    values = budget(model.parts[0], study.model.network) | {
        "trainable_parameters": float(count),
        "trainable_share": 100.0 * count / whisper_parameters(study),
        "seconds_trained": last["seconds"],
        "final_loss": last["total"],
    }
    return pd.DataFrame([{"metric": k, "value": float(v), "unit": unit(k)} for k, v in values.items()])


def whisper_parameters(study: Systems) -> int:
    return sum(p.numel() for p in study.model.network.model.parameters())


def size_factors(study: Systems, model: Adaptations | None) -> dict:
    """The factor columns that tell a system's size; x is the adapted share of Whisper's weights in %."""
    if model is None:
        return {"trainable": 0, "rank": None, "x": 0.0}
    part = model.parts[0]
    rank = part.rank if isinstance(part, LowRankAdaptation) else None
    share = budget(part, study.model.network)["generated_share"]
    return {"trainable": sum(p.numel() for p in model.parameters()), "rank": rank, "x": share}


def export(study: Systems, model: Adaptations, folder: Path) -> Path | None:
    """Write a system's low-rank update as a PEFT checkpoint: `folder`, or a folder in it for each of several groups.

    Of a hypernetwork, the update made for the first test utterance. None for methods that are not low-rank.
    """
    if not all(isinstance(part, LowRankAdaptation) for part in model.parts):
        return None
    for group, part in zip(model.names, model.parts, strict=True):
        own = None
        if isinstance(part, HyperLora):
            own = study.conditions(model.system, [study.select(split="test")[0].utterance])
        place = folder if len(model.names) == 1 else folder / group
        with torch.no_grad():
            part.update(own).export(place, base_model(study.settings["whisper"]))
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


def chosen_for_players(study: Systems) -> list[Utterance]:
    """Test utterances whose audio is kept: of each condition, the severest never-seen speakers' first."""
    chosen: list[Utterance] = []
    for condition in dict.fromkeys(item.condition for item in study.utterances):
        mine = [u for u in study.select("never_seen", "test") if u.condition == condition and u.seconds < LONGEST_KEPT]
        firsts = {item.speaker: item for item in reversed(mine)}
        ranked = sorted(firsts.values(), key=lambda u: (severity_of(u), u.utterance))
        chosen += ranked[: study.settings["evaluate"]["players"]]
    return chosen
