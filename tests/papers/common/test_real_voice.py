"""The real voice: where it is missing, when it came later, its features' units."""

import json

import numpy as np
import pandas as pd
import pytest

from lib.corpora import source
from lib.corpora.corpus import CorpusError
from lib.corpora.features import ARRAYS
from lib.papers.common import real_source, real_voice
from lib.papers.common.real_voice import RealVoice
from lib.study import load_profile


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


def test_prepared_corpora_give_speakers_beside_the_voice(smoke_corpus, monkeypatch, capsys):
    monkeypatch.setattr(real_voice, "FEWEST", 2)
    assert real_voice.speakers_of("nowhere-prepared", 2) == [] and "is left out" in capsys.readouterr().out
    corpus = source.build(load_profile("smoke")["corpus"])
    folder = str(corpus.root)
    clips = real_voice.speakers_of(folder, 2)
    of = {speaker: [clip for clip in clips if clip.speaker == speaker] for speaker in {clip.speaker for clip in clips}}
    rich = [s for s in corpus.speakers() if len(corpus.select(speaker=s)) >= 2]
    assert set(of) == {f"{corpus.root.name}_{speaker}" for speaker in rich} and rich
    assert all(len(mine) == 2 for mine in of.values())
    splits = {(clip.text, clip.split) for clip in clips}
    assert len(splits) == len({text for text, _ in splits}) and {split for _, split in splits} == {"train", "test"}
    profile = load_profile("smoke", {"real": {"corpus": {"name": "stand_in", "beside": {folder: 2}}}})
    voice = RealVoice(profile, cores=1)
    voice.aligning.corpus = corpus
    alone, everybody = voice.recordings, voice.everybody
    assert set(everybody.speakers()) == set(alone.speakers()) | set(of) and everybody.hash != alone.hash
    by_text = {item.text: item.split for item in everybody.utterances}
    assert all(by_text[clip.text] == clip.split for clip in clips)
    monkeypatch.setitem(profile["real"]["corpus"], "beside", {})
    again = RealVoice(profile, cores=1)
    again.aligning.corpus = corpus
    assert again.everybody.hash == alone.hash


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
