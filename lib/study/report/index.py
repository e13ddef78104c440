"""The report a reviewer opens first: results/<profile>/index.html, one file without external requests.

    python -m lib report --profile demo
    python -m lib report ht --profile demo     one paper's, to ht.html, before the others are done

It reads rows, manifests, claims.json, the figures with their captions and the audio of the runs; what is
missing is said to be missing.
"""

import math
import re
from collections import Counter
from pathlib import Path

import jinja2
import pandas as pd

from lib import study
from lib.files import replace_file
from lib.study import columns, tables
from lib.study.again import profiles, read_manifests, read_results, read_rows
from lib.study.claims import VERDICTS, judge, load_claims, scale
from lib.study.registry import papers
from lib.study.report import claim_rows, evidence, of_record, page
from lib.study.report.evidence import (
    AUDIO_BYTES,
    claim_parts,
    claim_view,
    exists,
    limits,
    provenance,
    read_figures,
    read_json,
    sentences,
)
from lib.study.units import METRICS, short


def write_report(profile: dict, paper: str | None = None, copied: Path | None = None, ran: bool = True) -> Path:
    """Write R/index.html from what the profile's runs left; returns the path.

    With `paper`, the report of one paper on the rows there are now, in a file of its own. With `copied`, a
    folder that holds a copy of claims.json and figures/ but nothing else of the results, the page is written there and
    links its figures instead of holding them, and papers that the profile has not run are as an earlier run left them
    there; without `ran` all of them are. Raises ValueError, one sentence, for damaged rows, manifests, claims or
    captions and for a paper that is not in claims.yaml.
    """
    root, written = copied or study.results_root(profile), columns.of(load_claims(), profile)
    column = written.get("column")
    chosen = {name: facts for name, facts in written["papers"].items() if (paper or column) in (None, name)}
    if not chosen:
        raise study.StudyError(f"there is no paper {paper}; choose one of {', '.join(written['papers'])}")
    manifests = study.read_manifests(profile, paper) if ran else {}
    results = read_results(root) if copied and exists(root, "results.json") else {"facts": {}}
    kept = set(results["facts"]) - {manifest["paper"] for manifest in manifests.values()}
    of = dict.fromkeys(chosen, profile) | profiles(results, kept & set(chosen))
    rows = _rows(profile, paper, root if kept else None, kept, bool(manifests))
    manifests |= {run: facts for run, facts in (read_manifests(root) if kept else {}).items() if facts["paper"] in kept}
    claims = [claim for claim in written["claims"] if claim["paper"] in chosen]
    figures = read_figures(root, embed=copied is None)
    if paper:
        records = judge(written | {"claims": claims}, rows, manifests, profile)
    else:
        path = root / "claims.json"
        records = read_json(path, "python -m lib claims") if exists(root, path.name) else []
    across = next(f"notebooks/{each.chapters[0]}.html" for each in papers().values() if each.across)
    beside = columns.beside(written, root)
    own = [claim for claim in claims if claim["paper"] not in kept]
    written_rows = claim_rows.there([claim for claim in claims if claim["paper"] in kept], root)
    written_rows |= claim_rows.write(own, rows, root, copied is not None, profile)
    anew = {name: facts for name, facts in chosen.items() if name not in kept}
    claim_rows.write_gates(anew, rows, root, copied is not None)
    measured = set(rows["paper"].dropna())
    budget = AUDIO_BYTES // len(written["papers"])
    players = {name: sentences(root, rows, manifests, name, facts, budget) for name, facts in chosen.items()}
    known = {} if copied else of_record.committed()
    text = (
        _environment()
        .get_template("report.html.j2")
        .render(
            profile=" and ".join(dict.fromkeys(of[name]["name"] for name in of if name in measured)) or profile["name"],
            papers=[
                _paper(name, facts, written, records, rows, manifests, of[name], results if name in kept else None)
                for name, facts in chosen.items()
            ],
            claims=[
                claim_view(record, root, figures, players, written_rows)
                | {"of_record": of_record.beside(record, known)}
                for record in records
            ],
            columns=_columns(records, beside),
            expected=[claim["id"] for claim in claims],
            figures=figures,
            players=players,
            shown=evidence.PLAYERS,
            methods=exists(root, "methods.html"),
            gates=_gates(_written(root), [name for name in chosen if name in measured]),
            judges=(profile.get("statistics") or {}).get("judges", True),
            across=across if exists(root, across) else None,
            copied=copied is not None,
            verdicts=VERDICTS,
            provenance=provenance(root, manifests),
            limits=limits(rows, manifests, chosen, of),
        )
    )
    target = root / (f"{paper.lower()}.html" if paper else "index.html")
    with replace_file(target) as temporary:
        temporary.write_text(text.lstrip(), encoding="utf-8")
    return target


def _rows(profile: dict, paper: str | None, root: Path | None, kept: set[str], ran: bool) -> pd.DataFrame:
    """The rows of the profile's runs, if any ran, and those of the papers that are kept of an earlier one."""
    found = [study.read_rows(profile, paper)] if ran or not kept else []
    if kept:
        earlier = read_rows(root)
        found.append(earlier[earlier["paper"].isin(list(kept))])
    return pd.concat(found, ignore_index=True)


def _columns(records: list[dict], beside: dict[str, list[dict]]) -> dict[str, dict]:
    """By column its records by claim, and the number of each verdict by paper."""
    found = {}
    for name, theirs in beside.items():
        mine = {record["id"]: claim_parts(record) for record in theirs if record["id"] in {r["id"] for r in records}}
        counts: dict[str, Counter] = {}
        for record in mine.values():
            counts.setdefault(record["paper"], Counter())[record["verdict"]] += 1
        found |= {name: {"records": mine, "counts": counts}} if mine else {}
    return found


def _paper(
    name: str,
    paper: dict,
    written: dict,
    records: list,
    rows: pd.DataFrame,
    manifests: dict,
    profile: dict,
    results: dict | None,
) -> dict:
    mine = rows[(rows["paper"] == name).fillna(False)]
    judged = [record for record in records if record["paper"] == name]
    table = tables.results(mine, paper, profile) if len(mine) else []
    known = {
        m for entry in table for m, cell in entry["cells"].items() if (cell["value"], cell["published"]) != (None, None)
    }
    return paper | {
        "id": name,
        "columns": {
            metric: {"label": short(metric), "decimals": METRICS[metric].decimals}
            for metric in paper["table"]["columns"]
            if metric in known
        },
        "rule": written["rules"][name],
        "amendments": _amendments(name, written),
        "scale": scale(rows, manifests, profile, name) if len(mine) else None,
        "judged": bool(judged),
        "first": judged[0]["id"] if judged else None,
        "counts": {verdict: sum(record["verdict"] == verdict for record in judged) for verdict in VERDICTS},
        "table": table,
        "checked": "tts_0" in paper["systems"],
        "check": (tables.corpus_check(mine, profile) or (results or {}).get("corpus_check")) if len(mine) else None,
        "costs": tables.costs(mine, manifests, paper) if len(mine) else [],
    }


def _written(root: Path) -> list[dict]:
    return read_json(root / "gates.json", "python -m lib claims") if exists(root, "gates.json") else []


def _gates(every: list[dict], chosen: list[str]) -> dict[str, dict]:
    """The gates of each chosen paper that was judged: of quality, and each plateau with the claims it is for."""
    found = {}
    for paper in chosen:
        mine = [gate for gate in every if gate["paper"] == paper]
        curves = [gate for gate in mine if "claim" in gate]
        quality = [gate | {"claims": []} for gate in mine if "claim" not in gate]
        plateau: dict[str, dict] = {}
        for gate in curves:
            plateau.setdefault(gate["reason"], gate | {"claims": []})["claims"].append(gate["claim"])
        if mine:
            counts = {"open": sum(g["open"] for g in quality), "all": len(quality)}
            counts |= {"flat": sum(g["open"] for g in curves), "claims": len(curves)}
            found[paper] = {"quality": quality, "plateau": list(plateau.values())} | counts
    return found


def _amendments(name: str, written: dict) -> list[dict]:
    """The rules' changes after results were seen that concern a paper's claims, with those claims."""
    own = {claim["id"] for claim in written["claims"] if claim["paper"] == name}
    changes = [
        change | {"claims": [each for each in change["claims"] if each in own]} for change in written["amendments"]
    ]
    return [change for change in changes if change["claims"]]


def _environment() -> jinja2.Environment:
    environment = page.environment()
    environment.filters |= {f.__name__: f for f in (number, significant, given, prose, count, duration, cost)}
    return environment


def number(value: float | None, decimals: int = 2) -> str:
    """Fixed decimals with a true minus sign; a dash for None."""
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def significant(value: float | None) -> str:
    """Three significant digits but no more than three decimals, with a true minus sign; a dash for None."""
    if value is None:
        return "–"
    size = math.floor(math.log10(abs(value))) if value else 0
    return number(value, min(3, max(0, 2 - size)))


def given(value: float | None) -> str:
    """A published value with the decimals it was published with and a true minus sign; a dash for None."""
    return "–" if value is None else f"{value}".replace("-", "−")


def prose(text: str) -> str:
    """The text with true minus signs before numbers."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def count(value: float | None) -> str:
    """A number of parameters: 453 k, 35.7 M; a dash for None."""
    if value is None:
        return "–"
    steps = ((1e6, " M"), (1e3, " k"))
    return next((f"{value / size:.3g}{unit}" for size, unit in steps if value >= size), f"{value:.0f}")


def duration(seconds: float | None) -> str:
    """Seconds as s, min or h; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def cost(value: float | None, kind: str) -> str:
    """A cell of the costs: parameters, seconds, times real time or MiB; a dash for None."""
    shown = {"generated": count, "seconds": duration, "speed": significant}
    return shown[kind](value) if kind in shown else number(value, 0)
