"""The rows behind each claim and gate, as tables that a spreadsheet opens: R/evidence/<claim>.csv,
<paper>-gates.csv.
"""

import gzip
from pathlib import Path

import pandas as pd

from lib.files import replace_file
from lib.study import gates
from lib.study.claim_compare import names, select

CONSTANT = ("profile", "paper", "unit")


def write(
    claims: list[dict], rows: pd.DataFrame, root: Path, packed: bool = False, profile: dict | None = None
) -> dict[str, dict]:
    """Write the rows that each claim's parts compare, also those that the profile's systems had with half of their
    training; a claim without any has no file.

    `claims` is the part of claims.yaml with its defaults filled in (`lib.study.claims.load_claims`). Returns by claim
    the file's address within `root` and how many rows it has. packed: the files are gzip's, <claim>.csv.gz.
    """
    written = {}
    for claim in claims:
        half = gates.halves(profile or {}, claim["paper"])
        table = compared(claim, rows, half)
        path = _save(table, root, claim["id"], packed)
        if path is not None:
            written[claim["id"]] = {"href": f"evidence/{path.name}", "rows": len(table)}
    return written


def there(claims: list[dict], root: Path) -> dict[str, dict]:
    """As `write`, of the tables that are in R/evidence."""
    found = [path for claim in claims for path in (root / "evidence").glob(f"{claim['id']}.csv*")]
    return {
        path.name.split(".")[0]: {"href": f"evidence/{path.name}", "rows": len(pd.read_csv(path))} for path in found
    }


def _save(table: pd.DataFrame, root: Path, name: str, packed: bool) -> Path | None:
    """R/evidence/<name>.csv or .csv.gz in the place of an earlier one of either kind; returns it, None without rows."""
    path = root / "evidence" / f"{name}.csv{'.gz' * packed}"
    for earlier in path.parent.glob(f"{name}.csv*"):
        earlier.unlink()
    if table.empty:
        return None
    written = table.to_csv(index=False, float_format="%.6g").encode()
    with replace_file(path) as temporary:  # a packed file has neither time nor name in it: same rows, same file
        temporary.write_bytes(gzip.compress(written, mtime=0) if packed else written)
    return path


def write_gates(papers: dict[str, dict], rows: pd.DataFrame, root: Path, packed: bool = False) -> None:
    """Write the rows that each paper's gates read: R/evidence/<paper>-gates.csv, or packed as in `write`."""
    for name, facts in papers.items():
        tables = [
            select(rows, {"paper": name} | gate[operand]).assign(part=gate["name"])
            for gate in facts.get("gates") or []
            for operand in gates.OPERANDS
            if operand in gate
        ]
        table = pd.concat(tables).drop(columns=["profile", "unit"], errors="ignore") if tables else pd.DataFrame()
        _save(table.dropna(axis="columns", how="all"), root, f"{name}-gates", packed)


def compared(claim: dict, rows: pd.DataFrame, half: dict[str, str]) -> pd.DataFrame:
    """The rows of every part of a claim, the part's name first, without the columns in which none has a value.

    half: the systems with half of the training, of whose rows a gate of the claim may have asked (`lib.study.gates`).
    """
    mine = rows[(rows["paper"] == claim["paper"]).fillna(False)]
    chosen = [_of_part(part, mine).assign(part=part["name"]) for part in claim["parts"]]
    if half:
        then = gates.with_half(mine, half)
        then = then[then["system"].isin(list(half))]
        named = {"system": lambda table: table["system"].replace(half)}
        chosen += [_of_part(part, then).assign(part=part["name"], **named) for part in claim["parts"]]
    table = pd.concat(chosen, ignore_index=True).drop(columns=list(CONSTANT), errors="ignore")
    return table[["part", *table.columns.drop("part")]].dropna(axis="columns", how="all")


def _of_part(part: dict, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that a part compares, and those that it asks something of before."""
    chosen = select(rows, part["where"], metric=part["metric"])
    wanted = [name for each in names(part) for name in (each if isinstance(each, list) else [each])]
    tables = [select(chosen, {part.get("factor", "system"): wanted}) if wanted else chosen]
    tables += [select(rows, each["where"], metric=each["metric"]) for each in part.get("requires") or []]
    tables += [select(rows, {"metric": part["along"]})] if "along" in part else []
    for key in ("levels_where", "only_where"):
        tables += [select(rows, part[key].get("where", {}), metric=part[key]["metric"])] if key in part else []
    return pd.concat(tables).drop_duplicates()
