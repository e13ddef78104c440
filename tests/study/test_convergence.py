import numpy as np
import pytest

from lib.study import convergence
from lib.study.drawing import PlotError
from lib.study.palette import colour


def curve(losses):
    return [{"step": 10 * (i + 1), "total": float(loss)} for i, loss in enumerate(losses)]


def test_trainings_that_still_fall_are_beyond_the_line_of_the_gate_and_those_that_no_claim_needs_are_left_out():
    curves = {
        "ht-backbone-s0": curve(np.full(100, 2.0)),
        "ht-tts_ft-s0": curve(np.linspace(3, 1, 100)),
        "ht-generated_parameters-s0": curve(np.linspace(3, 1, 100)),
        "sp-dp_r45-s0": curve(np.linspace(3, 1, 100)),
    }
    figure = convergence.convergence(curves, "HT")
    left, falls = figure.axes
    assert [text.get_text() for text in falls.get_yticklabels()] == ["backbone", "TTS-FT"]
    grey, fallen = (falls.lines[place].get_color() for place in (0, 1))
    assert grey == "0.6" and fallen == colour("HT", "tts_ft") and len(left.lines) == 2
    assert falls.lines[1].get_xdata()[0] > 2 and list(falls.lines[2].get_xdata()) == [2.0, 2.0]  # the gate
    assert figure.description["n"] == 2 and "1 have reached it" in figure.description["caption"]
    with pytest.raises(PlotError, match="no training of LD left a learning curve"):
        convergence.convergence(curves, "LD")
