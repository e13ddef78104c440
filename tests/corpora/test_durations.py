"""Durations for a corpus without them: aligned, read again, and set aside where they cannot be had."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_corpus
import torch

from lib.corpora import durations as aligned
from lib.corpora.corpus import Corpus, CorpusError
from lib.models.mel import MelDims
from lib.study.profile import merge

TINY = merge(
    aligned.SETTINGS, {"dims": {"embedding": 16, "shared": 8}, "train": {"steps": 2, "batch_size": 4, "warmup": 1}}
)


def untimed(root: Path, **texts: str) -> Corpus:
    """The synthetic adaptation speakers without phonemes and durations; texts: by the first letters of an id."""
    corpus = synthetic_corpus.source(root)
    chosen = [replace(u, phonemes="", durations=()) for u in corpus.select(role="adaptation")]
    chosen = [replace(u, text=next((t for k, t in texts.items() if u.utterance.startswith(k)), u.text)) for u in chosen]
    return replace(corpus, utterances=chosen)


def test_a_corpus_gets_durations_that_sum_to_its_recordings_and_is_aligned_once(tmp_path, monkeypatch):
    plain = untimed(tmp_path / "corpus")
    corpus = aligned.align(plain, tmp_path / "cache", TINY, cores=1)
    assert [u.utterance for u in corpus.utterances] == [u.utterance for u in plain.utterances]
    for item in corpus.utterances:
        assert item.phonemes.startswith("|") and len(item.durations) == len(item.phonemes)
        assert sum(item.durations) == pytest.approx(item.seconds)
        assert min(item.durations) >= 0 and max(item.durations) < item.seconds
    assert Corpus.load(corpus.root) == corpus and corpus.hash != plain.hash
    plain.save()
    monkeypatch.setattr(aligned, "fit", None)
    assert aligned.align(plain, tmp_path / "cache", TINY, cores=1).utterances == corpus.utterances
    assert Corpus.load(plain.root).hash == corpus.hash


def test_what_cannot_be_spoken_or_is_too_short_for_its_text_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(aligned, "LEAST", 0.1)
    plain = untimed(tmp_path, ada_one_train_000="…", ada_two_test_000="one of the longest texts there are " * 4)
    corpus = aligned.speakable(plain, MelDims(), cores=1)
    reasons = {entry["utterance"]: entry["reason"] for entry in corpus.set_aside}
    assert "no speakable symbol" in reasons["ada_one_train_000"]
    assert "frames for" in reasons["ada_two_test_000"]
    assert len(corpus.utterances) == len(plain.utterances) - 2


def test_a_corpus_whose_transcripts_fit_no_recording_is_refused(tmp_path):
    long = "one of the longest texts there are " * 4
    plain = untimed(tmp_path, ada_one_train=long, ada_two_train=long)
    with pytest.raises(CorpusError, match="only 4 of 8 utterances can be aligned.*check that its transcripts"):
        aligned.speakable(plain, MelDims(), cores=1)


def test_frames_become_seconds_of_the_valid_symbols():
    found = aligned.seconds_of(torch.tensor([[5, 10], [25, 0]]), torch.tensor([2, 1]))
    assert [f.tolist() for f in found] == [[0.08, 0.16], [0.4]]


def test_durations_fit_the_recording_where_whole_frames_do_not():
    found = aligned._fitted(np.array([0.016, 0.032, 0.032]), 0.07)
    assert found == pytest.approx((0.016, 0.032, 0.022)) and sum(found) == pytest.approx(0.07)
