"""What a step of the study depends on in the code: a digest that changes only when that code changes.

It covers a module or a notebook and every file of `lib` that it reaches through imports, without comments and
docstrings: reformatting a file, a fresh clone or a notebook saved with its outputs changes nothing. An import by a
string that begins with ``lib.`` is followed, one that ends in a dot stands for the whole package.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path

from lib.files import ROOT

BY_STRING = re.compile(r"lib(\.\w+)+\.?")
DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def code_digest(start: str, *without: str, prose: bool = False, root: Path = ROOT) -> str:
    """Sixteen hexadecimal digits of the code that `start` reaches.

    start: a notebook's path relative to the project, or a module's dotted name. without: modules and packages that are
    not followed, because the step reads from files what they make. prose: whether a notebook's text counts as well.
    root: the folder that holds `lib`.

    Raises ValueError for no such notebook or module, and for code that is not valid Python.
    """
    found = reached(start, *without, root=root)
    told = sorted(found.items()) + (_cells(root / start, "markdown") if prose else [])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def reached(start: str, *without: str, root: Path = ROOT) -> dict[str, str]:
    """The code of each module that `start` reaches, its own among them."""
    if start.endswith(".ipynb"):
        cells = re.sub(r"(?m)^\s*[%!?].*$", "", "\n".join(_cells(root / start, "code")))  # lines for IPython or a shell
        code, waiting = _parse(cells, start, start)
        found = {start: code}
    elif _file(start, root) is None:
        raise ValueError(f"{start}: no such module in the library; correct the name in the Snakefile.")
    else:
        found, waiting = {}, [start]
    waiting = list(waiting)
    while waiting:
        name = waiting.pop()
        path = _file(name, root)
        if path is None or name in found or any(f"{name}.".startswith(f"{each}.") for each in without):
            continue
        found[name], imported = _read(name, path, path.stat().st_mtime_ns)
        waiting += [*imported, *_inside(imported, root), name.rpartition(".")[0]]
    return found


@cache
def _read(name: str, path: Path, modified: int) -> tuple[str, list[str]]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return _parse(path.read_text(encoding="utf-8"), str(path), package)


def _parse(source: str, where: str, package: str) -> tuple[str, list[str]]:
    """Code without comments and docstrings, and the dotted names that it imports."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"{where}: not valid Python ({error.msg}, line {error.lineno}).") from None
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source_of = ".".join([*above, *([node.module] if node.module else [])])
            names += [source_of, *(f"{source_of}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Constant) and BY_STRING.fullmatch(str(node.value)):
            names.append(node.value)
    return ast.dump(tree), names


def _inside(names: list[str], root: Path) -> list[str]:
    """The modules of the packages whose names end in a dot."""
    folders = [root.joinpath(*name.strip(".").split(".")) for name in names if name.endswith(".")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    return [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in files]


def _file(name: str, root: Path) -> Path | None:
    path = root.joinpath(*name.split("."))
    found = (each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file())
    return next(found, None) if name.split(".")[0] == "lib" else None


def _cells(path: Path, kind: str) -> list[str]:
    """Sources of the cells of one kind ("code" or "markdown") of a notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise ValueError(f"{path}: no such notebook; restore it from the repository.") from None
    except (json.JSONDecodeError, KeyError):
        raise ValueError(f"{path}: not a notebook; restore it from the repository.") from None
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]
