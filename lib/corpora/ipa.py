"""English IPA, as Montreal Forced Aligner's english_mfa dictionaries write it, in the study's symbols.

Length, aspiration, labialisation and dental marks go; a palatal consonant before a back vowel is heard with a glide
("menus", m ɛ ɲ ʉ z, is mɛnjuz), elsewhere as the plain one ("nab", ɲ æ b). Diphthongs and affricates are known in the
usual writing (aɪ, t͡ʃ), too. The US, UK, Indian and Nigerian dictionaries of versions 2 and 3 are covered.
"""

from lib import text

SAME = "iuɑɔɛɜəɪʊʌæbdvzɡmnŋlɹwjðʒfhkpstʃθ"
OTHERS = {
    **{"aj": "I", "aw": "W", "ej": "A", "ow": "O", "əw": "O", "ɔj": "Y"},
    **{"aɪ": "I", "aʊ": "W", "eɪ": "A", "oʊ": "O", "əʊ": "O", "ɔɪ": "Y"},
    **{"a": "æ", "aː": "ɑ", "e": "A", "o": "O", "ʉ": "u", "ɐ": "ʌ", "ɒ": "ɑ", "ɚ": "əɹ", "ɝ": "ɜɹ"},
    **{"tʃ": "ʧ", "dʒ": "ʤ", "c": "k", "ɟ": "ɡ", "ç": "h", "ɱ": "m", "ɲ": "n", "ʎ": "l", "ɫ": "l", "kp": "kp"},
    **{"ɾ": "T", "ɾ\u0303": "n", "ʔ": "t", "ʈ": "t", "ɖ": "d", "ʋ": "v", "ʍ": "w", "g": "ɡ", "r": "ɹ"},
    **{"m\u0329": "əm", "n\u0329": "ᵊn", "l\u0329": "ᵊl", "ɫ\u0329": "ᵊl"},
    **{f"{vowel}ɹ": f"{vowel}ɹ" for vowel in "ɑɔɛɜəɪʊ"},
}
TABLE = {symbol: symbol for symbol in SAME} | OTHERS
PALATAL = "cɟçɲʎ"
BACK = "ʉuʊəɚɔoɜɝɐʌɑɒ"
MARKS = str.maketrans("", "", "ʰʲʷ\u032a\u0361\u035c\u031a")  # of articulation, and ties


def phones(label: str, following: str = "") -> str:
    """Stress marks and symbols of a label; empty where it is not English IPA. following: the label after it."""
    plain = label.lstrip(text.STRESS)
    marks, bare = label[: len(label) - len(plain)], plain.translate(MARKS)
    symbols = TABLE.get(bare) or TABLE.get(bare.rstrip("ːˑ"), "")
    glide = plain[:1] in tuple(PALATAL) or "ʲ" in plain
    if symbols and glide and following.lstrip(text.STRESS)[:1] in tuple(BACK):
        symbols += "j"
    return marks + symbols if symbols else ""
