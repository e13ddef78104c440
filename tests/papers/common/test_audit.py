"""Known distortions do to the metrics what they should; rows, trackers and figures of the audit."""

import numpy as np
import pandas as pd
import pytest

from lib import study
from lib.corpora.corpus import Corpus
from lib.metrics import cos, ffe, mcd, secs
from lib.papers.common import audit, figures
from lib.study.drawing import PlotError, show
from lib.study.protocol import Study
from lib.study.units import unit

PROFILE = {"name": "tiny", "statistics": {}}


@pytest.fixture(scope="module")
def wave(speech):
    return speech[0][:32000]


@pytest.fixture(scope="module")
def heard(wave, speech):
    return {each.name: audit.distort(wave, each, other=speech[2][:32000]) for each in audit.DISTORTIONS}


@pytest.fixture
def rows():
    """Made-up values of every metric for every distortion of two utterances."""
    generator = np.random.default_rng(0)
    lines = [
        {"method": each.kind, "system": each.name, "speaker": f"s{i}", "utterance": f"u{i}", "metric": metric}
        for each in audit.DISTORTIONS
        for i in range(2)
        for metric in audit.METRICS[:12]
    ]
    table = pd.DataFrame(lines)
    return table.assign(value=generator.random(len(table)), unit=table["metric"].map(unit), seed=None)


def test_noise_has_the_ratio_it_is_asked_for(wave):
    noise = audit.with_noise(wave, 10) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(10, abs=1e-3)
    assert np.array_equal(noise, audit.with_noise(wave, 10) - wave)


def test_tempo_changes_the_length_and_nothing_else_does(wave, heard):
    assert len(heard["tempo_0.8"]) == pytest.approx(len(wave) / 0.8, abs=200)
    assert len(heard["pitch_6"]) == pytest.approx(len(wave), abs=400)
    assert np.array_equal(heard["identical"], wave)


@pytest.mark.parametrize("semitones", [2, 6])
def test_f0_moves_by_the_semitones_it_is_asked_for(heard, semitones):
    before, after = audit.yin_track(heard["world"]), audit.yin_track(heard[f"pitch_{semitones}"])
    both = (before > 0) & (after > 0)
    assert np.median(12 * np.log2(after[both] / before[both])) == pytest.approx(semitones, abs=0.2)


def test_every_metric_notices_its_own_distortion(wave, heard):
    names = ["identical", "noise_0", "pitch_1", "pitch_6", "speaker"]
    waves, references = [heard[name] for name in names], [wave] * len(names)
    voice = dict(zip(names, secs.score(waves, references)["secs"], strict=True))
    similarity = dict(zip(names, cos.score(waves, references)["cos"], strict=True))
    distortion = dict(zip(names, mcd.score(waves, references)["mcd"], strict=True))
    gross = dict(zip(names, ffe.score(waves, references)["gpe"], strict=True))
    assert voice["speaker"] < voice["pitch_1"] < voice["identical"] + 1e-6
    assert similarity["speaker"] < similarity["pitch_1"] < similarity["identical"] + 1e-6
    assert distortion["identical"] == 0 < distortion["pitch_1"] < distortion["noise_0"]
    assert gross["identical"] == 0 and gross["pitch_1"] < 20 < 80 < gross["pitch_6"]


def test_a_distortion_that_is_not_there_or_lacks_its_speaker_is_told(wave):
    with pytest.raises(audit.AuditError, match="no distortion 'echo': choose one of identical"):
        audit.distort(wave, audit.Distortion("echo", 1, "Echo"))
    with pytest.raises(audit.AuditError, match="another speaker's recording"):
        audit.distort(wave, audit.BY_NAME["speaker"])


def test_tracks_agree_with_themselves_and_differ_by_a_known_ratio():
    track = np.array([0.0, 100, 120, 140, 0])
    same = audit.agreement(track, track)
    assert same == {"f0_voicing": 100, "f0_20_cents": 100, "f0_20_percent": 100, "f0_cents": 0}
    apart = audit.agreement(track * 2 ** (50 / 1200), np.append(track, 100))
    assert apart["f0_cents"] == pytest.approx(50) and apart["f0_20_cents"] == 0 and apart["f0_20_percent"] == 100


def test_tracks_without_a_common_voiced_frame_are_told():
    with pytest.raises(audit.AuditError, match="no frame is voiced in both"):
        audit.agreement(np.array([100.0, 0]), np.array([0, 100.0]))


def test_the_three_trackers_find_the_f0_of_a_harmonic_tone():
    time = np.arange(16000) / 16000
    tone = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 8)).astype(np.float32) / 4
    for tracker in audit.TRACKERS.values():
        assert np.median(tracker(tone)[20:-20]) == pytest.approx(150, rel=0.01)


def test_the_same_order_correlates_fully(rows):
    table = rows.assign(value=np.where(rows["metric"] == "mcd", 2 * rows.index, rows.index).astype(float))
    found = audit.correlation(table, "mcd", "cos")
    assert found.value == found.ci_low == found.ci_high == pytest.approx(1)
    assert found.n == 2 * len(audit.DISTORTIONS)
    with pytest.raises(audit.AuditError, match="no rows of energy"):
        audit.correlation(rows, "mcd", "energy")


def test_rows_are_kept_with_the_study_where_no_claim_reads_them(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    made = Study(PROFILE)
    made.corpus = Corpus(tmp_path, "embedded", "0123", [])
    audit.write(made, rows)
    assert len(study.read_rows("tiny", "AUDIT")) == len(rows)
    assert study.read_rows("tiny", "HT").empty


def test_figures_say_how_much_they_rest_on(rows):
    drawn = [
        figures.distortions(rows, ("cos", "mcd"), PROFILE),
        figures.released(rows),
        figures.predictors(rows, audit.correlation(rows, "cos", "mcd"), "cos", "mcd"),
    ]
    for figure in drawn:
        assert "n = 2 utterances of 2 speakers" in figure.description["caption"]
        assert show(figure).png.startswith(b"\x89PNG")


def test_a_figure_without_its_rows_names_them(rows):
    with pytest.raises(PlotError, match="no rows of gpe"):
        figures.distortions(rows[rows["metric"] != "gpe"], ("gpe",), PROFILE)
