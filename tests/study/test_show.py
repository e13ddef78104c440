import json

import numpy as np
import pandas as pd

from lib.study import claim_figure, show
from lib.study import listen as players

RECORD = {
    "id": "HT1",
    "notebook": "02_hypertts_evaluate",
    "statement": "It beats the adapter.",
    "reason": "1.5 points",
    "verdict": "reproduced",
    **{"value": 1.5, "ci_low": 0.5, "ci_high": 2.5, "unit": "COS points", "n": 12},
    "parts": [
        {"name": "COS", "value": 1.5, "ci_low": 0.5, "ci_high": 2.5, "unit": "COS points", "n": 12}
        | {"published": 3.82, "verdict": "reproduced"},
        {"name": "share", "value": 1.3, "ci_low": None, "ci_high": None, "unit": "%", "n": None}
        | {"published": None, "verdict": "inconclusive"},
    ],
}


def test_a_table_rounds_numbers_keeps_counts_whole_and_escapes_text():
    page = show.table([{"text": "a <b", "value": 1.2345, "n": 3.0}, {"text": "c", "value": None, "n": 4.0}]).to_html()
    assert "a &lt;b" in page and ">1.23<" in page and ">3<" in page and ">–<" in page


def test_a_verdict_shows_the_parts_and_states_the_claim():
    page = show.verdict([RECORD], "HT1").to_html()
    assert "HT1, reproduced: It beats the adapter." in page
    assert ">3.82<" in page and ">12<" in page and page.count(">–<") == 4


def test_a_verdict_on_other_speech_stands_beside_with_its_speech_named(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    (tmp_path / "nonnative").mkdir()
    other = RECORD | {"id": "HA2", "speech": "people's speech", "verdict": "not reproduced"}
    (tmp_path / "nonnative" / "claims.json").write_text(json.dumps([other]))
    page = show.verdict([RECORD | {"id": "HA2", "speech": "simulated speech", "profile": "demo"}], "HA2").to_html()
    assert "HA2, reproduced; on people&#x27;s speech not reproduced" in page or "on people's speech not repro" in page
    assert page.count("people's speech</td>") + page.count("people&#39;s speech</td>") == 2
    assert page.count("simulated speech</td>") == 2


def judged(speech: str, profile: str, value: float | None) -> dict:
    part = {"name": "WER", "value": value, "ci_low": value, "ci_high": value, "unit": "ratio", "n": 12, "primary": True}
    part |= {
        "threshold": 0.0,
        "published": 0.3,
        "verdict": "reproduced",
        "by_seed": {"0": 0.1, "1": 0.2},
        "by_speaker": [0.1, 0.2, 0.3],
    }
    facts = {"id": "HA2", "speech": speech, "profile": profile, "notebook": "12_parameter_budget", "anchor": "HA2"}
    return RECORD | facts | {"value": value, "parts": [part, part | {"name": "CER", "primary": False}]}


def test_the_parts_of_a_claim_are_drawn_for_each_speech_and_kept_for_the_report(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    (tmp_path / "nonnative").mkdir()
    (tmp_path / "nonnative" / "claims.json").write_text(json.dumps([judged("people's speech", "nonnative", 0.2)]))
    shown = show.parts([judged("simulated speech", "demo", 0.1)], "HA2")
    assert "simulated speech: reproduced; people's speech: reproduced" in shown.caption
    assert json.loads((tmp_path / "demo" / "figures" / "ha2_parts.json").read_text())["anchor"] == "HA2"
    figure = claim_figure.parts([judged("simulated speech", "demo", 0.1), judged("people's speech", "nonnative", None)])
    both, without = ([line.get_marker() for line in axis.lines] for axis in figure.axes)
    assert both.count(".") == both.count("D") == 2 and both.count("o") == 4 and without.count("o") == 2  # of speakers
    assert show.parts([judged("simulated speech", "smoke", None) | {"id": "HA3"}], "HA3") is None


def test_verdicts_on_other_speech_have_a_column(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    (tmp_path / "nonnative").mkdir()
    (tmp_path / "nonnative" / "claims.json").write_text(json.dumps([judged("people's speech", "nonnative", 0.25)]))
    page = show.verdicts([judged("simulated speech", "demo", 0.1), RECORD | {"profile": "demo"}]).to_html()
    assert "on non-native and children" in page and "0.25 [0.5, 2.5], reproduced" in page


def test_verdicts_are_those_of_one_notebook():
    other = RECORD | {"id": "HT4", "notebook": "03_hypertts_ablations"}
    page = show.verdicts([RECORD, other], "03_hypertts_ablations").to_html()
    assert "HT4" in page and "HT1" not in page


def test_a_missing_corpus_check_is_an_empty_table():
    empty = pd.DataFrame(columns=["metric", "split", "system", "role", "value"])
    assert "<td" not in show.corpus_check(empty, {}).to_html()


def test_players_are_named_and_hold_their_sound():
    wave = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)
    page = players.Grid({"“A” & B": {"Reference": wave, "TTS-0": wave}})._repr_html_()
    assert page.count("<audio") == 2 and page.count("data:audio/mpeg;base64,") == 2
    assert 'aria-label="TTS-0: “A” &amp; B"' in page
