"""Two folders of speech compared: files matched by name, values of every metric, and what is left out and why."""

import numpy as np
import pytest

from lib import audio
from lib.workflow import score as scoring
from lib.workflow.score import ScoreError


@pytest.fixture(scope="module")
def folders(speech, tmp_path_factory):
    """Speech, its references and its texts; one file is silent, one has no reference, one no text."""
    root = tmp_path_factory.mktemp("score")
    for name, wave in zip(("one", "two", "lost", "mute"), speech[:4], strict=True):
        audio.write(root / "reference" / "anna" / f"{name}.wav", wave[:24000])
        audio.write(root / "speech" / "anna" / f"{name.upper()}.wav", wave[:24000])
    (root / "reference" / "anna" / "lost.wav").unlink()
    audio.write(root / "reference" / "anna" / "extra.wav", speech[4][:24000])
    (root / "speech" / "anna" / "MUTE.wav").write_bytes(b"not audio")
    (root / "texts.csv").write_text("path;text\nanna/one.wav;Hello there.\nanna/two.wav;How are you?\n")
    return root


def recognise(waves, texts, device="cpu"):
    zeros = np.zeros(len(waves))
    return {"wer": zeros, "cer": zeros, "wer_hallucinated": zeros}


@pytest.fixture(scope="module")
def scored(folders):
    return scoring.score(folders / "speech", folders / "reference", folders / "texts.csv", recognise=recognise)


def test_files_of_the_same_name_are_compared_whatever_their_case(scored):
    assert len(scored.table) == 2
    assert np.allclose(scored.table["cos"], 100, atol=0.01) and np.allclose(scored.table["secs"], 1, atol=1e-5)
    assert (scored.table["mcd"] == 0).all() and (scored.table["ffe"] == 0).all()
    assert {"wer", "per", "mos_predicted", "f0_rmse"} <= set(scored.table)


def test_what_cannot_be_scored_is_named_with_the_reason(scored):
    told = {entry["file"]: entry["why"] for entry in scored.left_out}
    assert "no such file" in told["LOST.wav"]
    assert "cannot be read as audio" in told["MUTE.wav"]
    assert "has no such file" in told["extra.wav"]


def test_the_summary_has_a_line_for_each_metric(scored):
    lines = {line["metric"]: line for line in scoring.summary(scored.table)}
    assert lines["MCD (dB)"]["mean"] == 0 and lines["MCD (dB)"]["better"] == "↓"
    assert all(line["files"] == 2 for line in lines.values())


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({}, "there are no recordings"),
        ({"a.wav": None, "A.flac": None}, "two files are called"),
        ({"a.wav": b"noise"}, "no file can be scored"),
    ],
)
def test_folders_that_cannot_be_scored_are_refused_in_a_sentence(tmp_path, made, told):
    tone = (0.1 * np.sin(np.arange(16000) / 20)).astype(np.float32)
    for name, content in made.items():
        if content is None:
            audio.write(tmp_path / name, tone)
        else:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(ScoreError, match=told):
        scoring.score(tmp_path)


@pytest.mark.parametrize("content", ["name\nx\n", "file,words\nx,hello\n", ""])
def test_texts_without_their_columns_are_refused(tmp_path, content):
    (tmp_path / "texts.csv").write_text(content)
    with pytest.raises(ValueError, match="texts.csv"):
        scoring.read_texts(tmp_path / "texts.csv")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ScoreError, match="there is no such folder"):
        scoring.score(tmp_path / "none")


@pytest.mark.parametrize(
    "content", ["sep=;\nName;TEXT;;\nanna/ONE.wav;SHE SAID\n", "text,path,filename\nSHE SAID,Anna\\one.wav,x\n"]
)
def test_texts_are_read_as_spreadsheets_write_them(tmp_path, content):
    (tmp_path / "texts.csv").write_text(content, encoding="utf-16")
    assert scoring.read_texts(tmp_path / "texts.csv") == {"anna/one": "She said."}


def test_a_file_whose_text_is_given_twice_is_told_with_both_lines(tmp_path):
    (tmp_path / "texts.csv").write_text("path,text\none.wav,Hello.\nONE.flac,Hi.\n")
    with pytest.raises(ValueError, match="texts.csv, lines 2 and 3: both list ONE.flac; remove one"):
        scoring.read_texts(tmp_path / "texts.csv")


def test_recordings_that_are_not_read_are_left_out_by_name(speech, tmp_path):
    audio.write(tmp_path / "a.wav", speech[0][:24000])
    (tmp_path / "b.m4a").write_bytes(b"none")
    (tmp_path / "c.wav").symlink_to(tmp_path / "nowhere.wav")
    told = {entry["file"]: entry["why"] for entry in scoring.score(tmp_path).left_out}
    assert "convert it to wav or flac" in told["b.m4a"] and "a link to a file that is not there" in told["c.wav"]
