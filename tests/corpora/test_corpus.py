import json
from dataclasses import replace

import numpy as np
import pytest

from lib import audio
from lib.corpora.corpus import Corpus, CorpusError, Utterance


def utterance(number: int, **changes) -> Utterance:
    fields = {
        "utterance": f"u{number}",
        "speaker": f"s{number % 2}",
        "text": f"Sentence {number}.",
        "phonemes": "|a|",
        "durations": (0.1, 0.3, 0.1),
        "role": "pretraining",
        "split": "train",
        "condition": "typical",
        "path": f"audio/u{number}.wav",
        "seconds": 0.5,
        "recipe": {"rate": 1.0},
    }
    return Utterance(**{**fields, **changes})


def corpus(root, *utterances: Utterance) -> Corpus:
    return Corpus(root, "toy", "abc", list(utterances), [{"utterance": "bad", "reason": "silent"}])


def test_a_saved_corpus_loads_equal(tmp_path):
    made = corpus(tmp_path, utterance(0), utterance(1, role="adaptation", split="test"))
    made.save()
    loaded = Corpus.load(tmp_path)
    assert loaded == made
    assert isinstance(loaded.utterances[0].durations, tuple)


def test_a_text_with_any_kind_of_line_end_stays_one_text(tmp_path):
    made = corpus(tmp_path, utterance(0, text="One\u2028two\x85three\x1cfour\nfive\r\nsix."), utterance(1))
    made.save()
    assert Corpus.load(tmp_path) == made


def test_selection_by_role_split_and_speaker(tmp_path):
    made = corpus(tmp_path, utterance(0), utterance(1, role="adaptation"), utterance(2, split="test"))
    assert [u.utterance for u in made.select(role="pretraining")] == ["u0", "u2"]
    assert [u.utterance for u in made.select(role="pretraining", split="test")] == ["u2"]
    assert [u.utterance for u in made.select(speaker="s1")] == ["u1"]
    assert made.speakers() == ["s0", "s1"]
    assert made.speakers("adaptation") == ["s1"]
    with pytest.raises(CorpusError, match="nobody"):
        made.select(speaker="nobody")


def test_waves_come_from_the_corpus_folder(tmp_path):
    made = corpus(tmp_path, utterance(0))
    wave = np.sin(np.arange(8000) / 10) * 0.2
    audio.write(tmp_path / "audio/u0.wav", wave)
    np.testing.assert_allclose(made.wave(made.utterances[0]), wave, atol=1e-4)


def test_the_table_has_a_row_per_utterance_and_the_recipe_as_columns(tmp_path):
    table = corpus(tmp_path, utterance(0), utterance(1)).table()
    assert list(table["utterance"]) == ["u0", "u1"]
    assert list(table["recipe_rate"]) == [1.0, 1.0]


def test_a_sentence_in_two_splits_is_refused(tmp_path):
    leak = utterance(1, text="Sentence 0.", split="test")
    with pytest.raises(CorpusError, match="two splits"):
        corpus(tmp_path, utterance(0), leak)


def test_duplicate_ids_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="u0 occurs twice"):
        corpus(tmp_path, utterance(0), utterance(0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"durations": (0.1, 0.4)}, "2 durations for 3"),
        ({"durations": (0.1, 0.1, 0.1)}, "do not sum"),
        ({"durations": (0.6, -0.2, 0.1)}, "do not sum"),
        ({"role": "stranger"}, "stranger"),
        ({"split": "dev"}, "dev"),
        ({"path": "../outside.wav"}, "leaves the corpus folder"),
        ({"path": "/outside.wav"}, "leaves the corpus folder"),
    ],
)
def test_impossible_utterances_are_refused_by_name(changes, words):
    with pytest.raises(CorpusError, match=f"u7.*{words}"):
        replace(utterance(7), **changes)


def test_missing_and_damaged_manifests_are_named(tmp_path):
    with pytest.raises(CorpusError, match=r"corpus\.json: no such file"):
        Corpus.load(tmp_path)
    corpus(tmp_path, utterance(0), utterance(1)).save()
    manifest = tmp_path / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    manifest.write_text(lines[0] + "\n" + lines[1][:40])
    with pytest.raises(CorpusError, match="line 2: damaged"):
        Corpus.load(tmp_path)
    manifest.write_text(lines[0] + "\n")
    with pytest.raises(CorpusError, match="1 of 2 utterances"):
        Corpus.load(tmp_path)
    manifest.write_text(json.dumps({"utterance": "u0"}) + "\n")
    with pytest.raises(CorpusError, match="line 1: damaged"):
        Corpus.load(tmp_path)
