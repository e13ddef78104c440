"""The learning curves of a paper's systems on one scale: has each reached the plateau that its claims ask for?"""

import numpy as np
from matplotlib.figure import Figure

from lib.study import gates
from lib.study.claims import load_claims
from lib.study.drawing import PlotError, Shown, canvas, describe, save
from lib.study.palette import colour, label


def draw_all(profile: dict) -> list[Shown]:
    """Draw and save <paper>_convergence for every paper whose trainings left curves."""
    curves, shown = gates.read_curves(profile), []
    for paper, facts in load_claims()["papers"].items():
        try:
            shown.append(save(convergence(curves, paper), f"{paper.lower()}_convergence", profile, *facts["curves"]))
        except PlotError:
            continue
    return shown


def convergence(curves: dict[str, list[dict]], paper: str) -> Figure:
    """The loss of every training that a claim of the paper rests on, in shares of what it was at its end, over the
    share of the training. Raises PlotError when no curve is long enough to read.
    """
    content = load_claims()
    facts, key = content["papers"][paper], f"{paper.lower()}-"
    compared = {
        name for claim in content["claims"] if claim["paper"] == paper for name in claim["needs"].get("systems", [])
    }
    compared |= {name for claim in content["claims"] if claim["paper"] == paper for name in claim.get("trainings", [])}
    compared |= set(facts.get("shared_trainings", []))
    mine = {
        run: curve
        for run, curve in curves.items()
        if run.startswith(key) and run[len(key) :].rpartition("-s")[0] in compared
    }
    falls = {run: fall for run, curve in mine.items() if (fall := gates.fall(curve)) is not None}
    if not falls:
        raise PlotError(f"no training of {paper} left a learning curve that is long enough to read")
    named = {run: run[len(key) :].rpartition("-s")[0] for run in falls}
    places = {name: place for place, name in enumerate(dict.fromkeys(sorted(named.values())))}
    figure, (axis, right) = canvas(2, 11.0, max(4.2, 0.22 * len(places) + 1.2), width_ratios=[3, 2])
    axis.axvspan(100 * (1 - gates.LAST), 100, color="0.93")
    for run in sorted(falls, key=falls.get):
        name = "validation" if any("validation" in record for record in mine[run]) else "total"
        points = np.array([(record["step"], record[name]) for record in mine[run] if name in record], dtype=float)
        late = points[points[:, 0] >= (1 - gates.LAST) * points[-1, 0], 1].mean()
        tone = colour(paper, named[run]) if falls[run] >= gates.PLATEAU else "0.6"
        axis.plot(100 * points[:, 0] / points[-1, 0], points[:, 1] / late, linewidth=1.1, color=tone, alpha=0.7)
        right.plot(falls[run], places[named[run]], "o", color=tone, markersize=5, alpha=0.7)
    axis.set_ylim(0, min(4.0, axis.get_ylim()[1]))
    axis.set(xlabel="Training, %", ylabel="Loss, in shares of its mean over the last fifth")
    right.axvline(gates.PLATEAU, color="0.4", lw=1.2, ls="--")
    right.set_yticks(range(len(places)), [label(paper, name) for name in places], fontsize=8)
    right.set(ylim=(len(places) - 0.5, -0.5), xlabel="Fall over the last fifth, %")
    flat = sum(fall < gates.PLATEAU for fall in falls.values())
    caption = (
        f"{paper}: learning curves of the {len(falls)} trainings that claims rest on. A plateau is a fall of less than "
        f"{gates.PLATEAU:g} % over the last fifth (shaded; dashed on the right, a dot for each seed): {flat} have "
        "reached it (grey)."
    )
    return describe(
        figure, caption, f"Losses of {len(falls)} trainings over their length; {flat} are level at the end.", len(falls)
    )
