"""speechocean762 from its table and from its folders; what is missing is named."""

from collections import Counter

import pytest
import real_recordings
import standins

from lib.corpora.corpus import CorpusError
from lib.corpora.recorded import speechocean762

HEADER = "path,speaker,text,split,age,sex\n"


def test_a_table_gives_conditions_and_severities_by_age(tmp_path):
    rows = ["1/a.opus,1,I AM SIX,train,6,m", "2/b.opus,2,SO AM I,train,9,f", "3/c.opus,3,GO ON,test,16,f"]
    standins.note(tmp_path / "metadata.csv", HEADER + "\n".join(rows))
    found = speechocean762.clips(tmp_path)
    assert [(c.utterance, c.text, c.role, c.condition, c.recipe["severity"]) for c in found] == [
        ("a", "I am six.", "adaptation", "children", "severe"),
        ("b", "So am I.", "adaptation", "children", "moderate"),
        ("c", "Go on.", "never_seen", "adults", "mild"),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1/a.opus,1,GO,later,6,m", "metadata.csv, line 2: the split 'later' is not one of train, test"),
        ("1/a.opus,1,GO,train,six,m", "metadata.csv: the age of speaker 1 is 'six', not a number"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, row, said):
    standins.note(tmp_path / "metadata.csv", HEADER + row)
    with pytest.raises(CorpusError, match=said):
        speechocean762.clips(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("train/utt2spk", "000010011\t0001\n", "utt2spk: names no speaker of 000010035"),
        ("train/spk2age", "0001\n", "spk2age, line 1: nothing after 0001"),
        ("test/spk2age", "0009 9\n", "the age of speaker 0002 is ''"),
        ("resource/scores.json", "[]", "scores.json: not the scores of speechocean762"),
        ("resource/scores.json", '{"000010011": {"total": "x"}}', "scores.json: not the scores of speechocean762"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, content, said):
    standins.speechocean762(tmp_path)
    standins.note(tmp_path / "speechocean762" / file, content)
    with pytest.raises(CorpusError, match=said):
        speechocean762.clips(tmp_path)


def test_without_scores_severity_is_by_age(tmp_path):
    standins.speechocean762(tmp_path)
    (tmp_path / "speechocean762" / "resource" / "scores.json").unlink()
    severities = {clip.utterance: clip.recipe["severity"] for clip in speechocean762.clips(tmp_path)}
    assert severities["000010011"] == "severe" and severities["000030012"] == "mild"


def test_the_real_recordings_keep_their_speakers_apart():
    found = speechocean762.clips(real_recordings.recordings_of("speechocean762"))
    speakers = {clip.speaker: clip.role for clip in found}
    assert Counter(speakers.values()) == {"adaptation": 125, "never_seen": 100} and len(found) == 2500
    assert all(clip.file.is_file() for clip in found) and not any(clip.text.isupper() for clip in found)
