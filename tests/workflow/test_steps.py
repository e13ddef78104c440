"""The DAG: what runs, what runs again after a change, and what a failed or killed step leaves behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lib.study import expected_runs, load_profile
from lib.study.registry import papers
from lib.workflow import steps as workflow

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = tuple(sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")))
PROFILES = sorted(path.stem for path in (ROOT / "notebooks/profiles").glob("*.yaml") if path.stem != "base")


def write_notebook(path: Path, *sources: str, outputs: list | None = None) -> None:
    cells = [
        {"cell_type": "code", "metadata": {}, "source": each, "outputs": outputs or [], "execution_count": None}
        for each in sources
    ]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4})
    )


def snakemake(folder: Path, profile: str, *arguments: str, device: str = "cpu") -> str:
    command = [sys.executable, "-m", "snakemake", "--config", f"profile={profile}", f"device={device}"]
    command += ["--nolock", "--rerun-triggers", "mtime", "params", "input", "code", "--cores", "2", *arguments]
    environment = os.environ | {"STUDY_RESULTS": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def jobs(folder: Path, profile: str = "smoke", **options: str) -> dict[str, int]:
    """Rules that a dry run would run, with the number of jobs of each."""
    shown = snakemake(folder, profile, "--dry-run", "--quiet", "rules", "host", "reason", **options)
    table = shown.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def copy_of_the_project(folder: Path) -> Path:
    for name in ("lib", "notebooks", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb*"))
    (folder / "data").mkdir()
    for path in (ROOT / "data").glob("*.*"):
        shutil.copy(path, folder / "data")
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A copy of the project in which every step of the smoke profile has run, each writing empty files."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("project"))
    text = (folder / "Snakefile").read_text()
    text, count = re.subn(r'"exec {PYTHON} -m lib (step|chapter) ', '"touch {output}; : ', text)
    assert count == 2
    (folder / "Snakefile").write_text(text)
    snakemake(folder, "smoke", "--quiet", "all")
    return folder


@pytest.fixture
def project(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "project", dirs_exist_ok=True))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path.name}"
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_dry_run_before_anything_exists_lists_every_run_of_the_profile(profile, tmp_path):
    content = load_profile(profile)
    listed = jobs(copy_of_the_project(tmp_path), profile)
    on_the_real_voice = len(content["real"]["runs"])
    runs = sum(count for rule, count in listed.items() if rule in ("first_run", "long_run", "run"))
    assert runs == len(expected_runs(content)) + on_the_real_voice
    assert listed["first_run"] == len(expected_runs(content, "HT")) + 1
    assert listed["first_prepare"] == 1 and listed["prepare"] == len(papers())  # the others, and the real voice
    assert listed["page"] == len(CHAPTERS)
    assert listed["paper_report"] == sum(not paper.across for paper in papers().values())
    for rule in ("corpus", "chapter_00_corpus", "chapter_05_metric_audit", "claims", "methods_page", "report"):
        assert listed[rule] == 1
    assert not (tmp_path / "results").exists()


def test_nothing_runs_again_when_only_dates_comments_and_outputs_change(project):
    for path in [*project.rglob("*.py"), *project.glob("notebooks/*.*"), *project.glob("data/*")]:
        os.utime(path)
    with open(project / "lib/metrics/mcd.py", "a") as file:
        file.write("\n# a remark\n")
    notebook = project / "notebooks/02_hypertts_evaluate.ipynb"
    content = json.loads(notebook.read_text())
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[{"output_type": "stream", "name": "stdout", "text": "1"}], execution_count=1)
    notebook.write_text(json.dumps(content))
    assert jobs(project) == {}


def test_a_change_of_a_metric_measures_its_papers_again_and_makes_no_corpus(project):
    (source,) = re.findall(r"(?m)^def score\(", (project / "lib/metrics/mcd.py").read_text())
    edit(project / "lib/metrics/mcd.py", source, "@staticmethod\n" + source)
    again = jobs(project)
    assert again["first_run"] == len(expected_runs(load_profile("smoke"), "HT")) + 1
    assert {"first_chapter", "claims", "report", "page"} <= set(again)
    assert "corpus" not in again


def test_a_change_of_a_figure_draws_again_and_measures_nothing(project):
    edit(project / "lib/papers/sp/figures.py", "import pandas as pd", "import pandas as pd\n\nCHANGED = 1\n")
    again = jobs(project)
    assert {"chapter", "page", "report"} <= set(again)
    assert not {"corpus", "prepare", "run", "first_run", "long_run"} & set(again)


def test_a_change_of_one_system_runs_that_system(project):
    edit(project / "notebooks/profiles/papers/ht.yaml", "modules: e, bottleneck: 32", "modules: e, bottleneck: 16")
    again = jobs(project)
    assert again["first_run"] == 1
    assert not {"corpus", "chapter_00_corpus", "first_prepare", "run"} & set(again)


def test_a_change_of_the_claims_measures_nothing_again(project):
    with open(project / "notebooks/claims.yaml", "a") as file:
        file.write("\n# another rule\n")
    again = jobs(project)
    assert set(again) == {"claims", "paper_report", "methods_page", "chapter", "page", "report", "all"}
    assert again["chapter"] == again["page"] == 1


def test_another_device_trains_again_on_the_same_corpus(project):
    again = jobs(project, device="cuda")
    assert "first_prepare" in again and "corpus" not in again


def test_a_run_that_others_start_from_is_before_them():
    profile = load_profile("smoke")
    assert workflow.starts(profile, "xp", "weights_asr") == ["ha-hyper-s0"]
    assert workflow.starts(profile, "ht", "generated_parameters") == ["ht-hypertts_d-s0", "ht-hypertts_evd-s0"]
    assert workflow.starts(profile, "ht", "other_corpus") == ["ht-hypertts_evd-s0", "ht-tts_0-s0"]
    assert workflow.starts(profile, "sp", "dp_r45") == []


def test_deleted_rows_are_made_again_and_no_others(project):
    (project / "results/smoke/rows/ht-adaptertts_e-s0.parquet").unlink()
    assert jobs(project)["first_run"] == 1


def test_settings_name_the_sections_asked_for_and_null_for_what_is_absent():
    profile = {"adapt": {"steps": 2}, "systems": {"x": {"method": "none"}}, "seeds": [0]}
    text = workflow.settings(profile, "systems.x", "adapt", "nowhere.y")
    assert json.loads(text) == {"adapt": {"steps": 2}, "nowhere.y": None, "systems.x": {"method": "none"}}


def test_a_notebook_runs_with_its_parameters_in_its_own_folder(tmp_path):
    notebook, executed = tmp_path / "n/x.ipynb", tmp_path / "out/x.ipynb"
    write_notebook(notebook, "seed = 0", "import os\nprint(seed + 1, os.path.basename(os.getcwd()))")
    assert workflow.run_notebook(tmp_path / "log", str(notebook), executed, ["seed=4"]) == 0
    (text,) = [out["text"] for cell in json.loads(executed.read_text())["cells"] for out in cell["outputs"]]
    assert "".join(text) == "5 n\n"


def test_a_failing_notebook_shows_its_last_error_and_leaves_no_result(tmp_path, capsys):
    notebook, executed = tmp_path / "x.ipynb", tmp_path / "out/x.ipynb"
    write_notebook(notebook, "seed = 0", "raise ValueError('s03_007.wav is silent')")
    with pytest.raises(SystemExit):
        workflow.run_notebook(tmp_path / "log", str(notebook), executed, [])
    shown = capsys.readouterr().err
    assert "In [2]" in shown and "s03_007.wav is silent" in shown and "\x1b" not in shown
    assert list(executed.parent.iterdir()) == []


def test_a_failing_command_keeps_its_status_and_shows_the_end_of_its_log(tmp_path, capsys):
    program = "print('first\\n' * 90 + ' 40%|####      | 4/10\\r 90%|#########| 9/10\\nlast'); raise SystemExit(3)"
    assert workflow.run(tmp_path / "log", [sys.executable, "-c", program]) == 3
    shown = capsys.readouterr().err
    assert "last" in shown and "%|" not in shown
    assert (tmp_path / "log").read_text().count("first") == 90


def test_a_step_ends_with_all_its_processes_when_the_workflow_is_killed(tmp_path):
    command = ["bash", "-c", "sleep 61 & sleep 60"]
    log = str(tmp_path / "log")
    step = f"from pathlib import Path\nfrom lib.workflow import steps\nsteps.run(Path({log!r}), {command!r})"
    starter = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {step!r}]).wait()"
    parent = subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT)
    family: list[psutil.Process] = []
    deadline = time.time() + 20
    while sum(process.name() == "sleep" for process in family) < 2 and time.time() < deadline:
        time.sleep(0.1)
        family = psutil.Process(parent.pid).children(recursive=True)
    assert sum(process.name() == "sleep" for process in family) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
