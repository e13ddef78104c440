"""The benchmark on a few utterances: ours and every peer give the same answer, and the file has its fields."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.workflow import bench
from lib.workflow.benchmarks import SAMPLE, Bound, Comparison, Speech, embedded_speech, largest, metrics

ROWS = {build.__name__: build for build in bench.ROWS}


@pytest.fixture(scope="module")
def speech():
    return embedded_speech(bench.LEAST)


@pytest.fixture(scope="module")
def entries(speech):
    return {name: bench.compare(build, speech, "cpu", 0.01) for name, build in ROWS.items()}


def constant(answer, expected, packages=()) -> Comparison:
    """A row whose two sides return what they are given."""
    sides = (lambda: [answer], lambda: [expected])
    return Comparison("n", "p", "1", packages, *sides, largest, 0.5, "of any entry", Bound("nothing", lambda: None))


@pytest.mark.parametrize("name", ROWS)
def test_ours_and_the_peer_give_the_same_answer(entries, name):
    assert entries[name]["difference"] <= entries[name]["limit"]


@pytest.mark.parametrize("name", ROWS)
def test_a_ratio_is_the_peers_time_over_ours(entries, name):
    entry = entries[name]
    assert entry["ours_s"] > 0 and entry["peer_s"] > 0
    assert entry["ratio"] == pytest.approx(entry["peer_s"] / entry["ours_s"])


def test_the_file_is_a_list_of_objects_with_the_documented_fields(entries, tmp_path):
    path = bench.save(list(entries.values()), tmp_path, "cpu")
    assert path.name == "bench-cpu.json"
    written = json.loads(path.read_text())
    assert len(written) == len(ROWS)
    for entry in written:
        assert set(entry) == {"name", "peer", "size", "ours_s", "peer_s", "ratio", "bound", "device", "versions"}
        assert entry["device"].startswith("CPU") and "not installed" not in entry["versions"].values()


def test_a_peer_that_is_not_installed_is_said_to_be_missing(speech, monkeypatch):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    entry = bench.compare(metrics.ge2e_resemblyzer, speech, "cpu", 0.01)
    assert "not installed: resemblyzer" in entry["peer"]
    assert entry["ours_s"] > 0
    assert entry["peer_s"] is entry["ratio"] is entry["difference"] is None


def test_what_is_reported_are_the_times_of_both_sides_and_the_bound(speech, monkeypatch):
    seconds = iter([2.0, 8.0, 1.0])
    monkeypatch.setattr(bench, "timed", lambda work, least: (next(seconds), work()))
    entry = bench.compare(lambda speech, device: constant(np.ones(2), np.ones(2)), speech, "cpu", 3)
    assert (entry["ours_s"], entry["peer_s"], entry["ratio"]) == (2.0, 8.0, 4.0)
    assert entry["bound"] == "nothing: 50 % of ours"


def test_a_peers_time_for_a_share_of_the_work_is_scaled_to_all_of_it(speech, monkeypatch):
    monkeypatch.setattr(bench, "timed", lambda work, least: (2.0, work()))
    row = replace(constant(np.ones(2), np.ones(2)), share=0.25)
    assert bench.compare(lambda speech, device: row, speech, "cpu", 3)["peer_s"] == 8.0


def test_a_sample_is_spread_over_the_speech_and_keeps_what_belongs_together():
    waves = [np.full(16000, index, np.float32) for index in range(100)]
    few, places = Speech(waves, waves[::-1], [str(index) for index in range(100)]).sample()
    assert len(few) == SAMPLE and places[0] == 0 and places[-1] == 99
    assert few.texts == [str(place) for place in places]
    assert all(heard[0] == 99 - wave[0] for heard, wave in few.pairs)
    assert few.seconds == SAMPLE


def test_a_time_is_that_of_one_call_after_a_warm_up_with_what_it_returned():
    calls = []
    seconds, answer = bench.timed(lambda: time.sleep(0.01) or calls.append(0) or len(calls), 0.1)
    assert 0.01 <= seconds < 0.05
    assert answer == len(calls) >= 6


def test_answers_that_differ_end_the_benchmark_with_their_names(speech, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "embedded_speech", lambda size: speech)
    monkeypatch.setattr(bench, "ROWS", (lambda speech, device: constant(np.ones(2), np.zeros(2)),))
    with pytest.raises(bench.BenchError, match=r"differ by more than their limit: n \(p\)"):
        bench.report("cpu", 6, 0.01, tmp_path)
    assert "1 of any entry" in capsys.readouterr().out
    assert (tmp_path / "bench-cpu.json").exists()


def test_answers_of_different_shapes_are_infinitely_far_apart():
    assert largest([np.ones(2)], [np.ones(3)]) == float("inf")


def test_the_speech_is_the_same_every_time_and_has_the_given_lengths(speech):
    again = embedded_speech(bench.LEAST)
    for one, other in zip(speech.waves + speech.heard, again.waves + again.heard, strict=True):
        assert np.array_equal(one, other)
    assert [len(wave) / 16000 for wave in speech.waves] == [2.0, 2.5, 3.0, 3.5, 4.0, 2.0]
    assert len({wave.tobytes() for wave in speech.waves}) == len(speech)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("NVIDIA H100 80GB HBM3", "nvidia-h100"), ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090")],
)
def test_a_gpus_file_is_named_after_it(monkeypatch, name, expected):
    monkeypatch.setattr(bench, "device_name", lambda device: name)
    assert bench.slug("cuda") == expected
    assert bench.slug("cpu") == "cpu"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"size": 1}, "--size 1: give a number of utterances from 6"),
        ({"seconds": 0}, "--seconds 0: give more than 0"),
        ({"output": Path(__file__)}, "is a file; give a folder"),
    ],
)
def test_bad_input_is_told_in_one_sentence(given, sentence, tmp_path):
    with pytest.raises(bench.BenchError, match=sentence):
        bench.report(**{"device": "cpu", "size": 6, "seconds": 0.01, "output": tmp_path, **given})


def test_a_gpu_that_is_not_there_is_told_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device"):
        bench.report("cuda", None, 0.01, tmp_path)
