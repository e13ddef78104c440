"""docs/dependencies.md and CITATION.cff against the pins and the papers of the study."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from lib.workflow import doctor

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
PAPERS = ("2404.04645", "2406.04240", "2308.14909", "2311.10804")


def table() -> dict[str, list[str]]:
    """The cells after the name of every line of the table of pins, by the package's name."""
    part = PAGE.split("## What each pin is for")[1].split("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")
    ]
    return {name: cells for name, *cells in lines[2:]}


def pins() -> dict[str, str]:
    """Version of every direct dependency by its name, those of optional groups too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    return dict(pin.split("==") for group in groups for pin in group)


def test_the_table_lists_every_direct_pin_with_its_version():
    assert {name: cells[0] for name, cells in table().items()} == pins()


def test_every_pin_has_a_licence_a_purpose_and_what_breaks():
    assert all(len(cells) == 4 and all(cells) for cells in table().values())


def test_the_licences_that_packages_state_by_identifier_are_those_of_the_table():
    stated = {}
    for name in table():
        try:
            stated[name] = importlib.metadata.metadata(name).get("License-Expression")
        except importlib.metadata.PackageNotFoundError:
            continue  # of an optional group
    known = {name: said for name, said in stated.items() if said}
    assert len(known) > 10
    for name, said in known.items():
        for part in re.split(r" AND | OR ", said):
            assert part in table()[name][1], name


def needed(pins: Iterable[str]) -> dict[str, list[str]]:
    """Every package that the pins need here, and which of its requirements the installed versions do not meet."""
    found, queue = {}, [Requirement(pin) for pin in pins]
    while queue:
        wanted = queue.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        extras = {"", *wanted.extras}
        if (name, *sorted(extras)) in found:
            continue
        asked = [Requirement(line) for line in importlib.metadata.requires(name) or []]
        asked = [r for r in asked if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras)]
        unmet = [r for r in asked if not r.specifier.contains(importlib.metadata.version(r.name), prereleases=True)]
        found[name, *sorted(extras)] = [str(r) for r in unmet]
        queue += asked
    return {name: unmet for (name, *_), unmet in found.items()}


def test_whatever_the_pinned_packages_need_is_pinned_and_meets_their_requirements():
    own, others = doctor.pins()
    found = needed(own)
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in own | others}
    of_a_gpu = {name for name in found if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert set(found) - of_a_gpu - pinned == set()
    assert {name: unmet for name, unmet in found.items() if unmet} == {}


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_can_be_cited(paper):
    assert PAGE.count(f"arXiv:{paper}") == 1
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert [r["title"] for r in record["references"] if r["identifiers"][0]["value"] == f"arXiv:{paper}"]


def test_the_citation_file_has_what_its_format_demands():
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert record["cff-version"] == "1.2.0" and record["message"] and record["title"] and record["authors"]
    assert record["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
