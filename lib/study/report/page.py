"""An executed notebook as one HTML file that needs no network: audio and images inside, equations as MathML.

python -m lib page EXECUTED.ipynb PAGE.html
"""

import re
from pathlib import Path

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


def offline(markdown: str) -> str:
    """A text cell with its equations as MathML and its links to other chapters as links to their pages."""
    markdown = MATH.sub(_mathml, markdown)
    return CHAPTER_LINK.sub(lambda link: f"]({link['name']}.html{link['anchor'] or ''})", markdown)


def _mathml(equation: re.Match) -> str:
    from latex2mathml.converter import convert

    if equation["block"]:
        return convert(" ".join(equation["block"].split()), display="block")
    return convert(equation["inline"])


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
    html, _ = exporter.from_notebook_node(content, {"metadata": {"name": notebook.stem}})
    html = re.sub(r"<script[^>]*\bsrc=\"\"[^>]*>\s*</script>", "", html)
    html = re.sub(r"(?=</head>)", lambda _: LOOK, html, count=1)
    html = re.sub(r"<body[^>]*>", lambda body: f"{body[0]}\n{BACK}", html, count=1)
    with replace_file(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
