"""Chapter pages: equations as MathML, links between pages, nothing fetched."""

import re

import nbformat
import pytest

from lib.files import ROOT
from lib.study.report import page


def test_equations_become_mathml_and_prices_do_not():
    text = page.offline("Energy $E = mc^2$ and\n\n$$\\sum_{i=1}^{n} x_i$$\n\ncosts \\$5 or $6 today.")
    assert text.count("<math") == 2
    assert 'display="block"' in text
    assert "costs \\$5 or $6 today." in text


def test_links_between_chapters_become_links_between_pages():
    text = page.offline("[next](02_hypertts_evaluate.ipynb#HT1) and [paper](https://arxiv.org/abs/2404.04645)")
    assert text == "[next](02_hypertts_evaluate.html#HT1) and [paper](https://arxiv.org/abs/2404.04645)"


def test_a_page_fetches_nothing(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("# Title\n\n$h \\leftarrow h W_d$"), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    page.render(tmp_path / "a.ipynb", tmp_path / "a.html")
    html = (tmp_path / "a.html").read_text()
    assert "<msub><mi>W</mi><mi>d</mi></msub></mrow></math>" in html
    assert "Title" in html
    assert html.index("<body") < html.index('href="../index.html"') < html.rindex("Title")
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']https?:", html) == []


def test_a_file_that_is_no_notebook_is_named(tmp_path):
    (tmp_path / "a.ipynb").write_text("{")
    with pytest.raises(ValueError, match="a.ipynb is not an executed notebook"):
        page.render(tmp_path / "a.ipynb", tmp_path / "a.html")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_equation_of_the_chapters_can_be_shown(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            assert "$$" not in page.offline(cell.source)
