"""What the TTS systems sound like, in result rows.

Every system speaks the test sentences of each role in the voice of the speaker's enrolment centroid and is compared
with the recording of the same sentence. `reference` compares the recordings with themselves: what a metric gives to
identical signals (claim HT10). `reference_vocoded` is the ceiling that the vocoder sets.
"""

import numpy as np
import pandas as pd
import torch

from lib.corpora.corpus import Utterance
from lib.metrics import cos, duration, ffe, filterbank_mcd, mcd, mos, per, secs, wer
from lib.papers.ht.speech import enrolment, synthesise, vocode
from lib.papers.ht.systems import Systems, TTSError
from lib.study.rows import tidy
from lib.study.units import unit
from lib.training.loop import seed_everything


def test_utterances(study: Systems, name: str, seed: int) -> list[Utterance]:
    """The test utterances that a system is measured on: per role, the first sentences of every speaker."""
    settings, chosen, system = study.settings["evaluate"], [], listed(study, name)
    everywhere = system in (*study.settings["headline"], "tts_0", "reference", "reference_vocoded")
    of_some = settings.get("later_seeds_of", {})
    for role, per_speaker in settings["sentences"].items():
        if not everywhere and role not in settings["roles_of_every_system"]:
            continue
        later = role in settings["roles_of_later_seeds"] and system in of_some.get(role, [system])
        if not is_first(study, seed) and not later:
            continue
        chosen += study.corpus.first(role, per_speaker)
    if not chosen:
        raise TTSError("the corpus has no test utterances: check ht.evaluate.sentences and the corpus's set-aside list")
    return chosen


def listed(study: Systems, name: str) -> str:
    """The name that the profile's lists have for a system: with other settings it is measured as the one it is of."""
    return study.changed.get("of", name)


def is_first(study: Systems, seed: int) -> bool:
    """Whether a run is measured as those with the first seed are: one with changed settings always is."""
    return bool(study.changed) or seed == study.settings["seeds"][0]


def speak(study: Systems, name: str, seed: int, utterances: list[Utterance]) -> list[np.ndarray]:
    """A system's waveforms for some utterances."""
    method = study.system(name)["method"]
    if method == "recording":
        return [study.corpus.wave(u) for u in utterances]
    if method == "vocoded_recording":
        return vocode(study, utterances)
    return synthesise(study, study.restore(name, seed), utterances)


def measure(study: Systems, name: str, seed: int, utterances: list[Utterance], waves: list[np.ndarray]) -> pd.DataFrame:
    """Every metric of every utterance, in tidy columns; wer, per and mos for chosen runs only."""
    references = [study.corpus.wave(u) for u in utterances]
    heard, recorded = (cos.embed(each, study.device) for each in (waves, references))
    values = {"cos": cos.between(heard, recorded)}
    for metric in (secs, mcd):
        values |= metric.score(waves, references, device=study.device)
    alignment = filterbank_mcd.align(waves, references, device=study.device)
    for metric in (filterbank_mcd, ffe):
        values |= metric.score(waves, references, device=study.device, alignment=alignment)
    centroids = {u.speaker: None for u in utterances}
    enrolled = dict(zip(centroids, enrolment(study, list(centroids)).numpy(), strict=True))
    values["cos_centroid"] = cos.between(heard, np.stack([enrolled[u.speaker] for u in utterances]))
    tables = [tidy(values, utterances)]
    listened = [i for i in range(len(utterances)) if is_listened(study, name, seed, utterances[i])]
    if listened:
        heard = [waves[i] for i in listened]
        texts = [utterances[i].text for i in listened]
        judged = wer.score(heard, texts, device=study.device) | per.score(heard, texts)
        judged |= mos.score(heard, None, device=study.device)
        tables.append(tidy(judged, [utterances[i] for i in listened]))
    return pd.concat(tables, ignore_index=True)


@torch.no_grad()
def duration_rows(study: Systems, name: str, seed: int, utterances: list[Utterance]) -> pd.DataFrame:
    """How far predicted durations are from those of the recordings, in the voice of the speaker's enrolment."""
    model, errors = study.restore(name, seed), []
    speakers = enrolment(study, [u.speaker for u in utterances])
    for places in np.array_split(np.arange(len(utterances)), -(-len(utterances) // 16)):
        batch = study.features.batch(study.features.rows([utterances[i] for i in places]), study.device)
        voice = speakers[places].to(study.device)
        hooks, backbone = model.hooks(voice), model.backbone
        hidden, mask = backbone.encode(batch["symbols"], batch["symbol_lengths"], voice, hooks)
        predicted = backbone.duration(hidden, mask, "duration", hooks)
        errors.append(duration.of_batch(batch, predicted, study.mel.frames_per_second))
    return tidy({"duration_error": np.concatenate(errors)}, utterances)


def is_listened(study: Systems, name: str, seed: int, utterance: Utterance) -> bool:
    settings = study.settings["evaluate"]
    return (
        (seed in settings["recognised_seeds"] or bool(study.changed))
        and utterance.role in settings["recognised_roles"]
        and (settings["recognised_systems"] == "all" or listed(study, name) in settings["recognised_systems"])
    )


def training_rows(trained: dict) -> pd.DataFrame:
    """What a training cost, and whether it left the backbone as it was, from what it wrote beside the weights."""
    metrics = ("trainable_parameters", "backbone_parameters", "backbone_changed", "seconds_trained")
    return pd.DataFrame([{"metric": m, "value": float(trained[m]), "unit": unit(m)} for m in metrics])


def clustered(study: Systems) -> list[Utterance]:
    """The utterances that clusters of generated weights are made of."""
    return [u for split in ("test", "validation") for u in study.corpus.select(role="adaptation", split=split)]


def generated_parameters(study: Systems, name: str, seed: int, trained: bool = True) -> tuple[np.ndarray, list[str]]:
    """The weights that a hypernetwork generates for the adaptation speakers' test and validation utterances, after its
    training or as it starts from.

    Returns `(utterances, parameters)` and each row's speaker.
    """
    if trained:
        model = study.restore(name, seed)
    else:
        part = study.part(name, seed)
        seed_everything(seed)  # as before its training
        model = part.build().to(study.device).eval()
    embeddings = torch.from_numpy(embedded(study)).to(study.device)
    with torch.no_grad():
        return model.adapter.generated(embeddings).cpu().numpy(), [u.speaker for u in clustered(study)]


def embedded(study: Systems) -> np.ndarray:
    """The speaker embeddings `(utterances, size)` that weights are generated from."""
    return study.features.embeddings(study.features.rows(clustered(study)))


def speaker_silhouette(points: np.ndarray, speakers: list[str]) -> np.ndarray:
    """Silhouette of each point with speakers as clusters, cosine distance (Rousseeuw 1987), `(points,)`."""
    from sklearn.metrics import silhouette_samples

    return silhouette_samples(points - points.mean(0), speakers, metric="cosine")


def generated_rows(study: Systems) -> pd.DataFrame:
    """Claim HT6's rows: the silhouette by speaker of what each listed hypernetwork generates, of what the same network
    generates before its training, and of the speaker embeddings that both start from.
    """
    speakers = [u.speaker for u in clustered(study)]

    def silhouette(points: np.ndarray) -> pd.DataFrame:
        return tidy({"silhouette": speaker_silhouette(points, speakers)}, clustered(study))

    tables = [silhouette(embedded(study)).assign(method="none", system="speaker_embedding", trainable=0)]
    for name in study.settings["evaluate"]["clustered_systems"]:
        for seed in study.settings["seeds"]:
            shared = study.factors(name, seed)
            points, _ = generated_parameters(study, name, seed)
            count = {"metric": "generated_parameters", "value": float(points.shape[1]), "unit": "count"}
            tables.append(pd.concat([silhouette(points), pd.DataFrame([count])]).assign(**shared))
            points, _ = generated_parameters(study, name, seed, trained=False)
            tables.append(silhouette(points).assign(**shared | {"system": f"{name}_untrained", "trainable": 0}))
    return pd.concat(tables, ignore_index=True)
