"""What the hypernetworks of both sides generate: HyperTTS's adapters and the recogniser's LoRA, and how they cluster.

A cloud is one vector of generated weights for each utterance, beside the embedding that it was generated from and the
labels that the utterances have. Silhouettes are those of claim HT6 (`lib.papers.ht.measure.speaker_silhouette`), of the weights
and of the embeddings; the map is t-SNE's.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from lib.corpora.corpus import Corpus, Utterance
from lib.papers.ha.systems import Systems as Recognisers
from lib.papers.ht import measure as scoring
from lib.papers.ht.study import Study
from lib.papers.ht.systems import TTSError
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


def cloud_of(profile: dict, run: str, device: str) -> Cloud:
    """The cloud of a trained hypernetwork, by its run id; trained now if it is not there.

    Raises TTSError for a run of another paper than HT and HA, and for a system without a hypernetwork.
    """
    paper, system, seed = run.split("-")
    sides = {"ht": _tts_cloud, "ha": _asr_cloud}
    if paper not in sides:
        raise TTSError(f"{run} generates no weights: name a hypernetwork of HT or HA")
    return sides[paper](profile, system, int(seed.removeprefix("s")), device)


def _tts_cloud(profile: dict, system: str, seed: int, device: str) -> Cloud:
    """HyperTTS: test and validation utterances; never-seen speakers have test utterances only."""
    bench = Study(profile, device)
    if bench.system(system)["method"] != "hypernetwork":
        raise TTSError(f"{system} has no hypernetwork: name one that has")
    model = bench.restore(system, seed)
    roles, splits = profile["xp"]["map_roles"], ("test", "validation")
    chosen = [u for role in roles for split in splits for u in bench.corpus.select(role=role, split=split)]
    embeddings = bench.features.embeddings(bench.features.rows(chosen))
    with torch.no_grad():
        weights = model.adapter.generated(torch.from_numpy(embeddings).to(bench.device)).cpu().numpy()
    return Cloud(weights, embeddings, chosen, bench.corpus)


def _asr_cloud(profile: dict, system: str, seed: int, device: str) -> Cloud:
    """The recogniser's hypernetwork: every utterance of the cohorts that it was trained on.

    Training speakers have a test sentence each, so that their training sentences are taken as well.
    """
    bench = Recognisers(profile, device)
    entry = bench.system(system)
    if entry["method"] != "hyper":
        raise TTSError(f"{system} has no hypernetwork: name one that has")
    trained = bench.restore(system, seed)
    table = bench.embeddings(entry["conditioning"], entry["embedding"])
    cohorts = {u.condition for u in bench.select("adaptation", "train")}
    chosen = [u for role in profile["xp"]["map_roles"] for u in bench.select(role) if u.condition in cohorts]
    embeddings = torch.stack([table[u.utterance] for u in chosen])
    with torch.no_grad():
        factors = trained.parts[0].update(embeddings).factors.values()
        weights = torch.cat([matrix.flatten(1) for pair in factors for matrix in pair], 1)
    return Cloud(weights.cpu().numpy(), embeddings.cpu().numpy(), chosen, bench.corpus)


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
                    values = scoring.speaker_silhouette(points[mine].astype(np.float64), names)
                    tables.append(factors[mine].assign(metric="silhouette", value=values, target=target))
                    tables[-1] = tables[-1].assign(variant=variant, unit=unit("silhouette"))
    size = {"metric": "generated_parameters", "value": float(cloud.weights.shape[1]), "unit": "count"}
    return pd.concat([*tables, pd.DataFrame([size])], ignore_index=True)
