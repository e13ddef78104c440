"""A committed run is gone on with: what another machine made is taken up as it was, and only that."""

import json

import pandas as pd
import pytest
from synthetic_study import PROFILE, write_run

from lib import __main__ as door
from lib import study
from lib.study import gates
from lib.study.report import clips, portions

ROW = {"system": "tts_0", "method": "none", "utterance": "u1", "metric": "cos", "value": 70.0, "unit": "x100"}
CURVE = [{"step": step, "total": 2.0 - 0.01 * step, "validation": 3.0 - 0.01 * step} for step in range(10)]


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """A committed folder with two runs of HT, a clip and a learning curve, and one run of LD; results are elsewhere."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "there"))
    write_run("ht-tts_0-s0", [ROW])
    write_run("ht-hypertts_d-s0", [ROW | {"system": "hypertts_d", "value": 72.5}])
    write_run("ld-palette-s0", [ROW | {"system": "palette"}])
    root, folder = study.results_root(PROFILE), tmp_path / "committed"
    study.write_rows([ROW], "ht-tts_ft-s0", PROFILE)  # not finished
    (root / "checkpoints").mkdir()
    (root / "checkpoints" / "ht-hypertts_d-s0.json").write_text(json.dumps({"history": CURVE}))
    portions.keep(PROFILE, folder, ["HT", "LD"])
    (folder / "audio" / "ht-hypertts_d-s0").mkdir(parents=True)
    (folder / "audio" / "ht-hypertts_d-s0" / "ad0-0.opus").write_bytes(b"packed")
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "here"))
    return folder


def test_rows_curves_and_clips_are_taken_up_as_they_were(committed, tmp_path, monkeypatch):
    found = portions.take_up(PROFILE, committed)
    assert found.taken == ["ht-hypertts_d-s0", "ht-tts_0-s0", "ld-palette-s0"] and not found.there + found.outdated
    rows, states = study.read_rows(PROFILE), {each["run"]: each["state"] for each in study.status(PROFILE)}
    assert gates.read_curves(PROFILE) == {"ht-hypertts_d-s0": CURVE}
    assert all(states[run] == "finished" for run in found.taken) and states.get("ht-tts_ft-s0") != "unfinished"
    assert clips._opus(study.results_root(PROFILE) / "audio" / "ht-hypertts_d-s0" / "ad0-0.opus") == b"packed"
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "there"))
    pd.testing.assert_frame_equal(rows, study.read_rows(PROFILE))


def test_what_is_here_stays_and_what_other_settings_made_is_left(committed):
    write_run("ht-tts_0-s0", [ROW | {"value": 55.0}])
    found = portions.take_up(PROFILE | {"ld": {"drop_condition": 0.7}}, committed)
    assert found.there == ["ht-tts_0-s0"] and found.outdated == ["ld-palette-s0"]
    assert found.taken == ["ht-hypertts_d-s0"]
    rows = study.read_rows(PROFILE)
    assert dict(zip(rows["system"], rows["value"], strict=True)) == {"tts_0": 55.0, "hypertts_d": 72.5}
    lines = portions.told(found, PROFILE)
    assert lines[0] == "1 runs taken up, 1 were here already." and "ld-palette-s0 for example" in lines[1]


def test_a_papers_runs_replace_its_earlier_ones_and_no_others(committed, tmp_path, monkeypatch):
    write_run("ht-lora_d-s0", [ROW | {"system": "lora_d"}])
    portions.keep(PROFILE, committed, ["HT"])
    there = {path.name for path in committed.rglob("runs/*/*/*")}
    assert there == {"ht-lora_d-s0.parquet", "ht-lora_d-s0.json", "ld-palette-s0.parquet", "ld-palette-s0.json"}


@pytest.mark.parametrize("kind", ["rows/ht-tts_0-s0.parquet", "manifests/ht-tts_0-s0.json"])
def test_a_damaged_file_is_named_with_what_mends_it_and_its_run_is_not_finished(committed, kind):
    path = committed / "runs" / PROFILE["name"] / kind
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(study.StudyError, match=rf"{path.name} is missing or damaged: `git checkout .*` restores it"):
        portions.take_up(PROFILE, committed)
    assert "ht-tts_0-s0" not in study.read_manifests(PROFILE)


def test_a_folder_without_runs_of_the_profile_says_so(committed):
    with pytest.raises(SystemExit, match="committed holds no runs of the paper profile: nothing to go on with"):
        door.main(["resume", "--profile", "paper", "--evidence", str(committed)])


def test_the_committed_runs_are_whole(tmp_path, monkeypatch):
    from lib.study.planning import REFERENCE

    folders = sorted((REFERENCE / portions.RUNS).glob("*")) or pytest.skip("no runs are committed")
    for folder in folders:
        monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
        profile = study.load_profile(folder.name)
        found = portions.take_up(profile, REFERENCE)
        assert found.taken and set(study.read_rows(profile)["run_id"]) == set(found.taken)
