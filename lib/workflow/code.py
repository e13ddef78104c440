"""What a step of the study depends on in the code: a digest that changes only when that code changes.

Starting from a notebook or from one function, every definition of ``lib`` that it can reach by name is
followed through the imports, and the digest covers those definitions without comments and docstrings. So a
change of ``lib/metrics/mcd.py`` reaches scoring but not training, although one module holds both; and
reformatting a file, a fresh clone or a notebook saved with its outputs changes nothing.

Names put together at run time are the limit: an import by a string that begins with ``lib.`` is followed (a
string that ends in a dot stands for the whole package), other ways of hiding a name are not.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from lib.files import ROOT

IMPORTED_BY_STRING = re.compile(r"lib(\.\w+)+\.?")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class Module:
    """One parsed module: its definitions by name, what its names import, and the statements run on import."""

    name: str
    package: bool
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    always: list[ast.stmt] = field(default_factory=list)


def code_digest(start: str, without: str = "", prose: bool = False, root: Path = ROOT) -> str:
    """Digest of the code that `start` can reach.

    Args:
        start: a notebook's path relative to the project, or ``package.module:function``.
        without: a package whose results the step reads from files, such as ``lib.corpora``: not followed.
        prose: for a notebook, whether its text counts as well (true where the executed notebook is rendered).
        root: the project folder, which holds ``lib``.

    Returns:
        Sixteen hexadecimal digits.

    Raises:
        ValueError: no such notebook, module or function, or one that is not valid Python.
    """
    digest = hashlib.sha256()
    for part, code in sorted(_reach(*_start(start, root), without, root).items()):
        digest.update(f"{part} {code}\n".encode())
    if prose:
        digest.update(json.dumps(_cells(root / start, "markdown")).encode())
    return digest.hexdigest()[:16]


def modules(start: str, without: str = "", root: Path = ROOT) -> set[str]:
    """Modules of ``lib`` in which `start`, as in `code_digest`, reaches at least one definition."""
    return {part.partition(":")[0] for part in _reach(*_start(start, root), without, root)} - {""}


def _start(start: str, root: Path) -> tuple[Module, str]:
    """The module and the definition in it where the search begins; of a notebook, every cell."""
    if start.endswith(".ipynb"):
        cells = _cells(root / start, "code")
        code = re.sub(r"(?m)^\s*[%!?].*$", "", "\n".join(cells))  # lines for IPython or the shell
        return _parse("", False, code, start), "*"
    name, _, function = start.partition(":")
    module = _module(name, root)
    if module is None or function not in module.definitions:
        raise ValueError(f"{start}: no such function in the library; correct the name in the Snakefile.")
    return module, function


def _reach(first: Module, start: str, without: str, root: Path) -> dict[str, str]:
    """Follow names from a definition ("*": all in it); the code of each ``module:definition`` reached."""
    reached: dict[str, str] = {}
    waiting = [(first.name, start)]
    while waiting:
        name, definition = waiting.pop()
        if without and f"{name}.".startswith(f"{without}."):
            continue
        module = first if name == first.name else _module(name, root)
        if module is None or f"{name}:{definition}" in reached:
            continue
        if definition == "*":
            waiting += [(name, each) for each in module.definitions]
            waiting += [(each, "*") for each in _submodules(name, root)]
            waiting += [_resolve(target, root) for target in module.imports.values() if name]
        elif definition in module.imports:
            waiting.append(_resolve(module.imports[definition], root))
        statements = module.always + module.definitions.get(definition, [])
        reached[f"{name}:{definition}"] = "\n".join(_bare(each) for each in statements)
        for statement in statements:
            waiting += _references(statement, module, root)
    return reached


def _references(statement: ast.stmt, module: Module, root: Path) -> Iterator[tuple[str, str]]:
    """Parts of the library that a statement names."""
    imports = module.imports | _imports(statement, module)
    used_in_attribute = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute):
            path, base = [], node
            while isinstance(base, ast.Attribute):
                path.insert(0, base.attr)
                base = base.value
            if isinstance(base, ast.Name) and base.id in imports and base not in used_in_attribute:
                used_in_attribute.add(base)
                yield _resolve(".".join([imports[base.id], *path]), root)
        elif isinstance(node, ast.Name) and node not in used_in_attribute:
            if node.id in imports:
                yield _resolve(imports[node.id], root)
            elif node.id in module.definitions:
                yield module.name, node.id
        elif isinstance(node, ast.Constant) and IMPORTED_BY_STRING.fullmatch(str(node.value)):
            yield _resolve(node.value.rstrip("."), root)


def _resolve(path: str, root: Path) -> tuple[str, str]:
    """The longest module in a dotted path and the definition that follows ("*": all of them)."""
    names = path.split(".")
    for length in range(len(names), 0, -1):
        if _file(".".join(names[:length]), root):
            return ".".join(names[:length]), names[length] if length < len(names) else "*"
    return path, "*"


def _imports(tree: ast.AST, module: Module) -> dict[str, str]:
    """Local names that imports of the library inside `tree` bind, with their dotted paths."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                path = each.name if each.asname else each.name.split(".")[0]
                names[each.asname or path] = path
        elif isinstance(node, ast.ImportFrom):
            parents = module.name.split(".") if module.package else module.name.split(".")[:-1]
            parents = parents[: len(parents) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for each in node.names:
                path = source if each.name == "*" else f"{source}.{each.name}"
                names[each.asname or (path if each.name == "*" else each.name)] = path
    return {name: path for name, path in names.items() if path.split(".")[0] == "lib"}


def _parse(name: str, package: bool, source: str, where: str) -> Module:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"{where}: not valid Python ({error.msg}, line {error.lineno}).") from None
    module = Module(name, package)
    for statement in tree.body:
        if isinstance(statement, DEFINITIONS):
            module.definitions.setdefault(statement.name, []).append(statement)
            continue
        if not name:  # a notebook: every cell runs
            module.imports |= _imports(statement, module)
            module.definitions.setdefault("*", []).append(statement)
            continue
        if isinstance(statement, ast.If) and "__main__" in ast.dump(statement.test):
            continue
        module.imports |= _imports(statement, module)
        targets = [each.id for each in _targets(statement) if isinstance(each, ast.Name)]
        for target in targets:
            module.definitions.setdefault(target, []).append(statement)
        if not targets and not isinstance(statement, ast.Import | ast.ImportFrom) and not _is_text(statement):
            module.always.append(statement)
    return module


def _targets(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return [each for target in statement.targets for each in ast.walk(target)]
    return [statement.target] if isinstance(statement, ast.AnnAssign | ast.AugAssign) else []


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


@cache
def _bare(statement: ast.stmt) -> str:
    """The code of a statement without comments, positions and docstrings."""
    statement = ast.parse(ast.unparse(statement))
    for node in ast.walk(statement):
        if isinstance(node, DEFINITIONS) and _is_text(node.body[0]):
            node.body = node.body[1:]
    return ast.dump(statement)


def _cells(path: Path, kind: str) -> list[str]:
    """Sources of the cells of one kind ("code" or "markdown") of a notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise ValueError(f"{path}: no such notebook; restore it from the repository.") from None
    except (json.JSONDecodeError, KeyError):
        raise ValueError(f"{path}: not a notebook; restore it from the repository.") from None
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def _file(name: str, root: Path) -> Path | None:
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _submodules(name: str, root: Path) -> list[str]:
    path = _file(name, root) if name else None
    if path is None or path.name != "__init__.py":
        return []
    files = [each for each in path.parent.rglob("*.py") if each.name != "__init__.py"]
    return [".".join(each.relative_to(root).with_suffix("").parts) for each in files]


def _module(name: str, root: Path) -> Module | None:
    path = _file(name, root) if name else None
    if path is None:
        return None
    return _parsed_file(name, path, path.stat().st_mtime_ns)


@cache
def _parsed_file(name: str, path: Path, modified: int) -> Module:
    return _parse(name, path.name == "__init__.py", path.read_text(encoding="utf-8"), str(path))
