"""The second way to open a plateau's gate: a claim with the same verdict when its systems had half of the training."""

import re

import numpy as np
import pandas as pd
import pytest

from lib.study import gates
from lib.study.claims import Bench
from lib.study.report import claim_rows
from lib.study.rows import COLUMNS
from tests.study.test_gates import curve

PROFILE = {"name": "full", "sp": {"systems": {"dp": {"half": "dp_half"}, "dp_half": {}, "vp": {}}}}
PART = {"name": "CER", "type": "value", "metric": "cer", "a": "dp", "where": {}, "expect": "less", "threshold": 0.5}
PART |= {"smallest": 0.0, "unit": "ratio", "primary": True, "pair_on": ["seed", "speaker", "utterance"]}
FALLING, FLAT = curve(np.linspace(2, 1, 100)), curve(np.full(100, 1.0))


def claim(systems: list[str]) -> dict:
    return {"id": "SP1", "paper": "SP", "parts": [PART], "needs": {"systems": systems}, "gates": []}


def rows(**level: float) -> pd.DataFrame:
    """CER of systems around a level: five seeds, six speakers, four sentences."""
    random, found = np.random.default_rng(0), []
    for system, mean in level.items():
        for seed, speaker, sentence in np.ndindex(5, 6, 4):
            value = mean + 0.02 * random.standard_normal()
            named = {"seed": seed, "speaker": f"p{speaker}", "utterance": f"u{sentence}"}
            found.append({"paper": "SP", "system": system, "metric": "cer", "value": value, **named})
    return pd.DataFrame(found).reindex(columns=COLUMNS).assign(run_id="r")


def gate(table: pd.DataFrame, systems: list[str], curves: dict[str, list], **paper: list[str]) -> gates.Gate:
    told = {"SP": {"gates": [{"name": "x", "of": {"metric": "cer"}, "at_most": 1, "told": "x", "unit": ""}], **paper}}
    content = {"claims": [claim(systems)], "papers": told, "rules": {"all": ""}}
    bench = Bench(content, table, {}, PROFILE, curves)
    bench.shut(content["claims"][0])
    return bench.convergence["SP1"]


def test_the_same_verdict_with_half_of_the_training_opens_the_gate():
    found = gate(rows(dp=0.1, dp_half=0.2), ["dp"], {"sp-dp-s0": FALLING})
    assert found.open and "still falls" in found.reason and "the verdict is the same (reproduced)" in found.reason
    moved = re.search(r"\S+ then and \S+ now, (\S+) \[(\S+), (\S+)\] over 5 seeds", found.reason)
    mean, low, high = map(float, moved.groups())
    assert mean == pytest.approx(-0.1, abs=0.01) and low < mean < high and high - low < 0.02


@pytest.mark.parametrize(("then", "told"), [(0.9, "not reproduced"), (0.5, "inconclusive")])
def test_another_verdict_with_half_of_the_training_leaves_it_shut_and_says_both(then, told):
    found = gate(rows(dp=0.1, dp_half=then), ["dp"], {"sp-dp-s0": FALLING})
    assert not found.open and f"half of the training the verdict is “{told}”, with all “reproduced”" in found.reason


def test_it_stays_shut_where_neither_decides_and_where_half_has_fewer_seeds():
    assert not gate(rows(dp=0.5, dp_half=0.5), ["dp"], {"sp-dp-s0": FALLING}).open
    table = rows(dp=0.1, dp_half=0.2)
    for few in (rows(dp=0.1), table[(table["system"] == "dp") | (table["seed"] < 4)]):
        found = gate(few, ["dp"], {"sp-dp-s0": FALLING})
        assert not found.open and "fewer seeds were run" in found.reason


def test_a_system_without_half_a_missing_curve_and_a_shared_training_that_still_improves_leave_it_shut():
    table = rows(dp=0.1, dp_half=0.1, vp=0.1)
    assert not gate(table, ["dp", "vp"], {"sp-dp-s0": FALLING, "sp-vp-s0": FLAT}).open
    curves = {"sp-dp-s0": FALLING, "sp-dense-s0": FALLING}
    assert not gate(table, ["dp"], curves, shared_trainings=["dense"]).open
    assert gate(table, ["dp"], curves | {"sp-dense-s0": FLAT}, shared_trainings=["dense"]).open
    assert not gate(table, ["dp"], {"sp-dp-s0": FALLING, "sp-dp-s1": []}).open


def test_rows_of_half_stand_in_for_those_of_all():
    table = gates.with_half(rows(dp=0.1, dp_half=0.9, vp=0.3), {"dp": "dp_half"})
    assert set(table["system"]) == {"dp", "vp"}
    assert table.groupby("system")["value"].mean().round(1).to_dict() == {"dp": 0.9, "vp": 0.3}


def test_the_rows_of_half_are_committed_with_the_claim_under_their_own_name():
    table = claim_rows.compared(claim(["dp"]), rows(dp=0.1, dp_half=0.9, vp=0.3), gates.halves(PROFILE, "SP"))
    assert table.groupby("system")["value"].mean().round(1).to_dict() == {"dp": 0.1, "dp_half": 0.9}
    assert set(table["part"]) == {"CER"} and gates.halves(PROFILE, "HT") == {}
