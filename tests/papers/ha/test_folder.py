"""Adapting Whisper to a folder of one's own: recordings in, PEFT adapter and scores out."""

import json
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
from synthetic_corpus import speech

from lib import audio, study
from lib.corpora.corpus import Corpus, Utterance
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
    assert {"wer_before", "wer_after", "before", "after"} <= set(made.scores) and made.scores["heard"].any()
    assert made.page == made.adapter / "report.html" and "lora_w1" in made.page.read_text(encoding="utf-8")
    assert list(made.summary()["speaker"]) == ["a", "b", "all"]
    assert len(pd.read_csv(made.adapter / "scores.csv")) == len(made.scores)
    assert len(json.loads((made.adapter / "transcripts.json").read_text())) == len(made.scores)


def test_what_came_of_it_is_told_and_kept_beside_the_adapter(made):
    kept = json.loads((made.adapter / "gain.json").read_text())
    assert kept["gained"] == made.gained == (kept["wer_after"] < kept["wer_before"])
    assert kept["validated"] == 1 and 0 <= kept["best_step"] <= 1 and not list(made.adapter.rglob("*.best.pt"))
    scores = made.scores.assign(wer_before=[0.2, 3.0], wer_after=[0.6, 0.6])  # 3.0 counts as 1
    assert replace(made, scores=scores).told() == (
        "Nothing is gained: WER of 2 test utterances 0.600 before, 0.600 after. Do not use this adapter; give more "
        "recordings, of more sentences."
    )
    better = replace(made, scores=scores.assign(wer_after=0.5), best_step=1)
    assert better.told() == "WER of 2 test utterances 0.600 before, 0.500 after; step 1 of the training is kept."


@pytest.mark.parametrize(("speakers", "apart"), [(5, True), (2, False)])
def test_the_validation_part_is_nobody_or_no_sentence_of_the_training_part(profile, tmp_path, speakers, apart):
    items = [
        Utterance(f"{speaker}_{n}", f"s{speaker}", f"SENTENCE {'AB'[n % 2]}{speaker if n else ''}", "", (),
                  "adaptation", "test" if n == 5 else "train", "typical", "x.wav", 1.0)
        for speaker in range(speakers) for n in range(1, 6)
    ]  # fmt: skip
    items = [replace(item, text=f"{item.text} {item.utterance}") for item in items]
    own = asr_folder.Own(profile, "cpu", Corpus(tmp_path, "own", "0" * 12, items), tmp_path)
    own.examples = {item.utterance: None for item in items}
    trained = own.training_groups({"name": "x", "method": "lora", "level": "all"})["all"]
    assert own.held and trained and len(own.held) + len(trained) == 4 * speakers
    assert not {item.text for item in own.held} & {item.text for item in trained}
    assert (not {item.speaker for item in own.held} & {item.speaker for item in trained}) == apart


@pytest.mark.parametrize(
    ("given", "expected"),
    [("WE CALL IT BEAR", "We call it bear."), ("Tom is here", "Tom is here."), ("Is he?", "Is he?"), ("", "")],
)
def test_transcripts_are_spelt_as_the_recogniser_spells(given, expected):
    assert asr_folder.spelt(given) == expected


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
