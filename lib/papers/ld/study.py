"""The study of diffusion in the latent space of a frozen VITS (arXiv 2311.10804), run by run.

    python -m lib.papers.ld.study prepare --profile demo
    python -m lib.papers.ld.study run --profile demo --system palette --seed 0

`prepare` makes what all runs share: styled speech, the posterior encoder and its latents, mini-CLAP, and the measures
of the sentences before any change. `run` trains a system if need be, evaluates it, and writes its rows and manifest.

The rows have one speaker, joe. The style is the variant, and an utterance is a sentence in a style, so the bootstrap
resamples utterances; intervals say nothing about other voices.
"""

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pandas as pd
import torch

from lib import cli, study
from lib.files import write_json
from lib.papers.ld import diagnostics as latents_diagnostics
from lib.papers.ld import steering as latents_steering
from lib.papers.ld.clap import clap_of, clap_path, probe, retrieval, source, training_conditions
from lib.papers.ld.data import Lab, make
from lib.papers.ld.measure import UNTRAINED, baseline, evaluate
from lib.papers.ld.posterior import encode_all, encoder_of, encoder_path, facts_of, report
from lib.papers.ld.train import checkpoint, system_of
from lib.study.units import unit
from lib.workers import end_with_parent

WORTH_A_PROCESS = 100  # steps of the encoder below which another process costs more than it saves


def run_id(system: str, seed: int) -> str:
    return f"ld-{system}-s{seed}"


def prepare(profile: dict, device: str = "cpu") -> None:
    """Make what the runs of a profile share; what is there already is kept. Ends by writing R/prepared/ld.json.

    Mini-CLAP and the measures before any change need nothing of the posterior encoder: on a CPU with threads to share,
    a process of their own makes them while the encoder is trained, each with half of the threads.
    """
    lab, started = Lab(profile, device), time.time()
    seconds = _timed(lab, {"speech": make})
    threads = torch.get_num_threads()
    if lab.device == "cpu" and threads > 1 and lab.settings["posterior"]["steps"] >= WORTH_A_PROCESS:
        half = threads // 2
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _with_threads, (half,)) as pool:
            beside = pool.submit(_style_side, profile, device)
            torch.set_num_threads(threads - half)
            seconds |= _timed(lab, {"posterior": _encode}) | beside.result()
        torch.set_num_threads(threads)
    else:
        seconds |= _timed(lab, {"posterior": _encode}) | _style_side(profile, device)
    facts = {
        "data_hash": lab.hash,
        "encoder": lab.encoder_mark,
        "profile_hash": study.profile_hash(profile, "LD"),
        "sentences": {split: len(lab.sentences(split)) for split in lab.settings["data"]["sentences"]},
        "megabytes": round(sum(f.stat().st_size for f in lab.folder.rglob("*.npz")) / 1e6, 1),
        "seconds": seconds | {"all": round(time.time() - started, 1)},
    }
    write_json(lab.root / "prepared" / "ld.json", facts)


def _timed(lab: Lab, steps: dict[str, Callable[[Lab], object]]) -> dict[str, float]:
    """Do the steps; the seconds of each."""
    seconds = {}
    for name, step in steps.items():
        began = time.time()
        step(lab)
        seconds[name] = round(time.time() - began, 1)
    return seconds


def _style_side(profile: dict, device: str) -> dict[str, float]:
    return _timed(Lab(profile, device), {"clap": _conditions, "baseline": baseline})


def _conditions(lab: Lab) -> None:
    training_conditions(lab, clap_of(lab))


def _with_threads(threads: int) -> None:
    end_with_parent()
    torch.set_num_threads(threads)


def is_prepared(lab: Lab) -> bool:
    """Whether `prepare` has finished for these settings, and what it made is still in the cache."""
    try:
        facts = json.loads((lab.root / "prepared" / "ld.json").read_text())
    except (OSError, ValueError):
        return False
    cached = (folder / f"{s.name}.npz" for s in lab.sentences() for folder in (lab.folder, lab.encoded))
    current = facts.get("profile_hash") == study.profile_hash(lab.profile, "LD") and facts.get("data_hash") == lab.hash
    return current and all(path.is_file() for path in cached)


def _encode(lab: Lab) -> None:
    encode_all(lab, encoder_of(lab))


def run(profile: dict, system: str, seed: int = 0, device: str = "cpu") -> pd.DataFrame:
    """Train a system if need be, evaluate it, write its rows and manifest, keep some audio; returns the rows."""
    lab, started = Lab(profile, device), time.time()
    entry = system_of(profile, system)
    if not is_prepared(lab):
        prepare(profile, device)
    if entry["method"] == "inversion":
        rows = report(lab)
        rows["unit"] = rows["metric"].map(unit)
    elif system == "clap_probe":
        rows = pd.concat([probe(lab, clap_of(lab)), retrieval(lab, clap_of(lab))], ignore_index=True)
    elif entry["method"] == "probes":
        rows = pd.concat([latents_diagnostics.rows(lab), pd.DataFrame(latents_steering.rows(lab))], ignore_index=True)
    else:
        rows = evaluate(lab, system, seed)
    trained = weights(lab, system, seed)
    facts = {k: v for k, v in trained.items() if k not in ("history", "speed")}
    if facts:
        extra = pd.DataFrame(
            {"metric": list(facts), "value": [float(v) for v in facts.values()], "unit": ["count", "s"]}
        )
        rows = pd.concat([rows, extra], ignore_index=True)
    rows = rows.assign(method=entry["method"], system=system, seed=seed, trainable=int(facts.get(
        "trainable_parameters", 0)))  # fmt: skip
    study.write_rows(rows, run_id(system, seed), profile)
    texts = {f"{s.name}-{k}": s.text for s in lab.sentences("test") for k in lab.styles}
    study.write_manifest(
        run_id(system, seed),
        profile,
        profile["ld"],
        started,
        seed=seed,
        device=lab.device,
        corpus="joe, restyled",
        data_hash=lab.hash,
        pretrained=pretrained_used(lab),
        texts=texts,
        speed=trained.get("speed"),
        **facts,
    )
    return rows


def weights(lab: Lab, system: str, seed: int) -> dict:
    """trainable_parameters, seconds_trained, speed and history of what a system trains; empty where nothing is."""
    entry = system_of(lab.profile, system)
    if entry["method"] == "inversion":
        path = encoder_path(lab)
    elif system == "clap_probe" and lab.settings["clap"]["model"] == "mini":
        path = clap_path(lab)
    elif entry.get("decoder") == "trainable":
        path = checkpoint(lab, "decoder", 0)
    elif entry["method"] in (*UNTRAINED, "probes"):
        return {}
    else:
        path = checkpoint(lab, system, seed)
    facts = facts_of(path)
    return {name: facts.get(name) for name in ("trainable_parameters", "seconds_trained", "speed", "history")}


def pretrained_used(lab: Lab) -> dict:
    """Where the frozen weights came from, and which CLAP conditions."""
    from lib.pretrained import resolve

    judges = {name: resolve(name).manifest() for name in ("whisper-tiny.en", "ge2e")}
    return judges | {"vits": lab.vits.pretrained.manifest()} | source(lab)


def ensure(profile: dict, device: str = "cpu") -> None:
    """Prepare, and run every expected run that has no manifest (a notebook opened on its own)."""
    missing = sorted(study.expected_runs(profile, "LD") - set(study.read_manifests(profile, "LD")))
    if missing or not is_prepared(Lab(profile, device)):
        prepare(profile, device)
    for name in missing:
        _, system, seed = name.split("-")
        run(profile, system, int(seed.removeprefix("s")), device)


def main() -> None:
    options = cli.options("lib.papers.ld.study", __doc__, steps=("prepare", "run"), system="palette")
    with cli.told():
        profile = study.load_profile(options.profile)
        if options.step == "prepare":
            prepare(profile, options.device)
        else:
            run(profile, options.system, options.seed, options.device)


if __name__ == "__main__":
    main()
