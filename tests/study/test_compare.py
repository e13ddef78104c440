"""What changed between two runs: the same run changes nothing; verdicts, data and means that differ are listed."""

import shutil

import pytest
from synthetic_study import OTHER_PROFILE, write_run

from lib.files import write_json
from lib.study import StudyError, compare

ROW = {"system": "tts_0", "speaker": "p1", "role": "adaptation", "utterance": "u1", "metric": "cos", "unit": "x100"}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Results of one run, and a copy of them elsewhere."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    write_run("ht-tts_0-s0", [ROW | {"value": 70.0}, ROW | {"value": 72.0, "utterance": "u2"}])
    write_json(tmp_path / "tiny" / "claims.json", [{"id": "HT1", "verdict": "reproduced", "value": 1.0}])
    shutil.copytree(tmp_path / "tiny", tmp_path / "other")
    return compare.locate("tiny"), compare.locate(str(tmp_path / "other"))


def test_a_copy_of_a_run_differs_in_nothing(runs):
    assert compare.provenance(*runs) == compare.verdicts(*runs) == compare.means(*runs) == []


def test_a_changed_mean_is_listed_with_its_difference(runs, monkeypatch):
    write_run("ht-tts_0-s0", [ROW | {"value": 70.0}, ROW | {"value": 76.0, "utterance": "u2"}])
    (entry,) = compare.means(*runs)
    assert (entry["system"], entry["metric"], entry["mean a"], entry["mean b"]) == ("tts_0", "cos", 73.0, 71.0)
    assert entry["difference"] == -2.0


def test_a_system_that_only_one_run_has_is_listed_without_a_difference(runs):
    write_run("ht-hypertts_d-s0", [ROW | {"system": "hypertts_d", "value": 75.0}])
    (entry,) = compare.means(*runs)
    assert (entry["mean a"], entry["n b"], entry["difference"]) == (75.0, 0, None)


def test_a_changed_verdict_and_changed_parameters_are_listed(runs):
    write_json(f"{runs[1]}/claims.json", [{"id": "HT1", "verdict": "inconclusive", "value": 1.0}])
    (entry,) = compare.verdicts(*runs)
    assert (entry["claim"], entry["verdict a"], entry["verdict b"]) == ("HT1", "reproduced", "inconclusive")
    write_run("ht-tts_0-s0", [ROW | {"value": 70.0}], profile=OTHER_PROFILE)
    assert "profile_hash" in {entry["what"] for entry in compare.provenance(*runs)}


@pytest.mark.parametrize(("value", "listed"), [(1.9, []), (2.1, [("HT1", "COS")])])
def test_a_part_whose_interval_excludes_the_other_runs_value_is_listed(runs, value, listed):
    for root, found in zip(runs, (1.0, value), strict=True):
        part = {"name": "COS", "value": found, "ci_low": found - 1, "ci_high": found + 1}
        write_json(f"{root}/claims.json", [{"id": "HT1", "verdict": "reproduced", "value": found, "parts": [part]}])
    assert [(entry["claim"], entry["part"]) for entry in compare.intervals(*runs)] == listed


def test_results_that_are_not_there_are_named():
    with pytest.raises(StudyError, match="there are no results in nowhere"):
        compare.locate("nowhere")
