"""What a run shows: plain lines in a file, running steps below them on a terminal, Snakemake's errors in both."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib.workflow import terminal

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from lib.workflow import terminal
terminal.show(workflow, {{"ht": "HT"}})

rule all:
    input: "ht.html"

rule page:
    message: "report: ht"
    input: "rows/0", "rows/1"
    output: "ht.html"
    log: "page.log"
    shell: "touch {{output}}"

rule run:
    message: "ht tts_{{wildcards.seed}}: train and score"
    output: "rows/{{seed}}"
    log: "logs/{{seed}}.log"
    shell: "printf '\\rbackbone: 10%%|# | 1/10\\rbackbone: 40%%|## | 4/10' >{{log}}; sleep 1.2; STEP touch {{output}}"
"""


def command(folder: Path, step: str) -> list[str]:
    (folder / "Snakefile").write_text(SNAKEFILE.replace("STEP", step))
    return [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "host", "reason"]


def on_a_terminal(folder: Path, step: str = "") -> tuple[int, str]:
    """A run's exit status, and all that reaches a terminal of 80 columns."""
    ours, its = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(command(folder, step), cwd=folder, env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(), said.decode()


def piped(folder: Path, step: str = "", *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*command(folder, step), *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_file_gets_a_line_for_each_start_and_end_and_the_page_when_it_exists(tmp_path):
    done = piped(tmp_path)
    assert done.returncode == 0
    lines = [re.sub(r"tts_\d|\d+ s", "N", line) for line in done.stderr.splitlines() if "filesystem" not in line]
    assert lines == [
        "started: HT N: train and score",
        "1 of 3 done: HT N: train and score (N), about N left",
        "started: HT N: train and score",
        "2 of 3 done: HT N: train and score (N)",
        "started: report: ht",
        "3 of 3 done: report: ht (N)",
        "  ht.html",
    ]


def test_a_terminal_shows_the_running_step_with_its_own_progress_below_what_is_done(tmp_path):
    status, said = on_a_terminal(tmp_path)
    assert status == 0
    assert re.search(r"0 of 3 steps, \d s", said)
    assert re.search(r"\d s  HT tts_\d: train and score \(backbone 40 %\)", said)
    assert "1 of 3 done: HT tts_" in said and "  ht.html" in said
    assert "jobid" not in said and "started" not in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")  # the cursor is there again


def test_an_error_is_told_in_both_with_what_the_step_says(tmp_path):
    step = "echo the disk is full >&2; exit 3;"
    done = piped(tmp_path, step)
    status, said = on_a_terminal(tmp_path, step)
    for each in (done.stderr, said):
        assert "the disk is full" in each and "Error in rule run" in each and "logs/" in each
    assert done.returncode == status == 1


def test_a_dry_run_and_a_run_without_work_are_told_by_snakemake(tmp_path):
    assert "Job stats:" in piped(tmp_path, "", "--dry-run").stdout
    piped(tmp_path)
    assert "Nothing to be done" in piped(tmp_path).stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ht backbone:  40%|####      | 4/10 [00:01<00:02,  3.0it/s]", "ht backbone 40 %"),
        (" 5%|#  | 1/20", "5 %"),
        ("a: 40%|## | 2/5\ra: 100%|#####| 5/5\nscoring", ""),
        ("nothing yet", ""),
    ],
)
def test_a_steps_own_progress_is_the_last_bar_of_its_log(tmp_path, text, told):
    (tmp_path / "log").write_text(text)
    assert terminal.last_bar(str(tmp_path / "log")) == told
    assert terminal.last_bar(str(tmp_path / "none")) == ""


@pytest.mark.parametrize(("seconds", "told"), [(3.4, "3 s"), (200, "3 min"), (9000, "2.5 h")])
def test_a_duration_is_told_in_its_own_unit(seconds, told):
    assert terminal.in_words(seconds) == told
