"""Runs that belong to no single paper, from the profile's section xp: exploratory, no claim rests on them.

    python -m lib.papers.xp.study prepare --profile demo --threads 2                     both backbones of the experiment
    python -m lib.papers.xp.study run --profile demo --system factorial --seed 0         its adapters, trained and measured
    python -m lib.papers.xp.study run --profile demo --system weights_asr                what a hypernetwork generates

`run` finds what is trained and goes on with what was interrupted; it writes rows and a manifest.
"""

import time

import numpy as np
import pandas as pd
import torch

from lib import cli, study
from lib.corpora.corpus import Corpus, Utterance
from lib.files import write_json
from lib.metrics import cos
from lib.papers.ht import measure as scoring
from lib.papers.ht.speech import synthesise
from lib.papers.ht.systems import TTSError
from lib.papers.xp.systems import (
    AcrossBench,
    facts_of,
    load_backbone,
    restore,
    run_id,
    teacher_forced,
    train_backbone,
)
from lib.papers.xp.weights import cloud_of, cloud_rows
from lib.study.protocol import pretrained_used
from lib.study.units import unit
from lib.training.weights import metadata

UNADAPTED = "unadapted"
KEYS = ("utterance", "speaker", "role", "split")


def prepare(profile: dict, device: str) -> None:
    """Train what all runs share, the two backbones, and write R/prepared/xp.json, which says what they are."""
    began, bench = time.time(), AcrossBench(profile, device)
    facts = {"corpus": bench.corpus.hash, "starts_from": bench.settings["starts_from"]}
    for attention in bench.settings["attention"]:
        path = train_backbone(bench, attention)
        trained = facts_of(bench, f"backbone_{attention}", 0)
        kept = {name: trained[name] for name in ("fingerprint", "thresholds")}
        facts[path.stem] = kept | {"loss": trained["history"][-1]["total"]}
    write_json(bench.root / "prepared" / "xp.json", facts | {"seconds": round(time.time() - began, 2)})


def run(profile: dict, system: str, seed: int, device: str) -> pd.DataFrame:
    """Train a system if need be and measure it; returns its rows. Raises TTSError for one that is not there."""
    started, systems = time.time(), profile["xp"]["systems"]
    if system not in systems:
        raise TTSError(f"there is no system {system!r} in section xp: choose one of {', '.join(systems)}")
    entry, bench = systems[system], AcrossBench(profile, device)
    if entry["method"] == "generated":
        cloud = cloud_of(profile, entry["of"], device)
        rows = cloud_rows(cloud).assign(system=system, method="generated", seed=seed)
        return _write(bench, system, seed, rows, started, cloud.corpus, generated_by=entry["of"])
    first = seed == bench.settings["seeds"][0]
    tables = ([_unadapted_rows(bench)] if first else []) + _cells(bench, seed)
    rows = pd.concat(tables, ignore_index=True).assign(seed=seed)
    return _write(
        bench, system, seed, rows, started, bench.corpus, backbone_hash=_backbones(bench), vocoder=_vocoder(bench)
    )


def _cells(bench: AcrossBench, seed: int) -> list[pd.DataFrame]:
    """The rows of every cell: adapters (cells) on a backbone (attention)."""
    return [_cell_rows(bench, c, a, seed) for c in bench.settings["cells"] for a in bench.settings["attention"]]


def test_utterances(bench: AcrossBench) -> list[Utterance]:
    """The first test sentences of every adaptation speaker. Raises TTSError for a corpus without any."""
    speakers, most = bench.corpus.speakers("adaptation"), bench.settings["sentences"]
    chosen = [u for s in speakers for u in bench.corpus.select(role="adaptation", split="test", speaker=s)[:most]]
    if not chosen:
        raise TTSError("the corpus has no test utterances: check xp.sentences and the corpus's set-aside list")
    return chosen


def _measured(bench: AcrossBench, cell: str | None, attention: str, seed: int) -> pd.DataFrame:
    """COS, log-mel L1 and the change that each adapter makes, of one model."""
    model, utterances = restore(bench, cell, attention, seed), test_utterances(bench)
    waves = synthesise(bench, model, utterances)
    recorded = bench.features.embeddings(bench.features.rows(utterances))
    values = {"cos": cos.against(waves, recorded, bench.device)}
    forced = teacher_forced(bench, model, utterances)
    values["mel_l1"] = forced.pop("mel_l1")
    tables = [_tidy(values, utterances)]
    for layer, change in forced.items():
        tables.append(_tidy({"adapter_change": change}, utterances).assign(layer=layer))
    return pd.concat(tables, ignore_index=True)


def _cell_rows(bench: AcrossBench, cell: str, attention: str, seed: int) -> pd.DataFrame:
    entry, name = bench.settings["cells"][cell], f"{cell}_{attention}"
    tables = [_measured(bench, cell, attention, seed)]
    if entry["method"] == "hypernetwork":
        tables.append(_silhouettes(bench, restore(bench, cell, attention, seed)))
    trained = facts_of(bench, name, seed)
    backbone = sum(p.numel() for p in load_backbone(bench, attention).parameters())
    counts = {"trainable_parameters": trained["trainable_parameters"], "backbone_parameters": backbone}
    counts["seconds_trained"] = trained["seconds_trained"]
    extra = pd.DataFrame({"metric": list(counts), "value": list(map(float, counts.values()))})
    tables.append(extra.assign(unit=["count", "count", "s"]))
    factors = {"method": entry["method"], "modules": entry["modules"], "variant": attention}
    factors |= {"bottleneck": entry.get("bottleneck"), "d_s": entry.get("d_s")}
    return pd.concat(tables, ignore_index=True).assign(
        system=name, trainable=trained["trainable_parameters"], **factors
    )


def _silhouettes(bench: AcrossBench, model: torch.nn.Module) -> pd.DataFrame:
    """Silhouettes by speaker of what the cell generates for the adaptation speakers, as claim HT6 takes them."""
    chosen = [u for split in ("test", "validation") for u in bench.corpus.select(role="adaptation", split=split)]
    embeddings = torch.from_numpy(bench.features.embeddings(bench.features.rows(chosen))).to(bench.device)
    with torch.no_grad():
        points = model.adapter.generated(embeddings).cpu().numpy()
    return _tidy({"silhouette": scoring.speaker_silhouette(points, [u.speaker for u in chosen])}, chosen)


def _unadapted_rows(bench: AcrossBench) -> pd.DataFrame:
    """Both backbones before adaptation, and what the hard masks of the pruned one keep, by block."""
    tables = []
    for attention in bench.settings["attention"]:
        name, utterances = f"{UNADAPTED}_{attention}", test_utterances(bench)
        mine = [_measured(bench, None, attention, 0)]
        backbone = load_backbone(bench, attention)
        if backbone.theta is not None:
            shares = backbone.kept(bench.features.batch(bench.features.rows(utterances), bench.device))
            mine += [_tidy({"kept_fraction": share}, utterances).assign(layer=site) for site, share in shares.items()]
            thetas = facts_of(bench, f"backbone_{attention}", 0)["thresholds"]
            rows = [{"metric": "theta", "layer": k, "value": v, "unit": unit("theta")} for k, v in thetas.items()]
            mine.append(pd.DataFrame(rows))
        tables.append(pd.concat(mine, ignore_index=True).assign(system=name, method="none", variant=attention))
    return pd.concat(tables, ignore_index=True).assign(trainable=0)


def _tidy(values: dict[str, np.ndarray], utterances: list[Utterance]) -> pd.DataFrame:
    wide = pd.DataFrame([[getattr(u, key) for key in KEYS] for u in utterances], columns=KEYS).assign(**values)
    long = wide.melt(id_vars=list(KEYS), var_name="metric", value_name="value")
    return long.assign(unit=long["metric"].map(unit))


def _backbones(bench: AcrossBench) -> str:
    """The fingerprints of all backbones of the experiment."""
    paths = [bench.checkpoint(f"backbone_{attention}", 0) for attention in bench.settings["attention"]]
    return " ".join(metadata(path)["fingerprint"] for path in paths)


def _vocoder(bench: AcrossBench) -> str:
    return "HiFi-GAN" if bench.profile["vocoder"]["hifigan"] else "Griffin-Lim"


def _write(bench, system: str, seed: int, rows: pd.DataFrame, started: float, corpus: Corpus, **facts) -> pd.DataFrame:
    run = run_id(system, seed)
    study.write_rows(rows, run, bench.profile)
    study.write_manifest(
        run,
        bench.profile,
        bench.settings,
        started,
        seed=seed,
        device=bench.device,
        corpus=corpus.name,
        data_hash=corpus.hash,
        pretrained=pretrained_used(),
        **facts,
    )
    return rows


def ensure(profile: dict, device: str) -> None:
    """Do what the profile expects and is not done yet (a notebook opened on its own)."""
    missing = sorted(study.expected_runs(profile, "XP") - set(study.read_manifests(profile, "XP")))
    if missing:
        prepare(profile, device)
    for each in missing:
        _, system, seed = each.split("-")
        run(profile, system, int(seed.removeprefix("s")), device)


def main() -> None:
    options = cli.options("lib.papers.xp.study", __doc__, steps=("prepare", "run"), system="factorial")
    with cli.told():
        profile = study.load_profile(options.profile)
        if options.step == "prepare":
            prepare(profile, options.device)
        else:
            run(profile, options.system, options.seed, options.device)


if __name__ == "__main__":
    main()
