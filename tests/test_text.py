import pytest

from lib import text


def test_phonemes_have_silence_at_both_ends_and_known_symbols_only():
    phonemes = text.phonemize("Hello there.")
    assert phonemes == "|həlˈO ðˈɛɹ.|"
    assert set(phonemes) <= set(text.SYMBOLS)


def test_every_symbol_has_an_index_of_its_own():
    phonemes = text.phonemize("The quick brown fox, she said!")
    indices = text.encode(phonemes)
    assert len(indices) == len(phonemes)
    assert min(indices) > 0
    assert "".join(text.SYMBOLS[index] for index in indices) == phonemes


def test_symbols_are_unique_single_characters_with_padding_first():
    assert len(set(text.SYMBOLS)) == len(text.SYMBOLS)
    assert all(len(symbol) == 1 for symbol in text.SYMBOLS)
    assert text.SYMBOLS[0] == text.PADDING


@pytest.mark.parametrize("nothing", ["", "   ", "\n"])
def test_empty_text_is_refused(nothing):
    with pytest.raises(text.TextError, match="empty"):
        text.phonemize(nothing)


@pytest.mark.parametrize("unspeakable", ["...", "?! —", "( )"])
def test_text_without_a_speakable_symbol_is_quoted_and_refused(unspeakable):
    with pytest.raises(text.TextError, match="no speakable symbol"):
        text.phonemize(unspeakable)


def test_unknown_phonemes_are_named():
    with pytest.raises(text.TextError, match="€"):
        text.encode("|h€|")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("TOM AND I'LL GO", "Tom and I'll go."),
        ("the end", "The end."),
        ("WHY NOT?", "Why not?"),
        ("It's Tom's BMW", "It's Tom's BMW"),
        ("12", "12"),
        ("", ""),
        ('SO, I, TOO. "WHY?" ASKS I', 'So, I, too. "Why?" asks I.'),
        ("你好", "你好"),
    ],
)
def test_a_transcript_in_capitals_becomes_a_sentence(given, expected):
    assert text.sentence(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["SHE SAID NO", "12", "SHE"], ["She said no.", "12", "She."]),
        (["NASA", "They asked NASA."], ["NASA", "They asked NASA."]),
        (["SHE SAID NO", "They asked NASA."], ["She said no.", "They asked NASA."]),
        (["she said", "they asked"], ["she said", "they asked"]),
        ([], []),
    ],
)
def test_a_corpus_in_capitals_becomes_sentences_and_abbreviations_stay(given, expected):
    assert text.sentences(given) == expected
