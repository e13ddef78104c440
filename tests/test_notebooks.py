"""The notebooks as committed: clean, parameterised, without long code, and each a step of the workflow."""

import ast
import json
import re
from pathlib import Path

import pytest

from lib.study.registry import papers

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_DEFINITION = 6  # lines


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def code(path: Path) -> list[str]:
    """Sources of the code cells without lines for IPython or the shell."""
    sources = ["".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    return [re.sub(r"(?m)^\s*[%!].*$", "", source) for source in sources]


def test_every_notebook_is_a_step_of_the_workflow():
    of_papers = {name for paper in papers().values() for name in paper.chapters}
    about_the_study = set(re.findall(r'"(\d\d_\w+)"', (ROOT / "Snakefile").read_text()))
    assert of_papers | about_the_study == {path.stem for path in NOTEBOOKS if re.match(r"\d\d_", path.stem)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
    cells = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_falls_to_the_smoke_profile_and_takes_profile_and_device(path):
    (cell,) = [cell for cell in read(path)["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    values = {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse("".join(cell["source"])).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    }
    assert values["profile"] == "smoke" and "device" in values


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_a_kernel_that_every_environment_has(path):
    kernel = read(path)["metadata"]["kernelspec"]
    assert (kernel["name"], kernel["language"]) == ("python3", "python")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing_longer_than_a_few_lines(path):
    definitions = [
        node
        for source in code(path)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert [node.name for node in definitions if node.end_lineno - node.lineno >= LONGEST_DEFINITION] == []


def test_chapters_follow_one_another_in_the_order_of_their_numbers():
    names = [path.stem for path in NOTEBOOKS if re.match(r"\d\d_", path.stem)]
    last = {name: "".join(read(ROOT / "notebooks" / f"{name}.ipynb")["cells"][-1]["source"]) for name in names}
    for before, after in zip(names[:-1], names[1:], strict=True):
        assert re.search(rf"Next: \[[^]]+\]\({after}\.ipynb\)", last[before]), f"{before} does not lead to {after}"
        assert re.search(rf"Previous: \[[^]]+\]\({before}\.ipynb\)", last[after]), f"{after} does not lead to {before}"


def test_links_between_notebooks_lead_to_sections_that_are_there():
    for path in NOTEBOOKS:
        text = "\n".join("".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "markdown")
        for name, anchor in re.findall(r"\]\(([\w-]+)\.ipynb(?:#([\w-]+))?\)", text):
            target = ROOT / "notebooks" / f"{name}.ipynb"
            assert target.is_file(), f"{path.name} links {name}"
            there = json.dumps(read(target)["cells"]).replace("\\", "")
            assert not anchor or f'id="{anchor}"' in there, f"{path.name} links {name}#{anchor}"
