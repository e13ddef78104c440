import json

import numpy as np
import pytest

from lib.study import StudyError, gates
from lib.study.claims import load_claims


def curve(losses, steps=1000, name="total"):
    at = np.linspace(steps / len(losses), steps, len(losses))
    return [{"step": int(step), name: float(loss)} for step, loss in zip(at, losses, strict=True)]


def test_a_loss_that_no_longer_falls_is_at_its_plateau_and_a_falling_one_is_not():
    flat = np.concatenate([np.linspace(5, 1, 80), np.full(20, 1.0)])
    assert gates.fall(curve(flat)) == pytest.approx(0, abs=1e-6)
    assert gates.fall(curve(np.linspace(2, 1, 100))) == pytest.approx(16, abs=1)
    noisy = flat + np.random.default_rng(0).normal(0, 0.01, 100)
    assert abs(gates.fall(curve(noisy))) < 2


def test_the_validation_loss_counts_where_there_is_one():
    history = curve(np.linspace(2, 1, 100)) + curve(np.full(100, 3.0), name="validation")
    assert gates.fall(history) == pytest.approx(0)


@pytest.mark.parametrize("losses", [[], [3.0, 2.0, 1.0], list(np.linspace(-1, -2, 100))])
def test_a_curve_too_short_or_below_zero_cannot_be_read(losses):
    assert gates.fall(curve(losses) if losses else []) is None


def test_one_training_that_still_falls_shuts_the_gate_and_is_named():
    curves = {"sp-dp_r45-s0": curve(np.full(100, 1.0)), "sp-dp_r45-s1": curve(np.linspace(2, 1, 100))}
    gate = gates.plateau("SP", ["dp_r45"], curves)
    assert not gate.open and "sp-dp_r45-s1 still falls by 1" in gate.reason
    assert gates.plateau("SP", ["dp_r45"], {"sp-dp_r45-s0": curves["sp-dp_r45-s0"]}).open
    assert "no learning curve of vp" in gates.plateau("SP", ["vp"], curves).reason


def test_curves_are_read_of_checkpoints_and_manifests(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    for folder, name in (("checkpoints", "ht-backbone-s0"), ("manifests", "ha-hyper-s0"), ("checkpoints", "sp-vp-s0")):
        (tmp_path / "tiny" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "tiny" / folder / f"{name}.json").write_text(json.dumps({"history": curve([2.0, 1.0])}))
    assert set(gates.read_curves("tiny")) == {"ht-backbone-s0", "ha-hyper-s0", "sp-vp-s0"}
    (tmp_path / "tiny" / "checkpoints" / "sp-vp-s0.json").write_text("{")
    with pytest.raises(StudyError, match="sp-vp-s0.json is damaged"):
        gates.read_curves("tiny")


def test_systems_that_saw_fewer_utterances_are_not_trained_alike():
    profile = {
        "ha": {
            "train": {"steps": 80, "batch_size": 6},
            "systems": {"hyper": {}, "full": {"steps": 60, "batch_size": 4}},
        }
    }
    told = gates.unequal(["hyper", "full"], profile, "HA")
    assert told == "they are not trained alike: hyper on 480 utterances, full on 240 utterances"
    assert gates.unequal(["hyper", "hyper"], profile, "HA") == ""


def test_every_gate_on_word_or_character_errors_caps_an_utterance():
    for paper, facts in load_claims()["papers"].items():
        for gate in facts.get("gates", []):
            read = {gate[operand]["metric"] for operand in gates.OPERANDS if operand in gate}
            assert not read & {"wer", "cer"} or gate["cap"] == 1.0, (paper, gate["name"])
