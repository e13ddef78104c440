"""What a corpus is like: tables of its utterances and speakers, GE2E similarities, and its result rows."""

import time

import numpy as np
import pandas as pd

from lib import text
from lib.corpora.corpus import ROLES
from lib.study.protocol import Study
from lib.study.rows import write_manifest, write_rows

RUN = "ht-corpus-s0"


def utterance_table(study: Study) -> pd.DataFrame:
    """One row per utterance: speaker, role, split, seconds, f0 (Hz), rate (phones per second), wer and mos.

    F0 is the geometric mean over symbols, weighted by their frames; the rate leaves out the silence at both
    ends; wer and mos are the quality gate's.
    """
    features, rows = study.features, []
    mean, deviation = features.statistics["pitch_mean"], features.statistics["pitch_deviation"]
    for utterance, row in zip(study.corpus.utterances, features.rows(study.corpus.utterances), strict=True):
        item = features.item(int(row))
        log_f0 = np.average(item["pitch"] * deviation + mean, weights=item["durations"])
        spoken = [i for i, symbol in enumerate(utterance.phonemes) if symbol in text.PHONES]
        seconds = sum(utterance.durations[spoken[0] : spoken[-1] + 1])
        rows.append(
            {
                **{name: getattr(utterance, name) for name in ("utterance", "speaker", "role", "split", "seconds")},
                "f0": float(np.exp(log_f0)),
                "rate": len(spoken) / seconds,
                "wer": utterance.recipe.get("wer"),
                "mos": utterance.recipe.get("mos"),
            }
        )
    return pd.DataFrame(rows)


def recipe_table(study: Study) -> pd.DataFrame:
    """How each speaker is made, from its first utterance: role, voice, timbre, envelope warp, F0 scale."""
    rows = []
    for speaker in study.corpus.speakers():
        first = study.corpus.select(speaker=speaker)[0]
        made = {name: first.recipe.get(name) for name in ("voice", "timbre", "prosody", "warp", "f0_scale")}
        rows.append({"speaker": speaker, "role": first.role, **made})
    return pd.DataFrame(rows).dropna(axis=1, how="all").fillna("").set_index("speaker")


def speaker_table(utterances: pd.DataFrame) -> pd.DataFrame:
    """Per speaker: utterances of each split, minutes, means of F0 and rate."""
    grouped = utterances.groupby("speaker", sort=False)
    splits = utterances.pivot_table(index="speaker", columns="split", values="utterance", aggfunc="count", fill_value=0)
    means = grouped.agg(role=("role", "first"), minutes=("seconds", lambda s: s.sum() / 60), f0=("f0", "mean"))
    return means.join(grouped[["rate"]].mean()).join(splits).reset_index()


def gate_table(study: Study, utterances: pd.DataFrame) -> pd.DataFrame:
    """Per speaker: what the quality gate kept and set aside, mean WER and predicted MOS of what it kept."""
    dropped = pd.Series([entry["speaker"] for entry in study.corpus.set_aside], dtype=object).value_counts()
    kept = utterances.groupby("speaker", sort=False).agg(
        kept=("utterance", "count"), wer=("wer", "mean"), predicted_mos=("mos", "mean"), lowest_mos=("mos", "min")
    )
    return kept.assign(set_aside=dropped.reindex(kept.index).fillna(0).astype(int)).reset_index()


def similarities(study: Study) -> pd.DataFrame:
    """Mean GE2E cosine between utterances of every two speakers; of one speaker, between different ones."""
    names = study.corpus.speakers()
    clouds = [study.features.embeddings(study.features.rows(study.corpus.select(speaker=n))) for n in names]
    matrix = pd.DataFrame(index=names, columns=names, dtype=float)
    for i, first in enumerate(clouds):
        for j, second in enumerate(clouds[: i + 1]):
            cosines = first @ second.T
            others = ~np.eye(len(first), dtype=bool) if i == j and len(first) > 1 else np.ones_like(cosines, bool)
            matrix.iloc[i, j] = matrix.iloc[j, i] = cosines[others].mean()
    return matrix


def nearest_pretraining(study: Study, matrix: pd.DataFrame) -> pd.DataFrame:
    """For every adaptation and never-seen speaker: the most similar pre-training speaker, and itself."""
    known, rows = study.corpus.speakers("pretraining"), []
    for role in ROLES[1:]:
        for speaker in study.corpus.speakers(role):
            nearest = matrix.loc[speaker, known].idxmax()
            found = {"nearest": nearest, "nearest_pretraining_cosine": matrix.loc[speaker, nearest]}
            rows.append({"speaker": speaker, "role": role, **found, "within_cosine": matrix.loc[speaker, speaker]})
    return pd.DataFrame(rows)


def write(study: Study, started: float | None = None) -> pd.DataFrame:
    """Write the corpus's rows and manifest: F0, rate, seconds and nearest known voice by speaker."""
    started = time.time() if started is None else started
    utterances = utterance_table(study)
    roles = utterances.drop_duplicates("speaker").set_index("speaker")["role"]
    means = utterances.groupby("speaker").agg(f0_mean=("f0", "mean"), rate=("rate", "mean"), seconds=("seconds", "sum"))
    near = nearest_pretraining(study, similarities(study)).set_index("speaker")
    table = means.join(near[["nearest_pretraining_cosine", "within_cosine"]]).reset_index()
    units = {"f0_mean": "Hz", "rate": "phones per second", "seconds": "s"}
    long = table.melt(id_vars="speaker", var_name="metric").dropna(subset=["value"])
    unit = long["metric"].map(units).fillna("cosine")
    long = long.assign(unit=unit, role=long["speaker"].map(roles), system="corpus")
    write_rows(long, RUN, study.profile)
    corpus = study.corpus
    facts = {"corpus": corpus.name, "data_hash": corpus.hash, "set_aside": len(corpus.set_aside)}
    write_manifest(RUN, study.profile, study.profile["corpus"], started, device=study.device, **facts)
    return long
