"""Where a number came from: commit, package versions, device, memory; no user names, no absolute paths."""

import os
import platform
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

from lib.files import ROOT
from lib.pretrained import installed, resolve
from lib.study.profile import StudyError

JUDGES = ("whisper-tiny.en", "ge2e", "distillmos")

OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")  # a repository that a hook is run for
PART = r"[^\s/]+(?:(?<![:;,]) +[^\s/]+)*"  # of a path; its words may have spaces between them
FOLDERS = re.compile(rf"(?:file://|(?<![\w/:.~…)])(?:~[\w.-]*|\.\.|…)?)/(?:{PART}/)+|(?<![\w/:.~…)])~[\w.-]+/")
OF_WINDOWS = re.compile(r"(?<![\w\\])(?:[A-Za-z]:|\\)\\(?:[^\s\\/:]+(?: +[^\s\\/:]+)*\\)+")
HOMES = re.compile(r"(?<![\w/:.~…)])/(?:home|Users)/(?:[^/:;,'\"\n]|'(?=\w))+(?=$|[:;,\"\n]|'(?!\w))")


def git_state(root: Path = ROOT) -> dict:
    """The commit the code is at and whether it differs from it (new files in lib/ and notebooks/ count).

    Nulls outside a git checkout, and where the repository around `root` does not hold the project's files.
    """
    environment = {key: value for key, value in os.environ.items() if key not in OF_ANOTHER}

    def git(*arguments: str) -> str:
        options = {"capture_output": True, "text": True, "check": True, "timeout": 20, "env": environment}
        return subprocess.run(["git", "-C", str(root), *arguments], **options).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "pyproject.toml", "lib/__init__.py")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        new = git("ls-files", "--others", "--exclude-standard", "--", "lib", "notebooks", "Snakefile")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed or new)}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that pyproject.toml pins."""
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = (re.split(r"[\s=<>!~\[;]", pin)[0] for pin in pins)
    return {name: installed(name) or "not installed" for name in names}


def device_name(device: str = "cpu") -> str:
    """The accelerator's name for a CUDA device, else the processor's."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else []
    return f"CPU, {names[0].strip()}" if names else f"CPU, {platform.machine()}"


def resolve_device(device: str) -> str:
    """ "auto" is the GPU where there is one. Raises StudyError for a GPU that is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise StudyError("no CUDA device is visible to torch: run with --device cpu, or check the driver")
    return device


def pretrained_used(*names: str) -> dict:
    """Where the judges' weights came from."""
    return {name: resolve(name).manifest() for name in names or JUDGES}


def peak_memory() -> dict[str, float]:
    """Peak memory of this process in MiB, and of the accelerator where torch has used one."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"peak_memory_mib": round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        memory["peak_device_memory_mib"] = round(torch.cuda.max_memory_allocated() / 1024**2, 1)
    return memory


def portable(value: object) -> object:
    """`value` with the project's folder, home folders and the folders of other paths taken out of every string."""
    if isinstance(value, dict):
        return {portable(str(key)): portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [portable(item) for item in value]
    if isinstance(value, (str, Path)):
        text = str(value).replace(f"{ROOT}/", "")
        text = re.sub(rf"{re.escape(str(ROOT))}(?![\w-])", ".", text)
        return OF_WINDOWS.sub("…/", FOLDERS.sub("…/", HOMES.sub("…", text)))
    return value
