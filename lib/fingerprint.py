"""What a step of the study depends on in the code: a digest that changes only when that code changes.

Starting from a notebook or from one function, every definition of ``lib`` that it can reach by name is followed
through the imports, and the digest covers those definitions without comments and docstrings. So a change of
``lib/metrics/mcd.py`` reaches scoring but not training, although one module holds both, and reformatting a file,
a fresh clone or a notebook saved with its outputs changes nothing.

Names put together at run time are the limit: an import by a string that begins with ``lib.`` is followed (a string
ending in a dot stands for the whole package), other ways of hiding a name are not.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORTED_BY_STRING = re.compile(r"lib(\.\w+)+\.?")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class Module:
    """One parsed module: its definitions by name, what its names import, and the statements run on import."""

    name: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    always: list[ast.stmt] = field(default_factory=list)


def fingerprint(start: str, prose: bool = False, root: Path = ROOT) -> str:
    """Digest of the code that `start` can reach.

    Args:
        start: a notebook's path relative to the project, or ``package.module:function``.
        prose: for a notebook, whether its text counts as well (true where the executed notebook is rendered).
        root: the project folder, which holds ``lib``.

    Returns:
        Sixteen hexadecimal digits.

    Raises:
        ValueError: no such notebook, module or function, or one that is not valid Python.
    """
    digest = hashlib.sha256()
    if start.endswith(".ipynb"):
        cells = _cells(root / start)
        module = _parse("", False, "\n".join(source for kind, source in cells if kind == "code"), start)
        parts = [("", "*")]
        if prose:
            digest.update(json.dumps([source for kind, source in cells if kind == "markdown"]).encode())
    else:
        name, _, function = start.partition(":")
        module = _module(name, root)
        if module is None or function not in module.definitions:
            raise ValueError(f"{start}: no such function in the library; correct the name in the Snakefile.")
        parts = [(name, function)]
    for part, statement in sorted(_reach(parts, module, root).items()):
        digest.update(f"{part} {statement}\n".encode())
    return digest.hexdigest()[:16]


def modules(start: str, root: Path = ROOT) -> set[str]:
    """Names of the modules of ``lib`` in which `start` (as in `fingerprint`) reaches at least one definition."""
    if start.endswith(".ipynb"):
        code = "\n".join(source for kind, source in _cells(root / start) if kind == "code")
        reached = _reach([("", "*")], _parse("", False, code, start), root)
    else:
        name, _, function = start.partition(":")
        reached = _reach([(name, function)], _module(name, root), root)
    return {part.partition(":")[0] for part in reached} - {""}


def _reach(parts: list[tuple[str, str]], first: Module, root: Path) -> dict[str, str]:
    """Follow names from `parts` (module, definition or "*"); map each part reached to its code."""
    reached: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if part in seen:
            continue
        seen.add(part)
        name, definition = part
        module = first if name == first.name else _module(name, root)
        if module is None:
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
    imports = module.imports | _imports(statement, module.name, package=False)
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
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if IMPORTED_BY_STRING.fullmatch(node.value):
                yield _resolve(node.value.rstrip("."), root)


def _resolve(path: str, root: Path) -> tuple[str, str]:
    """Split a dotted path into the longest module in it and the definition that follows ("*": all of them)."""
    names = path.split(".")
    for length in range(len(names), 0, -1):
        if _file(".".join(names[:length]), root):
            return ".".join(names[:length]), names[length] if length < len(names) else "*"
    return path, "*"


def _imports(tree: ast.AST, module: str, package: bool) -> dict[str, str]:
    """Local names that imports of the library inside `tree` bind, with their dotted paths."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                path = each.name if each.asname else each.name.split(".")[0]
                names[each.asname or path] = path
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".") if package else module.split(".")[:-1]
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
    module = Module(name)
    for statement in tree.body:
        if isinstance(statement, DEFINITIONS):
            module.definitions.setdefault(statement.name, []).append(statement)
            continue
        if not name:  # a notebook: every cell runs
            module.imports |= _imports(statement, name, package)
            module.definitions.setdefault("*", []).append(statement)
            continue
        if isinstance(statement, ast.If) and "__main__" in ast.dump(statement.test):
            continue
        module.imports |= _imports(statement, name, package)
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


def _bare(statement: ast.stmt) -> str:
    """The code of a statement without comments, positions and docstrings."""
    statement = ast.parse(ast.unparse(statement))
    for node in ast.walk(statement):
        if isinstance(node, DEFINITIONS) and _is_text(node.body[0]):
            node.body = node.body[1:]
    return ast.dump(statement)


def _cells(path: Path) -> list[tuple[str, str]]:
    """Kind and source of each cell of a notebook; lines for the shell or IPython are left out of the code."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise ValueError(f"{path}: no such notebook; restore it from the repository.") from None
    except (json.JSONDecodeError, KeyError):
        raise ValueError(f"{path}: not a notebook; restore it from the repository.") from None
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return [
        (kind, re.sub(r"(?m)^\s*[%!?].*$", "", source) if kind == "code" else source) for kind, source in sources
    ]


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
