"""The methods of the four papers on one page, with their equations: results/<profile>/methods.html.

    python -m lib report methods --profile demo

The texts are docs/methods/<paper>.md. Equations become MathML, which browsers draw and screen readers speak; the
page fetches nothing. It links the chapters whose pages are there.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import jinja2
import mistune

from lib import study
from lib.files import ROOT, replace_file
from lib.study.claims import load_claims

TEXTS, TEMPLATES = ROOT / "docs" / "methods", ROOT / "lib" / "study" / "report" / "templates"


@dataclass(frozen=True)
class Paper:
    """A paper's id, where it is published, and the digit that its chapters' names begin with."""

    id: str
    reference: str
    chapters: str


PAPERS = (
    Paper("HT", "arXiv 2404.04645, LREC-COLING 2024", "0"),
    Paper("HA", "arXiv 2406.04240, TACL 2024", "1"),
    Paper("SP", "arXiv 2308.14909, Interspeech 2023", "2"),
    Paper("LD", "arXiv 2311.10804", "3"),
)


def mathml(latex: str, display: str = "inline") -> str:
    """An equation as MathML, its source as `alttext`.

    Raises:
        ValueError: it cannot be converted, or uses a command that is not known and would be shown as such.
    """
    from latex2mathml.converter import convert

    latex = " ".join(latex.split())
    try:
        converted = convert(latex, display=display)
        shown = "".join(ElementTree.fromstring(converted).itertext())
    except Exception as error:  # the converter raises many kinds
        raise ValueError(
            f"the equation {latex!r} cannot be converted ({type(error).__name__}): write it anew"
        ) from error
    if "\\" in shown or "&" in shown:
        raise ValueError(f"the equation {latex!r} has a command that MathML output lacks: write it without")
    return converted.replace("<math ", f'<math alttext="{html.escape(latex)}" ', 1)


class Renderer(mistune.HTMLRenderer):
    """Markdown to the report's HTML: the file's headings below the page's, wide things scroll in their own box."""

    def heading(self, text: str, level: int, **attributes) -> str:
        return f"<h{level + 1}>{text}</h{level + 1}>\n"

    def inline_math(self, text: str) -> str:
        return mathml(text)

    def block_math(self, text: str) -> str:
        return f'<div class="equation scroll" tabindex="0">{mathml(text, "block")}</div>\n'

    def table(self, text: str) -> str:
        return f'<div class="scroll" tabindex="0"><table class="rows">{text}</table></div>\n'


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
        return title[2:].strip(), mistune.create_markdown(renderer=Renderer(), plugins=["math", "table"])(body)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def chapters(root: Path, paper: Paper) -> list[dict]:
    """Link and title of each chapter of a paper whose page is there, in order."""
    pages = sorted((root / "notebooks").glob(f"{paper.chapters}[0-9]_*.html"))
    return [{"href": f"notebooks/{page.name}", "title": _title(page.stem)} for page in pages]


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
    root = study.results_root(profile)
    papers = []
    for paper in PAPERS:
        title, body = read_text(TEXTS / f"{paper.id.lower()}.md")
        facts = {"id": paper.id, "reference": paper.reference, "title": title, "body": body}
        papers.append(facts | {"chapters": chapters(root, paper), "claims": evidence(root, paper)})
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    target = root / "methods.html"
    page = environment.get_template("methods.html.j2").render(profile=profile["name"], papers=papers)
    with replace_file(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target
