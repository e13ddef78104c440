import getpass
import json
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from synthetic_study import OTHER_PROFILE, PROFILE, write_run

from lib import study
from lib.__main__ import main
from lib.study import StudyError
from lib.study.profile import merge
from lib.study.provenance import ROOT, git_state, portable

ROW = {"system": "tts_0", "speaker": "p1", "utterance": "u1", "metric": "cos", "value": 70.0, "unit": "x100"}


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    return tmp_path / "tiny"


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "base.yaml").write_text(yaml.safe_dump({"adapt": {"steps": 10, "rate": 0.1}, "seeds": [0]}))
    (folder / "small.yaml").write_text(yaml.safe_dump({"adapt": {"steps": 2}}))
    monkeypatch.setattr("lib.study.profile.PROFILES", folder)
    return folder


def test_profile_lies_over_base_and_overrides_over_both(profiles):
    assert study.load_profile("small") == {"adapt": {"steps": 2, "rate": 0.1}, "seeds": [0], "name": "small"}
    changed = study.load_profile("small", {"adapt": {"rate": 0.5}, "seeds": [1, 2]})
    assert changed["adapt"] == {"steps": 2, "rate": 0.5}
    assert changed["seeds"] == [1, 2]


def test_a_profile_like_another_lies_over_it(profiles):
    (profiles / "other.yaml").write_text("like: small\nadapt: {steps: 9}\n")
    plain, other = study.load_profile("small"), study.load_profile("other")
    assert other == plain | {"name": "other", "adapt": plain["adapt"] | {"steps": 9}}
    (profiles / "other.yaml").write_text("like: larger\n")
    with pytest.raises(study.StudyError, match="other is like 'larger', which there is not"):
        study.load_profile("other")


def test_only_says_which_of_the_systems_a_profile_has(profiles):
    (profiles / "papers").mkdir()
    base = {"systems": {"a": {}, "b": {}, "c": {}}, "seeds": [0], "headline": ["a", "b"]}
    settings = {"base": base, "small": {"only": ["c", "a"]}}
    (profiles / "papers" / "ht.yaml").write_text(yaml.safe_dump(settings))
    (profiles / "whole.yaml").write_text("like: small\nht: {only: null}\n")
    small = study.load_profile("small")["ht"]
    assert small == {"systems": {"c": {}, "a": {}}, "seeds": [0], "headline": ["a"]}
    assert [*small["systems"]] == ["c", "a"]
    assert study.load_profile("whole")["ht"] == base
    assert [*study.load_profile("small", {"ht": {"only": ["b"]}})["ht"]["systems"]] == ["b"]
    more = study.load_profile("small", {"ht": {"systems": {"b": {"method": "none"}, "d": {}}}})["ht"]
    assert more["systems"] == {"c": {}, "a": {}, "b": {"method": "none"}, "d": {}} and more["headline"] == ["a", "b"]
    with pytest.raises(StudyError, match=r"^ht\.only: there is no system d; choose of a, b, c$"):
        study.load_profile("small", {"ht": {"only": ["d"]}})


def test_unknown_profile_lists_those_that_exist(profiles):
    (profiles / "large.yaml").write_text("{}")
    with pytest.raises(StudyError, match="no profile 'huge'; choose one of large, small"):
        study.load_profile("huge")


def test_misspelled_override_is_refused(profiles):
    with pytest.raises(StudyError, match="adpat: no such section"):
        study.load_profile("small", {"adpat": {"steps": 1}})


def test_broken_profile_names_file_and_line(profiles):
    (profiles / "small.yaml").write_text("adapt: {steps: 2\nseeds: [")
    with pytest.raises(StudyError, match=r"small.yaml is not valid YAML near line \d"):
        study.load_profile("small")


def test_rows_come_back_as_written():
    rows = [ROW, ROW | {"utterance": "u2", "d_s": 8, "seed": 1, "layer_embedding": True}]
    write_run("ht-tts_0-s0", rows)
    read = study.read_rows("tiny")
    assert list(read.columns) == study.COLUMNS
    assert read["value"].tolist() == [70.0, 70.0]
    assert read["d_s"].isna().tolist() == [True, False]
    assert read[["run_id", "profile", "paper"]].drop_duplicates().values.tolist() == [["ht-tts_0-s0", "tiny", "HT"]]


def test_same_rows_give_the_same_bytes():
    first = study.write_rows([ROW], "ht-tts_0-s0", PROFILE).read_bytes()
    assert study.write_rows(pd.DataFrame([ROW]), "ht-tts_0-s0", PROFILE).read_bytes() == first


def test_rows_without_a_manifest_are_not_read():
    write_run("ht-tts_0-s0", [ROW])
    study.write_rows([ROW | {"system": "tts_ft"}], "ht-tts_ft-s0", PROFILE)
    assert study.read_rows("tiny")["system"].tolist() == ["tts_0"]


def test_writing_rows_again_makes_the_run_unfinished():
    write_run("ht-tts_0-s0", [ROW])
    study.write_rows([ROW], "ht-tts_0-s0", PROFILE)
    assert study.read_rows("tiny").empty


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_value_that_is_no_number_names_its_row(value, results):
    with pytest.raises(StudyError, match="row 1 of ht-tts_0-s0 .*speaker p1, utterance u2, metric cos"):
        study.write_rows([ROW, ROW | {"utterance": "u2", "value": value}], "ht-tts_0-s0", PROFILE)
    assert not list(results.glob("rows/*"))


def test_the_same_measurement_twice_is_refused():
    with pytest.raises(StudyError, match="appears twice"):
        study.write_rows([ROW, ROW | {"value": 71.0}], "ht-tts_0-s0", PROFILE)


def test_unknown_and_missing_columns_are_named():
    with pytest.raises(StudyError, match=r"unknown columns \[speeker\] and lack \[unit\]"):
        study.write_rows([{"metric": "cos", "value": 1.0, "speeker": "p1"}], "ht-tts_0-s0", PROFILE)


def test_a_run_id_cannot_leave_the_results_folder():
    with pytest.raises(StudyError, match="is no run id"):
        study.write_rows([ROW], "../ht-tts_0-s0", PROFILE)


def test_damaged_rows_and_manifests_name_the_file_and_the_fix(results):
    write_run("ht-tts_0-s0", [ROW])
    rows = results / "rows" / "ht-tts_0-s0.parquet"
    rows.write_bytes(rows.read_bytes()[:100])
    with pytest.raises(StudyError, match="rows/ht-tts_0-s0.parquet is damaged .*delete it and run"):
        study.read_rows("tiny")
    (results / "manifests" / "ht-tts_0-s0.json").write_text("{")
    with pytest.raises(StudyError, match="manifests/ht-tts_0-s0.json is damaged .*delete it and run again"):
        study.read_rows("tiny")


def test_runs_on_different_data_or_parameters_are_not_mixed():
    write_run("ht-tts_0-s0", [ROW])
    write_run("ht-tts_ft-s0", [ROW], data_hash="ffffffffffff")
    with pytest.raises(StudyError, match="ht-tts_0-s0 and ht-tts_ft-s0 cannot be compared: their data hash"):
        study.read_rows("tiny")
    write_run("ht-tts_ft-s0", [ROW], profile=OTHER_PROFILE)
    with pytest.raises(StudyError, match="their profile hash differs.*run it again"):
        study.read_rows("tiny")


def test_a_second_corpus_has_its_own_data_hash():
    write_run("ht-tts_0-s0", [ROW])
    write_run("ht-tts_0_other-s0", [ROW | {"role": "other_corpus"}], corpus="vctk", data_hash="ffffffffffff")
    assert len(study.read_rows("tiny")) == 2


def test_manifest_tells_where_numbers_come_from_without_private_paths(results):
    started = time.time() - 3
    facts = {"pretrained": {"ge2e": f"{ROOT}/.venv/x.pt"}, "data_hash": "ab", "texts": {"u1": "Good morning."}}
    parameters = {"steps": 5, "folder": Path.home() / "corpora" / "vctk"}
    study.write_rows([ROW], "ht-tts_0-s0", PROFILE)
    path = study.write_manifest("ht-tts_0-s0", PROFILE, parameters, started, seed=0, **facts)
    manifest = json.loads(path.read_text())
    assert manifest["seconds"] >= 3
    assert manifest["packages"]["numpy"] and manifest["cpus"] >= 1 and manifest["peak_memory_mib"] > 1
    assert manifest["profile_hash"] == study.profile_hash(PROFILE)
    assert {"commit", "dirty", "python", "device", "seed", "vocoder"} <= set(manifest)
    assert manifest["pretrained"]["ge2e"] == ".venv/x.pt"
    text = path.read_text()
    assert str(Path.home()) + "/" not in text and str(ROOT) not in text
    assert f"/{getpass.getuser()}/" not in text


def test_portable_keeps_units_and_addresses():
    told = {"rate": "words/s", "url": "https://example.org/a/b", "path": "/srv/data/x.wav", "n": 3}
    assert portable(told) == told | {"path": "…/x.wav"}


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/home/jane doe/x.wav", "…/x.wav"),
        ("/home/jane doe", "…"),
        ("/home/o'brien/x.wav", "…/x.wav"),
        ("/mnt/patients/Anna Schmidt/s1.wav", "…/s1.wav"),
        ("…/patients/Anna Schmidt/s1.wav", "…/s1.wav"),
        ("../Anna Schmidt/s1.wav", "…/s1.wav"),
        ("~/Anna Schmidt/s1.wav", "…/s1.wav"),
        ("file:///home/jane doe/x.wav", "…/x.wav"),
        ("~jane/x.wav", "…/x.wav"),
        (r"C:\Users\Jane Doe\x.wav", "…/x.wav"),
        (r"\\clinic\patients\Anna Schmidt\s1.wav", "…/s1.wav"),
        ("/home/a b/x.wav: no such file; see '/data/c d/e.txt'.", "…/x.wav: no such file; see '…/e.txt'."),
    ],
)
def test_names_of_people_in_folders_are_left_out(path, left):
    assert portable({"told": path, path: [path]}) == {"told": left, left: [left]}
    assert portable(left) == left


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def unpacked(tmp_path) -> Path:
    """A project unpacked inside another repository, which knows nothing of it."""
    project = tmp_path / "project"
    (project / "lib").mkdir(parents=True)
    for name in ("pyproject.toml", "lib/__init__.py"):
        (project / name).write_text("")
    (tmp_path / "other.txt").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "-qm", "other")
    return project


def test_the_commit_of_a_repository_around_the_project_is_not_its_own(unpacked):
    assert git_state(unpacked) == {"commit": None, "dirty": None}


def test_a_repository_that_holds_the_project_tells_its_commit_and_new_modules(unpacked, monkeypatch):
    git(unpacked, "add", ".")
    git(unpacked, "commit", "-qm", "project")
    (unpacked.parent / "other.txt").write_text("changed beside the project")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    state = git_state(unpacked)
    assert len(state["commit"]) == 40 and state["dirty"] is False
    (unpacked / "lib/new.py").write_text("")
    assert git_state(unpacked) == state | {"dirty": True}


def test_status_tells_finished_stale_unfinished_and_missing():
    write_run("ht-tts_0-s0", [ROW])
    write_run("ht-hypertts_d-s0", [ROW], profile=OTHER_PROFILE)
    study.write_rows([ROW], "ht-extra-s0", PROFILE)
    states = {entry["run"]: entry["state"] for entry in study.status(PROFILE)}
    assert states == {
        "ht-tts_0-s0": "finished",
        "ht-hypertts_d-s0": "stale",
        **{f"ht-hypertts_d-s{seed}": "missing" for seed in (1, 2, 3)},
        "ht-extra-s0": "unfinished",
    }


def test_status_is_plain_when_piped(profiles, capsys):
    main(["status", "--profile", "small"])
    assert capsys.readouterr().out == "Runs of profile small: none\n"


def test_command_line_ends_with_one_sentence(profiles):
    with pytest.raises(SystemExit, match="there is no profile"):
        main(["status", "--profile", "huge"])


def test_runs_depend_on_the_corpus_only_where_their_paper_hears_it():
    profile = study.load_profile("smoke")
    other = merge(profile, {"corpus": {"seed": 7}})
    assert study.profile_hash(profile, "LD") == study.profile_hash(other, "LD")
    for paper in ("HT", "HA", "SP"):
        assert study.profile_hash(profile, paper) != study.profile_hash(other, paper), paper
