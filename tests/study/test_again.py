import json

import pandas as pd
import pytest

from lib.study import StudyError, again, columns
from lib.study.claims import VERDICTS, load_claims
from lib.study.report.index import write_report
from lib.study.report.reference import REFERENCE


@pytest.fixture(scope="module")
def committed():
    return json.loads((REFERENCE / again.JUDGED).read_text(encoding="utf-8"))


def test_the_committed_run_is_judged_by_todays_rules_and_none_rests_on_one_seed(committed):
    content = load_claims()
    assert [record["id"] for record in committed["claims"]] == [claim["id"] for claim in content["claims"]]
    training = {claim["id"] for claim in content["claims"] if claim.get("training", True)}
    for record in committed["claims"]:
        assert record["verdict"] in VERDICTS and record["reason"]
        decided = record["verdict"] in ("reproduced", "not reproduced")
        assert not (decided and record["id"] in training and record["seeds"] == 1), record["id"]


def test_a_shut_gate_of_the_committed_run_is_told_with_its_number(committed):
    gates = {gate["name"]: gate for gate in committed["gates"] if "claim" not in gate}
    assert gates["fine-tuning helps"]["value"] == pytest.approx(29.7, abs=0.1)
    assert not gates["fine-tuning helps"]["open"] and gates["gap closed"]["open"]


def test_the_page_of_the_committed_run_begins_with_its_gates_and_shows_old_rules_beside_new_ones():
    page = (REFERENCE / again.PAGE).read_text(encoding="utf-8")
    assert page.index("Can anything be concluded here?") < page.index('id="claims"')
    amended = [claim["amended"] for claim in load_claims()["claims"] if "amended" in claim]
    beside = sum(len(records) for records in columns.beside(load_claims(), REFERENCE).values())  # each says what it was
    assert page.count("<em>Before:</em>") == len(amended) + beside and len(amended) > 20


def test_a_folder_without_evidence_is_refused(tmp_path):
    with pytest.raises(StudyError, match="holds no evidence"):
        again.judge_again(tmp_path)


@pytest.mark.parametrize("corpora", [{}, {"HT": ["embedded"]}])
def test_a_page_names_the_corpus_or_says_that_the_evidence_is_older(tmp_path, corpora):
    row = {"part": "p", "system": "reference", "method": "m", "metric": "mcd", "value": 0, "utterance": "u"}
    (tmp_path / "evidence").mkdir()
    pd.DataFrame([row | {"speaker": "s", "seed": 0, "split": "test"}]).to_csv(tmp_path / "evidence" / "HT10.csv")
    results = {"facts": {"profile": "smoke", "corpora": corpora}, "table": [], "corpus_check": None}
    (tmp_path / "results.json").write_text(json.dumps(results))
    judged, profile = again.judge_again(tmp_path)
    page = write_report(profile, copied=tmp_path, again=judged).read_text(encoding="utf-8")
    assert ("corpus embedded" in page) == bool(corpora)
    assert page.count("evidence was made before it named each paper") == (not corpora)
    assert "the committed evidence was made before it held the rows of the check" in page
    assert "No listeners&#39; answers are in these results" in page
