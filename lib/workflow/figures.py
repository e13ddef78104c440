"""Every figure that is made from rows alone, of all papers: drawn again without running anything."""

from types import ModuleType

import pandas as pd

from lib import study
from lib.study.drawing import PlotError
from lib.study.registry import paper, papers
from lib.study.statistics import StatisticsError


def draw_all(profile: dict, only: str | None = None) -> None:
    """Draw and save all figures that the rows of a profile allow, of all papers or of one; say which they do not."""
    chosen = [paper(only)] if only else papers().values()
    for each in chosen:
        rows = study.read_rows(profile, None if each.across else each.id)
        if rows.empty:
            print(f"{each.id} has no rows in profile {profile['name']}")
            continue
        _draw(each.room("figures"), rows, profile)


def _draw(module: ModuleType, rows: pd.DataFrame, profile: dict) -> None:
    for name in module.FIGURES:
        try:
            drawn = module.draw(name, rows, profile)
            print(name if drawn is not None else f"{name} is left out: it has no rows")
        except (PlotError, StatisticsError) as error:
            print(f"{name} is left out: {error}")
