"""Angles, F0, and cohorts told apart by prosody: found where they differ in it, at chance where they do not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.methods import hyperlora
from lib.models.whisper import sizes as whisper
from lib.papers.ha import probes
from lib.papers.ha.data import AsrError

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


def recogniser() -> SimpleNamespace:
    settings = {"evaluate": {"angles": {"rank": 4}}}
    return SimpleNamespace(model=whisper.load("tiny.en"), device="cpu", settings=settings)


def test_features_are_those_of_the_signal():
    features = probes.prosody_of(bench(True), bench(True).select("never_seen", "test"))
    assert features.shape == (12, 9) and np.isfinite(features).all()
    pauses = features[:, probes.PROSODY.index("pause_seconds")]
    assert pauses[1::2] == pytest.approx(0.6, abs=0.1) and pauses[::2] == pytest.approx(0.3, abs=0.1)
    assert features[1::2, 6] - features[::2, 6] == pytest.approx(12.0, abs=0.3)


def test_cohorts_that_differ_in_prosody_are_told_apart_and_others_are_not():
    apart = probes.cohorts_by_prosody(bench(True)).set_index("cohort")["told right"]
    alike = probes.cohorts_by_prosody(bench(False)).set_index("cohort")["told right"]
    assert apart["all"] == 1.0
    assert alike["all"] < 0.9


def test_angles_are_zero_by_shape_for_square_matrices_and_not_for_w1():
    asr, names = recogniser(), ["decoder.W1", "decoder.W2", "decoder.self.q"]
    tuned = hyperlora.matrix_fine_tuning(asr.model.network, names, layers=[0])
    with torch.no_grad():
        for value in tuned.values:
            value.add_(0.01 * torch.randn_like(value))
    rows = probes.angles(asr, tuned)
    mean = rows[rows["metric"] == "angle_mean"].groupby(["variant", "target"])["value"].mean()
    assert mean["columns", "decoder.self.q"] == 0 and mean["columns", "decoder.W2"] == 0
    assert mean["columns", "decoder.W1"] > 0 and mean["rows", "decoder.W2"] > 0 and mean["rows", "decoder.W1"] == 0
    assert mean["leading", "decoder.self.q"] > 0
    change = rows[rows["metric"] == "relative_change"]
    assert len(change) == 3 and (change["value"] > 0).all()


def test_parameters_are_grouped_by_type():
    path = "model.decoder.layers.3"
    assert probes.kind_of(f"{path}.fc1.weight") == ("decoder.W1", "3")
    assert probes.kind_of(f"{path}.encoder_attn.v_proj.weight") == ("decoder.cross.v", "3")
    assert probes.kind_of(f"{path}.self_attn.out_proj.bias") == ("decoder.bias", "3")
    assert probes.kind_of(f"{path}.final_layer_norm.weight") == ("decoder.layer_norm", "3")


def test_angles_of_a_method_that_changes_no_whole_weight_are_refused():
    with pytest.raises(AsrError, match="give a system of the method full"):
        probes.angles(recogniser(), hyperlora.StaticLora(recogniser().model.network))


def test_f0_is_read_in_semitones():
    time = np.arange(16000) / 16000
    tone = sum(np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 8)).astype(np.float32)
    assert probes.f0_level(tone) == pytest.approx(12, abs=0.3)


def test_simulated_speakers_share_voices_and_recorded_ones_are_a_voice_each():
    def heard(speaker: str, role: str, split: str, **recipe) -> SimpleNamespace:
        return SimpleNamespace(speaker=speaker, role=role, split=split, condition="stuttering", recipe=recipe)

    items = [heard(f"s{index}", "adaptation", "train", voice=f"v{index % 2}") for index in range(4)]
    items += [heard(f"r{index}", "never_seen", "test") for index in range(3)]
    study = SimpleNamespace(select=lambda role, split: [i for i in items if (i.role, i.split) == (role, split)])
    found = probes.voices(study).set_index("utterances of")
    assert found["voices"].tolist() == [2, 3, 5] and found["speakers"].tolist() == [4, 3, 7]
