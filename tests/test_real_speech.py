"""The real voice: where it is missing, when it came later, its features' units, its figure and tables."""

import json

import numpy as np
import pandas as pd
import pytest

from lib import study
from lib.corpora.corpus import CorpusError
from lib.corpora.features import ARRAYS
from lib.corpora.recorded import asterisk
from lib.papers.common import real_figures as real_plots
from lib.papers.common import real_source, real_speech, real_voice
from lib.papers.ht import study as tts
from lib.study import claims

SYSTEMS = {"tts_0": 60.0, "hypertts_evd": 64.0, "hypertts_d": 63.0, "hypertts_evd_anew": 70.0}


@pytest.fixture
def profile(tmp_path, monkeypatch) -> dict:
    """The smoke profile with the real recordings, which are nowhere."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(real_source, "INSTALLED", tmp_path / "not installed")
    monkeypatch.setattr(asterisk, "fetch", refused)
    return study.load_profile("smoke", {"real": {"corpus": {"name": "asterisk", "source": str(tmp_path / "prompts")}}})


def refused(to):
    raise CorpusError("Asterisk prompts: there is no apt-get here.")


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
        for metric, scale in (("cos", 1.0), ("mcd", -0.1), ("ffe", -0.5))
        for prompt in prompts
    )


def test_without_the_recordings_the_runs_say_so_and_the_claims_are_not_tested(profile):
    real_speech.ensure(profile, "cpu")
    sentence = real_speech.told(profile)
    assert sentence.startswith("the recordings are not here: ") and "no apt-get" in sentence
    assert "python -m lib corpora fetch asterisk --to" in sentence
    for run_id in real_speech.RUNS.values():
        assert "no apt-get" in study.read_manifests(profile)[run_id]["missing"]
    rows = study.read_rows(profile)
    assert rows["metric"].tolist() == ["recordings"] * 2 and rows["value"].sum() == 0
    assert real_plots.draw("other_corpus", rows, profile) is None
    assert real_plots.speech_table(rows, profile).empty and real_plots.word_errors(rows, profile).empty
    records = claims.judge(claims.load_claims(), rows, study.read_manifests(profile), profile)
    told = {record["id"]: record for record in records if record["id"] in ("HT8", "HA5")}
    assert {record["verdict"] for record in told.values()} == {"not tested"}
    assert "python -m lib corpora fetch asterisk" in told["HT8"]["reason"]


def test_a_run_before_the_voice_is_prepared_is_refused(profile):
    with pytest.raises(tts.TTSError, match="run python -m lib.papers.common.real_speech prepare --profile smoke first"):
        real_speech.run(profile, "ht", "cpu")


def test_recordings_that_come_later_are_noticed_once_and_for_all(profile, tmp_path):
    record = tmp_path / "other_corpus.json"
    assert real_source.since(profile, record) == "at first"
    record.write_text(json.dumps({"corpus": None, "late": False}))
    assert real_source.since(profile, record) == "at first"
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "hello.g722").write_bytes(b"\x00" * 16)
    assert real_source.since(profile, record) == "later"
    record.write_text(json.dumps({"corpus": "0123456789ab", "late": True}))
    assert real_source.since(profile, record) == "later"


def test_the_installed_package_stands_in_for_a_folder_that_is_not_there(profile, tmp_path, monkeypatch):
    assert not real_source.here(profile)
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "hello.g722").write_bytes(b"\x00" * 16)
    monkeypatch.setattr(real_source, "INSTALLED", tmp_path / "installed")
    assert real_source.source(profile) == tmp_path / "installed" and real_source.here(profile)
    assert real_voice.fetch(profile) == ""


def test_pitch_and_energy_are_z_scores_of_the_corpus_the_backbone_was_trained_on(tmp_path):
    values = {"mel": np.zeros((4, 80)), "symbols": [1, 2], "durations": [2, 2], "speaker": np.zeros((1, 256))}
    for name in ARRAYS:
        np.save(tmp_path / f"{name}.npy", values.get(name, np.array([-1.0, 1.0], dtype=np.float32)))
    index = pd.DataFrame([{"utterance": "a", "symbol_start": 0, "symbol_end": 2, "frame_start": 0, "frame_end": 4}])
    own = {"pitch_mean": 5.0, "pitch_deviation": 0.2, "energy_mean": 1.0, "energy_deviation": 1.0}
    base = {"pitch_mean": 4.8, "pitch_deviation": 0.4, "energy_mean": 1.0, "energy_deviation": 0.5}
    item = real_voice.Rescaled(tmp_path, index, own, base).item(0)
    assert item["pitch"] == pytest.approx([0.0, 1.0], abs=1e-6) and item["energy"] == pytest.approx([-2.0, 2.0])
    assert item["durations"].tolist() == [2, 2]


def test_the_claim_reads_the_rows_of_the_voice_and_the_figure_shows_them(profile):
    study.write_rows(rows_of_a_run(), real_speech.RUNS["ht"], profile)
    study.write_manifest(real_speech.RUNS["ht"], profile, {}, 0.0, seed=0, corpus="asterisk")
    rows = study.read_rows(profile)
    records = claims.judge(claims.load_claims(), rows, study.read_manifests(profile), profile)
    (record,) = [each for each in records if each["id"] == "HT8"]
    assert record["verdict"] == "reproduced" and record["value"] == pytest.approx(4.0, abs=0.5)
    assert [part["verdict"] for part in record["parts"]] == ["reproduced"] * 5
    shown = real_plots.draw("other_corpus", rows, profile)
    assert "n = 12 test utterances of 1 speakers" in shown.caption
    table = real_plots.speech_table(rows, profile)
    assert table["system"].iloc[-1].endswith("adapted anew") and table["wer"].tolist() == ["–"] * 4


def test_only_the_seeds_that_the_embedded_corpuss_run_has_are_used(profile):
    settings = study.merge(profile, {"seeds": [0, 1, 2], "real": {"seeds": [0, 2, 4]}})
    assert real_speech.seeds_of(settings, "hypertts_evd") == [0, 2]
    assert real_speech.seeds_of(settings, "tts_0") == [0]
