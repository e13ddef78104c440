"""LD's figures, on made rows and on the committed runs."""

import numpy as np
import pandas as pd
import pytest

from lib.papers.ld import figures
from lib.study import load_profile, read_rows
from lib.study.drawing import PlotError
from lib.study.report.reference import REFERENCE

RUNS = REFERENCE / "runs" / "full"
needs_runs = pytest.mark.skipif(not (RUNS / "rows").is_dir(), reason="no runs of full are committed")


@pytest.fixture(scope="module")
def swept() -> pd.DataFrame:
    """Two sentences, three seeds, two guidance scales: Palette loses the words, and on aligned pairs it keeps them, one
    seed less than the others.
    """
    broken, kept = {0.0: 0.6, 2.0: 0.7}, {0.0: 0.02, 2.0: 0.04}
    lines = []
    for system, costs in (("palette", broken), ("palette_aligned", kept)):
        for x, cost in costs.items():
            for seed in range(3):
                shared = {"system": system, "x": x, "seed": seed, "paper": "LD", "speaker": "joe", "split": "test"}
                odd = 0.05 if (system, x, seed) == ("palette_aligned", 2.0, 2) else 0.0
                values = {
                    "cer_added": cost + odd,
                    "style_moved": 20 + 15 * x,
                    "style_moved_intact": 10 * x,
                    "cos": 90.0,
                }
                for number in range(2):
                    named = shared | {"utterance": f"test_00{number}-loud_flat", "variant": "loud_flat"}
                    lines += [named | {"metric": m, "value": v + 0.001 * number} for m, v in values.items()]
    return pd.DataFrame(lines)


def test_the_sweep_shows_systems_that_keep_the_words_once_more(swept):
    figure = figures.guidance(swept, load_profile("full"))
    panels = {axis.get_ylabel(): axis for axis in figure.axes}
    near = panels["CER added, where words are kept"].get_ylim()
    assert near[1] < 0.15 and panels["CER added (ratio)"].get_ylim()[1] > 0.6
    assert "3 at each point" in figure.description["caption"]


def test_a_sweep_in_which_nothing_keeps_the_words_is_drawn_without_that_panel(swept):
    broken = swept[swept["system"] == "palette"]
    shown = [axis.get_ylabel() for axis in figures.guidance(broken, load_profile("full")).axes if axis.axison]
    assert "CER added, where words are kept" not in shown and len(shown) == 4
    assert len(figures.plane(broken, load_profile("full")).axes) == 2


def test_a_measure_of_which_there_are_no_rows_has_no_panel(swept):
    drawn = figures.compared(swept, load_profile("full"), ("palette",), "One.", ("cos", "cos_other"))
    assert [axis.get_xlabel() for axis in drawn.axes] == [figures.short("cos")]


def test_an_axis_holds_every_seed_but_not_every_interval(swept):
    table = figures.found(swept, "cer_added", system="palette_aligned", x=2.0)
    found = figures.estimate(table, load_profile("full"))
    low, high = figures.ends([found])
    assert low < found.means["seed"].min() and high > found.means["seed"].max()
    assert found.ci_high > high


def test_the_plane_names_each_point_in_one_of_its_panels(swept):
    both = figures.plane(swept, load_profile("full")).axes
    assert [[text.get_text() for text in axis.texts] for axis in both] == [["0", "2"], ["0", "2"]]
    assert both[1].get_xlim()[1] < both[0].get_xlim()[1]
    with pytest.raises(PlotError, match="there are no cer_added rows"):
        figures.plane(swept.iloc[:0], load_profile("full"))


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return read_rows(RUNS, "LD")


@needs_runs
@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_is_drawn_of_the_committed_runs(name, committed):
    try:
        figure = figures.FIGURES[name].draw(committed, load_profile("full"))
    except PlotError as error:  # what was not run cannot be drawn, and is named
        pytest.skip(str(error))
    assert figure.description["caption"] and figure.description["alt"] and figure.description["n"]
    assert all(np.isfinite(axis.get_xlim()).all() and np.isfinite(axis.get_ylim()).all() for axis in figure.axes)
