"""Training the aligner on the smoke corpus, and the boundary error."""

import pytest

from lib.models.aligner import AlignerError
from lib.papers.common.alignment import ALIGNER, Aligning, boundary_error
from lib.study import load_profile

TINY = {"dims": {"embedding": 16, "shared": 8}, "train": {"steps": 4, "batch_size": 2}}


def test_boundary_error_is_the_median_over_inner_boundaries_in_milliseconds():
    exact = [[0.1, 0.1, 0.1], [0.2, 0.3]]
    assert boundary_error(exact, exact) == 0
    found = [[0.11, 0.1, 0.5], [0.25, 9.0]]
    assert boundary_error(found, exact) == pytest.approx(10)


@pytest.mark.parametrize("durations", [[], [[0.1]]])
def test_durations_without_a_boundary_are_refused_in_a_sentence(durations):
    with pytest.raises(AlignerError, match="^No utterance has two symbols"):
        boundary_error(durations, durations)


def test_the_aligner_is_trained_once_and_its_boundary_error_told(tmp_path, monkeypatch, smoke_corpus):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    study = Aligning(load_profile("smoke") | {"real": {"aligner": TINY}})
    assert "ms on" in study.told() and study.told().endswith("validation utterances")
    path, facts = study.checkpoint(ALIGNER, 0), study.trained(ALIGNER, 0)
    assert path.name == "ht-aligner-s0.safetensors" and 0 < facts["boundary_error_ms"] < 5000
    assert [set(facts["history"][i]) >= {"binarisation"} for i in (0, -1)] == [False, True]
    written = path.stat().st_mtime_ns
    utterance = study.utterances("validation")[0]
    (durations,) = study.align(study.restore(ALIGNER, 0), [utterance])
    assert len(durations) == len(utterance.phonemes) and (durations > 0).all()
    assert path.stat().st_mtime_ns == written, "a trained aligner is not trained again"
