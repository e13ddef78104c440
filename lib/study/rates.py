"""Learning rates tuned alike for every method: the same multiples of the profile's rate, the same steps, one seed.

    python -m lib rates ht tts_ft hypertts_d --times 0.5 1 2 4 --profile full

A training is judged by its loss on the validation sentences (`lib.study.watch`), so no test sentence is read. What was
tried is kept in R/rates/<paper>.csv and not tried again; an interrupted training goes on. The rates that a profile
names are then written into it by hand.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lib.files import fingerprint, replace_file
from lib.study.part import Part
from lib.study.profile import StudyError
from lib.study.protocol import Study
from lib.training.loop import fit, seed_everything

KEY = ["system", "rate", "steps", "seed", "mark"]


def tried(study: Study, systems: list[str], times: tuple[float, ...], steps: int | None, seed: int) -> Iterator[dict]:
    """A line for each system and multiple, as it is known: rate, steps, validation loss (infinite where it diverged).

    steps: of each training; None: as many as the profile's. Raises StudyError for a multiple that is not positive and
    for a system of which nothing is trained or watched.
    """
    if not times or not all(math.isfinite(x) and x > 0 for x in times):
        raise StudyError(f"--times {' '.join(map(str, times))}: give positive multiples of the profile's rate")
    path = study.root / "rates" / f"{study.paper}.csv"
    for system in systems:
        part = study.part(system, seed)
        mark = study.mark(part)
        known = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=[*KEY, "validation"])
        for multiple in times:
            line = {"system": system, "times": multiple, "rate": part.config.learning_rate * multiple}
            line |= {"steps": steps or part.config.steps, "seed": seed, "mark": mark}
            same = known[(known[KEY] == pd.Series(line)[KEY]).all(axis=1)]
            if len(same):
                line["validation"] = float(same["validation"].iloc[0])
            else:
                line["validation"] = trial(study, part, system, line)
                _append(path, line)
            yield line


def trial(study: Study, part: Part, system: str, line: dict) -> float:
    """The validation loss after a training at another rate; infinite where a loss is not finite."""
    steps = line["steps"]
    warmup = min(part.config.warmup, round(part.config.warmup * steps / part.config.steps))
    config = replace(part.config, learning_rate=line["rate"], steps=steps, warmup=warmup)
    seed_everything(line["seed"])
    model = part.build().to(study.device)
    batch_at, loss = part.start(model)
    validation = part.unseen(model, loss)
    if validation is None:
        raise StudyError(f"{system} has no validation sentences: a rate cannot be told without them")
    name = f"{study.run_id(system, line['seed'])}-x{line['times']:g}"
    resume = study.root / "rates" / f"{name}.resume.pt"
    resume.parent.mkdir(parents=True, exist_ok=True)
    try:
        fit(model, loss, batch_at, config, resume, fingerprint(line), study.device, name, part.at_step(model))
        found = validation()
    except FloatingPointError:
        found = math.inf
    resume.unlink(missing_ok=True)
    return found if math.isfinite(found) else math.inf


def advice(lines: list[dict]) -> list[str]:
    """A sentence for each system: its best rate, and whether a wider range should be tried."""
    told = []
    for system, mine in pd.DataFrame(lines).groupby("system", sort=False):
        mine = mine.sort_values("rate")
        best = mine.loc[mine["validation"].idxmin()]
        if not math.isfinite(best["validation"]):
            told.append(f"{system}: every rate diverged; try smaller ones")
            continue
        edge = len(mine) > 1 and best["rate"] in (mine["rate"].iloc[0], mine["rate"].iloc[-1])
        wider = "; it is the range's end, so try further" if edge else ""
        told.append(f"{system}: {best['rate']:g} ({best['times']:g} times the profile's){wider}")
    return told


def _append(path: Path, line: dict) -> None:
    """Write the table with one line more, by rename."""
    before = [pd.read_csv(path)] if path.is_file() else []
    table = pd.concat([*before, pd.DataFrame([line])], ignore_index=True)
    with replace_file(path) as temporary:
        table.to_csv(temporary, index=False)
