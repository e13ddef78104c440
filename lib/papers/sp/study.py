"""The zero-shot study of pruned self-attention (arXiv 2308.14909), from the profile's section sp.

    python -m lib.papers.sp.study prepare --profile demo --threads 2                   features and the dense model
    python -m lib.papers.sp.study run --profile demo --system dp_r45 --seed 0          train one system, speak, measure

`run` finds a trained system trained and goes on with an interrupted one; it writes rows and a manifest.
"""

import time

import pandas as pd

from lib import audio, cli, study
from lib.files import write_json
from lib.papers.sp.measure import (
    cost_rows,
    factors,
    has_secs,
    kept_rows,
    mismatch_rows,
    other_rows,
    reference_rows,
    speech_rows,
    training_rows,
)
from lib.papers.sp.systems import COST, DENSE, ZeroShotBench, bench_of, facts_of, restore, run_id, train
from lib.study.protocol import pretrained_used
from lib.training.weights import metadata


def prepare(profile: dict, device: str) -> None:
    """What all runs share: the corpus's features and, unless systems train from scratch, the dense model.

    What is there is not made again. Writes R/prepared/sp.json.
    """
    began, bench = time.time(), bench_of(profile, device)
    facts = {"corpus": bench.corpus.hash, "features": bench.features.root.name, "similarity": similarity()}
    if not bench.settings["from_scratch"]:
        path = train(bench, DENSE, 0)
        trained = facts_of(bench, DENSE, 0)
        kept = ("fingerprint", "trainable_parameters", "steps", "seconds_trained", "validation")
        facts["dense"] = {"file": path.name} | {name: trained[name] for name in kept}
    write_json(bench.root / "prepared" / "sp.json", facts | {"seconds": round(time.time() - began, 2)})


def similarity() -> str:
    """How similarity to the speaker is measured here."""
    return "ECAPA-TDNN (secs) and GE2E (cos)" if has_secs() else "GE2E (cos): ECAPA-TDNN's weights are not here"


def run(profile: dict, system: str, seed: int, device: str) -> pd.DataFrame:
    """Train a system if need be, let it speak, measure it; returns the rows it wrote.

    The system `attention_cost` measures what attention costs under each rule and trains nothing.
    """
    started, bench = time.time(), bench_of(profile, device)
    if bench.system(system)["method"] == "cost":
        return _write(bench, COST, seed, cost_rows(bench).assign(seed=seed), started)
    model = restore(bench, system, seed)
    spoken, waves, set_aside = speech_rows(bench, model, system, seed)
    tables = [spoken, kept_rows(bench, model), training_rows(facts_of(bench, system, seed))]
    if system in bench.settings["reference_systems"]:
        tables += [reference_rows(bench, model), other_rows(bench, model)]
    if system == "baseline":
        tables.append(mismatch_rows(bench))
    rows = _with_factors(pd.concat(tables, ignore_index=True), factors(bench, system, seed))
    texts = _keep_audio(bench, system, seed, waves)
    trained = facts_of(bench, system, seed)
    facts = {name: trained.get(name) for name in ("seconds_trained", "validation", "thresholds", "speed")}
    return _write(bench, system, seed, rows, started, texts=texts, set_aside=set_aside, **facts)


def _with_factors(rows: pd.DataFrame, shared: dict) -> pd.DataFrame:
    """The rows with the system's columns; its x only where a row has none of its own."""
    x = rows["x"].astype("float64") if "x" in rows else pd.Series(float("nan"), rows.index)
    mine = x if shared["x"] is None else x.fillna(shared["x"])
    return rows.assign(**{**shared, "x": mine})


def chosen_for_players(bench: ZeroShotBench) -> dict[str, str]:
    """Texts of the test sentences whose audio is kept, by utterance: one of each of the first never-seen speakers."""
    speakers = bench.corpus.speakers("never_seen")[: bench.settings["players"]["speakers"]]
    first = [bench.corpus.select(role="never_seen", split="test", speaker=s)[:1] for s in speakers]
    return {u.utterance: u.text for each in first for u in each}


def _keep_audio(bench: ZeroShotBench, system: str, seed: int, waves: dict) -> dict[str, str]:
    if system not in bench.settings["players"]["systems"] or seed != bench.settings["seeds"][0]:
        return {}
    texts = {name: said for name, said in chosen_for_players(bench).items() if name in waves}
    for name in texts:
        if waves[name].any():
            audio.write(bench.root / "audio" / run_id(system, seed) / f"{name}.wav", waves[name])
    return texts


def _write(bench: ZeroShotBench, system: str, seed: int, rows: pd.DataFrame, started: float, **facts) -> pd.DataFrame:
    run = run_id(system, seed)
    study.write_rows(rows, run, bench.profile)
    scratch = bench.settings["from_scratch"] or system == COST
    start = None if scratch else metadata(bench.checkpoint(run_id(DENSE, 0))).get("fingerprint")
    study.write_manifest(
        run,
        bench.profile,
        bench.settings,
        started,
        seed=seed,
        device=bench.device,
        corpus=bench.corpus.name,
        data_hash=bench.corpus.hash,
        pretrained=pretrained_used(),
        vocoder="HiFi-GAN" if bench.profile["vocoder"]["hifigan"] else "Griffin-Lim",
        backbone_hash=start,
        similarity=similarity(),
        **facts,
    )
    return rows


def ensure(profile: dict, device: str) -> ZeroShotBench:
    """Do what the profile expects and is not done yet (a notebook opened on its own); returns the bench."""
    bench = bench_of(profile, device)
    missing = sorted(study.expected_runs(profile, "SP") - set(study.read_manifests(profile, "SP")))
    if missing:
        prepare(profile, device)
    for each in missing:
        _, system, seed = each.split("-")
        run(profile, system, int(seed.removeprefix("s")), device)
    return bench


def main() -> None:
    options = cli.options("lib.papers.sp.study", __doc__, steps=("prepare", "run"), system="baseline")
    with cli.told():
        profile = study.load_profile(options.profile)
        if options.step == "prepare":
            prepare(profile, options.device)
        else:
            run(profile, options.system, options.seed, options.device)


if __name__ == "__main__":
    main()
