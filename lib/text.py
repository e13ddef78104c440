"""English text to phonemes: one alphabet for every voice and model (misaki's, as Kokoro and hibari use it).

A phoneme string is one character per symbol: stress marks, phones (capital letters are diphthongs and ʤ ʧ are
single symbols), spaces and punctuation, with the silence symbol `|` at both ends.
"""

import functools
import re
from collections.abc import Sequence

PADDING = "_"
SILENCE = "|"
PUNCTUATION = ';:,.!?—…"()“”'
STRESS = "ˈˌ"
VOWELS = "AIOWYQiuɑɒɔɛɜəɪʊʌæaᵊᵻɐ"
VOICED_CONSONANTS = "bdvzɡmnŋlɹɾwjðʒʤ"
VOICELESS_CONSONANTS = "fhkpstʃʧθʔT"
PHONES = VOWELS + VOICED_CONSONANTS + VOICELESS_CONSONANTS
SYMBOLS: tuple[str, ...] = (PADDING, SILENCE, " ", *PUNCTUATION, *STRESS, *PHONES)
LENGTH = "ː"  # of British vowels; voices speak it, models have no symbol for it
IN_CAPITALS = 3  # words of a transcript in capitals that is no abbreviation
_INDEX = {symbol: index for index, symbol in enumerate(SYMBOLS)}


class TextError(ValueError):
    """Text that cannot be spoken; the message quotes it and says what to do."""


@functools.cache
def _g2p(british: bool = False):
    from hibari.g2p import G2P

    return G2P(british=british)


def sentence(text: str) -> str:
    """A transcript in capitals, or without any, as a sentence: "NO I'M FINE" -> "No I'm fine."; others stay.

    Recognisers and phonemizers are used to sentences, and spell capitals out.
    """
    if text not in (text.upper(), text.lower()) or text.upper() == text.lower():
        return text
    whole = re.sub(r"\bi\b", "I", text.lower())
    whole = re.sub(r"(^|[.!?]\s+)\W*\w", lambda start: start[0].upper(), whole)
    return f"{whole}{'' if whole[-1] in PUNCTUATION else '.'}"


def sentences(texts: Sequence[str]) -> list[str]:
    """A corpus's transcripts, those in capitals as sentences.

    Capitals mean nothing where all of them are in capitals, or one of `IN_CAPITALS` words is; a shorter one may be an
    abbreviation ("NASA"), and stays among others.
    """
    cased = [text for text in texts if text.upper() != text.lower()]
    least = 1 if all(text == text.upper() for text in cased) else IN_CAPITALS
    return [sentence(text) if text == text.upper() and len(text.split()) >= least else text for text in texts]


def phonemize(text: str, british: bool = False) -> str:
    """Phonemes of an English text, `|` at both ends, e.g. "Hello." -> "|həlˈO.|"; British ones with `LENGTH`.

    Raises `TextError` for empty text and for text with nothing to say (punctuation only, an unknown script).
    """
    if not text or not text.strip():
        raise TextError("The text is empty; give at least one English word.")
    try:
        spoken = _g2p(british)(text)
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:  # a superscript number, for one
        raise TextError(
            f"The text {_quote(text)} cannot be pronounced ({error}); write its numbers as words."
        ) from None
    known = (*SYMBOLS[2:], LENGTH) if british else SYMBOLS[2:]
    phonemes = "".join(symbol for symbol in spoken if symbol in known)
    if not any(symbol in PHONES for symbol in phonemes):
        raise TextError(f"The text {_quote(text)} holds no speakable symbol; give at least one English word.")
    return f"{SILENCE}{phonemes.strip()}{SILENCE}"


def known_words(text: str) -> float:
    """The share of a text's words that the English lexicon has; 0 where there are none. About a third for German."""
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower().replace("’", "'"))
    golds, silvers = _g2p().lexicon.golds, _g2p().lexicon.silvers
    return sum(word in golds or word in silvers for word in words) / max(len(words), 1)


def encode(phonemes: str) -> list[int]:
    """Indices into `SYMBOLS`, one per symbol. Raises `TextError` for a symbol outside the alphabet."""
    if not phonemes:
        raise TextError("The phoneme string is empty; give at least one symbol.")
    unknown = sorted({symbol for symbol in phonemes if symbol not in _INDEX})
    if unknown:
        raise TextError(f"The phonemes {_quote(phonemes)} hold unknown symbols {' '.join(unknown)}; phonemize first.")
    return [_INDEX[symbol] for symbol in phonemes]


def _quote(text: str, longest: int = 40) -> str:
    return repr(text if len(text) <= longest else text[:longest] + "…")
