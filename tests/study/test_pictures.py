"""Pictures of signals and embeddings."""

import numpy as np
import pandas as pd
import pytest

from lib.models.mel import MelDims
from lib.study import pictures


def tone(seconds, hertz=150.0, rate=16000):
    time = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sign(np.sin(2 * np.pi * hertz * time))).astype(np.float32)


def test_a_sentence_is_drawn_for_every_system_with_its_f0():
    waves = {"reference": tone(0.6), "tts_0": tone(0.5, 200.0)}
    figure = pictures.sentence(waves, MelDims(), "A tone.", "s0")
    tracks = [axis.lines[0].get_ydata() for axis in figure.axes if axis.lines]
    assert [round(float(np.nanmedian(track))) for track in tracks] == pytest.approx([150, 200], abs=3)


def test_silence_has_no_f0_and_is_drawn():
    figure = pictures.sentence({"reference": np.zeros(8000, np.float32)}, MelDims(), "Nothing.", "s0")
    assert np.isnan(figure.axes[1].lines[0].get_ydata()).all()


def test_phoneme_boundaries_stand_at_the_ends_of_the_durations():
    figure = pictures.alignment(np.zeros((30, 80)), "|aI|", np.array([5, 10, 10, 5]), MelDims(), "I.")
    (lines,) = figure.axes[0].collections
    places = [path.vertices[0][0] for path in lines.get_paths()]
    assert places == pytest.approx([5 / 62.5, 15 / 62.5, 25 / 62.5])


def test_clouds_are_mapped_and_their_silhouettes_drawn_by_speaker():
    points = np.repeat(np.eye(3), 4, axis=0) + np.random.default_rng(0).normal(0, 0.01, (12, 3))
    speakers = [f"s{i // 4}" for i in range(12)]
    figure = pictures.generated_parameters({"Embeddings": points}, speakers, {"Embeddings": np.full(12, 0.9)})
    assert figure.description["n"] == 12
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["s0", "s1", "s2"]


def test_similarity_parts_the_roles():
    names = ["p0", "p1", "a0"]
    matrix = pd.DataFrame(np.eye(3), names, names)
    roles = {"p0": "pretraining", "p1": "pretraining", "a0": "adaptation"}
    horizontal, _ = pictures.similarity(matrix, roles, 9).axes[0].collections
    assert [path.vertices[0][1] for path in horizontal.get_paths()] == [1.5]


def test_a_learning_curve_has_a_panel_for_each_loss_and_a_line_for_validation():
    history = pd.DataFrame({"step": range(1, 41), "mel": np.linspace(2, 1, 40), "other": 0.0})
    figure = pictures.learning_curve(history, {"mel": "Mel", "absent": "Not there"}, "a run", {"mel": 1.1})
    assert [axis.get_title() for axis in figure.axes] == ["Mel"] and len(figure.axes[0].lines) == 3
    assert figure.description["n"] == 40


def test_a_shipped_parts_learning_curve_is_of_the_sum_that_its_card_keeps():
    history = pd.DataFrame({"step": [10, 20, 30], "total": [3.0, 2.0, 1.5], "validation": [np.nan, 2.2, 1.9]})
    figure = pictures.learning_curve(history, {"mel": "Mel"}, "a part", {"mel": 1.1, "total": 1.9})
    assert [axis.get_title() for axis in figure.axes] == ["Sum of the losses"] and len(figure.axes[0].lines) == 3
