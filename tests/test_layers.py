"""The house of lib: one direction of imports, no circles, few files at the door. Imports inside functions count."""

import ast
from pathlib import Path

from lib.files import ROOT

STOREYS = (  # from the ground up; a module imports from its own storey and those below
    {"files", "audio", "text", "pitch", "pretrained", "workers", "cli"},
    {"training"},
    {"models"},
    {"methods", "metrics"},
    {"corpora"},
    {"study"},
    {"papers"},
    {"workflow", "__main__"},
)
LEANING = {"xp"}  # the papers that may lean on others


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "lib").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: set[str]) -> set[str]:
    """The modules of lib that a module imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{source}.{each.name}" if f"{source}.{each.name}" in known else source for each in node.names}
    return {each for each in found if each in known} - {name, "lib"}


def arrows() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(name, path, set(known)) for name, path in known.items()}


def storey(name: str) -> int:
    first = name.split(".")[1]
    return next(i for i, names in enumerate(STOREYS) if first in names)


def test_every_module_stands_on_a_storey():
    rooms = set.union(*STOREYS)
    assert {name.split(".")[1] for name in modules() if name != "lib"} <= rooms
    assert len(list((ROOT / "lib").glob("*.py"))) <= 10


def test_no_import_goes_up():
    up = [f"{a} -> {b}" for a, found in arrows().items() if a != "lib" for b in found if storey(b) > storey(a)]
    assert not up, "imports against the layers:\n" + "\n".join(sorted(up))


def test_no_paper_leans_on_another():
    leaning = []
    for name, found in arrows().items():
        parts = name.split(".")
        if parts[1:2] != ["papers"] or len(parts) < 3 or parts[2] in LEANING:
            continue
        allowed = {parts[2], "common"}
        leaning += [f"{name} -> {b}" for b in found if b.startswith("lib.papers.") and b.split(".")[2] not in allowed]
    assert not leaning, "\n".join(sorted(leaning))


def test_there_is_no_circle():
    left = arrows()
    while free := [name for name, found in left.items() if not found & set(left)]:
        for name in free:
            del left[name]
    assert not left, "modules in circles, or that need one: " + ", ".join(sorted(left))
