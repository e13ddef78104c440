import errno
import os
import re
from collections import Counter

import numpy as np
import pytest

from lib import text
from lib.corpora.corpus import Corpus, CorpusError
from lib.corpora.embedded import build as kokoro
from lib.corpora.embedded import recipe
from lib.corpora.embedded.gate import judge

COUNTS = {
    "pretraining": {"train": 2, "validation": 0, "test": 1},
    "adaptation": {"train": 1, "validation": 0, "test": 0},
    "never_seen": {"train": 0, "validation": 0, "test": 0},
}


def small(**changes) -> dict:
    made = {
        "seed": 0,
        "gate": {"wer": 0.1, "mos": 2.5},
        "bases": {"hibari": {"voice": "hibari"}, "joe": {"voice": "joe"}},
        "speakers": {
            "plain": {"role": "pretraining", "base": "hibari"},
            "high": {"role": "adaptation", "base": "hibari", "warp": 1.1, "f0": 1.2},
            "unused": {"role": "adaptation", "base": "joe"},
        },
        "cast": ["plain", "high"],
        "counts": COUNTS,
    }
    return {**made, **changes}


def passing(waves, texts, gate):
    return [{"transcript": text, "wer": 0.0, "mos": 4.0, "reason": None} for text in texts]


@pytest.fixture
def quick(monkeypatch):
    """Judges that pass everything; what is so small is built in this process."""
    monkeypatch.setattr(kokoro, "judge", passing)


def bytes_of(corpus: Corpus) -> dict[str, bytes]:
    return {item.utterance: (corpus.root / item.path).read_bytes() for item in corpus.utterances}


def test_a_built_corpus_has_audio_as_long_as_its_durations(quick, tmp_path):
    corpus = kokoro.build(small(), tmp_path)
    assert [u.utterance for u in corpus.utterances] == [
        "plain_train_000",
        "plain_train_001",
        "plain_test_000",
        "high_train_000",
    ]
    for item in corpus.utterances:
        wave = corpus.wave(item)
        assert len(wave) == round(item.seconds * 16_000)
        assert sum(item.durations) == pytest.approx(item.seconds, abs=1e-6)
        assert len(item.durations) == len(item.phonemes)
    shifted = corpus.select(speaker="high")[0]
    assert shifted.recipe["warp"] == 1.1
    assert shifted.durations == corpus.select(speaker="plain")[0].durations
    assert Corpus.load(corpus.root) == corpus


def test_the_same_recipe_gives_the_same_audio_in_any_order(quick, tmp_path, monkeypatch):
    first = bytes_of(kokoro.build(small(), tmp_path / "a"))
    order = recipe.plan
    monkeypatch.setattr(kokoro, "plan", lambda *arguments: order(*arguments)[::-1])
    assert bytes_of(kokoro.build(small(), tmp_path / "b")) == first


def test_a_stopped_build_goes_on_and_remakes_only_what_is_damaged(quick, tmp_path, monkeypatch):
    corpus = kokoro.build(small(), tmp_path)
    before = bytes_of(corpus)
    (corpus.root / "manifest.jsonl").unlink()
    (corpus.root / corpus.utterances[0].path).write_bytes(b"half a file")
    (corpus.root / corpus.utterances[3].path).with_suffix(".json").unlink()
    made = []
    speak = kokoro.speak

    def noted(job, settings):
        made.extend(job.name(speaker) for speaker in job.speakers)
        return speak(job, settings)

    monkeypatch.setattr(kokoro, "speak", noted)
    again = kokoro.build(small(), tmp_path)
    assert sorted(made) == ["high_train_000", "plain_train_000"]
    assert bytes_of(again) == before
    assert again == corpus


def test_a_finished_corpus_is_only_loaded(quick, tmp_path, monkeypatch):
    corpus = kokoro.build(small(), tmp_path)
    monkeypatch.setattr(kokoro, "speak", None)
    assert kokoro.build(small(), tmp_path) == corpus


def test_utterances_that_fail_the_gate_are_listed_and_replaced(quick, tmp_path, monkeypatch):
    bad = recipe.read_sentences()["train"][0]

    def strict(waves, texts, gate):
        return [
            {**quality, "reason": "WER 0.50 above 0.1" if text == bad else None}
            for text, quality in zip(texts, passing(waves, texts, gate), strict=True)
        ]

    monkeypatch.setattr(kokoro, "judge", strict)
    corpus = kokoro.build(small(), tmp_path)
    assert [entry["utterance"] for entry in corpus.set_aside] == ["high_train_000", "plain_train_000"]
    assert corpus.set_aside[0]["reason"] == "WER 0.50 above 0.1"
    assert len(corpus.select(speaker="plain", split="train")) == 2
    assert bad not in {item.text for item in corpus.utterances}


def test_one_sentence_that_cannot_be_spoken_does_not_stop_the_build(quick, tmp_path, monkeypatch):
    phonemize = text.phonemize
    bad = recipe.read_sentences()["train"][1]

    def failing(sentence, british=False):
        if sentence == bad:
            raise text.TextError("The text holds no speakable symbol.")
        return phonemize(sentence)

    monkeypatch.setattr(text, "phonemize", failing)
    corpus = kokoro.build(small(), tmp_path)
    assert [entry["reason"] for entry in corpus.set_aside] == ["The text holds no speakable symbol."]
    assert len(corpus.utterances) == 4


def test_a_speaker_left_with_nothing_is_named(quick, tmp_path, monkeypatch):
    def refuse(waves, texts, gate):
        return [{**quality, "reason": "predicted MOS 1.00 below 2.5"} for quality in passing(waves, texts, gate)]

    monkeypatch.setattr(kokoro, "judge", refuse)
    with pytest.raises(CorpusError, match="Speaker plain has no train utterance left .predicted MOS"):
        kokoro.build(small(), tmp_path)


def test_a_full_disk_is_told_in_a_sentence(quick, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kokoro.audio, "write", full)
    with pytest.raises(CorpusError, match="the disk is full"):
        kokoro.build(small(), tmp_path)


def test_the_hash_covers_recipe_sentences_and_voices():
    sentences = recipe.read_sentences()
    base = recipe.digest(recipe.resolve(small()), {"voice": "1"}, sentences)
    unused = small()
    unused["speakers"]["unused"]["warp"] = 0.9
    assert recipe.digest(recipe.resolve(unused), {"voice": "1"}, sentences) == base
    turned = recipe.resolve(small(cast=["high", "plain"]))
    assert recipe.digest(turned, {"voice": "1"}, sentences) != base
    assert recipe.digest(recipe.resolve(small(seed=1)), {"voice": "1"}, sentences) != base
    assert recipe.digest(recipe.resolve(small()), {"voice": "2"}, sentences) != base
    assert recipe.digest(recipe.resolve(small()), {"voice": "1"}, {**sentences, "test": []}) != base


def test_the_sentences_are_many_varied_and_no_split_shares_one():
    sentences = recipe.read_sentences()
    assert all(len(sentences[split]) >= least for split, least in (("train", 420), ("validation", 60), ("test", 120)))
    everything = [sentence for split in sentences.values() for sentence in split]
    assert len({re.sub("[^a-z ]", "", sentence.lower()) for sentence in everything}) == len(everything) >= 600
    assert {len(sentence.split()) for sentence in everything} == set(range(6, 17))
    assert sum(sentence.endswith("?") for sentence in everything) >= 50


def test_every_split_has_every_phone_of_the_american_voices():
    heard = {
        split: Counter("".join(text.phonemize(sentence) for sentence in said))
        for split, said in recipe.read_sentences().items()
    }
    american = set(text.PHONES) - set("aɒQɾʔ")  # British vowels, and two that the lexicon never writes
    assert min(heard["train"][phone] for phone in american) >= 25
    assert min(heard["validation"][phone] for phone in american) >= 5
    assert min(heard["test"][phone] for phone in american) >= 10


def test_a_sentence_twice_or_outside_a_split_is_refused(tmp_path):
    path = tmp_path / "sentences.txt"
    path.write_text("[train]\nA dog.\n[test]\nA dog.\n")
    with pytest.raises(CorpusError, match="line 4: the sentence occurs twice"):
        recipe.read_sentences(path)
    path.write_text("A dog.\n")
    with pytest.raises(CorpusError, match="before the first split"):
        recipe.read_sentences(path)


def test_speakers_sharing_a_base_take_turns_through_the_sentences():
    settings = small()
    settings["speakers"]["second"] = {"role": "pretraining", "base": "joe"}
    settings["cast"].append("second")
    jobs = recipe.plan(recipe.resolve(settings), recipe.read_sentences(), {})
    train = {(job.speakers[0], job.sentence) for job in jobs if job.split == "train" and "high" not in job.speakers}
    assert {sentence for speaker, sentence in train if speaker == "second"} == {2, 3}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cast": ["plain", "nobody"]}, "nobody"),
        ({"gate": {"wer": 0.1}}, "mos"),
        ({"bases": {"hibari": {"voice": "robot"}}}, "Base hibari.*robot"),
        ({"bases": {"hibari": {"voice": "flite"}}}, "Base hibari.*kal, awb, rms, slt"),
        ({"bases": {"hibari": {"voice": "kokoro", "timbre": {"stranger": 1}}}}, "Base hibari.*stranger"),
        ({"speakers": {"plain": {"role": "guest", "base": "hibari"}}, "cast": ["plain"]}, "Speaker plain.*guest"),
        ({"speakers": {"plain": {"role": "adaptation", "base": "hibari", "warp": 9}}, "cast": ["plain"]}, "warp 9"),
    ],
)
def test_wrong_recipes_are_refused_by_entry(changes, words):
    with pytest.raises(CorpusError, match=words):
        recipe.resolve(small(**changes))


def test_more_utterances_than_sentences_are_refused():
    counts = {**COUNTS, "pretraining": {"train": 10_000, "validation": 0, "test": 0}}
    with pytest.raises(CorpusError, match="10000 train sentences"):
        recipe.plan(recipe.resolve(small(counts=counts)), recipe.read_sentences(), {})


def test_the_gate_passes_clean_speech_and_refuses_noise_and_wrong_words():
    settings = recipe.resolve(small())
    sentence = "Please put the warm bread on a clean plate for me."
    job = recipe.Job("hibari", "train", 0, sentence, ("plain",))
    wave = kokoro.speak(job, settings)[0][1]
    noise = 0.05 * np.random.default_rng(0).normal(size=len(wave)).astype(np.float32)
    texts = [sentence, sentence, "Nobody has ever said these words at all in here."]
    clean, noisy, wrong = judge([wave, wave + 4 * noise, wave], texts, settings["gate"])
    assert clean["reason"] is None
    assert clean["mos"] > 3.5
    assert "predicted MOS" in noisy["reason"]
    assert "WER" in wrong["reason"]
