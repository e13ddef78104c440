"""An executed notebook as one HTML file that needs no network: audio and images inside, equations as MathML.

python -m lib page EXECUTED.ipynb PAGE.html
"""

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import jinja2

from lib.cli import Verb
from lib.files import replace_file

MATH = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<inline>[^$\n]+?)\$(?![\w$])", re.DOTALL)
CHAPTER_LINK = re.compile(r"\]\((?P<name>[\w-]+)\.ipynb(?P<anchor>#[\w-]+)?\)")
FETCHED = ("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url", "widget_renderer_url")


BACK = (
    '<nav class="back" aria-label="Report"><a href="../index.html">Claims and results</a> '
    '<a href="../methods.html">Methods</a></nav>'
)
LOOK = """<style>
.back { margin: 1rem auto 0; padding: 0 1.2rem; font: 0.9rem system-ui, sans-serif; }
.back a { margin-right: 1rem; color: #1d4f8c; }
@media print {
  .back, audio { display: none; }
  .jp-Cell pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .jp-RenderedHTMLCommon table { font-size: 8pt; }
  figure, img { break-inside: avoid; }
}
</style>"""


def environment() -> jinja2.Environment:
    """The templates of the report's pages."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    strict = jinja2.StrictUndefined
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=strict)


def offline(markdown: str) -> str:
    """A text cell with its equations as MathML and its links to other chapters as links to their pages."""
    return CHAPTER_LINK.sub(lambda link: f"]({link['name']}.html{link['anchor'] or ''})", equations(markdown))


def equations(markdown: str) -> str:
    """Markdown with its equations as MathML. Raises ValueError as `mathml` does."""
    return MATH.sub(
        lambda found: mathml(found["block"] or found["inline"], "block" if found["block"] else "inline"), markdown
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


def render(notebook: Path, page: Path) -> None:
    """Write the page of an executed notebook.

    Raises:
        ValueError: the file is missing or is not a notebook.
    """
    import nbformat
    from nbconvert import HTMLExporter

    try:
        content = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError) as error:
        raise ValueError(f"{notebook.name} is not an executed notebook: run the workflow again") from error
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = offline(cell.source)
    exporter = HTMLExporter(**dict.fromkeys(FETCHED, ""))
    written, _ = exporter.from_notebook_node(content, {"metadata": {"name": notebook.stem}})
    written = re.sub(r"<script[^>]*\bsrc=\"\"[^>]*>\s*</script>", "", written)
    written = re.sub(r"(?=</head>)", lambda _: LOOK, written, count=1)
    written = re.sub(r"<body[^>]*>", lambda body: f"{body[0]}\n{BACK}", written, count=1)
    with replace_file(page) as temporary:
        temporary.write_text(written, encoding="utf-8")


VERBS = {
    "page": Verb(
        lambda options: render(options.notebook, options.page),
        "python -m lib page results/demo/notebooks/00_corpus.ipynb 00_corpus.html",
        (("notebook", {"type": Path}), ("page", {"type": Path})),
    )
}
