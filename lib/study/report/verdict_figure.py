"""All verdicts at a glance: one tile for each claim, a row for each paper and its columns."""

import textwrap

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.study.drawing import canvas, describe

LOOKS = {  # fill, ink, sign; the colours are told apart with any colour vision, the signs without colours
    "reproduced": ("#00704F", "white", "+"),
    "not reproduced": ("#A8410A", "white", "−"),
    "inconclusive": ("#F3D27A", "#3A2D10", "?"),
    "not tested": ("#E4E5E7", "#4B4F56", "·"),
}


def verdicts(groups: list[tuple[str, list[dict]]]) -> Figure:
    """Tiles of the records of claims.json, a row for each group (`lib.study.columns.groups`), in their order."""
    records = [record for _, mine in groups for record in mine]
    longest = max(len(mine) for _, mine in groups)
    figure, axis = canvas(1, 0.62 * longest + 2.6, 0.66 * len(groups) + 0.7)
    for row, (name, mine) in enumerate(groups):
        axis.text(-0.25, row, textwrap.fill(name, 26), ha="right", va="center", fontsize=9.5)
        for column, record in enumerate(mine):
            fill, ink, sign = LOOKS[record["verdict"]]
            axis.add_patch(Rectangle((column + 0.04, row - 0.42), 0.92, 0.84, facecolor=fill, linewidth=0))
            axis.text(column + 0.5, row - 0.14, record["id"], ha="center", va="center", fontsize=8.5, color=ink)
            axis.text(column + 0.5, row + 0.2, sign, ha="center", va="center", fontsize=10, color=ink, weight="bold")
    axis.set(xlim=(0, longest), ylim=(len(groups) - 0.5, -0.5))
    axis.axis("off")
    counts = {verdict: sum(record["verdict"] == verdict for record in records) for verdict in LOOKS}
    handles = [Rectangle((0, 0), 1, 1, facecolor=LOOKS[verdict][0], linewidth=0) for verdict in LOOKS]
    names = [f"{LOOKS[verdict][2]}  {verdict} ({count})" for verdict, count in counts.items()]
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9.5)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    claims, papers = ({record[name] for record in records} for name in ("id", "paper"))
    twice = ", some judged on two kinds of speech" if len(claims) < len(records) else ""
    caption = f"{len(records)} verdicts on {len(claims)} claims of {len(papers)} papers{twice}: {told}."
    return describe(figure, caption, caption, len(records))
