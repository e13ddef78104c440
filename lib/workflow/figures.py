"""Every figure that is made from rows alone, of all papers: drawn again without running anything."""

from importlib import import_module
from types import ModuleType

import pandas as pd

from lib import study
from lib.papers.common import real_figures as real_plots
from lib.study.drawing import PlotError
from lib.study.statistics import StatisticsError

PAPERS = ("HT", "HA", "SP", "LD", "XP")
ACROSS = "XP"  # its figures read the rows of all papers


def draw_all(profile: dict) -> None:
    """Draw and save all figures that the rows of a profile allow, and say which they do not."""
    for paper in PAPERS:
        rows = study.read_rows(profile, None if paper == ACROSS else paper)
        if rows.empty:
            print(f"{paper} has no rows in profile {profile['name']}")
            continue
        for module in (plots_of(paper), *([real_plots] if paper == "HT" else [])):
            _draw(module, rows, profile)


def _draw(module: ModuleType, rows: pd.DataFrame, profile: dict) -> None:
    for name in module.FIGURES:
        try:
            drawn = module.draw(name, rows, profile)
            print(name if drawn is not None else f"{name} is left out: it has no rows")
        except (PlotError, StatisticsError) as error:
            print(f"{name} is left out: {error}")


def plots_of(paper: str) -> ModuleType:
    """The module with a paper's `FIGURES` and `draw`."""
    # The names stand in full, so that whoever reads the imports finds them.
    modules = {
        "HT": "lib.papers.ht.figures",
        "HA": "lib.papers.ha.figures",
        "SP": "lib.papers.sp.figures",
        "LD": "lib.papers.ld.figures",
    }
    modules |= {"XP": "lib.papers.xp.figures"}
    return import_module(modules[paper])
