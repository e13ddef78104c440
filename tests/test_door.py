"""The one door: every verb tells its options and an example, and bad input is told in one sentence."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lib import __main__ as door
from lib import cli
from lib.study import StudyError
from lib.workflow import runs

ROOT = Path(__file__).resolve().parents[1]


def test_the_door_opens_without_torch():
    code = "import sys; from lib.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in door.VERBS)


@pytest.mark.parametrize("verb", door.VERBS)
def test_a_verb_tells_its_options_and_an_example_that_it_can_read(verb, capsys):
    parser = door.parser(verb)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--help"])
    assert ended.value.code == 0
    example = door.verb(verb).example
    assert example.startswith(f"python -m lib {verb} ") or example == f"python -m lib {verb}"
    assert f"example: {example}" in " ".join(capsys.readouterr().out.split())
    parser.parse_args(example.split()[4:])


@pytest.mark.parametrize("verb", ["train", "run"])
@pytest.mark.parametrize("paper", ["ht", "ha", "sp", "ld", "xp"])
def test_every_paper_has_the_same_options(verb, paper):
    line = f"{paper} a --profile smoke --seed 3 --device cpu --threads 2 --set sp.train.steps=5 --set R=0.3"
    read = door.parser(verb).parse_args(line.split())
    assert (read.paper, read.system, read.profile, read.seed, read.device) == (paper, "a", "smoke", 3, "cpu")
    assert read.threads == 2 and read.set == [("sp.train.steps", 5), ("R", 0.3)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "the following arguments are required: VERB"),
        ("fly", "invalid choice: 'fly'"),
        ("train sp", "the following arguments are required: system"),
        ("train sp dp_r45 --seed x", "invalid int value"),
        ("run sp dp_r45 --set steps", "'steps': write KEY=VALUE, such as sp.train.steps=500"),
    ],
)
def test_a_line_that_cannot_be_read_ends_with_status_2(line, told, capsys):
    with pytest.raises(SystemExit) as ended:
        door.main(line.split())
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("prepare zz", "there is no paper 'zz': choose one of ht, ha, sp, ld, xp"),
        ("status --profile huge", "there is no profile 'huge'"),
        ("run sp dp --profile smoke", "there is no system 'dp' in this profile"),
        ("run sp dp_r45 --profile smoke --set ratio=7", "ratio 7: give from 0.01 to 0.99"),
        ("run sp dp_r45 --profile smoke --set sp.train.stepz=7", "sp.train has steps, "),
        ("compare nowhere nothing", "nowhere"),
    ],
)
def test_input_that_cannot_be_is_told_in_one_sentence(line, told, monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        door.main([*line.split(), *(["--threads", "1"] if line.split()[0] in ("prepare", "run") else [])])
    assert told in ended.value.code and "\n" not in ended.value.code


def test_a_changed_system_gets_a_name_of_its_own(monkeypatch):
    options = door.parser("run").parse_args(["sp", "dp_r45", "--profile", "smoke", "--set", "ratio=0.35"])
    study, name = runs.chosen(options, "cpu")
    assert name == "dp_r45_ratio_0p35" and study.changed == {"of": "dp_r45", "ratio": 0.35}
    assert study.own.settings["systems"]["dp_r45"] != study.settings["systems"][name]


@pytest.mark.parametrize("error", [StudyError, OSError, FloatingPointError])
def test_an_error_that_says_what_to_change_ends_the_process_with_its_sentence(error):
    with pytest.raises(SystemExit, match="^mend the corpus$"), cli.told():
        raise error("mend the corpus")


def test_a_fault_of_our_own_keeps_its_traceback():
    with pytest.raises(KeyError), cli.told():
        raise KeyError("x")


def test_a_table_is_plain_when_piped(capsys):
    cli.print_table([], "Runs")
    cli.print_table([{"run": "ht-tts_0-s0", "seconds": None, "share": 0.123456789}], "Runs")
    assert capsys.readouterr().out == "Runs: none\nrun\tseconds\tshare\nht-tts_0-s0\t\t0.12346\n"


def test_every_command_in_the_documents_can_be_read():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))]
    inline = [line for text in texts for line in re.findall(r"`python -m lib (\w[^`]*)`", text)]
    blocks = [line for text in texts for line in re.findall(r"(?m)^(?:\.venv|torchrun).*? -m lib (\w[^\n#`]*)", text)]
    assert len(inline) > 5 and len(blocks) > 5
    for line in (*inline, *blocks):
        verb, *given = shlex.split(line)
        door.parser(verb).parse_args(given)
