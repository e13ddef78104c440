import re

import pytest

from lib import text
from lib.corpora.corpus import CorpusError
from lib.corpora.embedded import build, flite, parts

SEGMENTS = (
    "aa ae ah ao aw ax axr ay b ch d dh dx eh el em en er ey f g hh hv ih iy jh k l m n "
    "nx ng ow oy p r s sh t th uh uw v w y z zh"
)  # of flite's American English


def ends(labels: str, step: float = 0.1) -> list[tuple[str, float]]:
    return [(label, (place + 1) * step) for place, label in enumerate(labels.split())]


def lasting(phonemes: str, times: list[float]) -> dict[str, float]:
    """Seconds of every symbol that takes time."""
    spans = zip(phonemes, [b - a for a, b in zip([0.0, *times], times, strict=False)], strict=True)
    return {symbol: pytest.approx(span) for symbol, span in spans if span > 1e-9}


def test_every_segment_of_flite_has_symbols_that_the_models_know():
    assert sorted(flite.PHONES) == sorted(SEGMENTS.split())
    assert all(symbol in text.PHONES for symbols in flite.PHONES.values() for symbol in symbols)


def test_a_segment_without_a_symbol_is_named():
    with pytest.raises(parts.VoiceError, match="phone 'xx' has no symbol"):
        flite.lay("|hˈI|", ends("pau hh xx pau"))


def test_the_same_reading_keeps_stress_spaces_and_the_punctuation_has_the_pauses():
    phonemes, times = flite.lay("|bˈʌT, ˈO.|", ends("pau b ah t pau ow pau"))
    assert phonemes == "|bˈʌT, ˈO.|"
    assert lasting(phonemes, times) == dict.fromkeys("|bʌT,O", 0.1)


def test_what_flite_says_otherwise_is_written_as_it_says_it():
    phonemes, _ = flite.lay("|dˈɔɡ θˈɜɹTi kˈæt|", ends("pau d aa g th er d iy pau k ae t s pau"))
    assert phonemes == "|dˈɑɡ θˈɜɹdi, kˈæts|"
    assert flite.lay("|hˌɪst bˈI|", ends("pau hh ih s b ay pau"))[0] == "|hˌɪs bˈI|"


def test_another_sentence_is_refused():
    with pytest.raises(parts.VoiceError, match="other words"):
        flite.lay(text.phonemize("A small brown dog."), ends("pau w iy w uh d n eh v er pau"))


def test_new_voices_build_a_corpus(tmp_path):
    """Two of flite's people and a British voice of Kokoro, through the gate."""
    bases = {name: {"voice": "flite", "speaker": name} for name in ("kal", "slt")}
    bases["emma"] = {"voice": "kokoro", "timbre": {"bf_emma": 1.0}}
    try:
        parts.verify_bases(list(bases.values()))
    except (parts.VoiceError, CorpusError) as error:
        pytest.skip(f"the voices cannot be had here: {error}")
    none = dict.fromkeys(("train", "validation", "test"), 0)
    corpus = build.build(
        {
            "gate": {"wer": 0.1, "mos": 2.0},
            "bases": bases,
            "speakers": {name: {"role": "adaptation", "base": name} for name in bases},
            "cast": list(bases),
            "counts": {"pretraining": none, "adaptation": none | {"test": 1}, "never_seen": none},
        },
        tmp_path,
    )
    assert corpus.speakers() == list(bases)
    for item in corpus.utterances:
        assert item.recipe["wer"] <= 0.1
        assert len(text.encode(item.phonemes)) == len(item.durations)
        assert sum(item.durations) == pytest.approx(item.seconds, abs=1e-6)
        words = len(re.findall(r"\w+", item.text.replace("'", "")))
        assert item.phonemes.count(" ") == words - 1
        assert item.phonemes[-2] in text.PUNCTUATION
    assert "ˈ" in corpus.select(speaker="kal")[0].phonemes
