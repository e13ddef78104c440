import numpy as np
import pytest

from lib.study import convergence
from lib.study.drawing import PlotError


def curve(losses):
    return [{"step": 10 * (i + 1), "total": float(loss)} for i, loss in enumerate(losses)]


def test_trainings_that_still_fall_are_named_and_those_that_no_claim_needs_are_left_out():
    curves = {
        "sp-dense-s0": curve(np.full(100, 2.0)),
        "sp-dp_r45-s0": curve(np.linspace(3, 1, 100)),
        "sp-attention_cost-s0": curve(np.linspace(3, 1, 100)),
        "ht-tts_ft-s0": curve(np.linspace(3, 1, 100)),
    }
    figure = convergence.convergence(curves, "SP")
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(names) == 1 and names[0].startswith("dp_r45-s0, falls by ")
    assert figure.description["n"] == 2 and "1 have reached it" in figure.description["caption"]
    with pytest.raises(PlotError, match="no training of LD left a learning curve"):
        convergence.convergence(curves, "LD")
