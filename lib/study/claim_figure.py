"""One claim in a picture: its parts with intervals, seeds and published values, on each speech it was judged on."""

import textwrap

from matplotlib.figure import Figure

from lib.study.drawing import POINTS, canvas, describe, legend
from lib.study.palette import BLUE, GREY

WIDTH = 34  # characters of a part's name in a line


def parts(records: list[dict]) -> Figure:
    """The records of one claim (`lib.study.claims.judge`), one for each speech: a column each, and a row for each unit.

    A part that was not measured on a speech has no mark there. Parts that do not decide are grey.
    """
    named = {}
    for part in (part for record in records for part in record["parts"]):
        named.setdefault(part["unit"], {}).setdefault(part["name"], None)
    heights = [len(names) + 0.6 for names in named.values()]
    size = {"width": 4.0 + 3.2 * len(records), "height": 0.42 * sum(heights) + 1.0 + 0.4 * len(named)}
    options = {"squeeze": False, "sharex": "row", "sharey": "row", "height_ratios": heights}
    figure, axes = canvas(len(records), rows=len(named), **size, **options)
    for row, (unit, names) in zip(axes, named.items(), strict=True):
        for axis, record in zip(row, records, strict=True):
            mine = {part["name"]: part for part in record["parts"] if part["unit"] == unit}
            for place, name in enumerate(names):
                _part(axis, place, mine.get(name))
            axis.set_yticks(range(len(names)), [textwrap.fill(name, WIDTH) for name in names], fontsize=8.5)
            axis.set(ylim=(len(names) - 0.5, -0.5), xlabel=unit)
            axis.grid(axis="y", visible=False)
    for axis, record in zip(axes[0], records, strict=True):
        axis.set_title(f"{textwrap.fill(_speech(record), WIDTH)}\n{record['verdict']}", fontsize=10)
    legend(figure, {"deciding part": BLUE, "reported beside it": GREY, "one seed": ("0.3", ".")}, hollow=True)
    told = "; ".join(f"{_speech(record)}: {record['verdict']}" for record in records)
    caption = (
        f"{records[0]['id']}, {told}. Values with 95 % intervals, small points the seeds alone, pale ones the "
        "speakers, vertical ticks the thresholds. Where there is no mark, nothing was measured."
    )
    n = max((part["n"] or 0 for record in records for part in record["parts"]), default=0)
    return describe(figure, caption, f"Parts of claim {records[0]['id']} with intervals.", n)


def _part(axis, place: int, part: dict | None) -> None:
    if part is None:
        return
    tone = BLUE if part["primary"] else GREY
    if part["threshold"] is not None:
        axis.plot(part["threshold"], place, "|", color="0.2", markersize=14, markeredgewidth=1.2)
    if part["published"] is not None:
        axis.plot(part["published"], place, "D", color="0.3", markerfacecolor="none", markersize=6)
    speakers = part.get("by_speaker", [])
    axis.plot(speakers, [place + 0.25] * len(speakers), color=tone, **POINTS["speaker"])
    seeds = list(part.get("by_seed", {}).values())
    axis.plot(seeds, [place + 0.25] * len(seeds), ".", color="0.3", markersize=4)
    if part["value"] is not None:
        ends = [part["value"] if part[end] is None else part[end] for end in ("ci_low", "ci_high")]
        axis.plot(ends, [place, place], color=tone, lw=1.6)
        axis.plot(part["value"], place, "o", color=tone, markersize=6)


def _speech(record: dict) -> str:
    return record.get("speech") or record["profile"]
