"""Durations from TextGrids: ARPAbet and the study's own symbols, pauses, spaces, and what does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from lib.corpora import textgrids as phones
from lib.corpora.corpus import Corpus, CorpusError, Utterance
from lib.corpora.textgrid import TextGridError

SECONDS = 1.0
PHONES = [
    ("", 0.1),
    ("DH", 0.15),
    ("AH0", 0.2),
    ("D", 0.3),
    ("AO1", 0.5),
    ("sp", 0.6),
    ("G", 0.7),
    ("Z", 0.9),
    ("sil", 1.0),
]
WORDS = [("", 0.1), ("the", 0.2), ("daw", 0.5), ("", 0.6), ("gz", 0.9), ("", 1.0)]


def tier(name: str, spans: list[tuple[str, float]]) -> str:
    lines, start = [f'"IntervalTier" "{name}" 0 {SECONDS} {len(spans)}'], 0.0
    for label, end in spans:
        lines.append(f'{start} {end} "{label}"')
        start = end
    return "\n".join(lines)


def grid(path: Path, *tiers: str) -> Path:
    head = f'"ooTextFile"\n"TextGrid"\n0 {SECONDS}\n<exists>\n{len(tiers)}\n'
    path.write_text(head + "\n".join(tiers) + "\n")
    return path


@pytest.fixture
def item() -> Utterance:
    return Utterance("one", "anna", "The daw gz.", "", (), "adaptation", "train", "typical", "audio/one.flac", SECONDS)


def test_arpabet_becomes_symbols_with_stress_spaces_and_a_pause(tmp_path, item):
    phonemes, durations = phones.read(
        grid(tmp_path / "one.TextGrid", tier("words", WORDS), tier("phones", PHONES)), item
    )
    assert phonemes == "|ðə dˈɔ, ɡz|"
    assert durations == pytest.approx([0.1, 0.05, 0.05, 0, 0.1, 0, 0.2, 0.1, 0, 0.1, 0.2, 0.1])
    assert sum(durations) == pytest.approx(SECONDS)


def test_labels_in_the_studys_own_symbols_are_kept_and_silence_is_added(tmp_path, item):
    spans = [("h", 0.2), ("ˈɛ", 0.5), ("ɜɹ", 1.0)]
    phonemes, durations = phones.read(grid(tmp_path / "one.TextGrid", tier("phones", spans)), item)
    assert phonemes == "|hˈɛɜɹ|"
    assert durations == pytest.approx([0, 0.2, 0, 0.3, 0.25, 0.25, 0])


def test_an_unknown_label_and_another_length_are_told(tmp_path, item):
    with pytest.raises(TextGridError, match="the label 'Q7' at 0.00 s is neither ARPAbet nor"):
        phones.read(grid(tmp_path / "a.TextGrid", tier("phones", [("Q7", 1.0)])), item)
    with pytest.raises(TextGridError, match="ends at 1.00 s, the prepared recording at 2.00 s"):
        phones.read(grid(tmp_path / "b.TextGrid", tier("phones", PHONES)), replace(item, seconds=2.0))


def test_a_corpus_takes_its_durations_from_a_folder_and_sets_the_rest_aside(tmp_path, item):
    other = replace(item, utterance="two", path="audio/two.flac")
    corpus = Corpus(tmp_path, "own", "0123456789ab", [item, other])
    (tmp_path / "grids").mkdir()
    with pytest.raises(CorpusError, match="no TextGrid fits the corpus own"):
        phones.timed(corpus, tmp_path / "grids")
    grid(tmp_path / "grids" / "one.TextGrid", tier("phones", PHONES))
    timed = phones.timed(corpus, tmp_path / "grids")
    assert [u.utterance for u in timed.utterances] == ["one"] and timed.hash != corpus.hash
    assert [entry["utterance"] for entry in timed.set_aside] == ["two"]
    assert Corpus.load(tmp_path) == timed
