"""TextGrid files in both formats and encodings, and those that cannot be read."""

import pytest

from lib.corpora.textgrid import Interval, TextGridError, read

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
            xmax = 1e-1
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
0.5 ! a comment with 3 numbers and a "string"
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
PHONES = [Interval("", 0.0, 0.1), Interval("ɑː", 0.1, 0.3), Interval('"', 0.3, 0.5)]


def write(tmp_path, content: str, encoding: str = "utf-8"):
    path = tmp_path / "a.TextGrid"
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.parametrize("content", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_phones_are_read_from_both_formats_and_all_encodings(tmp_path, content, encoding):
    assert read(write(tmp_path, content, encoding)) == PHONES
    assert read(write(tmp_path, content.replace("\n", "\r\n"), encoding)) == PHONES


def test_big_endian_utf16_is_read(tmp_path):
    assert read(write(tmp_path, "\ufeff" + LONG, "utf-16-be")) == PHONES


def test_another_tier_is_read_by_name_and_quotes_are_undone(tmp_path):
    (word,) = read(write(tmp_path, LONG), "Words")
    assert word.label == 'say "two" 2 xmin = 7' and word.duration == 0.5


def test_the_only_speaker_s_phones_are_found(tmp_path):
    assert read(write(tmp_path, SHORT.replace('"phones"', '"anna - phones"'))) == PHONES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a TextGrid in Praat's long or short text format; save it from Praat as text"),
        ('{"tiers": []}', "not a TextGrid"),
        (LONG[: LONG.index("ɑː") - 20], "damaged or cut short; export it again"),
        (LONG.replace('"phones"', '"segments"'), "no interval tier named 'phones'; .* tiers: words, segments"),
        (LONG.replace('"words"', '"phones"'), "2 interval tiers named 'phones'"),
        (SHORT.replace("0.3\n0.5", "0.35\n0.5"), "interval 3 at 0.35 s leaves a gap before it; align"),
        (SHORT.replace("0.3\n0.5", "0.2\n0.5"), "interval 3 at 0.2 s overlaps its neighbour; align"),
        (SHORT.replace("0.1\n0.3\n", "0.1\n0.1\n"), "interval 2 runs from 0.1 to 0.1 s; align"),
        (SHORT.replace("0.5\n3\n0\n", "0.5\n3\n-1\n"), "interval 1 runs from -1.0 to 0.1 s"),
        (SHORT[: SHORT.index("\n3\n")] + "\n0\n", "tier phones: no intervals; align"),
        (SHORT.replace('"IntervalTier"', '"PitchTier"'), "a tier of the unknown kind 'PitchTier'; export"),
        (SHORT.replace("<exists>", "<absent>"), "no interval tier named 'phones'; .*: none"),
    ],
)
def test_a_textgrid_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, content, message):
    with pytest.raises(TextGridError, match=f"^.*a.TextGrid.*{message}") as caught:
        read(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bytes_that_are_no_text_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(TextGridError, match="b.TextGrid: no such file; give"):
        read(tmp_path / "b.TextGrid")
    path = tmp_path / "c.TextGrid"
    path.write_bytes(b"File type = \xff\xff\x00")
    with pytest.raises(TextGridError, match="neither UTF-8 nor UTF-16 text; save it from Praat as UTF-8"):
        read(path)
