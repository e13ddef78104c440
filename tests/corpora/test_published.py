"""Every loader on a stand-in in its corpus's published."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import standins

from lib import audio
from lib.corpora import published
from lib.corpora.atypical import fluencybank, torgo, uaspeech
from lib.corpora.corpus import Corpus, CorpusError
from lib.corpora.recorded import asterisk, vctk
from lib.corpora.recorded import read as recorded
from lib.corpora.recorded.layout import said


@pytest.fixture(autouse=True)
def recogniser(monkeypatch):
    """Hears how long a recording is."""
    monkeypatch.setattr(recorded, "whisper", lambda waves: [f"{len(wave)} samples." for wave in waves])


@pytest.mark.parametrize("name", standins.CORPORA)
def test_a_corpus_in_its_layout_becomes_a_manifest(name, tmp_path):
    expected = standins.CORPORA[name](tmp_path / "source")
    corpus = published.prepare(name, tmp_path / "source", tmp_path / "built", cores=1)
    made = {item.utterance: item for item in corpus.utterances}
    found = {
        key: (made[key].speaker, made[key].text, made[key].role, made[key].condition) for key in expected.utterances
    }
    assert found == expected.utterances
    reasons = {entry["utterance"]: entry["reason"] for entry in corpus.set_aside}
    for key, words in expected.aside.items():
        assert words in reasons[key]
        assert str(tmp_path) not in reasons[key]
    for key, recipe in expected.recipes.items():
        assert recipe.items() <= made[key].recipe.items()
    assert all(("transcript" in item.recipe) == expected.machine for item in corpus.utterances)
    assert Corpus.load(corpus.root) == corpus
    assert corpus.root.parent == tmp_path / "built" and corpus.root.name.startswith(f"{name}-")
    for item in corpus.utterances:
        assert len(corpus.wave(item)) == pytest.approx(item.seconds * audio.RATE)


@pytest.mark.parametrize("name", standins.CORPORA)
def test_a_folder_that_is_missing_or_another_corpus_is_named(name, tmp_path):
    with pytest.raises(CorpusError, match="nowhere: no such folder"):
        published.prepare(name, tmp_path / "nowhere", tmp_path / "built")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="empty: holds no .*as released"):
        published.prepare(name, tmp_path / "empty", tmp_path / "built")


@pytest.mark.parametrize("name", published.LOADERS)
def test_every_loader_says_what_its_corpus_is_and_how_to_get_it(name):
    module = published.loader(name)
    assert module.ABOUT.name == name
    assert all((module.ABOUT.title, module.ABOUT.licence, module.ABOUT.size))
    assert module.ABOUT.access.endswith(".")
    assert module.ABOUT.licence.casefold() in " ".join(module.__doc__.split()).casefold()


@pytest.mark.parametrize("name", ["esd", "torgo", "uaspeech", "nemours", "fluencybank", "sep28k"])
def test_a_corpus_that_needs_permission_says_where_to_ask(name, tmp_path):
    with pytest.raises(CorpusError, match="cannot be fetched by command"):
        published.fetch(name, tmp_path)


def test_an_unknown_corpus_is_told_with_the_known_ones():
    with pytest.raises(CorpusError, match="no corpus 'vtck'; there are vctk"):
        published.prepare("vtck", Path("."))


def test_no_sentence_and_no_speaker_is_both_trained_on_and_tested(tmp_path):
    standins.vctk(tmp_path / "source")
    corpus = published.prepare("vctk", tmp_path / "source", tmp_path / "built", cores=1)
    splits = {}
    for item in corpus.utterances:
        assert splits.setdefault(item.text, item.split) == item.split
    assert not set(corpus.speakers("adaptation")) & set(corpus.speakers("never_seen"))


def test_only_a_newline_ends_a_line(tmp_path):
    odd = "a\u2028b\x85c\x1cd"
    assert uaspeech.labels(f'"*/M04_B1_C1_M5.lab"\n{odd}\n.\n') == {"M04_B1_C1_M5": "d"}
    assert fluencybank.main_lines(f"*PAR:\t{odd}.\n%com:\tnone\n") == [f"{odd}."]
    (tmp_path / "speaker-info.txt").write_text("ID AGE GENDER ACCENTS REGION\r\np225 23 F\u2028English Southern\r\n")
    assert vctk.speaker_info(tmp_path / "speaker-info.txt") == {
        "p225": {"age": "23", "gender": "F", "accent": "English"}
    }


def test_ravdess_tests_one_of_its_sentences(tmp_path):
    standins.ravdess(tmp_path / "source")
    corpus = published.prepare("ravdess", tmp_path / "source", tmp_path / "built", cores=1)
    assert {(item.text[:4], item.split) for item in corpus.utterances} == {("Kids", "train"), ("Dogs", "test")}


def test_a_long_recording_is_cut_where_it_pauses():
    from lib.corpora.recorded.clip import pieces

    wave = np.concatenate([standins.tone(12.0), np.zeros(8000), standins.tone(9.0)]).astype(np.float32)
    spans = pieces(wave, 15.0)
    assert [start for start, _ in spans][0] == 0 and spans[-1][1] == pytest.approx(21.5)
    assert 12.0 < spans[0][1] < 12.5
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert all(end - start <= 15.0 for start, end in pieces(standins.tone(50.0), 15.0))


def test_an_asterisk_prompt_outside_the_script_is_left_to_the_recogniser(tmp_path):
    prompts = tmp_path / "sounds" / "en"
    prompts.mkdir(parents=True)
    for name in ("vm-undelete", "my-own-prompt"):
        (prompts / f"{name}.g722").write_bytes(standins.g722(2.5))
    own, known = sorted(asterisk.clips(tmp_path), key=lambda clip: clip.utterance)
    assert (own.text, own.machine) == ("", True)
    assert (known.text, known.machine) == ("Press 7 to undelete this message", False)


def test_a_line_of_the_script_without_a_text_is_named(tmp_path):
    (tmp_path / "script.txt").write_text("# prompts\nhello: Hello.\nworld\n")
    with pytest.raises(CorpusError, match="script.txt, line 3: no text after the prompt's name"):
        asterisk.script(tmp_path / "script.txt")


def test_librispeech_mini_is_read_as_it_is(librispeech, recordings, tmp_path):
    corpus = published.prepare("librispeech", librispeech, tmp_path, cores=1)
    assert len(corpus.utterances) + len(corpus.set_aside) == len(recordings)
    assert len(corpus.speakers("never_seen")) == 5
    known = {recording.utterance: recording for recording in recordings}
    for item in corpus.utterances[:5]:
        assert item.text == known[item.utterance].text.lower()
        assert 0 <= len(known[item.utterance].wave) - len(corpus.wave(item)) < 2 * audio.RATE


def test_torgos_array_microphone_is_used_where_the_head_microphones_file_is_empty(tmp_path):
    session = tmp_path / "F01" / "Session1"
    for name in ("0001", "0002", "0003", "0004"):
        standins.note(session / "prompts" / f"{name}.txt", f"Sentence {name}.")
        standins.sound(session / "wav_headMic" / f"{name}.wav")
        standins.sound(session / "wav_arrayMic" / f"{name}.wav")
    (session / "wav_headMic" / "0001.wav").write_bytes(b"")
    soundfile.write(session / "wav_headMic" / "0002.wav", np.zeros(0), 16_000)
    (session / "wav_headMic" / "0003.wav").unlink()
    (session / "wav_headMic" / "0003.wav").symlink_to(tmp_path / "nowhere")
    used = {clip.file.stem: clip.file.parent.name for clip in torgo.clips(tmp_path)}
    assert used == {"0004": "wav_headMic", **dict.fromkeys(("0001", "0002", "0003"), "wav_arrayMic")}
    (session / "wav_arrayMic" / "0001.wav").unlink()
    corpus = published.prepare("torgo", tmp_path, tmp_path / "built", cores=1)
    assert [entry["reason"].split(";")[0] for entry in corpus.set_aside] == ["0001.wav: the file is empty"]


def test_texts_are_found_by_the_names_of_recordings_in_any_case_and_form_of_accents(tmp_path):
    assert said({"Jose\u0301_1": "Hello."}, "JOS\u00c9_1", "list")["text"] == "Hello."
    standins.sound(tmp_path / "BB" / "BB1.WAV")
    standins.note(tmp_path / "BB" / "bb1.TXT", "The boat is reaping the time.")
    standins.sound(tmp_path / "LibriTTS" / "dev-clean" / "1" / "2" / "1_2_3.FLAC")
    standins.note(tmp_path / "LibriTTS" / "dev-clean" / "1" / "2" / "1_2_3.normalized.txt", "SHE SAID NO.")
    for name, text in (("nemours", "The boat is reaping the time."), ("libritts", "She said no.")):
        corpus = published.prepare(name, tmp_path, tmp_path / "built", cores=1)
        assert [item.text for item in corpus.utterances] == [text]


def test_a_film_beside_fluencybanks_transcript_is_named(tmp_path):
    standins.note(tmp_path / "24fa.CHA", "*PAR:\tI was glad . \x150_400\x15\n")
    standins.note(tmp_path / "24fa.mp4", "a film")
    with pytest.raises(CorpusError, match="24fa.mp4: cannot be read as audio .* convert it to wav or flac"):
        published.prepare("fluencybank", tmp_path, tmp_path / "built", cores=1)
