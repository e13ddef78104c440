"""Every figure that is made from rows alone, of all papers: drawn again without running anything."""

from lib import study
from lib.study.drawing import PlotError
from lib.study.registry import paper, papers
from lib.study.statistics import StatisticsError


def draw_all(profile: dict, only: str | None = None) -> None:
    """Draw and save all figures that the rows of a profile allow, of all papers or of one; say which they do not."""
    for each in [paper(only)] if only else papers().values():
        rows, figures = study.read_rows(profile, None if each.across else each.id), each.room("figures")
        if rows.empty:
            print(f"{each.id} has no rows in profile {profile['name']}")
            continue
        for name in figures.FIGURES:
            try:
                figures.draw(name, rows, profile)
                print(name)
            except (PlotError, StatisticsError) as error:
                print(f"{name} is left out: {error}")
