"""Claims on other speech: a column's rules, its verdicts beside the study's own, and what it may not change."""

import json

import pandas as pd
import pytest

from lib import study
from lib.study import claims, columns, planning

REAL, SIMULATED = study.load_profile("nonnative"), study.load_profile("demo")
NAME = "non-native and children's speech"
COHORTS = {"adults": "a", "children": "c"}


def of(profile: dict) -> dict:
    return columns.of(claims.load_claims(), profile)


def claim(content: dict, name: str) -> dict:
    return next(each for each in content["claims"] if each["id"] == name)


def cohorts(content: dict) -> set[str]:
    asked = [each for each in content["claims"] if each["paper"] == "HA" and "unasked" not in each]
    wheres = [part["where"] for each in asked for part in each["parts"]]
    wheres += [gate[key] for gate in content["papers"]["HA"]["gates"] for key in ("of", "minus") if key in gate]
    listed = [where.get("cohort", []) for where in wheres]
    return {name for each in listed for name in (each if isinstance(each, list) else [each])}


def rows_of(wer: dict[str, float], seeds: int = 5) -> pd.DataFrame:
    """WER of six speakers of each cohort and of typical speech, with some spread; Whisper's in one seed."""
    rows = []
    for system, value in wer.items():
        for seed in range(1 if system == "whisper_0" else seeds):
            for cohort, letter in (COHORTS | {"typical": "t"}).items():
                for speaker in range(6):
                    for number in range(4):
                        off = 0.001 * ((speaker * 7 + number * 3 + seed * 5) % 11 - 5)
                        rows.append(
                            {"system": system, "seed": seed, "cohort": cohort, "speaker": f"{letter}{speaker}"}
                            | {"utterance": f"{letter}{speaker}-{number}", "role": "never_seen", "split": "test"}
                            | {"metric": "wer", "value": 0.05 if cohort == "typical" else value + off}
                        )
    table = pd.DataFrame(rows).assign(paper="HA", method="lora", unit="ratio")
    table["run_id"] = "ha-" + table["system"] + "-s" + table["seed"].astype(str)
    return table.reindex(columns=study.COLUMNS).astype(study.TYPES)


def curves(systems: dict, seeds: int = 5) -> dict:
    level = [{"step": step, "validation": 1.0} for step in range(0, 101, 4)]
    return {f"ha-{system}-s{seed}": level for system in systems for seed in range(seeds)}


WER = {"whisper_0": 0.5, "full": 0.25, "hyper": 0.30, "hyper_ge2e": 0.35, "lora_w1_b01": 0.34, "cohort_lora": 0.36}


@pytest.fixture(scope="module")
def judged() -> dict[str, dict]:
    records = claims.judge(claims.load_claims(), rows_of(WER), {}, REAL, curves(WER))
    return {record["id"]: record for record in records if record["paper"] == "HA"}


def test_a_column_has_its_own_cohorts_everywhere_and_leaves_the_rule_beside_it_as_it_was():
    written = claims.load_claims()
    assert cohorts(of(REAL)) - {"mixed", "cluttering", "dysphonia"} == {"adults", "children", "typical", "typical_real"}
    assert cohorts(written) == cohorts(of(SIMULATED)) and "stuttering" in cohorts(written)
    assert columns.of(of(REAL), REAL) == of(REAL)


@pytest.mark.parametrize("name", ["HA2", "HA3", "HA6", "HA10", "HA12"])
def test_a_column_asks_for_as_much_as_the_rule_beside_it(name):
    terms = ("type", "metric", "threshold", "smallest", "expect", "cap")
    ours, theirs = ([p for p in claim(c, name)["parts"] if p.get("primary")] for c in (of(REAL), of(SIMULATED)))
    assert [[part.get(term) for term in terms] for part in ours] == [[p.get(term) for term in terms] for p in theirs]


def test_every_claim_of_a_column_says_when_why_and_what_the_rule_was():
    for each in of(REAL)["claims"]:
        if each["paper"] == "HA":
            assert each["amended"]["date"] == "2026-11-29"
            assert each["amended"]["why"] and each["amended"]["was"] and each["amended"]["seen"]


def test_a_columns_claims_are_judged_on_its_cohorts_and_named_for_its_speech(judged):
    assert {record["speech"] for record in judged.values()} == {NAME}
    assert judged["HA4"]["verdict"] == judged["HA6"]["verdict"] == "reproduced"
    assert judged["HA3"]["verdict"] == "not reproduced"  # 40 % of the errors, and 50 are claimed
    assert judged["HA4"]["seeds"] == 5 and judged["HA4"]["speakers"] == 12


def test_what_a_column_does_not_ask_is_not_tested_and_says_why(judged):
    assert judged["HA9"]["verdict"] == "not tested" and "two conditions" in judged["HA9"]["reason"]


def test_systems_that_a_column_has_no_rows_of_are_named(judged):
    assert judged["HA7"]["verdict"] == "not tested"
    assert judged["HA7"]["reason"] == "this profile's rows lack system hyper_b001, system hyper_b0001"


def test_a_column_is_gated_like_the_rule_beside_it():
    weak = WER | {"full": 0.45}
    records = claims.judge(claims.load_claims(), rows_of(weak), {}, REAL, curves(weak))
    record = next(record for record in records if record["id"] == "HA4")
    assert record["verdict"] == "not tested" and "full fine-tuning removes errors" in record["reason"]
    falling = {run: [{"step": s, "validation": 2.0 - s / 100} for s in range(0, 101, 4)] for run in curves(WER)}
    records = claims.judge(claims.load_claims(), rows_of(WER), {}, REAL, falling)
    assert "plateau" in next(record for record in records if record["id"] == "HA4")["reason"]


def test_systems_trained_on_fewer_utterances_shut_a_columns_claim():
    fewer = study.load_profile("nonnative", {"ha": {"systems": {"cohort_lora": {"steps": 10}}}})
    records = claims.judge(claims.load_claims(), rows_of(WER), {}, fewer, curves(WER))
    assert "not trained alike" in next(record for record in records if record["id"] == "HA4")["reason"]


def test_only_the_columns_paper_is_judged_where_others_have_no_rows(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    records = claims.write_claims(REAL)
    assert [record["id"] for record in records] == [f"HA{number}" for number in range(1, 13)]


def test_a_judged_column_is_found_beside_the_results_and_in_a_copy_of_them(tmp_path):
    content = claims.load_claims()
    assert columns.beside(content, tmp_path / "demo") == {}
    for place in (tmp_path / "nonnative", tmp_path / "copy" / "nonnative"):
        place.mkdir(parents=True)
        (place / "claims.json").write_text(json.dumps([{"id": "HA1"}]))
    for root in (tmp_path / "demo", tmp_path / "copy"):
        assert columns.beside(content, root) == {NAME: [{"id": "HA1"}]}
    (tmp_path / "nonnative" / "claims.json").write_text("[")
    with pytest.raises(study.StudyError, match="claims.json of nonnative is damaged"):
        columns.beside(content, tmp_path / "demo")


def test_a_column_is_not_beside_itself(tmp_path):
    (tmp_path / "nonnative").mkdir()
    (tmp_path / "nonnative" / "claims.json").write_text("[]")
    assert columns.beside(claims.load_claims(), tmp_path / "nonnative") == {}


def test_the_power_of_a_column_is_that_of_its_recordings_as_they_were_run(judged):
    found = planning.undecided(list(judged.values()), of(REAL), REAL)
    assert not {"HT1", "HA6", "HA9"} & {line["claim"] for line in found}
    told = {line["claim"]: line["reason"] for line in found}
    assert told["HA7"] == "its spread was never measured"


def test_a_part_has_its_value_in_each_seed_alone(judged):
    part = judged["HA4"]["parts"][0]
    assert list(part["by_seed"]) == [str(seed) for seed in range(5)]
    assert sum(part["by_seed"].values()) / 5 == pytest.approx(part["value"])
    assert set(judged["HA3"]["parts"][0]["by_seed"]) == set(part["by_seed"])  # Whisper's one seed serves all


def test_recordings_that_no_column_is_about_are_named_and_keep_the_rules():
    torgo = study.load_profile("demo", {"ha": {"corpus": {"source": "/data/torgo-0123"}}})
    content = of(torgo)
    assert content["papers"]["HA"]["speech"] == "recordings of torgo-0123" and "column" not in content
    assert content["claims"] == of(SIMULATED)["claims"]
    assert of(SIMULATED)["papers"]["HA"]["speech"] == "simulated atypical speech"
