"""The methods of the papers on one page, with their equations: results/<profile>/methods.html.

The texts are docs/methods/<paper>.md. Equations become MathML, which browsers draw and screen readers speak; the page
fetches nothing. It links the chapters whose pages are there.
"""

import json
import re
from pathlib import Path

import mistune

from lib import study
from lib.files import ROOT, replace_file
from lib.study.claims import load_claims
from lib.study.registry import Paper, papers
from lib.study.report.page import environment, equations

TEXTS = ROOT / "docs" / "methods"


def read_text(path: Path) -> tuple[str, str]:
    """The title of a method's text, its first line, and the rest as HTML.

    Raises:
        ValueError: the file is missing, has no title, or an equation cannot be converted; the sentence names it.
    """
    try:
        title, _, body = path.read_text(encoding="utf-8").partition("\n")
    except OSError as error:
        raise ValueError(f"{path.name} is missing in docs/methods: restore it from git") from error
    if not title.startswith("# "):
        raise ValueError(f"{path.name} begins with no title: write it in the first line after '# '")
    try:
        body = re.sub(r"^(#+ )", r"#\1", equations(body), flags=re.MULTILINE)  # below the page's own headings
        return title[2:].strip(), mistune.create_markdown(escape=False, plugins=["table"])(body)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def chapters(root: Path, paper: Paper) -> list[dict]:
    """Link and title of each chapter of a paper whose page is there, in order."""
    there = [name for name in paper.chapters if (root / "notebooks" / f"{name}.html").is_file()]
    return [{"href": f"notebooks/{name}.html", "title": _title(name)} for name in there]


def evidence(root: Path, paper: Paper) -> list[dict]:
    """Id, statement and link of each claim of a paper whose chapter's page has its section."""
    found = []
    for claim in load_claims()["claims"]:
        page = root / "notebooks" / f"{claim['notebook']}.html"
        if claim["paper"] == paper.id and page.is_file() and f'id="{claim["anchor"]}"' in page.read_text("utf-8"):
            href = f"notebooks/{page.name}#{claim['anchor']}"
            found.append({"id": claim["id"], "statement": claim["statement"], "href": href})
    return found


def _title(chapter: str) -> str:
    """The first heading of a notebook; its name where it has none."""
    try:
        cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return chapter
    lines = [line for cell in cells if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).split("\n")]
    return next((line[2:].strip() for line in lines if line.startswith("# ")), chapter)


def write_page(profile: dict) -> Path:
    """Write R/methods.html and return its path. Raises ValueError as `read_text` does."""
    root, told = study.results_root(profile), []
    for paper in papers().values():
        if paper.across:
            continue
        title, body = read_text(TEXTS / f"{paper.key}.md")
        facts = {"id": paper.id, "reference": paper.published, "title": title, "body": body}
        told.append(facts | {"chapters": chapters(root, paper), "claims": evidence(root, paper)})
    target = root / "methods.html"
    page = environment().get_template("methods.html.j2").render(profile=profile["name"], papers=told)
    with replace_file(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target
