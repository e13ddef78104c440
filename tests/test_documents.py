"""What README and docs tell people to type: every command is read by the door, and names what there is."""

import json
import re
import shlex
import subprocess

import pytest

from lib import __main__ as door
from lib import study
from lib.files import ROOT
from lib.study.registry import papers

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "data" / "README.md"]
OURS = re.compile(r"(?:\.venv/bin/)?python -m lib ([a-z]\w* ?[^`#\n]*)")
CHAPTER = re.compile(r"papermill (notebooks/\S+\.ipynb) ([^`#\n]*)")
EXAMPLE = "film_d"  # the system that docs/extending.md adds
CODE = re.compile(r"\s*#.*$")


def found(pattern: re.Pattern) -> list:
    """(page, what the pattern's groups hold) for every command on every page."""
    commands = []
    for page in PAGES:
        text = re.sub(r"(?<!`)`[^`]+`(?!`)", lambda span: " ".join(span[0].split()), page.read_text(encoding="utf-8"))
        commands += [(page.name, *match.groups()) for match in pattern.finditer(text)]
    return commands


@pytest.mark.parametrize(("page", "line"), found(OURS))
def test_every_verb_is_read_by_the_door(page, line):
    words = shlex.split(CODE.sub("", line).replace("-->", "").strip().rstrip(".,;)"))
    verb, *arguments = words
    assert verb in door.VERBS, f"{page}: {line}"
    if "…" in line or words in (["train"], ["run"], ["prepare"], ["corpora", "fetch"]):
        return  # named in prose
    options = door.parser(verb).parse_args(arguments)
    if verb in ("train", "run"):
        section = study.load_profile(options.profile)[options.paper]
        assert options.paper in papers()
        known = {*section["systems"], "backbone", "dense", "posterior", "clap", "decoder", EXAMPLE}
        assert options.system is None or options.system in known, f"{page}: {line}"


@pytest.mark.parametrize(("page", "notebook", "line"), found(CHAPTER))
def test_every_chapter_has_the_parameters_that_it_is_given(page, notebook, line):
    cells = json.loads((ROOT / notebook).read_text())["cells"]
    (parameters,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    there = set(re.findall(r"(?m)^(\w+) = ", "".join(parameters["source"])))
    assert set(re.findall(r"-p (\w+)", line)) <= there, f"{page}: {notebook}"


def test_every_link_between_the_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_of_lib_that_a_page_names_is_there():
    for page in PAGES:
        for name in re.findall(r"`((?:lib|notebooks|data|tests|examples|cluster)/[\w/.-]+)`", page.read_text()):
            if not name.startswith(("data/built", "data/cache", "data/downloads")) and "arctic" not in name:
                assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_readme_is_for_five_minutes():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@pytest.mark.parametrize("line", ["--help", "--profile smoke --dry-run --cores 1 --device cpu"])
def test_the_one_command_answers(line):
    if "--dry-run" in line and not (ROOT / ".venv" / ".study-stamp").exists():
        pytest.skip("there is no environment of run_all.sh's own here: ./run_all.sh makes it")
    done = subprocess.run([ROOT / "run_all.sh", *line.split()], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
