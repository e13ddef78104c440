"""Corpora listed, prepared and refused from the command line."""

import argparse
import shutil
from pathlib import Path

import pytest
import standins

from lib.corpora import command
from lib.corpora.corpus import Corpus


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.main(parser.parse_args(arguments))


def test_the_commands_list_prepare_and_refuse(tmp_path, capsys):
    run("list")
    assert "TORGO: 15 speakers" in capsys.readouterr().out
    for speaker in ("anna", "bob"):
        for number in range(3):
            standins.sound(tmp_path / "mine" / speaker / f"{number}.wav")
            standins.note(tmp_path / "mine" / speaker / f"{number}.txt", f"Sentence {number} of {speaker}.")
    common = ["--source", str(tmp_path / "mine"), "--root", str(tmp_path / "built"), "--cores", "1"]
    run("prepare", "folder", *common, "--never-seen", "bob", "--condition", "parkinsons")
    out = capsys.readouterr().out
    assert "6 utterances, 0.0 minutes, 2 speakers, 0 set aside" in out
    assert Corpus.load(out.split(":")[0]).speakers("never_seen") == ["bob"]
    for arguments, words in (
        (["prepare", "torgo", *common], "is not TORGO as released"),
        (["prepare", "torgo", *common, "--role", "adaptation"], "leave role out"),
        (["prepare", "tor", *common], "There is no corpus 'tor'"),
        (["fetch", "uaspeech", "--to", str(tmp_path)], "Ask the Statistical Speech Technology group"),
    ):
        with pytest.raises(ValueError, match=words):
            run(*arguments)


def test_real_speech_is_prepared_and_aligned_from_the_command_line(librispeech, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    chapter = sorted(librispeech.glob("LibriSpeech/*/*/*"))[0]
    place = tmp_path / "LibriSpeech" / Path(*chapter.parts[-3:])
    place.mkdir(parents=True)
    shutil.copy(next(chapter.glob("*.trans.txt")), place)
    for file in sorted(chapter.glob("*.flac"))[:3]:
        shutil.copy(file, place)
    run(
        *("prepare", "librispeech", "--source", str(tmp_path / "LibriSpeech"), "--root", str(tmp_path / "built")),
        *("--cores", "1", "--align", "--steps", "2", "--device", "cpu"),
    )
    assert "3 utterances" in (told := capsys.readouterr().out) and told.strip().endswith("with durations")
    corpus = Corpus.load(next((tmp_path / "built").glob("librispeech-*")))
    assert all(sum(u.durations) == pytest.approx(u.seconds) for u in corpus.utterances)
