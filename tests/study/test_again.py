import json
import shutil
from math import inf

import pandas as pd
import pytest

from lib import study
from lib.study import StudyError, again, columns
from lib.study.claims import VERDICTS, load_claims
from lib.study.report import reference
from lib.study.report.evidence import read_json
from lib.study.report.reference import REFERENCE
from lib.study.units import short


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A copy of the committed run, judged by today's rules, and what they say."""
    folder = tmp_path_factory.mktemp("committed") / "reference"
    shutil.copytree(REFERENCE, folder, ignore=shutil.ignore_patterns("figures", "audio", "*.html"))
    records = reference.refresh(folder)
    return folder, {"claims": records, "gates": read_json(folder / "gates.json", "")}


@pytest.mark.parametrize("column", [".", *sorted(path.parent.name for path in REFERENCE.glob("*/claims.json"))])
def test_the_committed_verdicts_are_those_of_todays_rules_on_the_committed_rows(committed, column):
    records = {record["id"]: record for record in read_json(REFERENCE / column / "claims.json", "")}
    asked = [claim["id"] for claim in load_claims()["claims"]]
    assert list(records) == [claim for claim in asked if column == "." or claim in records]
    for record in committed[1]["claims"] if column == "." else again.judge_again(REFERENCE / column)[0]["claims"]:
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


def test_the_page_of_a_run_judged_again_begins_with_its_gates_and_shows_old_rules_beside_new_ones(committed):
    folder = committed[0]
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.index("Can anything be concluded here?") < page.index('id="claims"')
    amended = [claim["amended"] for claim in load_claims()["claims"] if "amended" in claim]
    beside = sum(len(records) for records in columns.beside(load_claims(), folder).values())  # each says what it was
    assert page.count("<em>Before:</em>") == len(amended) + beside and len(amended) > 20


def test_a_folder_without_evidence_is_refused(tmp_path):
    with pytest.raises(StudyError, match="holds no evidence"):
        again.judge_again(tmp_path)


@pytest.mark.parametrize("corpora", [[], ["embedded"]])
def test_a_page_names_the_corpus_of_the_evidence_where_it_is_known(tmp_path, corpora):
    row = {"part": "p", "system": "reference", "method": "m", "metric": "mcd", "value": 0, "utterance": "u"}
    (tmp_path / "evidence").mkdir()
    pd.DataFrame([row | {"speaker": "s", "seed": 0, "split": "test"}]).to_csv(tmp_path / "evidence" / "HT10.csv")
    facts = {"profile": "smoke", "corpora": corpora, "runs": 7, "commit": ["abc123"], "data_hash": ["d1"]}
    results = {"facts": {"HT": facts}, "table": [], "corpus_check": None}
    (tmp_path / "results.json").write_text(json.dumps(results))
    reference.refresh(tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert ("corpus embedded" in page) == bool(corpora)
    assert "The corpus check of HT is missing" in page
    assert "No listeners&#39; answers are in these results" in page
    assert "<dd>abc123</dd>" in page and "Of its 7 runs the rows that claims compare are kept" in page
    assert ("embedded, d1" in page) == bool(corpora)
    assert "The embedded corpus is synthetic" in page  # named by the run or not


def test_the_table_of_a_run_without_its_trainings_tells_weights_by_the_rows_and_no_metric_that_has_none():
    page = (REFERENCE / "nonnative" / "index.html").read_text(encoding="utf-8")
    results = page[page.index('id="results"') : page.index('id="figures"')]
    known = set(again.read_rows(REFERENCE / "nonnative")["metric"])
    for metric in load_claims()["papers"]["HA"]["table"]["columns"]:
        assert (f">{short(metric)}" in results) == (metric in known), metric
    assert "37.8 M" in results


def test_committed_runs_are_judged_with_their_curves_and_what_listeners_said_beside_them(tmp_path, monkeypatch):
    """Two runs of LD under runs/, an evidence file that repeats some of their rows, and one listener's."""
    shared = {"split": "test", "metric": "cer", "value": 0.1, "unit": "ratio", "utterance": "u"}
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / again.RUNS))
    smoke = study.load_profile("smoke")
    for seed in (0, 1):
        study.write_rows([shared | {"system": "palette", "seed": seed}], f"ld-palette-s{seed}", smoke)
        history = [{"step": 1, "total": 1.0}]
        study.write_manifest(f"ld-palette-s{seed}", smoke, {}, 0.0, corpus="joe", history=history)
    (tmp_path / "evidence").mkdir()
    said = shared | {"part": "p", "system": "palette", "seed": 0}
    heard = said | {"metric": "mos_listeners", "value": 4.0, "listener": "7"}
    pd.DataFrame([said]).to_csv(tmp_path / "evidence" / "LD1.csv", index=False)
    pd.DataFrame([heard]).to_csv(tmp_path / "evidence" / f"LD{again.LISTENERS}", index=False)
    (tmp_path / "results.json").write_text(json.dumps({"facts": {"LD": {"profile": "smoke", "corpora": ["joe"]}}}))
    rows = again.read_rows(tmp_path)
    assert sorted(rows["metric"]) == ["cer", "cer", "mos_listeners"]
    assert set(again.read_manifests(tmp_path)) == {"ld-palette-s0", "ld-palette-s1"}
    assert set(again._curves(tmp_path)) == {"ld-palette-s0", "ld-palette-s1"}
