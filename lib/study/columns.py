"""Claims on other speech than the study's own, in a column beside it: `columns` of notebooks/claims.yaml.

Recordings that no column is about (`ha.corpus.source: torgo`) are judged by the rules as they are, and named.

A column belongs to the profile whose corpus is its source. Its claims are the paper's, with its own cohorts in the
place of the paper's and whatever it says anew; the rules beside it stay as they are.
"""

from pathlib import Path

from lib.files import load_json
from lib.study.profile import StudyError
from lib.study.registry import papers


def of(content: dict, profile: dict) -> dict:
    """The claims file (`lib.study.claims.load_claims`) as it is for a profile: with its column's rules, if it has one.

    `column` in it is the column's paper. Applied twice it changes nothing.
    """
    if "column" in content:
        return content
    for facts in (content.get("columns") or {}).values():
        if (profile.get(facts["paper"].lower()) or {}).get("corpus", {}).get("source") == facts["source"]:
            return _moved(content, facts)
    return content | {"papers": {k: _recorded(facts, profile.get(k.lower())) for k, facts in content["papers"].items()}}


def _recorded(facts: dict, section: dict | None) -> dict:
    """What a paper says of its speech, of recordings (`recorded`) where the profile's section names them."""
    source = ((section or {}).get("corpus") or {}).get("source")
    told = facts.get("recorded")
    return facts | told | {"speech": told["speech"].format(Path(source).name)} if source and told else facts


def beside(content: dict, root: Path) -> dict[str, list[dict]]:
    """The records of each column that was judged, by its name for people.

    They lie beside the results in `root`, or in a folder of the column's profile within it. Raises StudyError for a
    claims.json that cannot be read.
    """
    found = {}
    for facts in (content.get("columns") or {}).values():
        places = [root / facts["profile"] / "claims.json", root.parent / facts["profile"] / "claims.json"]
        path = next((place for place in places if place.exists() and place.parent != root), None)
        if path is not None:
            told = f"{path.name} of {path.parent.name} is damaged: judge its claims again"
            found[facts["name"]] = load_json(path, lambda _, told=told: StudyError(told))
    return found


def groups(records: list[dict], beside: dict[str, list[dict]]) -> list[tuple[str, list[dict]]]:
    """Records by paper, each with its name, and after a paper's those of its columns (of `beside`)."""
    found = []
    for paper in dict.fromkeys(record["paper"] for record in records):
        name = papers()[paper.lower()].name
        found.append((name, [record for record in records if record["paper"] == paper]))
        for column, theirs in beside.items():
            if mine := [record for record in theirs if record["paper"] == paper]:
                found.append((f"{name}, on {column}", mine))
    return found


def _moved(content: dict, facts: dict) -> dict:
    paper, changes = facts["paper"], facts.get("claims") or {}
    known = _with_cohorts(content["papers"][paper], facts) | facts["paper_facts"] | {"speech": facts["name"]}
    claims, amended = [], facts["amended"]
    for claim in content["claims"]:
        if claim["paper"] == paper:
            own = dict(changes.get(claim["id"]) or {})
            said = amended | own.pop("amended", {}) | {"date": amended["date"]}
            claim = _with_cohorts(claim, facts) | own | {"amended": said}
        claims.append(claim)
    shared = {key: amended[key] for key in ("date", "seen")} | {"text": amended["why"]}
    shared["claims"] = [claim["id"] for claim in claims if claim["paper"] == paper]
    every, changes = content["papers"] | {paper: known}, [*content["amendments"], shared]
    return content | {"papers": every, "claims": claims, "amendments": changes, "columns": {}, "column": paper}


def _with_cohorts(said: object, facts: dict) -> object:
    """A copy in which the column's cohorts stand wherever the paper's stood."""
    if said == facts["instead_of"]:
        return facts["cohorts"]
    if isinstance(said, dict):
        return {key: _with_cohorts(value, facts) for key, value in said.items()}
    return [_with_cohorts(value, facts) for value in said] if isinstance(said, list) else said
