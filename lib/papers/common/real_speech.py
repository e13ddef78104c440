"""The study's systems on a real human voice: HyperTTS and its baselines (HT8), the adapted recognisers (HA5).

    python -m lib.papers.common.real_speech prepare --profile demo
    python -m lib.papers.common.real_speech run --profile demo --paper ht

Two runs, `ht-other_corpus-s0` and `ha-other_corpus-s0`, whose rows have the role other_corpus. The TTS systems speak
the voice's held-out prompts twice: as they were adapted on the embedded corpus, the voice being a new speaker to them,
and adapted anew to the voice's training prompts (`<system>_anew`). The recognisers are those adapted to atypical
speech; the voice is typical. Where the recordings cannot be had, a run has one row that says so, and the claims are
not tested.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import save_file

from lib import audio, cli, study
from lib.files import file_hash, fingerprint, replace_file, write_json
from lib.models import fastspeech2
from lib.papers.common.real_source import how_to_get, since
from lib.papers.common.real_voice import ROLE, RealBench, fetch
from lib.papers.ha import measure as asr
from lib.papers.ha.study import Study as Recognisers
from lib.papers.ht import measure as scoring
from lib.papers.ht import study as tts
from lib.papers.ht.systems import UNTRAINED, Adapted, assemble, system_of
from lib.study.protocol import pretrained_used
from lib.training.loop import BucketedBatches, TrainConfig, fit, seed_everything
from lib.training.weights import load_weights, metadata, saved_state

RUNS = {"ht": "ht-other_corpus-s0", "ha": "ha-other_corpus-s0"}
COHORT = "typical_real"
TESTED = "test"  # the split of every row: what is measured is outside the training split


def record_of(profile: dict) -> Path:
    """What `prepare` writes."""
    return study.results_root(profile) / "prepared" / "other_corpus.json"


def prepare(profile: dict, device: str = "auto", cores: int | None = None) -> None:
    """Fetch the recordings where they are not there, prepare and align them, and write what came of it."""
    late = since(profile, record_of(profile)) == "later"
    missing = fetch(profile)
    facts: dict[str, object] = {"late": late, "corpus": None, "missing": missing}
    if missing:
        print(missing)
    else:
        bench = RealBench(profile, device, cores)
        bench.features  # noqa: B018 - computed here, once, for both runs
        held_out = bench.held_out()
        facts |= {"corpus": bench.corpus.hash, "utterances": len(bench.corpus.utterances), "held_out": len(held_out)}
        facts |= {"set_aside": bench.corpus.set_aside, **bench.boundary_error}
    write_json(record_of(profile), facts)


def run(profile: dict, paper: str, device: str = "auto") -> pd.DataFrame:
    """One of the two RUNS: its rows, also written with their manifest."""
    started, bench = time.time(), RealBench(profile, device, 1)
    if missing := found(profile)["missing"]:
        rows, facts = absent(), {"missing": missing, "get_them": how_to_get(profile)}
    else:
        rows, facts = spoken(bench) if paper == "ht" else recognised(bench)
    study.write_rows(rows, RUNS[paper], profile)
    study.write_manifest(
        RUNS[paper], profile, bench.settings, started, seed=0, device=bench.device, **(facts | _shared(bench, paper))
    )
    return rows


def ensure(profile: dict, device: str = "auto") -> None:
    """Both runs, where a notebook is opened on its own."""
    done = study.read_manifests(profile)
    if not record_of(profile).exists():
        prepare(profile, device)
    for paper, run_id in RUNS.items():
        if run_id not in done:
            run(profile, paper, device)


def found(profile: dict) -> dict:
    """What `prepare` wrote. Raises TTSError where it has not run."""
    try:
        return json.loads(record_of(profile).read_text())
    except (OSError, ValueError):
        raise tts.TTSError(
            f"The real voice is not prepared: run python -m lib.papers.common.real_speech prepare --profile {profile['name']} first."
        ) from None


def told(profile: dict) -> str:
    """In a sentence, what `prepare` found: the voice, or why it is missing and the line that gets it."""
    record = found(profile)
    if record["missing"]:
        return record["missing"]
    return (
        f"{record['utterances']} recordings with durations by the aligner, {record['held_out']} of them held out of "
        f"training. On the embedded corpus, where boundaries are known, the aligner misses them by "
        f"{record['boundary_error_ms']:.1f} ms (median)."
    )


def absent() -> pd.DataFrame:
    """The row of a run without recordings."""
    return pd.DataFrame([{"metric": "recordings", "value": 0.0, "unit": "count", "system": "recordings"}])


def _shared(bench: RealBench, paper: str) -> dict:
    """What the manifest must have in common with the paper's other runs."""
    if paper == "ha":
        return {}
    path = bench.base.checkpoint("ht-backbone-s0")
    vocoder = "HiFi-GAN" if bench.profile["vocoder"]["hifigan"] else "Griffin-Lim"
    return {"backbone_hash": metadata(path).get("fingerprint"), "vocoder": vocoder}


def spoken(bench: RealBench) -> tuple[pd.DataFrame, dict]:
    """Rows of the TTS systems on the held-out prompts, and facts for the manifest."""
    tables = [_aligner_rows(bench), _speech(bench, "reference_vocoded", 0, tts.vocode(bench, bench.held_out()))]
    for name in bench.settings["transferred"]:
        for seed in seeds_of(bench.profile, name):
            model = tts.restore(bench.base, name, seed)
            tables.append(_speech(bench, name, seed, tts.synthesise(bench, model, bench.held_out())))
    for name in bench.settings["anew"]:
        waves = tts.synthesise(bench, adapt(bench, name), bench.held_out())
        tables.append(_speech(bench, name, 0, waves, anew=True))
    kept = [item for item in bench.held_out() if item.utterance in chosen_for_players(bench)]
    for item in kept:
        audio.write(
            bench.root / "audio" / "other_corpus" / "recording" / f"{item.utterance}.wav", bench.corpus.wave(item)
        )
    facts = {"corpus": bench.corpus.name, "data_hash": bench.corpus.hash, "pretrained": pretrained_used()}
    return pd.concat(tables, ignore_index=True), facts | {"texts": {item.utterance: item.text for item in kept}}


def seeds_of(profile: dict, name: str) -> list[int]:
    """The seeds asked for with which the embedded corpus's run of a system exists."""
    there = profile["seeds"] if name in profile["headline"] else profile["seeds"][:1]
    return [seed for seed in profile["real"]["seeds"] if seed in there]


def chosen_for_players(bench: RealBench) -> list[str]:
    """Ids of the held-out prompts whose audio is kept: those of the most ordinary length."""
    middle = sorted(bench.held_out(), key=lambda item: abs(item.seconds - 4))
    return [item.utterance for item in middle[: bench.settings["players"]]]


def keep(bench: RealBench, system: str, utterance: str, wave: np.ndarray) -> None:
    audio.write(bench.root / "audio" / "other_corpus" / system / f"{utterance}.wav", wave)


def _speech(bench: RealBench, name: str, seed: int, waves: list, anew: bool = False) -> pd.DataFrame:
    """Rows of what a system says, measured as on the embedded corpus; some audio is kept."""
    shown = f"{name}_anew" if anew else name
    rows = scoring.measure(bench, shown, seed, bench.held_out(), waves).assign(role=ROLE, split=TESTED)
    if seed == 0:
        for item, wave in zip(bench.held_out(), waves, strict=True):
            if item.utterance in chosen_for_players(bench):
                keep(bench, shown, item.utterance, wave)
    known = scoring.factors(bench.base, name, seed)
    variant = "adapted anew" if anew else "as adapted before"
    return rows.assign(**(known | {"system": shown, "variant": variant}))


def _aligner_rows(bench: RealBench) -> pd.DataFrame:
    """How well the aligner finds known boundaries, and how many recordings it gave durations to."""
    values = bench.boundary_error | {"recordings": len(bench.corpus.utterances)}
    units = {"boundary_error_ms": "ms"}
    rows = [{"metric": k, "value": float(v), "unit": units.get(k, "count")} for k, v in values.items()]
    return pd.DataFrame(rows).assign(system="aligner")


def adapt(bench: RealBench, name: str, seed: int = 0) -> Adapted:
    """A system adapted to the voice's training prompts from the embedded corpus's backbone; trained once."""
    system, path = system_of(bench.profile, name), bench.root / "checkpoints" / f"real-{name}-s{seed}.safetensors"
    settings = study.merge(bench.profile["adapt"], bench.settings["adapt"])
    rates = settings.pop("learning_rates", {})
    settings["learning_rate"] = rates.get(system["method"], settings["learning_rate"])
    config = TrainConfig.from_dict(settings, seed=seed)
    backbone = tts.load_backbone(bench.base)
    start = file_hash(bench.base.checkpoint("ht-backbone-s0"))
    mark = fingerprint(bench.corpus.hash, start, vars(config), system, bench.device.split(":")[0])
    seed_everything(seed)
    model = assemble(backbone, system).to(bench.device)
    if path.exists() and metadata(path).get("fingerprint") == mark:
        load_weights(model, path)
        return model.eval()
    model.train()
    if system["method"] not in ("finetune", *UNTRAINED):
        model.backbone.eval()
    features, resume = bench.features, path.with_suffix(".resume.pt")
    rows = features.rows(bench.corpus.select(split="train"))
    sampler = BucketedBatches(features.frames(rows), config.batch_size, seed)
    fit(
        model,
        lambda batch: fastspeech2.loss(model(batch), batch),
        lambda step: features.batch(rows[sampler(step)], bench.device),
        config,
        resume,
        mark,
        bench.device,
        path.stem,
    )
    with replace_file(path) as temporary:
        save_file(saved_state(model), temporary, {"fingerprint": mark})
    resume.unlink(missing_ok=True)
    return model.eval()


def recognised(bench: RealBench) -> tuple[pd.DataFrame, dict]:
    """Word errors of Whisper and its adaptations on the prompts, and facts for the manifest."""
    trained_on, heard = (Recognisers(bench.profile, bench.device, 1) for _ in range(2))
    heard.corpus = bench.to_hear()
    heard.model = trained_on.model  # the adaptations are bound to one network
    tables = []
    for name in bench.settings["recognisers"]:
        if name not in trained_on.settings["systems"]:
            continue
        spec = trained_on.system(name)
        trained = None if spec["method"] == "none" else trained_on.restore(name, 0)
        items, texts = asr.recognise(heard, spec, trained)
        rows = asr.scores(items, texts).assign(role=ROLE, cohort=COHORT)
        tables.append(rows.assign(**trained_on.factors(name, 0), **asr.size_factors(trained_on, trained)))
        asr.keep_transcripts(bench.root / "transcripts" / f"ha-other_corpus-{name}.json", items, texts)
    facts = {"corpus": heard.corpus.name, "data_hash": heard.corpus.hash, "set_aside": heard.set_aside}
    return pd.concat(tables, ignore_index=True), facts | {
        "pretrained": {"whisper": trained_on.model.pretrained.manifest()}
    }


def main() -> None:
    paper = {"choices": tuple(RUNS), "help": "which systems are run: HyperTTS's or the recognisers"}
    every = len(os.sched_getaffinity(0))
    options = cli.options(
        "lib.papers.common.real_speech", __doc__, steps=("prepare", "run"), seed=False, threads=every, paper=paper
    )
    with cli.told():
        profile = study.load_profile(options.profile)
        if options.step == "prepare":
            prepare(profile, options.device, options.threads)
        elif options.paper is None:
            raise SystemExit("run needs --paper ht or --paper ha")
        else:
            run(profile, options.paper, options.device)


if __name__ == "__main__":
    main()
