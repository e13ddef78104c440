"""HyperTTS on the real voice: what a run without recordings says, the claim, its figure and table."""

import numpy as np
import pandas as pd
import pytest

from lib import study
from lib.papers.common import real_voice
from lib.papers.common.real_voice import seeds_of
from lib.papers.ht import figures, real_figures
from lib.papers.ht.study import Study
from lib.papers.ht.systems import OTHER
from lib.study import claims
from lib.study.drawing import PlotError
from lib.study.profile import merge

RUN = "ht-other_corpus-s0"
SYSTEMS = {"tts_0": 60.0, "hypertts_evd": 64.0, "hypertts_d": 63.0, "hypertts_evd_anew": 70.0}


def rows_of_a_run() -> pd.DataFrame:
    random = np.random.default_rng(0)
    prompts = [f"prompt_{number}" for number in range(12)]
    return pd.DataFrame(
        {"system": system, "method": "none", "seed": 0, "speaker": "allison", "utterance": prompt, "metric": metric}
        | {
            "role": real_voice.ROLE,
            "split": "test",
            "unit": "x",
            "value": base * scale + random.normal(0, 0.2 * abs(scale)),
        }
        for system, base in SYSTEMS.items()
        for metric, scale in (("cos", 1.0), ("secs", 0.01), ("mcd", -0.1), ("ffe", -0.5))
        for prompt in prompts
    )


def judged(rows, profile) -> dict:
    """HT8 as these rows alone are judged: in a profile that judges, without the gates of the paper's other runs."""
    content = claims.load_claims()
    del content["papers"]["HT"]["gates"]
    judging = merge(profile, {"statistics": {"judges": True}})
    records = claims.judge(content, rows, study.read_manifests(profile), judging)
    return next(each for each in records if each["id"] == "HT8")


def test_without_the_recordings_the_run_says_so_and_the_claim_is_not_tested(voiceless, smoke_corpus):
    ht = Study(voiceless)
    ht.run(OTHER, 0)
    rows = study.read_rows(voiceless)
    manifests = study.read_manifests(voiceless)
    assert "no apt-get" in manifests[RUN]["missing"]
    assert rows["metric"].tolist() == ["recordings"] and rows["value"].sum() == 0
    with pytest.raises(PlotError, match="no cos rows"):
        figures.draw("other_corpus", rows, voiceless)
    assert real_figures.speech_table(rows, voiceless).empty and not real_figures.prompts(ht).rows
    record = judged(rows, voiceless)
    assert record["verdict"] == "not tested" and "python -m lib corpora fetch asterisk" in record["reason"]


def test_the_claim_reads_the_rows_of_the_voice_and_the_figure_shows_them(voiceless):
    study.write_rows(rows_of_a_run(), RUN, voiceless)
    study.write_manifest(RUN, voiceless, {}, 0.0, seed=0, corpus="asterisk")
    rows = study.read_rows(voiceless)
    record = judged(rows, voiceless)
    assert record["verdict"] == "inconclusive" and "one seed" in record["reason"]
    assert record["value"] == pytest.approx(4.0, abs=0.5) and record["ci_low"] > 0
    assert [part["value"] for part in record["parts"] if part["metric"] == "secs"] == [pytest.approx(0.04, abs=0.005)]
    shown = figures.draw("other_corpus", rows, voiceless)
    assert "n = 12 test utterances of one voice" in shown.caption
    table = real_figures.speech_table(rows, voiceless)
    assert table["system"].iloc[-1].endswith("adapted anew") and table["wer"].tolist() == ["–"] * 4


def test_only_the_seeds_that_the_embedded_corpuss_run_has_are_used(voiceless):
    settings = merge(voiceless, {"ht": {"seeds": [0, 1, 2]}, "real": {"seeds": [0, 2, 4]}})
    assert seeds_of(Study(settings), "hypertts_evd") == [0, 2]
    assert seeds_of(Study(settings), "tts_0") == [0]
