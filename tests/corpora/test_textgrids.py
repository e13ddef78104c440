"""Durations from TextGrids: both formats, ARPAbet and own symbols, pauses, spaces, and what does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from lib import text
from lib.corpora import ipa
from lib.corpora.corpus import Corpus, CorpusError, Utterance
from lib.corpora.textgrids import TextGridError, intervals_of, read, timed

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
    lines, start = ['"IntervalTier"', f'"{name}"', 0, SECONDS, len(spans)], 0.0
    for label, end in spans:
        lines += [start, end, f'"{label}"']
        start = end
    return "\n".join(map(str, lines))


def grid(path: Path, *tiers: str) -> Path:
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n{SECONDS}\n<exists>\n{len(tiers)}\n'
    path.write_text(head + "\n".join(tiers) + "\n")
    return path


@pytest.fixture
def item() -> Utterance:
    return Utterance("one", "anna", "The daw gz.", "", (), "adaptation", "train", "typical", "audio/one.flac", SECONDS)


def test_arpabet_becomes_symbols_with_stress_spaces_and_a_pause(tmp_path, item):
    phonemes, durations = read(grid(tmp_path / "one.TextGrid", tier("words", WORDS), tier("phones", PHONES)), item)
    assert phonemes == "|ðə dˈɔ, ɡz|"
    assert durations == pytest.approx([0.1, 0.05, 0.05, 0, 0.1, 0, 0.2, 0.1, 0, 0.1, 0.2, 0.1])
    assert sum(durations) == pytest.approx(SECONDS)


def test_labels_in_the_studys_own_symbols_are_kept_and_silence_is_added(tmp_path, item):
    spans = [("h", 0.2), ("ˈɛ", 0.5), ("ɜɹ", 1.0)]
    phonemes, durations = read(grid(tmp_path / "one.TextGrid", tier("phones", spans)), item)
    assert phonemes == "|hˈɛɜɹ|"
    assert durations == pytest.approx([0, 0.2, 0, 0.3, 0.25, 0.25, 0])


def test_an_unknown_label_and_another_length_are_told(tmp_path, item):
    with pytest.raises(TextGridError, match="the label 'Q7' at 0.00 s is neither ARPAbet nor"):
        read(grid(tmp_path / "a.TextGrid", tier("phones", [("Q7", 1.0)])), item)
    with pytest.raises(TextGridError, match="ends at 1.00 s, the prepared recording at 2.00 s"):
        read(grid(tmp_path / "b.TextGrid", tier("phones", PHONES)), replace(item, seconds=2.0))


def test_a_corpus_takes_its_durations_from_a_folder_and_sets_the_rest_aside(tmp_path, item):
    other = replace(item, utterance="two", path="audio/two.flac")
    corpus = Corpus(tmp_path, "own", "0123456789ab", [item, other])
    (tmp_path / "grids").mkdir()
    with pytest.raises(CorpusError, match="no TextGrid fits the corpus own"):
        timed(corpus, tmp_path / "grids")
    grid(tmp_path / "grids" / "one.TextGrid", tier("phones", PHONES))
    made = timed(corpus, tmp_path / "grids")
    assert [u.utterance for u in made.utterances] == ["one"] and made.hash != corpus.hash
    assert [entry["utterance"] for entry in made.set_aside] == ["two"]
    assert Corpus.load(tmp_path) == made


LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 0.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "say ""two"" 2 xmin = 7"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 0.5
        points: size = 1
        points [1]:
            number = 0.1
            mark = "!"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 0.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.1
            text = ""
        intervals [2]:
            xmin = 0.1
            xmax = 0.3
            text = "ɑː"
        intervals [3]:
            xmin = 0.3
            xmax = 0.5
            text = """"
'''
SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
0.5
<exists>
1
"IntervalTier"
"phones"
0
0.5
3
0
0.1
""
0.1
0.3
"ɑː"
0.3
0.5
""""
'''
LABELLED = [(0.0, 0.1, ""), (0.1, 0.3, "ɑː"), (0.3, 0.5, '"')]


def write(tmp_path, content: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.parametrize("content", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_intervals_are_read_from_both_formats_and_encodings(tmp_path, content, encoding):
    for same in (content, content.replace("\n", "\r\n"), content.replace('"phones"', '"anna - phones"')):
        assert [tuple(each) for each in intervals_of(write(tmp_path, same, encoding), "phones")] == LABELLED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not readable as a TextGrid .* export it again"),
        ("no\nTextGrid", "not readable as a TextGrid"),
        (LONG[: LONG.index("ɑː") - 20], "not readable as a TextGrid"),
        (LONG.replace('"phones"', '"segments"'), "not one interval tier named 'phones' .*: words, segments"),
        (LONG.replace('"words"', '"phones"'), "not readable as a TextGrid .*same name"),
        (SHORT.replace("0.3\n0.5", "0.35\n0.5"), "leaves a gap at 0.3 s; align"),
        (SHORT.replace("0.3\n0.5", "0.2\n0.5"), "overlap"),
        (SHORT.replace("0.1\n0.3\n", "0.1\n0.1\n"), "start time"),
        (SHORT[: SHORT.index("0.3\n0.5")], "tier phones is cut short at 0.3 s; export it again"),
        (SHORT[: SHORT.index("\n3\n")] + "\n0\n", "not one interval tier named 'phones' with intervals"),
    ],
)
def test_a_textgrid_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, content, message):
    with pytest.raises(TextGridError, match=f"^.*a.TextGrid.*{message}") as caught:
        intervals_of(write(tmp_path, content), "phones")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bytes_that_are_no_text_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(TextGridError, match="b.TextGrid: no such file; give"):
        intervals_of(tmp_path / "b.TextGrid", "phones")
    (tmp_path / "c.TextGrid").write_bytes(b"File type = \xff\xff\x00")
    with pytest.raises(TextGridError, match="c.TextGrid: not readable as a TextGrid"):
        intervals_of(tmp_path / "c.TextGrid", "phones")


@pytest.mark.parametrize("wrong", ["nan", "inf", "-1"])
def test_times_that_are_no_times_are_refused(tmp_path, item, wrong):
    spans = tier("phones", [("h", 0.5), ("ɛ", 1.0)])
    with pytest.raises(TextGridError):
        read(grid(tmp_path / "a.TextGrid", spans.replace("\n0.0\n", f"\n{wrong}\n")), item)


def spoken(tmp_path, item, phones: list[tuple[str, float]], words: list[tuple[str, float]] = ()) -> str:
    tiers = [tier("phones", phones)] + ([tier("words", words)] if words else [])
    return read(grid(tmp_path / "a.TextGrid", *tiers), item)[0]


@pytest.mark.parametrize("label", ["<unk>", "<UNK>", "unk", "spn", "SIL", "noise", "[noise]", "{LG}", "laughter"])
@pytest.mark.parametrize(
    "sound", ["spn", "SPN", "", "<eps>", "SIL_S", "NSN", "[noise]", "Laughter", "+breath+", "(cough)"]
)
def test_what_is_no_word_takes_no_space_from_the_words_after_it(tmp_path, item, label, sound):
    words = [("the", 0.2), (label, 0.5), ("red", 0.8), ("ray", 1.0)]
    phones = [("DH", 0.1), ("AH0", 0.2), (sound, 0.5), ("R", 0.6), ("EH1", 0.7), ("D", 0.8), ("R", 0.9), ("EY1", 1.0)]
    assert spoken(tmp_path, item, phones, words) == "|ðə, ɹˈɛd ɹˈA|"


def test_a_word_that_is_called_as_a_label_is_stays_a_word(tmp_path, item):
    phones = [("N", 0.1), ("OY1", 0.2), ("Z", 0.4), ("AO1", 0.6), ("F", 1.0)]
    assert spoken(tmp_path, item, phones, [("noise", 0.4), ("off", 1.0)]) == "|nˈYz ˈɔf|"


ENGLISH_MFA = """
    a aj aw aː b bʲ c cʰ cʷ d dʒ dʲ d̪ e ej eː f fʲ h i iː j k kp kʰ kʷ l m mʲ m̩ n n̩ o ow oː p pʰ pʲ pʷ s t tʃ tʰ tʲ tʷ t̪
    u uː v vʲ w z æ ç ð ŋ ɐ ɑ ɑː ɒ ɒː ɔ ɔj ɖ ə əw ɚ ɛ ɛː ɜ ɜː ɝ ɟ ɟʷ ɡ ɡʷ ɪ ɫ ɫ̩ ɱ ɲ ɹ ɾ ɾʲ ɾ̃ ʃ ʈ ʈʲ ʈʷ ʉ ʉː ʊ ʋ ʎ ʒ ʔ θ
"""  # the phones of english_us_mfa, english_mfa and english_india_mfa, versions 2.0.0a and 3.1.0


def test_every_phone_of_the_english_mfa_dictionaries_has_its_symbols():
    found = {label: ipa.phones(label) for label in ENGLISH_MFA.split()}
    assert all(found.values()) and set("".join(found.values())) <= set(text.PHONES)
    assert [found[label] for label in ("aj", "tʃ", "ɝ", "ɫ̩", "ɾ", "cʰ", "ɐ")] == ["I", "ʧ", "ɜɹ", "ᵊl", "T", "k", "ʌ"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("tʃ aj ɫ d", "ʧIld"),  # child
        ("m ɛ ɲ ʉ z", "mɛnjuz"),  # menus
        ("ɲ æ b", "næb"),
        ("cʰ ʉː t", "kjut"),
        ("c iː", "ki"),
        ("b ɐ ɾ ɚ", "bʌTəɹ"),
        ("t͡ʃ ˈaɪ l d", "ʧˈIld"),
        ("ʧ ˈI l d", "ʧˈIld"),  # the study's own
        ("h ˈW", "hˈW"),  # W is no ARPAbet beside h
        ("W AW1", "wˈW"),
        ("w aw1", "wˈW"),
        ("w ay", "wI"),
        ("HH_B AY1_E", "hˈI"),  # Kaldi's
    ],
)
def test_a_file_is_read_in_the_one_alphabet_of_all_its_labels(tmp_path, item, labels, expected):
    labels = labels.split()
    phones = [(label, (place + 1) / len(labels)) for place, label in enumerate(labels)]
    assert spoken(tmp_path, item, phones) == f"|{expected}|"


@pytest.mark.parametrize(
    ("labels", "strange"), [("ts aj t", "ts"), ("HH aj", "aj"), ("yː ɛ n", "yː"), ("AH0 ɚ AY1", "ɚ")]
)
def test_a_file_with_a_label_of_another_alphabet_is_refused_whole(tmp_path, item, labels, strange):
    labels = labels.split()
    phones = [(label, (place + 1) / len(labels)) for place, label in enumerate(labels)]
    with pytest.raises(TextGridError, match=rf"a.TextGrid: the label '{strange}' at .* english_us_arpa or english_mfa"):
        spoken(tmp_path, item, phones)


def test_textgrids_are_found_by_their_names_in_any_case_and_form_of_accents(tmp_path, item):
    named = [
        replace(item, utterance=name, path=f"audio/{name}.flac") for name in ("one", "Jos\u00e9", "twice", "linked")
    ]
    corpus, place = Corpus(tmp_path, "own", "0123456789ab", named), tmp_path / "grids"
    for folder in (place / "a", place / "b", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    for name in ("ONE.textgrid", "Jose\u0301.TextGrid", "a/twice.TextGrid", "b/twice.TEXTGRID"):
        grid(place / name, tier("phones", PHONES))
    grid(tmp_path / "elsewhere" / "linked.TextGrid", tier("phones", PHONES))
    (place / "more").symlink_to(tmp_path / "elsewhere")
    made = timed(corpus, place)
    assert [u.utterance for u in made.utterances] == ["one", "Jos\u00e9", "linked"]
    assert made.set_aside[0]["reason"] == "a/twice.TextGrid and b/twice.TEXTGRID are both of twice; remove one."
