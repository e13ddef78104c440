"""Every notebook, executed by the workflow in the smoke profile, and what a reader then finds."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml
from jupyter_client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from lib import study

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "smoke"
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
CHAPTERS = [name for name in NOTEBOOKS if name[:2].isdigit()]
VERDICTS = {"reproduced", "not reproduced", "inconclusive", "not tested"}
LIMIT = 2400  # seconds; a first run takes ten minutes on idle cores, a later one does what has changed


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock that run_all.sh takes on a profile; wait for a run that is under way."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def snakemake(*arguments: str, **variables: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--config", "profile=smoke", "device=cpu", "--rerun-incomplete"]
    command += ["--rerun-triggers", "mtime", "params", "input", "code", "--nolock"]
    command += ["--cores", str(len(os.sched_getaffinity(0))), *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STUDY_")} | variables
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def results(smoke_corpus) -> Path:
    with alone(RESULTS):
        snakemake("--quiet", "host", "reason")
    return RESULTS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_cell_of_a_chapter_runs(results, chapter):
    notebook = json.loads((results / "notebooks" / f"{chapter}.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells if "".join(cell["source"]).strip())
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_is_a_page_that_names_no_folder_of_this_machine(results, chapter):
    page = (results / "notebooks" / f"{chapter}.html").read_text()
    assert "</html>" in page
    assert str(ROOT) not in page and str(Path.home()) + "/" not in page


def test_every_run_of_the_profile_has_rows_and_a_manifest(results):
    profile = study.load_profile("smoke")
    rows = study.read_rows("smoke")
    assert study.expected_runs(profile) <= set(rows["run_id"])
    assert study.expected_runs(profile) <= set(study.read_manifests("smoke"))


def test_every_claim_has_a_verdict(results):
    written = yaml.safe_load((ROOT / "notebooks" / "claims.yaml").read_text())
    records = json.loads((results / "claims.json").read_text())
    assert [record["id"] for record in records] == [claim["id"] for claim in written["claims"]]
    assert {record["verdict"] for record in records} <= VERDICTS
    assert all(record["reason"] for record in records)


def test_the_report_shows_every_claim_and_links_to_pages_that_exist(results):
    page = (results / "index.html").read_text()
    for record in json.loads((results / "claims.json").read_text()):
        assert record["id"] in page
    linked = {part.split('"')[0].split("#")[0] for part in page.split('href="')[1:]}
    local = {link for link in linked if link and not link.startswith(("http", "data:", "mailto:"))}
    assert [link for link in local if not (results / link).exists()] == []


def test_a_second_call_has_nothing_to_do(results):
    with alone(RESULTS):
        assert "Nothing to be done" in snakemake("--dry-run")


def test_steps_handed_to_a_scheduler_give_the_same_rows(results, tmp_path):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="the executor plugin is not installed")
    other = Path(shutil.copytree(results, tmp_path / "smoke", copy_function=os.link))
    run, rows = "ht-hypertts_d-s0", "rows/ht-hypertts_d-s0.parquet"
    for made in (rows, f"manifests/{run}.json", f"checkpoints/{run}.json", f"checkpoints/{run}.safetensors"):
        (other / made).unlink()
    target = os.path.relpath(other / rows, ROOT)
    said = snakemake("--workflow-profile", "cluster/local", "--", target, STUDY_RESULTS=str(tmp_path))
    assert said.count("with external jobid") == 1
    first, second = (pd.read_parquet(folder / rows).query("metric != 'seconds_trained'") for folder in (results, other))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


@pytest.fixture(scope="module")
def jupyterlab(results, tmp_path_factory):
    """The kernel in which JupyterLab would open a chapter, on a copy of the results; one a paper, to save imports."""
    place = tmp_path_factory.mktemp("opened")
    shutil.copytree(results, place / "smoke", copy_function=os.link)  # files change by rename only
    environment = os.environ | {"STUDY_RESULTS": str(place)}
    kernels = {}

    def end() -> None:
        for manager, client in kernels.values():
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        kernels.clear()

    def kernel_of(chapter: str) -> BlockingKernelClient:
        if chapter[0] not in kernels:
            end()
            kernels[chapter[0]] = start_new_kernel(kernel_name="python3", cwd=ROOT / "notebooks", env=environment)
        return kernels[chapter[0]][1]

    yield kernel_of
    end()


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_a_chapter_runs_as_it_is_opened_in_jupyterlab(jupyterlab, chapter):
    cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    kernel = jupyterlab(chapter)
    for source in ["%reset -f", *sources]:
        said = kernel.execute_interactive(source, allow_stdin=False, timeout=300, output_hook=lambda _: None)["content"]
        assert said["status"] == "ok", f"{source}\n{said.get('ename')}: {said.get('evalue')}"
