"""A finished run judged again by today's rules from what is committed of it: the rows that its claims compared
(evidence/*.csv) and its table of results, without its learning curves.
"""

import json
import re
from collections.abc import Iterable
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
    profile of the paper that was run last; each is judged in its own.

    Gates may read the table of results, too, whose means stand for rows that are not committed. Raises StudyError when
    there is no evidence.
    """
    rows, content, results = read_evidence(folder), load_claims(), read_results(folder)
    of, judged = profiles(results, content["papers"]), {"claims": [], "gates": []}
    gate_rows = pd.concat([rows, _means(results, rows)])
    for profile in {each["name"]: each for each in of.values()}.values():
        bench = Bench(content, rows, read_manifests(folder), profile, {}, gate_rows)
        bench.convergence = _plateaus(folder)
        mine = [name for name, each in of.items() if each["name"] == profile["name"]]
        judged["claims"] += [bench.judge(claim) for claim in bench.asked if claim["paper"] in mine]
        judged["gates"] += [gate for gate in bench.gate_records() if gate["paper"] in mine]
    order = [claim["id"] for claim in content["claims"]]
    judged["claims"].sort(key=lambda record: order.index(record["id"]))
    write_json(folder / JUDGED, judged)
    return judged, study.load_profile(newest(results)["profile"])


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
    """What results.json says of each paper's corpora and texts, as manifests; none where the run was committed before
    it did.
    """
    return {
        f"{paper}-{corpus}": {"paper": paper, "corpus": corpus, "texts": facts.get("texts")}
        for paper, facts in read_results(folder)["facts"].items()
        for corpus in facts.get("corpora", [])
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
