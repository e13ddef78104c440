"""A finished run judged again by today's rules from what is committed of it: the rows that its claims compared
(evidence/*.csv) and its table of results, without its learning curves.
"""

import json
import re
from pathlib import Path

import pandas as pd

from lib import study
from lib.files import write_json
from lib.study.claims import Bench, load_claims
from lib.study.gates import Gate

LISTENERS = "-listeners.csv"  # of evidence/: a paper's rows that `python -m lib listen read` wrote there
JUDGED, PAGE = "judged_again.json", "judged_again.html"


def judge_again(folder: Path) -> tuple[dict, dict]:
    """Judge the committed run in `folder`, write judged_again.json there (claims and gates) and return it with the
    run's profile.

    Gates may read the table of results, too, whose means stand for rows that are not committed. Raises StudyError when
    there is no evidence.
    """
    rows = read_evidence(folder)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    profile = study.load_profile(results["facts"]["profile"])
    bench = Bench(load_claims(), rows, read_manifests(folder), profile, {}, pd.concat([rows, _means(results, rows)]))
    bench.convergence = _plateaus(folder)
    records = [bench.judge(claim) for claim in bench.asked]
    judged = {"claims": records, "gates": bench.gate_records()}
    write_json(folder / JUDGED, judged)
    return judged, profile


def read_evidence(folder: Path) -> pd.DataFrame:
    """The rows of evidence/*.csv, each once, in the columns of `lib.study.rows`."""
    files = sorted((folder / "evidence").glob("*.csv*"))
    if not files:
        raise study.StudyError(f"{folder.name} holds no evidence/*.csv: give the folder of a reference run")
    text = {"layer": str, "utterance": str, "speaker": str, "listener": str}
    tables = []
    for path in files:  # a paper's gates may read another's rows, and say whose
        table = pd.read_csv(path, dtype=text)
        tables.append(table if "paper" in table else table.assign(paper=re.split(r"[-.\d]", path.name)[0]))
    rows = pd.concat(tables, ignore_index=True).drop(columns="part").drop_duplicates()
    return rows.reindex(columns=study.COLUMNS).assign(unit="").astype(study.TYPES)


def read_manifests(folder: Path) -> dict[str, dict]:
    """What results.json says of each paper's corpora, as manifests; none where the run was committed before it did."""
    facts = json.loads((folder / "results.json").read_text(encoding="utf-8"))["facts"]
    return {
        f"{paper}-{corpus}": {"paper": paper, "corpus": corpus}
        for paper, corpora in facts.get("corpora", {}).items()
        for corpus in corpora
    }


def _plateaus(folder: Path) -> dict[str, Gate]:
    """The plateau of each claim as the run itself found it, where its gates.json is committed."""
    path = folder / "gates.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {each.pop("claim"): Gate(**each) for each in found if "claim" in each}


def _means(results: dict, rows: pd.DataFrame) -> pd.DataFrame:
    """HyperTTS's means as rows, of the systems and metrics that the evidence has no rows of."""
    where = {"paper": "HT", "role": "adaptation", "split": "test"}
    found = [
        where | {"system": entry["system"], "metric": metric, "value": cell["value"]}
        for entry in results["table"]
        for metric, cell in entry["cells"].items()
        if cell["value"] is not None
    ]
    known = (results.get("corpus_check") or {}).get("pretraining")
    if known is not None:
        found.append(where | {"role": "pretraining", "system": "tts_0", "metric": "cos", "value": known})
    key = ["paper", "role", "system", "metric"]
    there = set(rows[key].dropna().itertuples(index=False, name=None))
    missing = [row for row in found if tuple(row[name] for name in key) not in there]
    return pd.DataFrame(missing).reindex(columns=study.COLUMNS).assign(unit="").astype(study.TYPES)
