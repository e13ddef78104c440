"""What can go is what nothing needs: finished runs of the profile always stay."""

import fcntl

import pytest
from synthetic_study import PROFILE, write_run

from lib import study
from lib.study import StudyError, housekeeping

ROW = {"system": "tts_0", "method": "none", "utterance": "u1", "metric": "cos", "value": 70.0, "unit": "x100"}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    write_run("ht-tts_0-s0", [ROW])
    write_run("ht-corpus-s0", [{"system": "corpus", "metric": "rate", "value": 12.0, "unit": "phonemes/s"}])
    return tmp_path / "tiny"


def names(root):
    return {str(path.relative_to(root)) for path, _ in housekeeping.leftovers(PROFILE)}


def test_finished_runs_and_a_notebooks_own_rows_stay(root):
    assert names(root) == set()


def test_runs_with_other_settings_stay(root):
    write_run("ht-hypertts_d_d_s_4-s0", [ROW | {"system": "hypertts_d_d_s_4"}], changed={"of": "hypertts_d", "d_s": 4})
    assert names(root) == set()


def test_what_no_run_needs_is_found_and_removed(root):
    study.write_rows([ROW], "ht-hypertts_d-s1", PROFILE)  # no manifest: the run did not end
    write_run("ht-dropped-s0", [ROW | {"system": "dropped"}])
    (root / "checkpoints").mkdir()
    for name in ("ht-tts_ft-s0.safetensors", "ht-tts_ft-s0.resume.pt", "ht-tts_ft-s1.resume.pt"):
        (root / "checkpoints" / name).touch()
    (root / "rows" / ".ht-tts_0-s0-abcd1234.parquet").touch()
    found = {
        "rows/ht-hypertts_d-s1.parquet",
        "rows/ht-dropped-s0.parquet",
        "manifests/ht-dropped-s0.json",
        "checkpoints/ht-tts_ft-s0.resume.pt",
        "rows/.ht-tts_0-s0-abcd1234.parquet",
    }
    assert names(root) == found
    housekeeping.remove([path for path, _ in housekeeping.leftovers(PROFILE)], root)
    assert names(root) == set()
    assert (root / "rows" / "ht-tts_0-s0.parquet").exists()
    assert (root / "checkpoints" / "ht-tts_ft-s1.resume.pt").exists()


def test_nothing_is_removed_while_a_run_is_at_work(root):
    with open(root / ".lock", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="a run is at work in tiny"):
            housekeeping.remove([root / "rows" / "ht-tts_0-s0.parquet"], root)
    assert (root / "rows" / "ht-tts_0-s0.parquet").exists()
