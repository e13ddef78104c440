"""A folder of recordings judged before anything is prepared: what is used, set aside and why, and how it sounds."""

import csv

import numpy as np
import pytest
import soundfile
import standins

from lib.corpora import check, published
from lib.corpora.corpus import CorpusError
from lib.corpora.recorded import folder as own_folder
from lib.text import known_words


def say(folder, name: str, sentence: str | None, wave: np.ndarray | None = None, rate: int = 16_000) -> None:
    file = folder / f"{name}.wav"
    standins.sound(file, 1.0, rate)
    if wave is not None:
        soundfile.write(file, wave, rate, "FLOAT")
    if sentence is not None:
        standins.note(file.with_suffix(".txt"), sentence)


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "mine"
    for number in range(5):
        say(folder, f"anna/{number}", f"A sentence with number {number}.")
        say(folder, f"bob/{number}", f"A sentence with number {number}.")
    say(folder, "anna/loud", "Is this too loud?", np.clip(9 * standins.tone(1.0), -1, 1))
    say(folder, "anna/quiet", "Is this too quiet?", 0.01 * standins.tone(1.0))
    say(folder, "bob/phone", "Is this a telephone?", rate=8000)
    say(folder, "bob/german", "Wir gehen heute in die Stadt und kaufen Brot.")
    say(folder, "bob/empty", "(...)")
    say(folder, "bob/unwritten", None)
    say(folder, "bob/long", "This is long.", standins.tone(31.0))
    return folder


def test_what_is_used_and_set_aside_is_what_prepare_makes_of_the_folder(mine, tmp_path):
    rows = check.check("folder", mine, 1, never_seen=["bob"], condition="parkinsons")
    corpus = own_folder.read(mine, root=tmp_path / "built", cores=1, never_seen=["bob"], condition="parkinsons")
    keys = ("utterance", "speaker", "text", "role", "split", "condition", "seconds")
    used = [tuple(row[key] for key in keys) for row in rows if row["used"]]
    assert used == [tuple(getattr(item, key) for key in keys) for item in corpus.utterances]
    aside = {row["utterance"]: row["reason"] for row in rows if not row["used"]}
    assert aside == {entry["utterance"]: entry["reason"] for entry in corpus.set_aside}
    assert set(aside) == {"bob_empty", "bob_unwritten", "bob_long"}


def test_the_report_tells_speakers_sound_reasons_and_what_to_look_at(mine, tmp_path, capsys):
    check.report("folder", mine, 1, tmp_path / "listing.csv")
    told = capsys.readouterr().out
    for line in (
        "anna\tadaptation\ttypical\t7 of 7\t0.1\t",
        "bob\tadaptation\ttypical\t7 of 10\t0.1\t",
        "bob\t1.0 to 1.0\t8/16\t-13\t0.30\t0\t",
        "bob_unwritten\tunwritten.txt: no such transcript; write it beside the recording.",
        "1 of 14: 0.1 % of the samples or more at full scale (anna_loud).",
        "1 of 14: quieter than -45 dBFS (anna_quiet).",
        "1 of 14: sampled below 16 kHz, so its high frequencies are missing (bob_phone).",
        "1 of 14: fewer than 70 % English words in its transcript (bob_german).",
        "A study on this corpus holds out anna as never seen",
        "14 of 17 recordings would be used: 0.2 minutes, 2 speakers; 3 set aside.",
    ):
        assert line in told
    with open(tmp_path / "listing.csv", encoding="utf-8-sig", newline="") as file:
        listed = {row["utterance"]: row for row in csv.DictReader(file)}
    assert len(listed) == 17
    assert listed["bob_long"]["used"] == "False" and "at most 30 s" in listed["bob_long"]["reason"]
    assert float(listed["anna_loud"]["clipped"]) > 50 and listed["bob_phone"]["rate"] == "8000"
    assert float(listed["anna_quiet"]["dbfs"]) == pytest.approx(20 * np.log10(0.003 / np.sqrt(2)), abs=0.1)


def test_a_folder_in_which_nothing_is_usable_is_told_file_by_file_and_then_refused(tmp_path, capsys):
    say(tmp_path, "one", None)
    say(tmp_path, "two", "(...)")
    with pytest.raises(CorpusError, match="none of its 2 recordings is usable"):
        check.report("folder", tmp_path, 1)
    told = capsys.readouterr().out
    assert "one\tone.txt: no such transcript" in told and "two\tThe text '(...)'" in told
    assert "0 of 2 recordings would be used" in told and "give more recordings" not in told


def test_a_training_without_tests_is_told(tmp_path, capsys):
    say(tmp_path, "one", "The only sentence.")
    check.report("folder", tmp_path, 1)
    assert "No recording in test: give more recordings, of different sentences." in capsys.readouterr().out


@pytest.mark.parametrize("name", ["vctk", "torgo"])
def test_a_published_corpus_is_checked_by_its_name(name, tmp_path):
    getattr(standins, name)(tmp_path / name)
    rows, corpus = (
        check.check(name, tmp_path / name, 1),
        published.prepare(name, tmp_path / name, tmp_path / "built", 1),
    )
    for used, expected in ((True, [u.utterance for u in corpus.utterances]), (False, corpus.set_aside)):
        found = [row["utterance"] for row in rows if row["used"] == used]
        assert found == [item if used else item["utterance"] for item in expected]


def test_recordings_that_a_recogniser_will_transcribe_have_no_split_yet(tmp_path, capsys):
    expected = standins.mdvr_kcl(tmp_path)
    check.report("mdvr_kcl", tmp_path, 1)
    assert expected.machine
    assert "without a transcript: Whisper tiny.en writes them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "nothing"}, "There is no corpus 'nothing'"),
        ({"name": "vctk", "role": "adaptation"}, "leave role out"),
        ({"name": "folder", "never_seen": ["carl"]}, "there is no speaker 'carl'"),
    ],
)
def test_a_wrong_request_is_told_in_one_sentence(mine, options, words):
    with pytest.raises(CorpusError, match=words):
        check.check(source=mine, cores=1, **options)


def test_a_listing_is_not_written_where_it_would_be_read_as_the_corpus(mine):
    with pytest.raises(CorpusError, match="write it somewhere else"):
        check.report("folder", mine, 1, mine / "listing.csv")
    assert not list(mine.glob("*.csv"))


@pytest.mark.parametrize(
    ("sentence", "share"),
    [("She's going home.", 1.0), ("PLEASE CALL STELLA", 1.0), ("Wir gehen heute nach Hause", 0.0), ("12.", 0.0)],
)
def test_the_share_of_words_in_the_lexicon_tells_english(sentence, share):
    assert known_words(sentence) == pytest.approx(share, abs=0.25)
