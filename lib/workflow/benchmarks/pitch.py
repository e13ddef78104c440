"""How far F0 trackers agree on real voices, by sex and age: ours, WORLD's Harvest and librosa's pYIN.

The recordings lie in a folder with a metadata.csv: path, and where known age and sex (m or f).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib import audio
from lib.corpora.recorded.folder import rows
from lib.papers.common.audit import NAMES, TRACKERS, AuditError, agreement

ADULT = 16  # years
SHORTEST = 8000  # samples


def group(row: dict[str, str]) -> str:
    """Children or the sex of adults; "unknown" where the table does not say."""
    if row.get("age", "").isdigit() and int(row["age"]) < ADULT:
        return "children"
    return {"m": "men", "male": "men", "f": "women", "female": "women"}.get(row.get("sex", "").lower(), "unknown")


def recordings(folder: Path, per_group: int) -> Iterator[tuple[str, np.ndarray]]:
    """Group and wave of up to `per_group` recordings of each group, evenly spread over its speakers.

    Raises CorpusError for a folder without a table.
    """
    groups: dict[str, list[dict[str, str]]] = {}
    for _, row in rows(folder / "metadata.csv", ("path",)):
        groups.setdefault(group(row), []).append(row)
    for name, listed in groups.items():
        for row in tqdm(listed[:: max(1, len(listed) // per_group)][:per_group], desc=name, mininterval=2):
            wave = audio.read(folder / row["path"])
            if len(wave) >= SHORTEST:
                yield name, wave


def compare(folder: Path, per_group: int = 20) -> pd.DataFrame:
    """Agreement of every two trackers on `per_group` recordings of each group, evenly spread over its speakers.

    Columns: group, recordings, trackers, f0_voicing, f0_20_percent, f0_20_cents (%), f0_cents and the two trackers'
    medians of F0 in Hz. A recording in which two trackers share no voiced frame is left out. Raises CorpusError for a
    folder without a table.
    """
    lines = []
    for name, wave in recordings(folder, per_group):
        tracks = {tracker: find(wave) for tracker, find in TRACKERS.items()}
        for one, other in combinations(TRACKERS, 2):
            try:
                values = agreement(tracks[one], tracks[other])
            except AuditError:
                continue
            medians = {f"median_{i}": float(np.median(t[t > 0])) for i, t in enumerate((tracks[one], tracks[other]))}
            lines.append({"group": name, "trackers": f"{NAMES[one]}, {NAMES[other]}", **values, **medians})
    table = pd.DataFrame(lines)
    found = table.groupby(["group", "trackers"], sort=False)
    return found.mean().assign(recordings=found.size()).reset_index()
