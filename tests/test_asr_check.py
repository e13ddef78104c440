"""Cohorts told apart by prosody: found where they differ in it, at chance where they do not."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.papers.ha import check as asr_check

RATE = 16000


def voice(f0: float, pause: float, seed: int) -> np.ndarray:
    """Two stretches of a pulse-like tone with a pause of some seconds between them."""
    time = np.arange(int(0.6 * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 6)) * 0.1
    noise = np.random.default_rng(seed).normal(0, 1e-4, int(pause * RATE) + 2 * len(time))
    noise[: len(time)] += tone
    noise[-len(time) :] += tone
    return noise.astype(np.float32)


def bench(differ: bool) -> SimpleNamespace:
    """Two cohorts of six training and six test utterances, which differ in F0 and pauses or in nothing."""
    items, waves = [], {}
    for index in range(24):
        cohort, second = ("stuttering", "parkinsons")[index % 2], index % 2 == 1
        name, role, split = f"u{index}", *(("adaptation", "train") if index < 12 else ("never_seen", "test"))
        items.append(SimpleNamespace(utterance=name, condition=cohort, role=role, split=split))
        waves[name] = voice(220 if differ and second else 110, 0.6 if differ and second else 0.3, index)
    return SimpleNamespace(
        device="cpu",
        select=lambda role, split: [i for i in items if (i.role, i.split) == (role, split)],
        corpus=SimpleNamespace(wave=lambda item: waves[item.utterance]),
    )


def test_features_are_those_of_the_signal():
    features = asr_check.prosody_of(bench(True), bench(True).select("never_seen", "test"))
    assert features.shape == (12, 9) and np.isfinite(features).all()
    pauses = features[:, asr_check.FEATURES.index("pause_seconds")]
    assert pauses[1::2] == pytest.approx(0.6, abs=0.1) and pauses[::2] == pytest.approx(0.3, abs=0.1)
    assert features[1::2, 6] - features[::2, 6] == pytest.approx(12.0, abs=0.3)


def test_cohorts_that_differ_in_prosody_are_told_apart_and_others_are_not():
    apart = asr_check.cohorts_by_prosody(bench(True)).set_index("cohort")["told right"]
    alike = asr_check.cohorts_by_prosody(bench(False)).set_index("cohort")["told right"]
    assert apart["all"] == 1.0
    assert alike["all"] < 0.9
