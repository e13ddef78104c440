"""Chapters executed in this process, with the profiles that the test has: pages without a kernel's start."""

from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lib.files import ROOT
from lib.study.report.page import render


def page(chapter: str, folder: Path, **parameters: object) -> str:
    """The page of a chapter, its parameters changed as papermill does. Raises what a cell raises."""
    notebook, shell = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", as_version=4), InteractiveShell.instance()
    values: list = []
    shell.display_trap.hook = values.append  # the last expression's value
    try:
        for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
            values.clear()
            with capture_output() as shown:
                shell.run_cell(cell.source).raise_error()
            if "parameters" in cell.metadata.get("tags", []):
                shell.push(parameters)
            told = [nbformat.v4.new_output("stream", text=shown.stdout)] if shown.stdout else []
            found = [each.data for each in shown.outputs]
            found += [shell.display_formatter.format(value)[0] for value in values if value is not None]
            cell.outputs = told + [nbformat.v4.new_output("display_data", data) for data in found]
    finally:
        InteractiveShell.clear_instance()
    nbformat.write(notebook, folder / f"{chapter}.ipynb")
    render(folder / f"{chapter}.ipynb", folder / f"{chapter}.html")
    return (folder / f"{chapter}.html").read_text()
