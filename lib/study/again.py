"""A committed run read and judged again by today's rules: from its runs, where they are committed with it (runs/), else
from the rows that its claims compared (evidence/*.csv) and its table of results, without its learning curves.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lib import study
from lib.study import columns
from lib.study.claims import Bench, load_claims
from lib.study.gates import Gate, read_curves

LISTENERS = "-listeners.csv"  # of evidence/: a paper's rows that `python -m lib listen read` wrote there
TOLD = ("texts", "commit", "data_hash", "device", "vocoder", "started", "runs")  # of a paper, by results.json
RUNS = "runs"  # of a committed run: a folder of results for each profile


def judge_again(folder: Path) -> tuple[dict, dict]:
    """Today's verdicts on the committed run in `folder` ("claims" and "gates", as claims.json and gates.json hold them)
    and the profile of the paper that was run last; each paper is judged in its own.

    Gates may read the table of results, too, whose means stand for rows that are not committed; plateaus of papers
    whose runs are not committed are as gates.json has them. Raises StudyError when there is neither evidence nor runs.
    """
    rows, results, content = read_rows(folder), read_results(folder), load_claims()
    profile = study.load_profile(newest(results)["profile"])
    manifests, curves = read_manifests(folder), _curves(folder)
    own = columns.of(content, profile).get("column")
    of, judged = profiles(results, [own] if own else content["papers"]), {"claims": [], "gates": []}
    gate_rows, known = pd.concat([rows, _means(results, rows)]), _plateaus(folder)
    for each in {each["name"]: each for each in of.values()}.values():
        bench = Bench(content, rows, manifests, each, curves, gate_rows)
        mine = [name for name, profile_of in of.items() if profile_of["name"] == each["name"]]
        bench.convergence = {claim: gate for claim, gate in known.items() if gate.paper not in _ran(manifests)}
        judged["claims"] += [bench.judge(claim) for claim in bench.asked if claim["paper"] in mine]
        judged["gates"] += [gate for gate in bench.gate_records() if gate["paper"] in mine]
    order = [claim["id"] for claim in content["claims"]]
    judged["claims"].sort(key=lambda record: order.index(record["id"]))
    return judged, profile


def read_results(folder: Path) -> dict:
    """results.json of a committed run: `facts` of its papers, and HyperTTS's table. Raises StudyError for one that
    cannot be read.
    """
    path = folder / "results.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(each["profile"] for each in found["facts"].values()):
            raise ValueError
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise study.StudyError(
            f"{folder} holds no committed run ({type(error).__name__} in {path.name}): give results/reference"
        ) from error


def profiles(results: dict, papers: Iterable[str]) -> dict[str, dict]:
    """The profile that each paper was run in; one that was not run has the newest's."""
    names = {paper: results["facts"].get(paper, newest(results))["profile"] for paper in papers}
    known = {name: study.load_profile(name) for name in set(names.values())}
    return {paper: known[name] for paper, name in names.items()}


def newest(results: dict) -> dict:
    """The facts of the paper that was run last."""
    return max(results["facts"].values(), key=lambda facts: facts.get("started") or "")


def read_rows(folder: Path) -> pd.DataFrame:
    """The rows of the committed runs, and of papers without them, and of listeners, those in evidence/."""
    runs = [study.read_rows(root) for root in roots(folder)]
    there = {str(paper) for rows in runs for paper in rows["paper"].dropna().unique()}
    found = _evidence(folder)
    if not runs and found.empty:
        raise study.StudyError(f"{folder.name} holds no evidence/*.csv and no runs: give the folder of a reference run")
    return pd.concat([*runs, found[~found["paper"].isin(there) | found["listener"].notna()]], ignore_index=True)


def read_manifests(folder: Path) -> dict[str, dict]:
    """The manifests of the committed runs; for the other papers what results.json says of all of their runs, by corpus
    (None where the run was committed before it named them).
    """
    found = {run: manifest for root in roots(folder) for run, manifest in study.read_manifests(root).items()}
    return found | {
        f"{paper}-{corpus}": {"paper": paper, "corpus": corpus} | {name: facts.get(name) for name in TOLD}
        for paper, facts in read_results(folder)["facts"].items()
        for corpus in facts.get("corpora") or [None]
        if paper not in _ran(found)
    }


def roots(folder: Path) -> list[Path]:
    """The folders of results of the profiles whose runs are committed in `folder`."""
    return sorted(path for path in (folder / RUNS).glob("*") if path.is_dir())


def _ran(manifests: dict[str, dict]) -> set[str]:
    """The papers of which there are runs."""
    return {manifest["paper"] for manifest in manifests.values() if "run_id" in manifest}


def _curves(folder: Path) -> dict[str, list[dict]]:
    return {run: curve for root in roots(folder) for run, curve in read_curves(root).items()}


def _evidence(folder: Path) -> pd.DataFrame:
    """The rows of evidence/*.csv, each once, in the columns of `lib.study.rows`."""
    text = {"layer": str, "utterance": str, "speaker": str, "listener": str}
    tables = [pd.DataFrame(columns=[*study.COLUMNS, "part"])]
    for path in sorted((folder / "evidence").glob("*.csv*")):  # a paper's gates may read another's rows, and say whose
        table = pd.read_csv(path, dtype=text)
        tables.append(table if "paper" in table else table.assign(paper=re.split(r"[-.\d]", path.name)[0]))
    rows = pd.concat(tables, ignore_index=True).drop(columns="part").drop_duplicates()
    return rows.reindex(columns=study.COLUMNS).assign(unit="").astype(study.TYPES)


def _plateaus(folder: Path) -> dict[str, Gate]:
    """The plateau of each claim as it was found when the run was committed."""
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
