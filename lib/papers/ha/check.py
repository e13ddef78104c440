"""Is the simulated speech what it says it is? Cohorts told apart by prosody alone, without a recogniser."""

import numpy as np
import pandas as pd
import torch

from lib.audio import RATE
from lib.corpora.corpus import Utterance
from lib.metrics import prosody
from lib.papers.ha.data import Bench
from lib.pitch import yin

HOP = 160
FEATURES = ("energy_mean", "energy_range", "rate", "pauses", "pause_seconds", "pause_share")


def prosody_of(bench: Bench, items: list[Utterance]) -> np.ndarray:
    """(utterances, 9): energy, rate and pauses of `lib.metrics.prosody`, mean and spread of F0 (semitones), voicing."""
    waves = [bench.corpus.wave(item) for item in items]
    measured = prosody.timing(waves, device=bench.device)
    intonation = np.array([_intonation(wave) for wave in waves])
    return np.column_stack([*(measured[name] for name in FEATURES), intonation])


def _intonation(wave: np.ndarray) -> tuple[float, float, float]:
    f0 = yin(torch.from_numpy(wave)[None].double(), RATE, HOP)[0][0]
    voiced = f0[f0 > 0]
    if len(voiced) < 2:
        return 0.0, 0.0, 0.0
    semitones = 12 * torch.log2(voiced / 100)
    return float(semitones.mean()), float(semitones.std()), len(voiced) / len(f0)


def cohorts_by_prosody(bench: Bench) -> pd.DataFrame:
    """Does prosody tell the cohorts apart? Logistic regression on `prosody_of`, learned on training speakers.

    One row per cohort and one for all: utterances of never-seen speakers, the share told right, and chance, the
    share of the commonest cohort.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trained = bench.select("adaptation", "train")
    cohorts = sorted({item.condition for item in trained})
    tested = [item for item in bench.select("never_seen", "test") if item.condition in cohorts]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(prosody_of(bench, trained), [item.condition for item in trained])
    truth = np.array([item.condition for item in tested])
    right = model.predict(prosody_of(bench, tested)) == truth
    chance = max(np.mean(truth == cohort) for cohort in cohorts)
    rows = [
        {"cohort": c, "utterances": int((truth == c).sum()), "told right": right[truth == c].mean()} for c in cohorts
    ]
    return pd.DataFrame([*rows, {"cohort": "all", "utterances": len(truth), "told right": right.mean()}]).assign(
        chance=chance
    )
