"""Rows behind claims as CSV, tables with missing factors, all verdicts in one picture."""

import pandas as pd

from lib.study import tables
from lib.study.report import claim_rows
from lib.study.report.verdict_figure import LOOKS, verdicts

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
    paper = {"systems": {}, "table": {"where": {"split": "test", "x": [2.0, None]}, "columns": ["cer"]}}
    facts = {"paper": "LD", "run_id": "r", "split": "test", "metric": "cer", "speaker": "s", "unit": "ratio", "seed": 0}
    facts |= {"trainable": 7}
    values = (("reference", None, 0.1), ("palette", 2.0, 0.4), ("palette", 6.0, 0.9))
    entries = [
        facts | {"system": system, "x": x, "value": value + 0.01 * i, "utterance": f"u{i}"}
        for system, x, value in values
        for i in range(3)
    ]
    table = pd.DataFrame(entries).astype({"x": "Float64", "system": "string"})
    shown = {line["system"]: line["cells"]["cer"]["value"] for line in tables.results(table, paper, {})}
    assert {name: round(value, 2) for name, value in shown.items()} == {"reference": 0.11, "palette": 0.41}


def test_every_claim_has_its_tile_with_a_sign_beside_the_colour():
    records = [{"id": f"HT{i}", "paper": "HT", "verdict": verdict} for i, verdict in enumerate(LOOKS)]
    figure = verdicts([("HyperTTS", records)])
    written = [text.get_text() for text in figure.axes[0].texts]
    assert {record["id"] for record in records} <= set(written)
    assert {sign for _, _, sign in LOOKS.values()} <= set(written)
    assert figure.description["n"] == 4


def test_the_rows_that_gates_read_are_kept_with_their_paper(tmp_path):
    gate = {
        "name": "helps",
        "of": {"system": "new", "metric": "cos"},
        "over": {"paper": "HT", "system": "old", "metric": "cos"},
    }
    claim_rows.write_gates({"HT": {"gates": [gate]}, "HA": {}}, rows(), tmp_path)
    kept = pd.read_csv(tmp_path / "evidence" / "HT-gates.csv")
    assert set(kept["paper"]) == {"HT"} and set(kept["part"]) == {"helps"}
    assert not (tmp_path / "evidence" / "HA-gates.csv").exists()


def test_packed_tables_of_the_same_rows_are_the_same_bytes(tmp_path):
    claims = [{"id": "HT1", "paper": "HT", "parts": [PART]}]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        claim_rows.write(claims, rows(), tmp_path / folder, packed=True)
    one, two = (tmp_path / folder / "evidence" / "HT1.csv.gz" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert len(pd.read_csv(one)) == 3
