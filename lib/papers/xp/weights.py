"""What the hypernetworks of both sides generate: HyperTTS's adapters and the recogniser's LoRA, and how they cluster.

A cloud is one vector of generated weights for each utterance, beside the embedding that it was generated from and the
labels that the utterances have. Silhouettes are those of claim HT6 (`lib.papers.ht.measure`), of the weights and of the
embeddings; the map is t-SNE's.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from lib.corpora.corpus import Corpus, Utterance
from lib.papers.ha.systems import EVERYBODY
from lib.papers.ha.systems import Systems as Recognisers
from lib.papers.ht.measure import speaker_silhouette
from lib.papers.xp.systems import AcrossError, Systems
from lib.study.pictures import tsne
from lib.study.units import unit

LABELS = ("speaker", "voice", "cohort", "severity")


@dataclass
class Cloud:
    """Generated weights `(utterances, weights)`, embeddings `(utterances, size)`, and each row's utterance."""

    weights: np.ndarray
    embeddings: np.ndarray
    utterances: list[Utterance]
    corpus: Corpus

    def labels(self) -> pd.DataFrame:
        """speaker, voice (whose speech was changed), cohort and severity of each utterance; None where it has none."""
        return pd.DataFrame(
            {
                "speaker": [u.speaker for u in self.utterances],
                "voice": [u.recipe.get("voice") if _is_simulated(u) else None for u in self.utterances],
                "cohort": [u.condition if _is_simulated(u) else None for u in self.utterances],
                "severity": [u.recipe.get("severity") if _is_simulated(u) else None for u in self.utterances],
            }
        )


def _is_simulated(utterance: Utterance) -> bool:
    """Is it simulated atypical speech, made from another utterance?"""
    return "severity" in utterance.recipe


def cloud_of(study: Systems, run: str) -> Cloud:
    """The cloud of a trained hypernetwork, by its run id; trained now if it is not there.

    Raises AcrossError for a run of another paper than HT and HA, and for a system without a hypernetwork.
    """
    paper, system, seed = run.split("-")
    sides = {"ht": _tts_cloud, "ha": _asr_cloud}
    if paper not in sides:
        raise AcrossError(f"{run} generates no weights: name a hypernetwork of HT or HA")
    return sides[paper](study, system, int(seed.removeprefix("s")))


def _tts_cloud(study: Systems, system: str, seed: int) -> Cloud:
    """HyperTTS: test and validation utterances; never-seen speakers have test utterances only."""
    if study.tts.system(system)["method"] != "hypernetwork":
        raise AcrossError(f"{system} has no hypernetwork: name one that has")
    model = study.tts.restore(system, seed)
    roles, splits = study.settings["map_roles"], ("test", "validation")
    chosen = [u for role in roles for split in splits for u in study.corpus.select(role=role, split=split)]
    embeddings = study.features.embeddings(study.features.rows(chosen))
    with torch.no_grad():
        weights = model.adapter.generated(torch.from_numpy(embeddings).to(study.device)).cpu().numpy()
    return Cloud(weights, embeddings, chosen, study.corpus)


def _asr_cloud(study: Systems, system: str, seed: int) -> Cloud:
    """The recogniser's hypernetwork: every utterance of the cohorts that it was trained on.

    Training speakers have a test sentence each, so that their training sentences are taken as well.
    """
    asr = Recognisers(study.profile, study.device, study.cores)
    entry = asr.system(system)
    if entry["method"] != "hyper":
        raise AcrossError(f"{system} has no hypernetwork: name one that has")
    adaptation = asr.restore(system, seed).of(EVERYBODY)
    table = asr.embeddings(entry["conditioning"], entry["embedding"])
    cohorts = {u.condition for u in asr.select("adaptation", "train")}
    chosen = [u for role in study.settings["map_roles"] for u in asr.select(role) if u.condition in cohorts]
    embeddings = torch.stack([table[u.utterance] for u in chosen])
    with torch.no_grad():
        factors = adaptation.update(embeddings).factors.values()
        weights = torch.cat([matrix.flatten(1) for pair in factors for matrix in pair], 1)
    return Cloud(weights.cpu().numpy(), embeddings.cpu().numpy(), chosen, asr.corpus)


def cloud_rows(cloud: Cloud) -> pd.DataFrame:
    """Rows of a cloud: silhouettes by label within each role, places on the map, and how many weights there are.

    metric silhouette: target is the label whose values are the clusters, variant "weights" or "embedding". Metrics
    map_x and map_y: the t-SNE map of the weights of all roles together. A label with one value, or a value of its own
    for each utterance, has no silhouettes.
    """
    facts = cloud.labels().assign(
        utterance=[u.utterance for u in cloud.utterances],
        role=[u.role for u in cloud.utterances],
        split=[u.split for u in cloud.utterances],
    )
    factors = facts.drop(columns="voice")
    tables = [
        factors.assign(metric=metric, value=values, unit="t-SNE", variant="weights")
        for metric, values in zip(("map_x", "map_y"), tsne(cloud.weights).astype(np.float64).T, strict=True)
    ]
    for variant, points in (("weights", cloud.weights), ("embedding", cloud.embeddings)):
        for target in LABELS:
            for role in facts["role"].unique():
                mine = (facts["role"] == role).to_numpy() & facts[target].notna().to_numpy()
                names = facts[target][mine].tolist()
                if 2 <= len(set(names)) < len(names):
                    values = speaker_silhouette(points[mine].astype(np.float64), names)
                    tables.append(factors[mine].assign(metric="silhouette", value=values, target=target))
                    tables[-1] = tables[-1].assign(variant=variant, unit=unit("silhouette"))
    size = {"metric": "generated_parameters", "value": float(cloud.weights.shape[1]), "unit": "count"}
    return pd.concat([*tables, pd.DataFrame([size])], ignore_index=True)
