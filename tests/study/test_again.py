import json
import shutil
from math import inf

import pandas as pd
import pytest

from lib.study import StudyError, again, columns
from lib.study.claims import VERDICTS, load_claims
from lib.study.report.evidence import read_json
from lib.study.report.index import write_report
from lib.study.report.reference import REFERENCE, today


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A copy of the committed run, judged again."""
    folder = tmp_path_factory.mktemp("committed") / "reference"
    shutil.copytree(REFERENCE, folder, ignore=shutil.ignore_patterns("figures", "audio", "*.html"))
    judged, profile = again.judge_again(folder)
    return folder, judged, profile


def test_the_committed_verdicts_are_those_of_todays_rules_on_the_committed_rows(committed):
    records = {record["id"]: record for record in today() or read_json(REFERENCE / "claims.json", "")}
    assert list(records) == [claim["id"] for claim in load_claims()["claims"]]
    for record in committed[1]["claims"]:
        known = records[record["id"]]
        assert record["verdict"] == known["verdict"] and record["verdict"] in VERDICTS and record["reason"]
        for name in ("value", "ci_low", "ci_high"):  # rows are committed with six digits
            near = record[name] if known[name] is None else pytest.approx(known[name], rel=1e-3, abs=1e-4)
            assert record[name] == near and (record[name] is None) == (known[name] is None), record["id"]


def test_no_decided_claim_about_training_rests_on_one_seed(committed):
    training = {claim["id"] for claim in load_claims()["claims"] if claim.get("training", True)}
    decided = [r for r in committed[1]["claims"] if r["verdict"] in ("reproduced", "not reproduced")]
    assert decided and all(record["seeds"] != 1 for record in decided if record["id"] in training)


def test_a_gate_of_the_committed_run_is_open_where_its_value_is_on_its_side(committed):
    asked = {(name, gate["name"]): gate for name, facts in load_claims()["papers"].items() for gate in facts["gates"]}
    measured = [gate for gate in committed[1]["gates"] if "claim" not in gate and gate["value"] is not None]
    for gate in measured:
        rule = asked[gate["paper"], gate["name"]]
        holds = rule.get("at_least", -inf) <= gate["value"] <= rule.get("at_most", inf)
        assert gate["open"] == holds, gate
        assert float(gate["reason"].split()[0]) == pytest.approx(gate["value"], rel=0.01), gate
    assert measured


def test_the_page_judged_again_begins_with_its_gates_and_shows_old_rules_beside_new_ones(committed):
    folder, judged, profile = committed
    page = write_report(profile, copied=folder, again=judged).read_text(encoding="utf-8")
    assert page.index("Can anything be concluded here?") < page.index('id="claims"')
    amended = [claim["amended"] for claim in load_claims()["claims"] if "amended" in claim]
    beside = sum(len(records) for records in columns.beside(load_claims(), folder).values())  # each says what it was
    assert page.count("<em>Before:</em>") == len(amended) + beside and len(amended) > 20


def test_a_folder_without_evidence_is_refused(tmp_path):
    with pytest.raises(StudyError, match="holds no evidence"):
        again.judge_again(tmp_path)


@pytest.mark.parametrize("corpora", [[], ["embedded"]])
def test_a_page_names_the_corpus_or_says_that_the_evidence_is_older(tmp_path, corpora):
    row = {"part": "p", "system": "reference", "method": "m", "metric": "mcd", "value": 0, "utterance": "u"}
    (tmp_path / "evidence").mkdir()
    pd.DataFrame([row | {"speaker": "s", "seed": 0, "split": "test"}]).to_csv(tmp_path / "evidence" / "HT10.csv")
    results = {"facts": {"HT": {"profile": "smoke", "corpora": corpora}}, "table": [], "corpus_check": None}
    (tmp_path / "results.json").write_text(json.dumps(results))
    judged, profile = again.judge_again(tmp_path)
    page = write_report(profile, copied=tmp_path, again=judged).read_text(encoding="utf-8")
    assert ("corpus embedded" in page) == bool(corpora)
    assert page.count("evidence was made before it named each paper") == (not corpora)
    assert "the committed evidence was made before it held the rows of the check" in page
    assert "No listeners&#39; answers are in these results" in page
