"""The one command: its options, its one-sentence refusals, and an environment that is made once."""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
TOOLS = [
    "bash",
    "env",
    "awk",
    "cat",
    "cksum",
    "cp",
    "cut",
    "dirname",
    "grep",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "sleep",
    "tail",
    "touch",
]

PYTHON = """#!/usr/bin/env bash
# Stands for a Python: REAL answers what is asked about the machine, the environment below is a pretence.
case "$*" in *"-m pip install"* | *"-m snakemake"*) env >environment ;; esac
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo venv >>calls ;;
  *"-m pip --version"*) ;;
  *"-m pip install"*) echo "pip $*" >>calls; cat pip.answer; exit "$(cat pip.status)" ;;
  *"-m snakemake"*) echo "snakemake $*" >>calls; echo "$MALLOC_TOP_PAD_ $MALLOC_TRIM_THRESHOLD_" >memory ;;
  *"-m pytest"*) echo "pytest $*" >>calls ;;
  *torch*) exit 1 ;;
  *version_info*) VERSION ;;
  *) exec REAL "$@" ;;
esac
"""


@pytest.fixture
def clone(tmp_path) -> Path:
    """A fresh clone's files that run_all.sh looks at, and a `bin` folder that is all of PATH."""
    folder = tmp_path / "clone with space"
    (folder / "notebooks/profiles").mkdir(parents=True)
    for name in ("run_all.sh", "pyproject.toml", "constraints.txt", "environment.yml"):
        shutil.copy(ROOT / name, folder)
    for name in ("base", "smoke", "demo"):
        (folder / f"notebooks/profiles/{name}.yaml").write_text("")
    (folder / "pip.status").write_text("0")
    (folder / "pip.answer").write_text("")
    (folder / "calls").write_text("")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name))
    put(tools / "cc", "#!/usr/bin/env bash\n")
    put(tools / "df", "#!/usr/bin/env bash\necho header\necho disk 1 1 90000000 1% /\n")
    put(tools / "du", "#!/usr/bin/env bash\n[[ -e ${@: -1} ]] && echo 0 .venv\n")
    put_python(tools / "python3.11")
    return folder


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def put_python(path: Path, version: str = "exit 0") -> None:
    put(path, PYTHON.replace("REAL", f'"{sys.executable}"').replace("VERSION", version))


def call(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {"PATH": str(clone.parent / "bin"), "HOME": str(clone.parent), **variables}
    command = [str(clone / "run_all.sh"), *arguments]
    return subprocess.run(command, cwd=clone.parent, env=environment, capture_output=True, text=True, timeout=60)


def calls(clone: Path) -> list[str]:
    return [line.split()[0] for line in (clone / "calls").read_text().splitlines()]


def refusal(done: subprocess.CompletedProcess) -> str:
    """The one line of a refusal."""
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("run_all.sh: ")]
    assert "Traceback" not in done.stderr
    return line


def test_help_names_every_option(clone):
    done = call(clone, "--help")
    assert done.returncode == 0
    for option in (
        "--profile",
        "--cores",
        "--device",
        "--dry-run",
        "--verbose",
        "test",
        "--workflow-profile cluster/slurm",
    ):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fast"], "--fast is no option"),
        (["--profile", "huge"], "no profile huge"),
        (["--profile", "base"], "no profile base"),
        (["--profile"], "--profile needs a value"),
        (["--cores", "many"], "--cores many"),
        (["--cores=0"], "--cores 0"),
        (["--device", "tpu"], "choose cpu, cuda or auto"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence_before_anything_is_made(clone, arguments, said):
    assert said in refusal(call(clone, *arguments))
    assert not (clone / ".venv").exists()


def test_the_environment_is_made_once_and_again_when_a_pin_changes(clone):
    assert call(clone, "--cores", "1").returncode == 0
    assert calls(clone) == ["venv", "pip", "snakemake"]
    assert call(clone, "--cores", "1").returncode == 0
    assert calls(clone) == ["venv", "pip", "snakemake", "snakemake"]
    with open(clone / "constraints.txt", "a") as file:
        file.write("zipp==3.0\n")
    assert call(clone, "--cores", "1").returncode == 0
    assert calls(clone)[4:] == ["pip", "snakemake"]


def test_an_interrupted_installation_is_done_again(clone):
    (clone / "pip.status").write_text("1")
    assert call(clone).returncode == 1
    (clone / "pip.status").write_text("0")
    assert call(clone).returncode == 0
    assert calls(clone) == ["venv", "pip", "pip", "snakemake"]


def test_pip_installs_the_checkout_with_the_pinned_versions_and_names_no_index(clone):
    call(clone)
    (line,) = [line for line in (clone / "calls").read_text().splitlines() if line.startswith("pip")]
    assert "-c constraints.txt -e ." in line
    assert "index" not in line and "find-links" not in line


def test_the_users_settings_of_pip_and_python_stay_outside_but_those_that_reach_the_index(clone):
    foreign = {"PIP_USER": "1", "PIP_TARGET": "/elsewhere", "PIP_NO_BINARY": ":all:", "PYTHONSTARTUP": "/elsewhere.py"}
    foreign |= {"PYTHONPATH": "/elsewhere", "PYTHONHOME": "/elsewhere", "GIT_DIR": "/elsewhere", "CDPATH": "/elsewhere"}
    reached = {"PIP_INDEX_URL": "https://mirror.example/simple", "PIP_CERT": "/mirror.pem", "PIP_NO_INDEX": "0"}
    assert call(clone, **foreign, **reached).returncode == 0
    seen = environment_of(clone)
    assert reached.items() <= seen.items() and seen["PIP_USER"] == "0"
    assert not seen.keys() & (foreign.keys() - {"PIP_USER"})


def test_a_link_to_the_command_does_what_the_command_does(clone):
    (clone.parent / "elsewhere").mkdir()
    link = clone.parent / "elsewhere/study"
    link.symlink_to(clone / "run_all.sh")
    environment = {"PATH": str(clone.parent / "bin"), "HOME": str(clone.parent)}
    done = subprocess.run(
        [str(link), "--profile", "smoke"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert calls(clone) == ["venv", "pip", "snakemake"]


@pytest.mark.parametrize("name", ["run_all.sh", "Snakefile", "lib/files.py", "notebooks/00_corpus.ipynb"])
def test_a_clone_has_the_line_ends_that_a_shell_reads(tmp_path, name):
    """Whatever git is set to on the machine."""
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / name, tmp_path / name)
    git = ["git", "-C", str(tmp_path), "-c", "core.autocrlf=true"]
    for arguments in (["init", "-q"], ["add", "."], ["checkout-index", "--force", "--all"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    assert b"\r\n" not in (tmp_path / name).read_bytes()


def test_options_reach_snakemake_and_what_follows_the_dashes_comes_last(clone):
    call(clone, "--profile=smoke", "--cores", "3", "--device", "cpu", "--dry-run", "--", "--executor", "slurm")
    (line,) = [line for line in (clone / "calls").read_text().splitlines() if line.startswith("snakemake")]
    assert "--config profile=smoke device=cpu" in line and "--dry-run" in line
    assert line.endswith("--cores 3 --executor slurm")
    assert not (clone / "results").exists()


def test_what_this_machine_has_limits_no_cluster(clone):
    call(clone, "--device=cuda", "--", "--workflow-profile", "cluster/slurm")
    call(clone, "--", "--executor", "local")
    lines = [line for line in (clone / "calls").read_text().splitlines() if line.startswith("snakemake")]
    assert "device=cuda" in lines[0] and "gpu=1" not in lines[0] and "--cores" not in lines[0]
    assert "--resources gpu=1 --cores" in lines[1]


def test_the_demo_on_the_processor_is_what_runs_without_options_and_without_a_gpu(clone):
    done = call(clone)
    assert "--config profile=demo device=cpu" in (clone / "calls").read_text()
    assert "results/demo/index.html" in done.stderr


def test_snakemakes_own_words_are_shown_when_asked_for(clone):
    call(clone)
    call(clone, "--verbose")
    lines = [line for line in (clone / "calls").read_text().splitlines() if line.startswith("snakemake")]
    assert "terminal=progress" in lines[0] and "terminal=snakemake" in lines[1]


def test_processes_keep_the_memory_of_their_tensors_unless_told_otherwise(clone):
    call(clone)
    assert (clone / "memory").read_text() == "67108864 4294967296\n"
    call(clone, MALLOC_TOP_PAD_="4096")
    assert (clone / "memory").read_text() == "4096 4294967296\n"


def environment_of(clone: Path) -> dict[str, str]:
    """The variables that the last call gave to pip or Snakemake."""
    lines = (clone / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_jobs_elsewhere_find_a_python_whose_path_has_a_space(clone):
    call(clone, "--", "--workflow-profile", "cluster/local")
    (line,) = [line for line in (clone / "calls").read_text().splitlines() if line.startswith("snakemake")]
    assert "--shared-fs-usage" in line and "software-deployment" not in line
    assert environment_of(clone)["PATH"].startswith(f"{clone}/.venv/bin:")
    call(clone)
    assert "--shared-fs-usage" not in (clone / "calls").read_text().splitlines()[-1]


def test_caches_go_to_the_studys_folder_where_home_cannot_be_written(clone):
    (clone.parent / ".cache").write_text("no folder")
    assert call(clone).returncode == 0
    seen = environment_of(clone)
    assert seen["XDG_CACHE_HOME"] == f"{clone}/data/cache/home" and seen["HF_HOME"].endswith(".cache/huggingface")
    assert call(clone, STUDY_CACHE=str(clone.parent / "mine")).returncode == 0
    assert environment_of(clone)["XDG_CACHE_HOME"] == str(clone.parent / "mine/home")


def test_a_home_that_can_be_written_keeps_its_caches(clone):
    assert call(clone).returncode == 0
    assert not environment_of(clone).keys() & {"XDG_CACHE_HOME", "HF_HOME"}


@pytest.mark.parametrize("variable", ["STUDY_CACHE", "TMPDIR"])
@pytest.mark.parametrize("place", ["a file/below", "/dev/full/below"])
def test_a_place_that_cannot_be_written_is_named_with_its_variable(clone, variable, place):
    (clone.parent / "a file").write_text("")
    said = refusal(call(clone, **{variable: str(clone.parent / place)}))
    assert place in said and f"in {variable}" in said


def test_a_gpu_that_is_not_there_is_refused(clone):
    assert "no GPU" in refusal(call(clone, "--device", "cuda"))


def test_tests_run_in_the_environment_with_their_own_arguments(clone):
    assert call(clone, "test", "--", "-k", "audio").returncode == 0
    said = (clone / "calls").read_text().splitlines()[-1]
    assert "--numprocesses 2 --dist loadfile" in said and said.endswith(" -k audio")


def test_a_python_of_another_version_is_refused(clone):
    tools = clone.parent / "bin"
    (tools / "python3.11").unlink()
    assert "Python 3.11 or 3.12 was not found (no python3 at all)" in refusal(call(clone))
    put(tools / "python3", "#!/usr/bin/env bash\n[[ $1 != --version ]] || echo Python 3.9.2\n[[ $1 == --version ]]\n")
    assert "Python 3.11 or 3.12 was not found (Python 3.9.2)" in refusal(call(clone))
    put_python(tools / "python3")
    assert call(clone).returncode == 0


def test_a_missing_compiler_is_named(clone):
    (clone.parent / "bin/cc").unlink()
    assert "no C compiler" in refusal(call(clone))
    assert calls(clone) == []


def test_a_disk_too_small_for_the_environment_is_named(clone):
    put(clone.parent / "bin/df", "#!/usr/bin/env bash\necho header\necho disk 1 1 2500000 1% /\n")
    assert "needs 9 GB and the disk has 2 GB left" in refusal(call(clone))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("ERROR: HTTPSConnectionPool: Max retries exceeded", "check the network"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        (
            "    nbconvert 7 depends on soupsieve>=1.6.1\n    The user requested (constraint) soupsieve==4.1.1\n"
            "ERROR: ResolutionImpossible: for help visit the page on conflicts",
            "soupsieve==4.1.1 could not be found for ",
        ),
        ("error: subprocess-exited-with-error\nERROR: Failed building wheel for webrtcvad", "webrtcvad"),
    ],
)
def test_a_failed_installation_says_why_in_one_sentence(clone, answer, said):
    (clone / "pip.status").write_text("1")
    (clone / "pip.answer").write_text(answer)
    assert said in refusal(call(clone))


def test_two_runs_of_one_profile_at_once_are_refused(clone):
    slow = PYTHON.replace('echo "snakemake $*" >>calls', "touch started; exec sleep 30")
    put(clone.parent / "bin/python3.11", slow.replace("REAL", f'"{sys.executable}"').replace("VERSION", "exit 0"))
    environment = {"PATH": str(clone.parent / "bin"), "HOME": str(clone.parent)}
    first = subprocess.Popen([str(clone / "run_all.sh")], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (clone / "started").exists())
        assert "another run of profile demo is at work" in refusal(call(clone))
    finally:
        first.kill()
        first.wait()
    put_python(clone / ".venv/bin/python")
    assert call(clone).returncode == 0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the first run did not start"
        time.sleep(0.05)


def test_the_active_conda_environment_is_used_when_it_is_the_projects(clone):
    conda = clone.parent / "conda"
    (conda / "bin").mkdir(parents=True)
    put_python(conda / "bin/python")
    name = yaml.safe_load((ROOT / "environment.yml").read_text())["name"]
    assert call(clone, CONDA_PREFIX=str(conda), CONDA_DEFAULT_ENV=name).returncode == 0
    assert calls(clone) == ["pip", "snakemake"] and not (clone / ".venv").exists()
    assert call(clone, CONDA_PREFIX=str(conda), CONDA_DEFAULT_ENV="base").returncode == 0
    assert (clone / ".venv").exists()


def normal(name: str) -> str:
    return name.split("=")[0].split("[")[0].strip().lower().replace("_", "-").replace(".", "-")


def test_every_version_is_written_once_and_exactly():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [*project["dependencies"], *(pin for group in project["optional-dependencies"].values() for pin in group)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    transitive = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in pin for pin in direct + transitive)
    names = [normal(pin) for pin in direct + transitive]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith(("nvidia", "cuda-", "triton"))]


def test_every_package_is_to_be_had_for_the_first_python_3_11_and_3_12():
    """Debian's is 3.11.2; where a pin asks for a later one, pip says that the packages conflict."""
    asked = {found.metadata["Name"]: SpecifierSet(found.metadata["Requires-Python"] or "") for found in distributions()}
    assert len(asked) > 100
    assert [name for name, wanted in asked.items() if "3.11.0" not in wanted or "3.12.0" not in wanted] == []


def test_conda_reads_the_same_pins():
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-c constraints.txt", "-e ."]
    assert "python=3.11" in content["dependencies"]


def test_the_library_is_this_checkout_from_the_notebooks_folder():
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", "import lib; print(lib.__file__)"]
    found = subprocess.run(command, cwd=ROOT / "notebooks", env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == ROOT / "lib/__init__.py"


def test_a_notebook_finds_this_checkout_in_a_folder_with_a_lib_of_its_own_and_beside_a_foreign_package(clone, tmp_path):
    packages = clone / ".venv/lib/python3.11/site-packages"
    for folder in (clone, packages, tmp_path / "foreign"):
        (folder / "lib").mkdir(parents=True)
        (folder / "lib/__init__.py").touch()
    assert call(clone).returncode == 0
    asked = "import os, site, sys; site.addsitedir(sys.argv[1]); sys.path.append(''); import lib"
    asked += "; print(os.environ['GOMP_SPINCOUNT'], lib.__file__)"
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-I", "-S", "-c", asked, str(packages)]  # without this environment's own .pth
    found = subprocess.check_output(command, cwd=tmp_path / "foreign", env=environment, text=True)
    assert found == f"3000 {clone / 'lib/__init__.py'}\n"


def test_the_order_of_steps_is_found_without_a_solver_unless_another_scheduler_is_asked_for(clone):
    assert call(clone, "--", "--scheduler", "ilp").returncode == 0
    line = (clone / "calls").read_text().splitlines()[-1]
    assert line.startswith("snakemake") and line.index("--scheduler greedy") < line.index("--scheduler ilp")
