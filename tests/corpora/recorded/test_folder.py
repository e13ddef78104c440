"""A folder of one's own recordings, and the preparation every recorded corpus goes through."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import standins
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib import audio
from lib.corpora.corpus import SPLITS, Corpus, CorpusError
from lib.corpora.recorded import folder
from lib.corpora.recorded import read as recorded
from lib.corpora.recorded.clip import Clip, normalise, safe_name, split_sentences, with_splits

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def recordings(root: Path) -> Path:
    """Two speakers with three sentences each, of which they share one."""
    for speaker in ("anna", "bob"):
        for number, sentence in enumerate(("Hello there.", f"My name is {speaker}.", f"{speaker} says goodbye.")):
            standins.sound(root / speaker / f"{number}.wav")
            standins.note(root / speaker / f"{number}.txt", sentence)
    return root


def table(root: Path, header: str, *rows: str, name: str = "all.csv", encoding: str = "utf-8") -> Path:
    for number in range(3):
        standins.sound(root / "a" / f"{number}.wav")
    standins.note(root / name, "\n".join((header, *rows)) + "\n", encoding)
    return root


def read(source: Path, **options) -> Corpus:
    return folder.read(source, root=source.parent / "built", cores=1, **options)


def test_a_folder_is_a_corpus_in_one_line(tmp_path):
    corpus = read(recordings(tmp_path / "mine"))
    assert corpus.speakers() == ["anna", "bob"]
    assert {item.utterance: item.text for item in corpus.utterances}["bob_1"] == "My name is bob."
    assert {item.role for item in corpus.utterances} == {"adaptation"}
    assert {item.split for item in corpus.utterances} == set(SPLITS)
    shared = [item.split for item in corpus.utterances if item.text == "Hello there."]
    assert len(shared) == 2 and len(set(shared)) == 1
    assert corpus.root.name == f"mine-{corpus.hash}"


def test_roles_conditions_and_held_out_speakers_can_be_chosen(tmp_path):
    source = recordings(tmp_path / "mine")
    corpus = read(source, role="pretraining", condition="dysarthria", never_seen=["bob"])
    assert corpus.speakers("pretraining") == ["anna"]
    assert corpus.speakers("never_seen") == ["bob"]
    assert {item.condition for item in corpus.utterances} == {"dysarthria"}
    for options, words in (
        ({"never_seen": ["zoe"]}, "no speaker 'zoe'; its speakers are anna, bob"),
        ({"role": "tester"}, "the role 'tester' is not one of"),
        ({"condition": "tired"}, "the condition 'tired' is not one of"),
    ):
        with pytest.raises(CorpusError, match=words):
            read(source, **options)


def test_recordings_without_subfolders_belong_to_the_folder(tmp_path):
    standins.sound(tmp_path / "my voice" / "hello world.flac", rate=44_100)
    standins.note(tmp_path / "my voice" / "hello world.txt", "\ufeffHello\nworld.")
    corpus = read(tmp_path / "my voice")
    (item,) = corpus.utterances
    assert (item.utterance, item.speaker, item.text, item.split) == ("hello-world", "my-voice", "Hello world.", "train")
    assert item.seconds == pytest.approx(0.4, abs=0.01)


def test_bad_utterances_are_set_aside_and_the_rest_goes_on(tmp_path):
    source = recordings(tmp_path / "mine")
    for name, wave in (
        ("silent", np.zeros(8000)),
        ("stereo", standins.tone(channels=2)),
        ("short", standins.tone(0.05)),
    ):
        soundfile.write(source / f"{name}.wav", wave, 16_000)
        standins.note(source / f"{name}.txt", f"A {name} recording.")
    (source / "empty.wav").touch()
    standins.note(source / "empty.txt", "Nothing.")
    soundfile.write(source / "long.wav", np.tile(standins.tone(1.0), 31), 16_000)
    standins.note(source / "long.txt", "Too long.")
    standins.sound(source / "unspoken.wav")
    standins.note(source / "unspoken.txt", "...")
    standins.sound(source / "blank.wav")
    standins.note(source / "blank.txt", " \n")
    standins.sound(source / "untold.wav")
    corpus = read(source)
    assert len(corpus.utterances) == 6
    reasons = {entry["utterance"]: entry["reason"] for entry in corpus.set_aside}
    expected = {
        "silent": "silent.wav: the recording is silent",
        "stereo": "stereo.wav: has 2 channels",
        "short": "short.wav: 0.05 s of sound",
        "empty": "empty.wav: the file is empty",
        "long": "long.wav: 31.0 s, at most 30 s",
        "unspoken": "no speakable symbol",
        "blank": "blank.txt: the transcript is empty",
        "untold": "untold.txt: no such transcript",
    }
    assert reasons.keys() == expected.keys()
    for name, words in expected.items():
        assert words in reasons[name]
    assert json.loads((corpus.root / "corpus.json").read_text())["set_aside"] == corpus.set_aside


@pytest.mark.parametrize("text", ["Um, mhm.", "(inaudible)"])
def test_a_test_utterance_without_words_to_count_is_set_aside_before_any_training(text):
    clip = Clip("a", "s", text, Path("a.wav"), split="test")
    (tested,) = with_splits([clip])
    (trained,) = with_splits([replace(clip, split="train")])
    assert "a.wav: the transcript of test utterance a has no words" in tested.problem
    assert not trained.problem


def test_a_folder_that_cannot_be_a_corpus_is_told(tmp_path):
    with pytest.raises(CorpusError, match="nowhere: no such folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="empty: no recordings .wav, flac, mp3"):
        read(tmp_path / "empty")
    standins.sound(tmp_path / "untold" / "1.wav")
    with pytest.raises(CorpusError, match=r"untold: none of its 1 utterances is usable \(1.txt: no such transcript"):
        read(tmp_path / "untold")
    source = recordings(tmp_path / "twice")
    shutil.copy(source / "bob" / "1.wav", source / "bob" / "1.flac")
    with pytest.raises(CorpusError, match="1.flac and .*1.wav both give the utterance id bob_1; rename or remove one"):
        read(source)
    shutil.rmtree(source / "bob")
    standins.sound(source / "a" / "b c.wav")
    standins.sound(source / "a" / "b-c.wav")
    with pytest.raises(CorpusError, match="both give the utterance id a_b-c"):
        read(source)


def test_a_csv_names_texts_speakers_conditions_and_splits(tmp_path):
    source = table(
        tmp_path / "mine",
        "path;text;speaker;condition;split;severity",
        'a/0.wav;"One; two.";ann;stuttering;test;mild',
        "a\\1.wav;Three.;bea;;train;",
        "",
        "a/2.wav;Four.;;;;",
    )
    corpus = read(source)
    made = [(u.speaker, u.text, u.condition, u.split, u.recipe) for u in corpus.utterances]
    assert made == [
        ("ann", "One; two.", "stuttering", "test", {"severity": "mild"}),
        ("bea", "Three.", "typical", "train", {}),
        ("a", "Four.", "typical", "train", {}),
    ]
    assert read(source / "all.csv").utterances == corpus.utterances


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("path,words", "a/0.wav,Hello.", "all.csv, line 1: the header lacks one of the columns path, text"),
        ("path,text,text", "a/0.wav,Hello.,Hi.", "line 1: a column name occurs twice"),
        ("path,text", "a/0.wav,Hello, you.", "all.csv, line 2: 3 values for 2 columns"),
        ("path,text", "../0.wav,Hello.", "line 2: the path '../0.wav' is not one below"),
        ("path,text", "/etc/0.wav,Hello.", "line 2: the path '/etc/0.wav' is not one below"),
        ("path,text", ".,Hello.", "line 2: the path '.' is not one below"),
        ("path,text", '"a/0.wav,Hello.', "line 2: not readable as CSV"),
        ("path,text,condition", "a/0.wav,Hello.,tired", "line 2: the condition 'tired' is not one of typical"),
        ("path,text,split", "a/0.wav,Hello.,dev", "line 2: the split 'dev' is not one of train"),
        ("path,text", "", "all.csv: no rows"),
        ("path,text", f"{'x' * 300}.wav,Hello.", "the utterance id is too long"),
    ],
)
def test_a_wrong_csv_is_told_with_its_line(tmp_path, header, row, words):
    with pytest.raises(CorpusError, match=words):
        read(table(tmp_path / "mine", header, row))


def test_csv_files_that_cannot_be_chosen_or_read_are_told(tmp_path):
    source = table(tmp_path / "mine", "path,text", "a/0.wav,Hello.")
    table(source, "path,text", "a/0.wav,Hello.", name="more.csv")
    with pytest.raises(CorpusError, match="holds 2 CSV files; name the one to use"):
        read(source)
    assert read(source / "more.csv").utterances[0].text == "Hello."


def test_a_sentence_given_to_two_splits_is_told(tmp_path):
    source = table(tmp_path / "mine", "path,text,split", "a/0.wav,Hello!,test", "a/1.wav,hello,train")
    with pytest.raises(CorpusError, match=r"a_0 \(test\) and a_1 \(train\) say the same sentence"):
        read(source)
    source = table(tmp_path / "mine", "path,text,split", "a/0.wav,Hello!,test", "a/1.wav,hello,")
    assert [item.split for item in read(source).utterances] == ["test", "test"]


def test_what_is_prepared_is_not_prepared_again_and_a_change_makes_another_corpus(tmp_path, monkeypatch):
    source = recordings(tmp_path / "mine")
    corpus = read(source)
    with monkeypatch.context() as patch:
        patch.setattr(recorded, "make", lambda *_, **options: pytest.fail("prepared again"))
        assert read(source) == corpus
    standins.sound(source / "bob" / "2.wav", seconds=0.5)
    changed = read(source)
    assert changed.root != corpus.root
    standins.note(source / "bob" / "2.txt", "Other words.")
    assert read(source).root not in (corpus.root, changed.root)


def test_a_stopped_preparation_goes_on_and_damage_is_made_good(tmp_path, monkeypatch):
    source = recordings(tmp_path / "mine")
    monkeypatch.setattr(recorded, "CHUNK", 1)
    real, made = recorded.make, []

    def counting(clips, **options):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.extend(clip.utterance for clip in clips)
        return real(clips, **options)

    monkeypatch.setattr(recorded, "make", counting)
    with pytest.raises(KeyboardInterrupt):
        read(source)
    (root,) = (tmp_path / "built").iterdir()
    assert not (root / "corpus.json").exists()
    with (root / "prepared.jsonl").open("a") as journal:
        journal.write('{"utterance": "bob_2", "sam')
    (root / "audio" / "anna" / "anna_0.flac").write_bytes(b"damaged")
    first, made[:] = made[:], []
    monkeypatch.setattr(
        recorded, "make", lambda clips, **options: made.extend(c.utterance for c in clips) or real(clips, **options)
    )
    corpus = read(source)
    assert sorted(made) == sorted({item.utterance for item in corpus.utterances} - set(first[1:]))
    assert len(corpus.wave(corpus.utterances[0])) == 6400


def test_one_process_and_several_make_the_same_corpus(tmp_path, monkeypatch):
    source = recordings(tmp_path / "mine")
    alone = folder.read(source, root=tmp_path / "one", cores=1)
    monkeypatch.setattr(recorded, "CHUNK", 3)
    several = folder.read(source, root=tmp_path / "two", cores=2)
    assert several.utterances == alone.utterances
    for item in alone.utterances:
        assert (several.root / item.path).read_bytes() == (alone.root / item.path).read_bytes()


def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    import errno

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    source = recordings(tmp_path / "mine")
    monkeypatch.setattr(audio, "write", full)
    with pytest.raises(CorpusError, match="the disk is full; free some space and run again, nothing is lost"):
        read(source)


def test_transcripts_of_a_recogniser_are_marked_kept_and_split_by_sentence(tmp_path):
    heard = []

    def recogniser(waves):
        heard.extend(waves)
        return ["Same words." if len(wave) < 9000 else "" if len(wave) > 15_000 else "Others." for wave in waves]

    clips = []
    for name, seconds in (("a", 0.4), ("b", 0.5), ("c", 0.7), ("d", 1.0)):
        standins.sound(tmp_path / f"{name}.wav", seconds)
        clips.append(Clip(name, "s", "", tmp_path / f"{name}.wav", machine=True))
    corpus = recorded.prepare(clips, "toy", tmp_path, 1, recogniser=recogniser)
    assert [(item.utterance, item.text) for item in corpus.utterances] == [
        ("a", "Same words."),
        ("b", "Same words."),
        ("c", "Others."),
    ]
    assert {item.recipe["transcript"] for item in corpus.utterances} == {recorded.RECOGNISER}
    assert corpus.utterances[0].split == corpus.utterances[1].split
    assert "hears no words" in corpus.set_aside[0]["reason"]
    assert len(heard) == 4
    assert recorded.prepare(clips, "toy", tmp_path, 1, recogniser=recogniser) == corpus
    assert len(heard) == 4


def test_a_table_split_by_speaker_has_test_speakers_who_are_never_seen(tmp_path):
    rows = ("a/0.wav;One.;anna;train", "a/1.wav;Both.;anna;train", "a/2.wav;both;bob;test")
    source = table(tmp_path / "mine", "path;text;speaker;split", *rows, "a/3.wav;Two.;bob;test")
    found = {clip.text: (clip.speaker, clip.role, clip.split) for clip in folder.clips(source)}
    assert found["One."] == ("anna", "adaptation", "train")
    assert found["both"] == ("bob", "never_seen", "train"), "anna says it in training"
    assert found["Two."] == ("bob", "never_seen", "test")
    assert {c.role for c in folder.with_roles(folder.clips(source), "pretraining", (), source)} == {
        "pretraining",
        "never_seen",
    }


@pytest.mark.parametrize("form", ["folder", "csv"])
def test_transcripts_in_capitals_become_sentences(tmp_path, form):
    sentences = ("SHE SAID NO", "I'M HERE", "NASA")
    source = table(tmp_path / "mine", "path,text", *(f"a/{i}.wav,{said}" for i, said in enumerate(sentences)))
    if form == "folder":
        (source / "all.csv").unlink()
        for number, said in enumerate(sentences):
            standins.note(source / "a" / f"{number}.txt", said)
    assert [item.text for item in read(source).utterances] == ["She said no.", "I'm here.", "Nasa."]


def test_an_abbreviation_among_sentences_keeps_its_capitals(tmp_path):
    source = table(tmp_path / "mine", "path,text", "a/0.wav,NASA.", "a/1.wav,They said NASA.")
    assert [item.text for item in read(source).utterances] == ["NASA.", "They said NASA."]


def test_every_format_that_is_read_is_used_and_the_others_are_named(tmp_path):
    formats = {
        ".aiff": "AIFF",
        ".au": "AU",
        ".caf": "CAF",
        ".mp3": "MP3",
        ".ogg": "OGG",
        ".w64": "W64",
        ".FLAC": "FLAC",
    }
    source = tmp_path / "mine"
    for suffix, name in (formats | {".opus": "OGG"}).items():
        file = source / "a" / f"{suffix[1:]}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, standins.tone(), 16_000, format=name, subtype="OPUS" if suffix == ".opus" else None)
        standins.note(file.with_suffix(".txt"), f"This is {suffix[1:]}.")
    for name in ("phone.m4a", "old.WMA", "film.mp4"):
        standins.note(source / "a" / name, "no sound that is read")
        standins.note((source / "a" / name).with_suffix(".txt"), "Words.")
    (source / "a" / "gone.wav").symlink_to(tmp_path / "nowhere" / "gone.wav")
    standins.note(source / "a" / "gone.txt", "Words.")
    standins.note(source / "a" / "alone.txt", "Words.")
    standins.note(source / "a" / "mp3.m4a", "what mp3.mp3 was made of")
    standins.sound(tmp_path / "disk" / "linked.wav")
    standins.note(tmp_path / "disk" / "linked.txt", "In a linked folder.")
    (source / "bob").symlink_to(tmp_path / "disk")
    (source / "bob" / "loop").symlink_to(source)
    corpus = read(source)
    used = {f"a_{suffix[1:]}" for suffix in formats} | {"a_opus", "bob_linked"}
    assert {item.utterance for item in corpus.utterances} == used
    reasons = {entry["utterance"]: entry["reason"] for entry in corpus.set_aside}
    assert reasons.keys() == {"a_phone", "a_old", "a_film", "a_gone", "a_alone"}
    assert (
        reasons["a_phone"] == "phone.m4a: cannot be read as audio (Format not recognised); convert it to wav or flac."
    )
    assert "gone.wav: a link to a file that is not there" in reasons["a_gone"]
    assert "alone.txt: there is no recording of that name" in reasons["a_alone"]


@pytest.mark.parametrize(
    ("recording", "note"),
    [("Jose\u0301.wav", "Jos\u00e9.txt"), ("REC01.WAV", "REC01.TXT"), ("Rec1.wav", "REC1.txt"), ("a.b.wav", "A.B.TXT")],
)
def test_a_transcript_is_found_by_its_name_in_any_case_and_form_of_accents(tmp_path, recording, note):
    standins.sound(tmp_path / "mine" / "ann" / recording)
    standins.note(tmp_path / "mine" / "ann" / note, "Hello.")
    corpus = read(tmp_path / "mine")
    assert [item.text for item in corpus.utterances] == ["Hello."] and not corpus.set_aside
    assert read(tmp_path / "mine", never_seen=["ANN"]).speakers("never_seen") == ["ann"]
    shutil.move(tmp_path / "mine" / "ann" / note, tmp_path / "note")
    standins.note(tmp_path / "mine" / "all.csv", f"path,text\nAnn/{recording.swapcase()},Hello again.")
    assert [item.text for item in read(tmp_path / "mine").utterances] == ["Hello again."]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize(
    "content",
    [
        "Path,Text,,\na/0.wav,Caf\u00e9 one.,,\na/1.wav,Two.\n",
        "sep=;\nPATH;TEXT\na/0.wav;Caf\u00e9 one.\na/1.wav;Two.;;\n",
        ";\n Text ; path;Severity\nCaf\u00e9 one.;a/0.wav;mild\nTwo.;a/1.wav\n",
    ],
)
def test_a_csv_is_read_as_spreadsheets_write_it(tmp_path, content, encoding):
    source = table(tmp_path / "mine", "", name="ALL.CSV")
    (source / "ALL.CSV").write_bytes(content.replace("\n", "\r\n").encode(encoding))
    corpus = read(source)
    assert [item.text for item in corpus.utterances] == ["Caf\u00e9 one.", "Two."]
    assert corpus.utterances[0].recipe == ({"severity": "mild"} if "mild" in content else {})
    standins.note(source / "a" / "0.txt", "Caf\u00e9 one.", encoding)
    (source / "ALL.CSV").unlink()
    assert read(source).utterances[0].text == "Caf\u00e9 one."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("path,text\na/0.wav,One.\n\na/1.wav,Two.\n./A/0.WAV,One.\n", "all.csv, lines 2 and 5: both list ./A/0.WAV"),
        ("sep=;\npath;text\na/0.wav;One.\na\\0.wav;Two.\n", "lines 3 and 4: both list"),
        ("path,text,,\na/0.wav,Hello, you.,\n", "line 2: 4 values for 2 columns"),
        ("path,Text,text\na/0.wav,Hello.,Hi.\n", "a column name occurs twice"),
        ("sep=;\npath;text;split\na/0.wav;One.;dev\n", "line 3: the split 'dev'"),
        ("path,text\na/0.wav\n", "line 2: 1 values for 2 columns"),
    ],
)
def test_what_a_csv_would_lose_is_told_with_its_lines(tmp_path, content, told):
    source = table(tmp_path / "mine", "")
    (source / "all.csv").write_text(content)
    with pytest.raises(CorpusError, match=told):
        read(source)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


@QUICK
@given(st.lists(TEXTS, max_size=30))
def test_every_sentence_has_one_split_whatever_its_case_and_order(sentences):
    splits = split_sentences(sentences)
    assert splits == split_sentences(reversed([sentence.swapcase() for sentence in sentences])) or any(
        normalise(sentence) != normalise(sentence.swapcase()) for sentence in sentences
    )
    counts = [list(splits.values()).count(name) for name in SPLITS]
    assert sum(counts) == len({normalise(sentence) for sentence in sentences})
    if len(splits) >= 3:
        assert min(counts) >= 1 and counts[0] >= len(splits) // 3


@QUICK
@given(TEXTS)
def test_names_are_safe_for_files_whatever_they_are_made_of(name):
    safe = safe_name(name)
    assert safe and not safe.startswith(".") and not set(safe) & set("/\\ :\0\n")
    assert safe_name(safe) == safe


@QUICK
@given(st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["", *SPLITS])), min_size=1, max_size=5))
def test_any_csv_is_read_back_or_refused_in_one_sentence(tmp_path, rows):
    written = io.StringIO(newline="")
    csv.writer(written).writerows([("path", "text", "split"), *rows])
    (tmp_path / "any.csv").write_text(written.getvalue(), encoding="utf-8", newline="")
    try:
        clips = folder.clips(tmp_path / "any.csv")
    except CorpusError as error:
        assert "any.csv" in str(error)
        return
    assert [(clip.text, clip.split) for clip in clips] == [
        (" ".join(text.split()), split) for path, text, split in rows if any((path.strip(), text.strip(), split))
    ]


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_as_a_csv_give_clips_or_one_sentence(tmp_path, content):
    (tmp_path / "any.csv").write_bytes(b"path,text\n" + content)
    try:
        clips = folder.clips(tmp_path / "any.csv")
    except CorpusError:
        return
    assert all(isinstance(clip, Clip) for clip in clips)


@QUICK
@given(st.lists(st.tuples(TEXTS, st.sampled_from(["", "", *SPLITS])), min_size=1, max_size=8))
def test_a_manifest_of_any_sentences_is_valid_or_refused_and_survives_saving(tmp_path, sentences):
    lines = [(" ".join(text.split()), split) for text, split in sentences]
    clips = [Clip(f"u{i}", "s", text, Path("none"), split=split) for i, (text, split) in enumerate(lines) if text]
    try:
        clips = with_splits(clips)
    except CorpusError as error:
        assert "same sentence" in str(error)
        return
    done = {clip.utterance: {"samples": 8000} for clip in clips}
    if all(clip.problem for clip in clips):
        with pytest.raises(CorpusError, match=f"none of its {len(clips)} utterances"):
            recorded._corpus(clips, done, tmp_path, "toy", "abc")
        return
    corpus = recorded._corpus(clips, done, tmp_path, "toy", "abc")
    corpus.save()
    assert Corpus.load(tmp_path) == corpus
    assert replace(corpus.utterances[0]) == corpus.utterances[0]
