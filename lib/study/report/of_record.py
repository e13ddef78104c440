"""The run of record beside another profile's: whether a claim's estimate lies inside the interval of the committed run.

A demo trains too little to test a claim. What its number can tell is whether it agrees with the committed one.
"""

from lib.study.planning import REFERENCE
from lib.study.report.evidence import exists, read_json

RECORD = "full"  # the profile of record


def committed() -> dict[str, dict]:
    """The claims of the run of record by id; those that it has not run are left out, and all where none is committed.

    Raises StudyError, one sentence, for a claims.json that cannot be read.
    """
    if not exists(REFERENCE, "claims.json"):
        return {}
    records = read_json(REFERENCE / "claims.json", "git checkout results/reference")
    return {record["id"]: record for record in records if record["profile"] == RECORD}


def beside(record: dict, committed: dict[str, dict]) -> dict | None:
    """The committed record of a claim of another profile, with where (`lies`) the claim's estimate lies: inside, below
    or above its interval; None where either has no estimate, on other speech, and for the run of record itself.
    """
    known = committed.get(record["id"])
    if known is None or record["profile"] == known["profile"] or None in (record["value"], known["ci_low"]):
        return None
    if (record["speech"], record["parts"][0]["name"]) != (known["speech"], known["parts"][0]["name"]):
        return None
    below, above = record["value"] < known["ci_low"], record["value"] > known["ci_high"]
    return known | {"lies": "below" if below else "above" if above else "inside"}
