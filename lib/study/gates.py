"""What a paper's systems must reach before a comparison between them says anything; declared in claims.yaml.

A gate of quality is a number of the rows with a bound: `of` - `minus`, in shares of `over` - `over_minus` where there
is `over`; each of them is the mean of a metric where columns have given values. The gate of the plateau reads the
learning curves of the systems that a claim compares: over the last fifth of training the loss may fall by less than 2
%, or the claim has the same verdict of the systems that had half of the training (`half` in a profile's systems). A
gate that cannot be read for lack of rows or curves is shut.
"""

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lib import study
from lib.files import load_json
from lib.study.claim_compare import select
from lib.study.profile import StudyError

PLATEAU = 2.0  # percent
LAST = 0.2  # of the training
FEWEST = 5  # records in the last fifth, below which no fall can be told
OPERANDS = ("of", "minus", "over", "over_minus")


@dataclass(frozen=True)
class Gate:
    """A gate and whether it stands open; `reason` says it with its number."""

    paper: str
    name: str
    told: str
    value: float | None
    open: bool
    reason: str


def quality(paper: str, gates: list[dict], rows: pd.DataFrame) -> list[Gate]:
    """The gates of a paper on its rows."""
    return [_read(paper, gate, rows) for gate in gates]


def plateau(paper: str, systems: list[str], curves: dict[str, list[dict]], limit: float = PLATEAU) -> Gate:
    """Have all of these trained systems, in every seed that was run, reached a plateau? `curves` is of
    `read_curves`.
    """
    told = f"training has reached a plateau: its loss falls by less than {limit:g} % over the last fifth"
    falls, unread = {}, []
    for system in systems:
        named = re.compile(rf"{paper.lower()}-{re.escape(system)}-s\d+")
        found = {run: fall(curve) for run, curve in curves.items() if named.fullmatch(run)}
        falls |= {run: value for run, value in found.items() if value is not None}
        unread += [system] if not found or None in found.values() else []
    worst = max(falls, key=falls.get, default=None)
    value = None if worst is None else falls[worst]
    if value is not None and value >= limit:
        reason = f"the loss of {worst} still falls by {value:.1f} % over the last fifth"
    elif unread:
        reason = f"no learning curve of {', '.join(unread)} is there or long enough to read"
    else:
        reason = f"largest fall {value:.1f} % ({worst})" if worst else "nothing is trained"
    still = value is not None and value >= limit
    return Gate(paper, "plateau", told, value, not still and not unread, reason)


def halves(profile: dict, paper: str) -> dict[str, str]:
    """The system with half of the training by the system that went on from it, of a paper in a profile (`half`)."""
    systems = (profile.get(paper.lower()) or {}).get("systems") or {}
    return {name: entry["half"] for name, entry in systems.items() if "half" in entry}


def with_half(rows: pd.DataFrame, half: dict[str, str]) -> pd.DataFrame:
    """The rows with those of each system replaced by those that it had with half of its training."""
    left = rows[~rows["system"].isin(list(half))]
    return left.assign(system=left["system"].replace({then: name for name, then in half.items()}))


def held(gate: Gate, now: str, then: str, values: list[str]) -> Gate:
    """The gate of a plateau that is not reached, read by the verdicts with all and with half of the training.

    values: of each deciding part with half and with all, in words, which the reason tells.
    """
    moved = "; ".join(values)
    if now == then and now in ("reproduced", "not reproduced"):
        reason = f"{gate.reason}, and with half of the training the verdict is the same ({then}): {moved}"
        return replace(gate, open=True, reason=reason)
    reason = f"{gate.reason}; with half of the training the verdict is “{then}”, with all “{now}”: {moved}"
    return replace(gate, reason=reason)


def fall(curve: list[dict]) -> float | None:
    """By how many percent the loss falls over the last fifth of a training, along a line through its records.

    `curve` holds records of `step` and `validation` or `total`. None: fewer than five records lie there, or the loss
    is not above zero.
    """
    name = "validation" if any("validation" in record for record in curve) else "total"
    points = [(record["step"], record[name]) for record in curve if name in record]
    if not points:
        return None
    end = max(step for step, _ in points)
    late = np.array([point for point in points if point[0] >= (1 - LAST) * end], dtype=float)
    if len(late) < FEWEST or not late[:, 1].mean() > 0:
        return None
    slope, start = np.polyfit(late[:, 0] - late[0, 0], late[:, 1], 1)
    return float(-100 * slope * (late[-1, 0] - late[0, 0]) / start) if start > 0 else None


def read_curves(profile: dict | str | Path) -> dict[str, list[dict]]:
    """Learning curves of a profile, or in a folder laid out as its results are, by run or shared training
    ("ht-backbone-s0"): of manifests, else of R/checkpoints/*.json.

    That of a training which went on from another begins with the other's: what is asked is the plateau of both.
    """
    root, curves, started = study.results_root(profile), {}, {}
    kept = sorted((root / "checkpoints").glob("[!.]*-s*.json"))
    for path in [*kept, *sorted((root / "manifests").glob("[!.]*.json"))]:
        facts = _facts(path)
        if facts.get("history"):
            curves[path.stem] = facts["history"]
        if facts.get("after"):
            started[path.stem] = facts["after"]
    return {run: _joined(curves.get(started.get(run), []), curve) for run, curve in curves.items()}


def _joined(before: list[dict], curve: list[dict]) -> list[dict]:
    """A training's curve after that of the one that it went on from."""
    steps = before[-1]["step"] if before else 0
    return before + [record | {"step": record["step"] + steps} for record in curve]


def unequal(systems: list[str], profile: dict, paper: str) -> str:
    """What systems that must be trained equally differ in by the profile, in words; "" if nothing."""
    section = profile.get(paper.lower()) or {}
    every = section.get("train") or {}
    seen: dict[int, str] = {}
    for system in systems:
        own = every | (section.get("systems", {}).get(system) or {})
        if "steps" in own and "batch_size" in own:
            seen.setdefault(own["steps"] * own["batch_size"], system)
    if len(seen) < 2:
        return ""
    told = ", ".join(f"{system} on {count} utterances" for count, system in seen.items())
    return f"they are not trained alike: {told}"


def as_records(gates: list[Gate]) -> list[dict]:
    return [asdict(gate) for gate in gates]


def _read(paper: str, gate: dict, rows: pd.DataFrame) -> Gate:
    means = {}
    for operand in OPERANDS:
        if operand in gate:
            found = select(rows, {"paper": paper} | gate[operand])
            if found.empty:
                named = ", ".join(f"{key} {value}" for key, value in gate[operand].items())
                return Gate(paper, gate["name"], gate["told"], None, False, f"cannot be read: no rows of {named}")
            means[operand] = float(found["value"].clip(upper=gate.get("cap", np.inf)).mean())
    value = means["of"] - means.get("minus", 0.0)
    if "over" in means:
        over = means["over"] - means.get("over_minus", 0.0)
        if over <= 0:
            reason = f"cannot be read: what it is a share of is {over:.3g}, not above zero"
            return Gate(paper, gate["name"], gate["told"], None, False, reason)
        value = 100 * value / over
    least, most = gate.get("at_least", -np.inf), gate.get("at_most", np.inf)
    bound = f"at least {least:g}" if "at_least" in gate else f"at most {most:g}"
    reason = f"{value:.3g} {gate.get('unit', '')}".strip() + f", {bound} is asked for"
    return Gate(paper, gate["name"], gate["told"], value, bool(least <= value <= most), reason)


def _facts(path: Path) -> dict:
    return load_json(path, lambda kind: StudyError(f"{path.name} is damaged ({kind}); delete it and run again"))
