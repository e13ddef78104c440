"""Adapting Whisper to a folder of one's own: recordings in, PEFT adapter and scores out."""

import json
from functools import partial

import pandas as pd
import pytest
from synthetic_corpus import speech

from lib import audio, study
from lib.corpora.recorded import folder
from lib.papers.ha import folder as asr_folder
from lib.papers.ha.data import AsrError

TEXTS = [f"The number {word} is written on the door." for word in ("one", "two", "three", "four", "five")]
WORDLESS = {"fillers": "Um, mhm.", "unheard": "(inaudible)"}


@pytest.fixture(scope="module")
def profile():
    profile = study.load_profile("smoke")
    train = profile["ha"]["train"] | {"steps": 1, "batch_size": 1}
    return profile | {"ha": profile["ha"] | {"train": train}}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Recordings of two speakers, in a CSV that says which are for testing, and three of them unusable."""
    place = tmp_path_factory.mktemp("own")
    lines = ["path,text,speaker,split"]
    for number, text in enumerate(TEXTS):
        audio.write(place / f"{number}.wav", speech(120 + 10 * number, number % 2))
        lines.append(f"{number}.wav,{text},{'ab'[number % 2]},{'test' if number < 2 else 'train'}")
    audio.write(place / "foreign.wav", speech(150, 0))
    lines.append("foreign.wav,Привет как дела сегодня,a,train")
    for name, text in WORDLESS.items():
        audio.write(place / f"{name}.wav", speech(140, 1))
        lines.append(f'{name}.wav,"{text}",b,test')
    (place / "all.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def made(recordings, profile, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr(folder, "read", partial(folder.read, root=tmp_path_factory.mktemp("built"), cores=1))
    yield asr_folder.adapt(recordings, profile, "lora_w1", 0, "cpu", tmp_path_factory.mktemp("out") / "adapter")
    patch.undo()


def test_an_adapter_that_peft_reads_comes_out(made):
    from peft import PeftConfig

    assert PeftConfig.from_pretrained(str(made.adapter)).peft_type == "LORA"
    assert (made.adapter / "adapter_model.safetensors").stat().st_size > 1000


def test_errors_before_and_after_are_kept_for_every_test_utterance(made):
    assert set(made.scores["reference"]) == set(TEXTS[:2])
    assert {"wer_before", "wer_after", "before", "after"} <= set(made.scores)
    assert list(made.summary()["speaker"]) == ["a", "b", "all"]
    assert len(pd.read_csv(made.adapter / "scores.csv")) == len(made.scores)
    assert len(json.loads((made.adapter / "transcripts.json").read_text())) == len(made.scores)


def test_a_transcript_in_another_language_is_set_aside(made):
    (entry,) = [entry for entry in made.set_aside if "foreign" in entry["utterance"]]
    assert "not English" in entry["reason"]


def test_a_test_transcript_without_words_is_set_aside_by_its_name(made):
    reasons = {entry["utterance"]: entry["reason"] for entry in made.set_aside}
    assert set(reasons) == {"foreign", *WORDLESS}
    assert all(f"test utterance {name} has no words" in reasons[name] for name in WORDLESS)


def test_the_adapter_is_there_when_its_scores_fail(recordings, profile, tmp_path, monkeypatch):
    real = asr_folder.recognise

    def failing(study, system, model):
        if model is not None:
            raise AsrError("the scores fail")
        return real(study, system, model)

    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folder, "read", partial(folder.read, root=tmp_path / "built", cores=1))
    monkeypatch.setattr(asr_folder, "recognise", failing)
    with pytest.raises(AsrError, match="the scores fail"):
        asr_folder.adapt(recordings, profile, "lora_w1", 0, "cpu", tmp_path / "adapter")
    assert (tmp_path / "adapter/adapter_model.safetensors").exists()


def test_a_system_without_an_adapter_is_refused(recordings, profile):
    with pytest.raises(AsrError, match="no PEFT adapter can be made of it"):
        asr_folder.adapt(recordings, profile, "full")


def test_a_folder_that_is_not_there_is_refused(profile, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        asr_folder.adapt(tmp_path / "nowhere", profile)
