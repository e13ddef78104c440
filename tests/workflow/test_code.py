"""What a step depends on in the code: the files that it reaches, and what in them counts."""

import json
from pathlib import Path

import pytest

from lib.workflow.code import code_digest, reached


@pytest.fixture
def library(tmp_path) -> Path:
    files = {
        "__init__": "",
        "a": "from lib import b\nfrom lib.c import used\n\ndef train():\n    return used()\n",
        "b/__init__": "from lib.b import deep\n",
        "b/deep": "from . import near\n\ndef measure():\n    return 1\n",
        "b/near": "",
        "c": "LIMIT = 3\n\ndef used():\n    '''Text.'''\n    import lib.e\n    return LIMIT\n",
        "d": "import importlib\n\ndef find(name):\n    return importlib.import_module(f'lib.b.{name}')\n",
        "e": "import numpy\n",
    }
    for name, source in files.items():
        path = tmp_path / "lib" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_module_reaches_what_it_imports_wherever_the_import_stands(library):
    everything = {"lib", "lib.a", "lib.b", "lib.b.deep", "lib.b.near", "lib.c", "lib.e"}
    assert set(reached("lib.a", root=library)) == everything
    assert set(reached("lib.a", "lib.b", root=library)) == {"lib", "lib.a", "lib.c", "lib.e"}
    assert set(reached("lib.a", "lib.b.deep", "lib.e", root=library)) == everything - {
        "lib.b.deep",
        "lib.b.near",
        "lib.e",
    }
    assert set(reached("lib.b.deep", root=library)) == {"lib", "lib.b", "lib.b.deep", "lib.b.near"}


def test_an_import_by_string_counts_as_the_whole_package(library):
    assert {"lib.b", "lib.b.deep", "lib.b.near"} <= set(reached("lib.d", root=library))


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("LIMIT = 3", "LIMIT = 5", True),
        ("return LIMIT", "return LIMIT + 1", True),
        ("'''Text.'''", "'''Another text.'''", False),
        ("return LIMIT", "# why\n    return (LIMIT)", False),
    ],
)
def test_the_digest_changes_with_the_code_only(library, old, new, changes):
    before = code_digest("lib.a", root=library), code_digest("lib.b.deep", root=library)
    edit(library / "lib/c.py", old, new)
    assert (code_digest("lib.a", root=library) != before[0]) == changes
    assert code_digest("lib.b.deep", root=library) == before[1]


def test_the_digest_of_a_notebook_ignores_outputs_and_shell_lines_but_not_code(library):
    def digest(source: str, outputs: tuple = (), text: str = "Prose.", prose: bool = False) -> str:
        cells = [{"cell_type": "code", "source": source, "outputs": outputs}, {"cell_type": "markdown", "source": text}]
        (library / "n.ipynb").write_text(json.dumps({"cells": cells}))
        return code_digest("n.ipynb", prose=prose, root=library)

    plain = digest("from lib import a\na.train()")
    assert plain == digest("%matplotlib inline\nfrom lib import a\na.train()", ({"output_type": "stream"},), "Other.")
    assert plain != digest("from lib import a\na.score()")
    assert digest("1", prose=True) != digest("1", text="Other.", prose=True)


def test_what_is_not_there_is_named(library):
    with pytest.raises(ValueError, match="lib.fly: no such module"):
        code_digest("lib.fly", root=library)
    with pytest.raises(ValueError, match="gone.ipynb: no such notebook"):
        code_digest("gone.ipynb", root=library)
