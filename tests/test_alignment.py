"""Training the aligner on the smoke corpus, and the boundary error."""

import json
import sys

import numpy as np
import pytest
import torch

from lib import study
from lib.models.aligner import AlignerError
from lib.papers.common import alignment
from lib.papers.ht import study as tts

TINY = {"dims": {"embedding": 16, "shared": 8}, "train": {"steps": 4, "batch_size": 2}}


def test_boundary_error_is_the_median_over_inner_boundaries_in_milliseconds():
    exact = [[0.1, 0.1, 0.1], [0.2, 0.3]]
    assert alignment.boundary_error(exact, exact) == 0
    found = [[0.11, 0.1, 0.5], [0.25, 9.0]]
    assert alignment.boundary_error(found, exact) == pytest.approx(10)


def test_frames_become_seconds_of_the_valid_symbols():
    found = alignment.seconds_of(torch.tensor([[5, 10], [25, 0]]), torch.tensor([2, 1]))
    assert [f.tolist() for f in found] == [[0.08, 0.16], [0.4]]


@pytest.mark.parametrize(
    ("durations", "exact", "message"),
    [
        ([[0.1]], [], "^There are durations of 1 utterances and exact ones of 0"),
        ([[0.1, 0.2]], [[0.1]], "^Utterance 0 has 2 durations and 1 exact ones"),
        ([[0.1]], [[0.1]], "^No utterance has two symbols"),
        ([[np.nan, 0.1]], [[0.1, 0.1]], "not finite: align"),
    ],
)
def test_durations_that_cannot_be_compared_are_refused_in_a_sentence(durations, exact, message):
    with pytest.raises(AlignerError, match=message):
        alignment.boundary_error(durations, exact)


def test_training_from_the_command_line_reports_the_boundary_error(tmp_path, monkeypatch, capsys, smoke_corpus):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    monkeypatch.setattr(alignment, "SETTINGS", study.merge(alignment.SETTINGS, TINY))
    arguments = ["lib.papers.common.alignment", "--profile", "smoke", "--device", "cpu", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    alignment.main()
    assert "validation utterances" in capsys.readouterr().out
    bench = tts.Bench(study.load_profile("smoke"))
    path = bench.checkpoint("ht-aligner-s0")
    facts = json.loads(path.with_suffix(".json").read_text())
    assert 0 < facts["boundary_error_ms"] < 5000
    assert [set(facts["history"][i]) >= {"binarisation"} for i in (0, -1)] == [False, True]
    written = path.stat().st_mtime_ns
    utterance = alignment.utterances_of(bench, "validation")[0]
    (durations,) = alignment.align(bench, alignment.restore(bench), [utterance])
    assert len(durations) == len(utterance.phonemes) and (durations > 0).all()
    assert path.stat().st_mtime_ns == written, "a trained aligner is not trained again"
