import json

import numpy as np
import pandas as pd

from lib.study import listen as players
from lib.study import show

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
    assert page.count("<audio") == 2 and page.count("data:audio/flac;base64,") == 2
    assert 'aria-label="TTS-0: “A” &amp; B"' in page
