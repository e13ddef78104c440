"""The committed reference run agrees with the claims' ids, and the README's tables are generated from it."""

import json

import pytest

from lib import study
from lib.files import write_json
from lib.study import claims, columns
from lib.study.claims import load_claims
from lib.study.report import reference

needs_reference = pytest.mark.skipif(
    not (reference.REFERENCE / "claims.json").exists(), reason="no reference run is committed"
)


def stored(name: str):
    return json.loads((reference.REFERENCE / name).read_text())


def beside() -> dict[str, list[dict]]:
    return columns.beside(load_claims(), reference.REFERENCE)


@needs_reference
def test_reference_claims_have_the_ids_of_the_claims_file():
    assert [record["id"] for record in stored("claims.json")] == [claim["id"] for claim in load_claims()["claims"]]


@needs_reference
def test_the_readmes_tables_are_those_of_the_reference_run():
    readme = (reference.ROOT / "README.md").read_text()
    inside = readme.split(reference.BEGIN)[1].split(reference.END)[0]
    assert inside.strip() == reference.summary(stored("claims.json"), beside())
    page = (reference.REFERENCE / "README.md").read_text()
    assert page == reference.markdown(stored("results.json"), stored("claims.json"), beside())


@pytest.mark.skipif(not list(reference.REFERENCE.glob("bench-*.json")), reason="no benchmark is committed")
def test_the_benchmarks_of_the_page_on_speed_are_the_committed_ones():
    page = reference.SPEED.read_text()
    inside = page.split(reference.BENCH_BEGIN)[1].split(reference.BENCH_END)[0]
    assert inside.strip() == reference.benchmarks()


@needs_reference
def test_the_reference_run_is_small_enough_to_commit():
    size = sum(path.stat().st_size for path in reference.REFERENCE.rglob("*") if path.is_file())
    assert 0 < size < 30e6


def test_a_readme_without_markers_is_named(tmp_path):
    (tmp_path / "README.md").write_text("text")
    with pytest.raises(ValueError, match="README.md lacks the lines"):
        reference.put_into_readme("table", tmp_path / "README.md")


def test_only_the_marked_part_of_the_readme_changes(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{reference.BEGIN}\nold\n{reference.END}\nafter\n")
    reference.put_into_readme("new", readme)
    assert readme.read_text() == f"before\n{reference.BEGIN}\nnew\n{reference.END}\nafter\n"


def test_a_column_is_taken_in_beside_the_other_run_when_all_its_runs_are_there(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    profile = study.load_profile("nonnative")
    with pytest.raises(ValueError, match="66 of 66 runs of the nonnative profile are missing"):
        reference.write(profile)
    row = {"system": "whisper_0", "metric": "wer", "value": 0.5, "unit": "ratio", "cohort": "adults", "split": "test"}
    study.write_rows([row], "ha-whisper_0-s0", profile)
    study.write_manifest("ha-whisper_0-s0", profile, {}, 0.0)
    claims.write_claims(profile)
    reference.collect(profile, reference.REFERENCE / "nonnative")
    (records,) = columns.beside(load_claims(), reference.REFERENCE).values()
    assert [record["id"] for record in records] == [f"HA{number}" for number in range(1, 13)]
    assert "Hypernetworks" in (reference.REFERENCE / "nonnative" / "index.html").read_text(encoding="utf-8")


def test_papers_that_a_profile_has_not_run_stay_as_an_earlier_run_left_them(monkeypatch, tmp_path):
    """Ten sentences of HT10 in one profile, then one row of LD in another."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    folder = tmp_path / "reference"
    row = {"system": "reference", "split": "test", "role": "adaptation", "speaker": "s", "method": "none", "seed": 0}
    row |= {"metric": "mcd_as_released", "unit": "dB"}
    heard = [row | {"utterance": f"u{number}", "value": 5.0 + 0.01 * number} for number in range(10)]
    heard += [each | {"metric": "mcd", "value": 0.0} for each in heard]
    smoke, demo = study.load_profile("smoke"), study.load_profile("demo")
    study.write_rows(heard, "ht-reference-s0", demo)
    study.write_manifest("ht-reference-s0", demo, {}, 0.0, corpus="embedded", texts={"u0": "Said."})
    claims.write_claims(demo)
    for name, chapter in (
        ("mine", "02_hypertts_evaluate"),
        ("audit", "05_metric_audit"),
        ("old", "30_latent_diagnostics"),
    ):
        write_json(tmp_path / "demo" / "figures" / f"{name}.json", {"caption": "c", "notebook": chapter})
    reference.collect(demo, folder)
    first = {record["id"]: record for record in json.loads((folder / "claims.json").read_text())}
    study.write_rows([row | {"metric": "cer", "value": 0.1, "unit": "CER", "utterance": "u"}], "ld-text-s0", smoke)
    study.write_manifest("ld-text-s0", smoke, {}, 1.0)
    claims.write_claims(smoke)
    reference.collect(smoke, folder)
    second = {record["id"]: record for record in json.loads((folder / "claims.json").read_text())}
    assert list(second) == list(first) and second["HT10"]["value"] == pytest.approx(first["HT10"]["value"])
    assert second["HT10"]["verdict"] == first["HT10"]["verdict"] and second["HT10"]["profile"] == "demo"
    assert second["LD1"]["profile"] == "smoke" and first["LD1"]["profile"] == "demo"
    facts = json.loads((folder / "results.json").read_text())["facts"]
    assert {paper: each["profile"] for paper, each in facts.items()} == {"HT": "demo", "LD": "smoke"}
    assert facts["HT"]["texts"] == {"u0": "Said."} and (folder / "evidence" / "HT10.csv.gz").exists()
    assert sorted(path.stem for path in (folder / "figures").glob("*.json")) == ["audit", "mine"]
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "smoke and demo profile" in page or "demo and smoke profile" in page
    assert "Measured here: demo profile, corpus embedded" in page
    for run in ("ht-reference-s0", "ld-text-s0"):
        assert f'href="runs/{"demo" if run.startswith("ht") else "smoke"}/rows/{run}.parquet"' in page


@needs_reference
def test_both_columns_stand_in_the_tables_and_the_picture():
    theirs = [record | {"verdict": "reproduced"} for record in stored("claims.json") if record["paper"] == "HA"]
    other = {"people's speech": theirs}
    page = reference.markdown(stored("results.json"), stored("claims.json"), other)
    assert "| on people's speech | 95 % interval | verdict |" in page
    assert sum(line.endswith("| reproduced |") for line in page.splitlines() if line.startswith("| HA")) == 12
    assert "ASR of atypical speech, on people's speech | 12: HA1, " in reference.summary(stored("claims.json"), other)
