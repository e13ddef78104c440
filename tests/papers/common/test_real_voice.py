"""The real voice: where it is missing, when it came later, its features' units."""

import json

import numpy as np
import pandas as pd
import pytest

from lib.corpora.corpus import CorpusError
from lib.corpora.features import ARRAYS
from lib.papers.common import real_source, real_voice
from lib.papers.common.real_voice import RealVoice


def test_without_the_recordings_it_is_said_how_to_get_them(voiceless):
    voice = RealVoice(voiceless)
    voice.prepare()
    assert voice.told().startswith("the recordings are not here: ") and "no apt-get" in voice.told()
    assert voice.absent()["get_them"].startswith("python -m lib corpora fetch asterisk --to")


def test_a_record_that_is_damaged_is_told_in_a_sentence(voiceless):
    voice = RealVoice(voiceless)
    voice.record.parent.mkdir(parents=True)
    voice.record.write_text("{")
    with pytest.raises(CorpusError, match="real.json is damaged: delete it"):
        voice.told()


def test_recordings_that_come_later_are_noticed_once_and_for_all(voiceless, tmp_path):
    record = tmp_path / "other_corpus.json"
    assert real_source.since(voiceless, record) == "at first"
    record.write_text(json.dumps({"corpus": None, "late": False}))
    assert real_source.since(voiceless, record) == "at first"
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "hello.g722").write_bytes(b"\x00" * 16)
    assert real_source.since(voiceless, record) == "later"
    record.write_text(json.dumps({"corpus": "0123456789ab", "late": True}))
    assert real_source.since(voiceless, record) == "later"


def test_the_installed_package_stands_in_for_a_folder_that_is_not_there(voiceless, tmp_path, monkeypatch):
    assert not real_source.here(voiceless)
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "hello.g722").write_bytes(b"\x00" * 16)
    monkeypatch.setattr(real_source, "INSTALLED", tmp_path / "installed")
    assert real_source.source(voiceless) == tmp_path / "installed" and real_source.here(voiceless)
    assert real_voice.fetch(voiceless) == ""


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
