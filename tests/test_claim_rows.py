"""Rows behind claims as CSV, tables with missing factors, energy from counters, all verdicts in one picture."""

import json

import pandas as pd

from lib.study import tables
from lib.study.report import claim_rows
from lib.study.report.verdict_figure import LOOKS, verdicts
from lib.workflow import energy

PART = {"name": "gain", "metric": "cos", "where": {"split": "test"}, "a": "new", "b": ["old", "older"]}


def rows():
    systems = ("new", "old", "older", "other", "new")
    metrics = ("cos", "cos", "cos", "cos", "wer")
    facts = {"paper": "HT", "profile": "tiny", "run_id": "r", "split": "test", "rank": None, "unit": "", "value": 1.5}
    return pd.DataFrame([facts | {"system": s, "metric": m} for s, m in zip(systems, metrics, strict=True)])


def test_a_claim_s_table_holds_the_rows_that_its_parts_compare(tmp_path):
    claims = [{"id": "HT1", "paper": "HT", "parts": [PART]}, {"id": "LD1", "paper": "LD", "parts": [PART]}]
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "LD1.csv").write_text("of an earlier run")
    assert claim_rows.write(claims, rows(), tmp_path) == {"HT1": {"href": "evidence/HT1.csv", "rows": 3}}
    table = pd.read_csv(tmp_path / "evidence" / "HT1.csv")
    assert list(table["system"]) == ["new", "old", "older"] and set(table["part"]) == {"gain"}
    assert "rank" not in table and "paper" not in table
    assert not (tmp_path / "evidence" / "LD1.csv").exists()


def test_a_table_shows_systems_without_the_factor_that_others_are_chosen_by():
    paper = {"systems": {}, "table": {"where": {"split": "test", "x": [2.0, None]}, "columns": {"cer": {}}}}
    facts = {"paper": "LD", "run_id": "r", "split": "test", "metric": "cer", "speaker": "s", "unit": "ratio", "seed": 0}
    values = (("reference", None, 0.1), ("palette", 2.0, 0.4), ("palette", 6.0, 0.9))
    entries = [
        facts | {"system": system, "x": x, "value": value + 0.01 * i, "utterance": f"u{i}"}
        for system, x, value in values
        for i in range(3)
    ]
    table = pd.DataFrame(entries).astype({"x": "Float64", "system": "string"})
    shown = {line["system"]: line["cells"]["cer"]["value"] for line in tables.results(table, paper, {})}
    assert {name: round(value, 2) for name, value in shown.items()} == {"reference": 0.11, "palette": 0.41}


def counter(folder, joules):
    (folder / "energy_uj").write_text(str(int(joules * 1e6)))


def test_energy_is_added_up_over_calls_and_when_a_counter_starts_again(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_gpus", dict)
    zone = tmp_path / "powercap" / "intel-rapl:0"
    (tmp_path / "powercap" / "intel-rapl:0:0").mkdir(parents=True)
    zone.mkdir()
    (zone / "max_energy_range_uj").write_text("100000000")
    counter(zone, 90)
    for before, after in ((90, 20), (20, 25)):
        counter(zone, before)
        meter = energy.Meter(tmp_path, tmp_path / "powercap")
        meter.start()
        counter(zone, after)
        meter.stop()
    assert json.loads((tmp_path / "energy.json").read_text())["joules"] == {"processor 0": 35.0}
    assert energy.told(tmp_path).startswith("processor 0 9.72e-06 kWh in 0 min of the workflow")


def test_a_machine_without_counters_writes_no_energy(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_gpus", dict)
    meter = energy.Meter(tmp_path, tmp_path / "none")
    meter.start()
    meter.stop()
    assert energy.told(tmp_path) is None


def test_every_claim_has_its_tile_with_a_sign_beside_the_colour():
    records = [{"id": f"HT{i}", "paper": "HT", "verdict": verdict} for i, verdict in enumerate(LOOKS)]
    figure = verdicts(records)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert {record["id"] for record in records} <= set(written)
    assert {sign for _, _, sign in LOOKS.values()} <= set(written)
    assert figure.description["n"] == 4
