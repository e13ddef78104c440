"""A trained recogniser on new recordings, without training: the shipped hypernetwork, a checkpoint, or a PEFT adapter.

    python -m lib transcribe recording.wav
    python -m lib ship hyper_mlp --profile nonnative      what made data/weights/ha-hyper.safetensors and its card

Shipped weights are float16; the card beside them, a .json of the same name, says what they are, what they were trained
and tested on, how much they gain, and their SHA-256, which is checked.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from lib import audio, study
from lib.methods.hyperlora import Adaptation
from lib.methods.low_rank import HyperLoraError, LowRank
from lib.models import speaker
from lib.models.whisper import sizes
from lib.models.whisper.decoding import transcribe as write_down
from lib.models.whisper.model import Whisper
from lib.models.whisper.states import EncoderStates, mean_states, prepare
from lib.papers.ha.data import AsrError
from lib.papers.ha.systems import EVERYBODY, Adaptations, Systems, adaptation
from lib.study import shipped
from lib.study.claims import select
from lib.study.statistics import Estimate, interval, paired_difference
from lib.training.weights import load_weights

WEIGHTS = shipped.file_of("ha", "hyper")
TRAIN = "python -m lib train ha {} --profile nonnative trains one, or give --weights"
LICENCES = {  # of what the weights were trained on, as the corpus states it
    "speechocean762": "free, also for commercial use (OpenSLR 101, CC BY 4.0; Zhang et al., Interspeech 2021)"
}
FACTS = ("method", "targets", "budget", "rank", "layers", "fixed", "hidden", "conditioning", "embedding", "level")


@dataclass(frozen=True)
class Heard:
    """What Whisper and the adapted one wrote down of a recording; `failed` says why there is neither."""

    recording: Path
    before: str = ""
    after: str = ""
    failed: str = ""


def transcribe(
    recordings: Sequence[Path], system: str = "hyper", weights: Path | None = None, device: str = "cpu"
) -> tuple[list[Heard], dict]:
    """Transcripts of each recording before and after adaptation, and the facts of the weights (`card`).

    A recording that cannot be heard says why in its place. Raises AsrError where there are no weights or they are for
    another Whisper, WeightsError where they are damaged.
    """
    path = Path(weights) if weights is not None else newest(system)
    facts = card(path)
    model = sizes.load(facts["whisper"]["name"], device, facts["whisper"].get("path"))
    if facts["whisper"].get("sha256") not in (None, model.pretrained.sha256):
        raise AsrError(
            f"{path.name} adapts another file of Whisper {facts['whisper']['name']} than the one found here."
        )
    adapted = load(path, facts, model)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        cache = EncoderStates(model, folder)
        for recording in map(Path, recordings):
            try:
                example = prepare(model, recording.name, audio.read(recording), None, facts["context"])
            except ValueError as error:
                found.append(Heard(recording, failed=str(error).replace("; build or fetch the corpus again", "")))
                continue
            own = None
            if facts["system"]["method"] == "hyper":
                ge2e = facts["system"].get("conditioning") == "ge2e"
                own = torch.from_numpy(speaker.embed([example.wave], device)) if ge2e else mean_states(cache, [example])
                own = own.to(device)
            before, after = (write_down(model, [example], cache, a, own)[0] for a in (None, adapted))
            found.append(Heard(recording, before, after))
    return found, facts


def newest(system: str) -> Path:
    """The shipped weights for `hyper`, else the newest checkpoint of the system in any profile's results."""
    if system == "hyper" and WEIGHTS.exists():
        return WEIGHTS
    made = study.results_root("any").parent.glob(f"*/checkpoints/ha-{system}-s*.safetensors")
    found = max(made, key=lambda path: path.stat().st_mtime, default=None)
    if found is None:
        raise AsrError(f"There is no trained {system}: {TRAIN.format(system)}.")
    return found


def card(path: Path) -> dict:
    """What weights are: the card beside shipped ones, or the settings of a checkpoint's profile or a PEFT adapter.

    Raises AsrError for a file that is not there or that nothing is known of, WeightsError for one that is not what its
    card says.
    """
    path = Path(path)
    if (path / "adapter_config.json").is_file():
        system = {"name": path.name, "method": "peft", "warning": _warning(path)}
        return {"system": system, "whisper": {"name": _peft(path)[0]}, "context": 5}
    if not path.is_file():
        raise AsrError(f"{path}: there are no weights: {TRAIN.format('hyper')}.")
    facts = shipped.read_card(path)
    return facts if "system" in facts else facts | _settings(path)


def load(path: Path, facts: dict, model: Whisper) -> Adaptation | LowRank:
    """The adaptation that a file of weights holds, on the model's device, in evaluation mode."""
    entry = facts["system"]
    if entry["method"] == "peft":
        return _factors(path, model)
    made = adaptation(model.network, entry)
    load_weights(Adaptations(entry, {EVERYBODY: made}), path)
    return made.to(model.device).eval()


def ship(profile: dict, name: str, seed: int, path: Path = WEIGHTS) -> dict:
    """Write a trained system of one adaptation as float16, with its card; returns the card.

    What it gains is read from the profile's rows. Raises AsrError for a system that was not trained or measured.
    """
    from safetensors.torch import load_file

    source = study.results_root(profile) / "checkpoints" / f"ha-{name}-s{seed}.safetensors"
    if not source.is_file():
        raise AsrError(f"{name}, seed {seed}, is not trained: python -m lib run ha {name} --profile {profile['name']}.")
    manifest = study.read_manifests(profile, "HA").get(f"ha-{name}-s{seed}")
    rows = study.read_rows(profile, "HA")
    facts = _settings(source)
    if facts["system"]["level"] != EVERYBODY or facts["system"]["method"] not in ("lora", "hyper"):
        raise AsrError(f"{name} is not one low-rank update or hypernetwork for everybody: ship hyper, or a LoRA.")
    if manifest is None or select(rows, {"system": "whisper_0", "metric": "wer"}).empty:
        raise AsrError(f"{name}, seed {seed}, or whisper_0 was not measured: run both, then ship it.")
    if digest := ((manifest.get("pretrained") or {}).get("whisper") or {}).get("sha256"):
        facts["whisper"]["sha256"] = digest
    config = Systems(profile).train_config(Systems(profile).system(name), seed)
    corpus = profile["ha"]["corpus"].get("source")
    card = facts | {
        "what": f"{name} of the study, seed {seed}, profile {profile['name']}, in 16-bit floats",
        "command": f"python -m lib run ha {name} --seed {seed} --profile {profile['name']}",
        "trained_on": {"corpus": manifest["corpus"], "hash": manifest["data_hash"], "licence": LICENCES.get(corpus)},
        "training": {
            "steps": config.steps,
            "batch_size": config.batch_size,
            "rate": config.learning_rate,
            "seed": seed,
        },
        "commit": manifest.get("commit"),
        "gain": gain(rows, profile, name, seed),
        "learning_curve": [[r["step"], round(r["total"], 3)] for r in (manifest.get("history") or [])[::10]],
        "licence": shipped.LICENCE,
    }
    return shipped.write(path, load_file(source), card)


def gain(rows: pd.DataFrame, profile: dict, name: str, seed: int) -> dict[str, dict]:
    """WER, an utterance's at most 1, of never-seen speakers before and after, with intervals over speakers.

    By cohort, of all the trained cohorts together, and on typical speech; full precision, before rounding to float16.
    """
    mine = select(rows, {"role": "never_seen", "split": "test", "metric": "wer"})
    mine = mine.assign(value=mine["value"].clip(upper=1.0))
    cohorts = [cohort for cohort in mine["cohort"].dropna().unique() if cohort != "typical"]
    found = {}
    for told, wanted in [("all", cohorts), *((cohort, cohort) for cohort in [*cohorts, "typical"])]:
        group = select(mine, {"cohort": wanted})
        before, after = (select(group, {"system": each}) for each in ("whisper_0", name))
        after = after[after["seed"] == seed]
        if len(after):
            change = paired_difference(after, before, on=("speaker", "utterance"))
            values = {"before": interval(before), "after": interval(after), "change": change}
            found[told] = {key: _rounded(value) for key, value in values.items()}
            found[told] |= {"speakers": int(after["speaker"].nunique()), "utterances": len(after)}
    return found


def _rounded(found: Estimate) -> list[float | None]:
    """Mean, and the ends of its 95 % interval."""
    return [None if value is None else round(float(value), 4) for value in (found.value, found.ci_low, found.ci_high)]


def _settings(path: Path) -> dict:
    """What the profile of results/<profile>/checkpoints/ha-<system>-s<seed>.safetensors says of it."""
    name = path.stem.removeprefix("ha-").rpartition("-s")[0]
    try:
        systems = Systems(study.load_profile(path.absolute().parent.parent.name)).study_of(name)
        entry = systems.system(name)
    except ValueError:
        raise AsrError(
            f"{path}: nothing says what it is: give a checkpoint of results/, or weights with a card."
        ) from None
    whisper = systems.settings["whisper"]
    kept = {"name": name} | {key: entry[key] for key in FACTS if entry.get(key) is not None}
    return {"system": kept, "whisper": {k: v for k, v in whisper.items() if v}, "context": systems.settings["context"]}


def _peft(folder: Path) -> tuple[str, dict]:
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        return str(config["base_model_name_or_path"]).removeprefix("openai/whisper-"), config
    except (OSError, ValueError, KeyError):
        raise AsrError(f"{folder}: adapter_config.json is damaged: adapt again.") from None


def _warning(folder: Path) -> str:
    """What gain.json says of an adapter that gains nothing, "" of others."""
    try:
        found = json.loads((folder / "gain.json").read_text(encoding="utf-8"))
        return "" if found["gained"] else found["told"]
    except (OSError, ValueError, KeyError):
        return ""


def _factors(folder: Path, model: Whisper) -> LowRank:
    from safetensors.torch import load_file

    config = _peft(folder)[1]
    try:
        tensors = load_file(folder / "adapter_model.safetensors")
        paths = sorted({key.split(".lora_")[0].removeprefix("base_model.model.") for key in tensors})
        pairs = {
            p: [tensors[f"base_model.model.{p}.lora_{x}.weight"][None].to(model.device) for x in "AB"] for p in paths
        }
        for path in paths:
            model.network.get_submodule(path)
    except Exception as error:
        raise HyperLoraError(
            f"{folder}: its adapter_model.safetensors is damaged or for another network ({type(error).__name__}): "
            "adapt again."
        ) from error
    return LowRank({path: tuple(pair) for path, pair in pairs.items()}, config["lora_alpha"] / config["r"])
