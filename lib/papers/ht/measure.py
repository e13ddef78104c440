"""What the TTS systems sound like, in result rows: synthesise the test sentences and measure them.

    python -m lib.papers.ht.measure --profile demo --system hypertts_d --seed 0
    python -m lib.papers.ht.measure --profile demo --system generated_parameters

Every system speaks the test sentences of each role in the voice of the speaker's enrolment centroid and is compared
with the recording of the same sentence. `reference` compares the recordings with themselves: what a metric gives to
identical signals (claim HT10). `reference_vocoded` is the ceiling that the vocoder sets.
"""

import time

import numpy as np
import pandas as pd
import torch

from lib import audio, cli, study
from lib.corpora.corpus import Utterance
from lib.metrics import cos, ffe, mcd, mos, wer
from lib.papers.ht import study as tts
from lib.papers.ht.study import Bench
from lib.study.protocol import pretrained_used
from lib.study.units import unit
from lib.training.weights import metadata


def test_utterances(bench: Bench, name: str, seed: int) -> list[Utterance]:
    """The test utterances that a system is measured on: per role, the first sentences of every speaker."""
    settings, chosen = bench.profile["evaluate"], []
    everywhere = name in bench.profile["headline"] or name in ("tts_0", "reference", "reference_vocoded")
    for role, per_speaker in settings["sentences"].items():
        if not everywhere and role not in settings["roles_of_every_system"]:
            continue
        if seed != bench.profile["seeds"][0] and role not in settings["roles_of_later_seeds"]:
            continue
        for speaker in bench.corpus.speakers(role):
            chosen += bench.corpus.select(role=role, split="test", speaker=speaker)[:per_speaker]
    if not chosen:
        raise tts.TTSError(
            "the corpus has no test utterances: check evaluate.sentences and the corpus's set-aside list"
        )
    return chosen


def speak(bench: Bench, name: str, seed: int, utterances: list[Utterance]) -> list[np.ndarray]:
    """A system's waveforms for some utterances."""
    method = tts.system_of(bench.profile, name)["method"]
    if method == "recording":
        return [bench.corpus.wave(u) for u in utterances]
    if method == "vocoded_recording":
        return tts.vocode(bench, utterances)
    return tts.synthesise(bench, tts.restore(bench, name, seed), utterances)


def measure(bench: Bench, name: str, seed: int, utterances: list[Utterance], waves: list[np.ndarray]):
    """Every metric of every utterance: tidy columns utterance, metric, value, with wer and mos for chosen runs only."""
    references = [bench.corpus.wave(u) for u in utterances]
    values = cos.score(waves, references, device=bench.device)
    alignment = mcd.align(waves, references, device=bench.device)
    values |= ffe.score(waves, references, device=bench.device, alignment=alignment)
    values |= mcd.score(waves, references, device=bench.device, alignment=alignment)
    centroids = {u.speaker: None for u in utterances}
    enrolled = dict(zip(centroids, tts.enrolment(bench, list(centroids)).numpy(), strict=True))
    values["cos_centroid"] = cos.against(waves, np.stack([enrolled[u.speaker] for u in utterances]), bench.device)
    tables = [_tidy(values, utterances)]
    listened = [i for i in range(len(utterances)) if _is_listened(bench, name, seed, utterances[i])]
    if listened:
        heard = [waves[i] for i in listened]
        judged = wer.score(heard, [utterances[i].text for i in listened], device=bench.device)
        judged |= mos.score(heard, None, device=bench.device)
        tables.append(_tidy(judged, [utterances[i] for i in listened]))
    return pd.concat(tables, ignore_index=True)


def _is_listened(bench: Bench, name: str, seed: int, utterance: Utterance) -> bool:
    settings = bench.profile["evaluate"]
    return (
        seed in settings["recognised_seeds"]
        and utterance.role in settings["recognised_roles"]
        and (settings["recognised_systems"] == "all" or name in settings["recognised_systems"])
    )


def _tidy(values: dict[str, np.ndarray], utterances: list[Utterance]) -> pd.DataFrame:
    wide = pd.DataFrame(values).assign(
        utterance=[u.utterance for u in utterances],
        speaker=[u.speaker for u in utterances],
        role=[u.role for u in utterances],
        split=[u.split for u in utterances],
    )
    keys = ["utterance", "speaker", "role", "split"]
    long = wide.melt(id_vars=keys, var_name="metric", value_name="value")
    return long.assign(unit=long["metric"].map(unit))


def factors(bench: Bench, name: str, seed: int) -> dict:
    """The factor columns that all rows of a system share."""
    system = tts.system_of(bench.profile, name)
    trained = system["method"] not in tts.UNTRAINED
    hyper = system["method"] == "hypernetwork"
    return {
        "method": system["method"],
        "system": name,
        "modules": system.get("modules"),
        "d_s": system.get("d_s") if hyper else None,
        "bottleneck": system.get("bottleneck") if hyper or system["method"] == "adapter" else None,
        "layer_embedding": system.get("layer_embedding", True) if hyper else None,
        "trainable": tts.facts_of(bench, name, seed)["trainable_parameters"] if trained else 0,
        "seed": seed,
    }


def score(bench: Bench, name: str, seed: int) -> pd.DataFrame:
    """Synthesise, measure, keep some audio for the players; writes the run's rows and manifest and returns the rows."""
    started, run = time.time(), tts.run_id(name, seed)
    utterances = test_utterances(bench, name, seed)
    waves = speak(bench, name, seed, utterances)
    spoken = time.time() - started
    rows = measure(bench, name, seed, utterances, waves)
    facts = {
        "synthesis_seconds": round(spoken, 2),
        "audio_seconds": round(sum(map(len, waves)) / audio.RATE, 2),
    }
    if tts.system_of(bench.profile, name)["method"] not in tts.UNTRAINED:
        trained = tts.facts_of(bench, name, seed)
        kept = ("trainable_parameters", "backbone_parameters", "backbone_changed", "seconds_trained")
        extra = pd.DataFrame({"metric": kept, "value": [float(trained[k]) for k in kept]})
        rows = pd.concat([rows, extra.assign(unit=["count", "count", "0 or 1", "s"])], ignore_index=True)
        facts |= {name: trained.get(name) for name in ("validation", "seconds_trained", "speed")}
    players = chosen_for_players(bench)
    for utterance, wave in zip(utterances, waves, strict=True):
        if utterance.utterance in players and seed == bench.profile["seeds"][0]:
            audio.write(bench.root / "audio" / run / f"{utterance.utterance}.wav", wave)
    texts = {u.utterance: u.text for u in utterances if u.utterance in players}
    return _write(bench, run, rows.assign(**factors(bench, name, seed)), seed, started, texts=texts, **facts)


def chosen_for_players(bench: Bench) -> set[str]:
    """Ids of the test utterances whose audio is kept: one sentence of a few speakers of each role."""
    chosen = set()
    for role, speakers in bench.profile["evaluate"]["players"].items():
        for speaker in bench.corpus.speakers(role)[:speakers]:
            chosen |= {u.utterance for u in bench.corpus.select(role=role, split="test", speaker=speaker)[:1]}
    return chosen


def generated_parameters(bench: Bench, name: str, seed: int) -> tuple[np.ndarray, list[str]]:
    """The weights that a hypernetwork generates for the adaptation speakers' test and validation utterances.

    Returns `(utterances, parameters)` and each row's speaker.
    """
    model = tts.restore(bench, name, seed)
    chosen = [u for split in ("test", "validation") for u in bench.corpus.select(role="adaptation", split=split)]
    embeddings = torch.from_numpy(bench.features.embeddings(bench.features.rows(chosen))).to(bench.device)
    with torch.no_grad():
        return model.adapter.generated(embeddings).cpu().numpy(), [u.speaker for u in chosen]


def speaker_silhouette(points: np.ndarray, speakers: list[str]) -> np.ndarray:
    """Silhouette of each point with speakers as clusters, cosine distance (Rousseeuw 1987), `(points,)`."""
    from sklearn.metrics import silhouette_samples

    return silhouette_samples(points - points.mean(0), speakers, metric="cosine")


def score_generated_parameters(bench: Bench) -> pd.DataFrame:
    """Claim HT6's rows: the silhouette by speaker of what each listed hypernetwork generates."""
    started, tables = time.time(), []
    for name in bench.profile["evaluate"]["clustered_systems"]:
        for seed in bench.profile["seeds"]:
            points, speakers = generated_parameters(bench, name, seed)
            values = speaker_silhouette(points, speakers)
            shared = factors(bench, name, seed)
            chosen = [u for s in ("test", "validation") for u in bench.corpus.select(role="adaptation", split=s)]
            tables.append(_tidy({"silhouette": values}, chosen).assign(**shared))
            count = {"metric": "generated_parameters", "value": float(points.shape[1]), "unit": "count"}
            tables.append(pd.DataFrame([{**count, **shared}]))
    return _write(bench, "ht-generated_parameters-s0", pd.concat(tables, ignore_index=True), 0, started)


def ensure(bench: Bench) -> None:
    """Score every run that the profile expects and that has no rows yet (a notebook opened on its own)."""
    finished = study.read_manifests(bench.profile, "HT")
    for run in sorted(study.expected_runs(bench.profile, "HT") - set(finished)):
        _, name, seed = run.split("-")
        score(bench, name, int(seed.removeprefix("s")))
    if "ht-generated_parameters-s0" not in finished:
        score_generated_parameters(bench)


def _write(bench: Bench, run: str, rows: pd.DataFrame, seed: int, started: float, **facts) -> pd.DataFrame:
    study.write_rows(rows, run, bench.profile)
    backbone = metadata(bench.checkpoint("ht-backbone-s0")).get("fingerprint")
    study.write_manifest(
        run,
        bench.profile,
        bench.profile,
        started,
        seed=seed,
        device=bench.device,
        corpus=bench.corpus.name,
        data_hash=bench.corpus.hash,
        pretrained=pretrained_used(),
        vocoder="HiFi-GAN" if bench.profile["vocoder"]["hifigan"] else "Griffin-Lim",
        backbone_hash=backbone,
        **facts,
    )
    return rows


def main() -> None:
    options = cli.options("lib.papers.ht.measure", __doc__, system="")
    with cli.told():
        bench = Bench(study.load_profile(options.profile), options.device)
        if options.system == "generated_parameters":
            score_generated_parameters(bench)
        else:
            score(bench, options.system, options.seed)


if __name__ == "__main__":
    main()
