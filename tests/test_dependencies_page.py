"""docs/dependencies.md and CITATION.cff against the pins and the papers of the study."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_can_be_cited(paper):
    assert PAGE.count(f"arXiv:{paper}") == 1
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert [r["title"] for r in record["references"] if r["identifiers"][0]["value"] == f"arXiv:{paper}"]


def test_the_citation_file_has_what_its_format_demands():
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert record["cff-version"] == "1.2.0" and record["message"] and record["title"] and record["authors"]
    assert record["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
