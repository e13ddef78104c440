"""The diffs that docs/extending.md shows, put between its markers from examples/*.patch.

python -m lib report examples
"""

import re
from pathlib import Path

from lib.files import ROOT, replace_file

PAGE, EXAMPLES = ROOT / "docs" / "extending.md", ROOT / "examples"
SHOWN = re.compile(r"(<!-- diff: (?P<name>[\w.-]+) -->\n).*?(<!-- end of diff -->)", re.DOTALL)


def with_diffs(text: str, folder: Path = EXAMPLES) -> str:
    """`text` with each patch between the markers that name it.

    Raises:
        ValueError: a marker names no patch, or a patch has no marker; the sentence says which.
    """
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.patch")}
    named = [found["name"] for found in SHOWN.finditer(text)]
    if sorted(named) != sorted(there):
        apart = ", ".join(sorted(set(named) ^ set(there))) or "a patch shown twice"
        raise ValueError(f"the patches in {folder.name}/ and the markers of the page differ ({apart}): mend the page")
    return SHOWN.sub(lambda found: f"{found[1]}```diff\n{there[found['name']]}```\n{found[3]}", text)


def write() -> None:
    """Put the diffs into the page."""
    text = with_diffs(PAGE.read_text(encoding="utf-8"))
    with replace_file(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
