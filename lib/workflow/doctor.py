"""What this machine has for the study and what it lacks: the verb `doctor`, which a report of a fault begins with.

    python -m lib doctor
    python -m lib doctor --device cuda       and every method and metric once on the CPU and on the GPU

Nothing is fetched and nothing is left behind. Ends with what is wrong and the command that mends each, and with
status 1 where something is broken that every profile needs. No names of people and no absolute paths are printed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lib import pretrained
from lib.cli import CORES, Verb, print_table
from lib.files import BUILT, DATA, ROOT, cache_root

LEAST, FEW = 1, 10  # GiB free, below which nothing can be done and below which a demo run may not end
THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "MALLOC_ARENA_MAX")
NATIVE = ("torch", "onnxruntime", "soundfile", "soxr", "numba", "pyworld")  # with libraries of the system's behind them
PIP = f"{'.venv/bin/python' if Path(sys.prefix) == ROOT / '.venv' else 'python'} -m pip install"
INSTALL = f"{PIP} -c constraints.txt -e ."
USES = {
    "whisper-tiny.en": "WER and CER, no HA in smoke and demo",
    "whisper-base": "HA's methods on a larger Whisper in full",
    "ge2e": "COS, no speaker embeddings for HT and SP",
    "cam++": "SECS",
    "distillmos": "predicted MOS, no embedded corpus",
    "dnsmos": "DNSMOS",
    "minilm": "LD's reading of prompts",
    "hifigan": "HiFi-GAN, speech is made by Griffin-Lim",
    "joe": "VITS for LD, no voice of the embedded corpus",
}


@dataclass(frozen=True)
class Finding:
    """One line of the table. wrong, mend: what is wrong, with what it costs, and the command that mends it; needed:
    nothing works without it."""

    area: str
    what: str
    found: str
    wrong: str = ""
    mend: str = ""
    needed: bool = False


def examine() -> list[Finding]:
    """Everything that is looked at, in the order of the table; a few seconds, most of them spent on checksums."""
    found = list(packages())
    if any(each.needed for each in found):  # what else is looked at needs them
        return [*found, Finding("the rest", "", "is looked at as soon as these packages are there")]
    return [*machine(), *found, *weights(), *speech(), *places(), *threads()]


def machine() -> Iterator[Finding]:
    """Processor, memory, system, GPU, code."""
    import torch

    from lib.study.provenance import device_name, git_state

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("machine", "processor", f"{device_name()}, {CORES} cores, {memory:.0f} GiB")
    yield Finding("machine", "system", f"{platform.platform(terse=True)}, {platform.machine()}")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    yield Finding("machine", "Python", f"{platform.python_version()} (the project: {wanted})")
    state = git_state()
    changed = {True: ", changed", False: "", None: ""}[state["dirty"]]
    yield Finding(
        "machine", "code", f"commit {state['commit'][:12]}{changed}" if state["commit"] else "no git checkout"
    )
    built = torch.version.cuda
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        found = f"{torch.cuda.device_count()} of {device_name('cuda')}, {memory:.0f} GiB, CUDA {built}"
        yield Finding("machine", "GPU", found)
    elif shutil.which("nvidia-smi"):
        wrong = "nvidia-smi is installed, but torch sees no GPU: trainings run on the CPU, many times slower."
        mend = "nvidia-smi" if built else f"{PIP} --force-reinstall -c constraints.txt torch"
        yield Finding("machine", "GPU", f"none visible to torch (CUDA {built})", wrong, mend)
    else:
        yield Finding("machine", "GPU", "none")


def pins() -> tuple[dict[str, str], dict[str, str]]:
    """Versions by package that pyproject.toml pins, and those of constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    files = (project, (ROOT / "constraints.txt").read_text().splitlines())
    pin = re.compile(r"([\w.-]+)(?:\[.*\])?==([^\s;#]+)(?:\s*[;#].*)?")
    own, others = ({m[1]: m[2] for line in lines if (m := pin.fullmatch(line.strip()))} for lines in files)
    return own, others


def packages() -> Iterator[Finding]:
    """Installed versions beside the pins, and whether those with libraries of the system's can be loaded."""
    own, others = pins()
    installed = {name: pretrained.installed(name) for name in own | others}
    different = [
        f"{name} {installed[name]} (pinned: {version})"
        for name, version in (own | others).items()
        if installed[name] and installed[name].split("+")[0] != version
    ]
    count = sum(version is not None for version in installed.values())
    wrong = f"Not the pinned versions, so results may differ: {', '.join(different)}." if different else ""
    yield Finding("packages", "as pinned", f"{count - len(different)} of {count} installed", wrong, INSTALL)
    if missing := [name for name in own if installed[name] is None]:
        wrong = f"Not installed: {', '.join(missing)}."
        yield Finding("packages", "missing", ", ".join(missing), wrong, INSTALL, needed=True)
    for name in NATIVE:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        except Exception as error:  # a library's own, of any kind
            wrong = f"{name} cannot be loaded ({type(error).__name__}; python -c 'import {name}' tells more)."
            mend = f"{PIP} --force-reinstall --no-deps -c constraints.txt {name}"
            yield Finding("packages", name, "cannot be loaded", wrong, mend, needed=True)


def weights() -> Iterator[Finding]:
    """Pretrained weights and voices that are there, checked, and what is lost without those that are not."""
    from lib.corpora.embedded import parts

    own, _ = pins()
    for name, files in pretrained.WEIGHTS.items():
        try:
            yield Finding("weights", name, pretrained.resolve(name).source.removeprefix("pip package: "))
        except (pretrained.PretrainedError, OSError) as error:
            if files.package.split()[0] not in own and not importlib.util.find_spec(files.module):
                yield Finding("weights", name, f"not here ({files.package}); {USES[name]} does without")
            else:
                yield _lacking("weights", name, str(error), f"no {USES[name]}")
    try:
        yield Finding("weights", "whisper-base.en", pretrained.whisper("base.en").source)
    except (pretrained.PretrainedError, OSError):
        yield Finding("weights", "whisper-base.en", "not here; only profile paper needs it, and fetches it")
    fetched = parts.fetched()
    for name in [name for name in parts.PACKAGES if name not in fetched]:
        try:
            found = ", ".join(f"{package} {version}" for package, version in list(parts.verify([name]).items())[:1])
            yield Finding("voices", name, found)
        except (parts.VoiceError, OSError) as error:
            yield _lacking("voices", name, str(error), "the embedded corpus cannot be made")
    for name, there in fetched.items():
        yield Finding("voices", name, "here" if there else "not here; only profile full needs it, and fetches it")


def _lacking(area: str, name: str, told: str, cost: str) -> Finding:
    """Weights that are missing or damaged, with the pip command that their own sentence names."""
    command = re.search(r"pip install ([^`]*\w)", told)
    state = "damaged" if "damaged" in told else "missing"
    return Finding(
        area, name, state, f"{name}: {state}, so {cost}.", f"{PIP} {command[1]}" if command else INSTALL, needed=True
    )


def speech() -> Iterator[Finding]:
    """Corpora that are prepared or downloaded; none of the published ones is needed by smoke and demo."""
    from lib.corpora import published
    from lib.corpora.source import prepared

    built = prepared("embedded")
    yield Finding("speech", "embedded", "made" if built else "not made yet; the first run makes it")
    missing = []
    for name in published.LOADERS:
        if prepared(name):
            yield Finding("speech", name, "prepared")
        elif (DATA / "downloads" / name).is_dir():
            yield Finding("speech", name, "downloaded; python -m lib corpora prepare NAME --source FOLDER is next")
        else:
            missing.append(name)
    if missing:
        lost = "smoke, demo and full do without; paper and nonnative do not"
        yield Finding("speech", f"{len(missing)} published", f"not here ({', '.join(missing)}): {lost}")


def places() -> Iterator[Finding]:
    """Where things are written: whether they can be, and how much is free."""
    from lib.study.provenance import portable

    results = Path(os.environ.get("STUDY_RESULTS") or ROOT / "results")
    wanted = (
        ("results", results, "STUDY_RESULTS"),
        ("caches", cache_root(), "STUDY_CACHE"),
        ("prepared corpora", BUILT, "STUDY_CACHE"),
        ("temporary files", Path(tempfile.gettempdir()), "TMPDIR"),
    )
    for what, folder, variable in wanted:
        free, problem = room(folder)
        named = f" (by {variable})" if os.environ.get(variable) else ""
        found = f"{portable(str(folder.absolute()) + '/')[:-1]}{named}: {free:.0f} GiB free"
        mend = f"export {variable}=FOLDER_ON_ANOTHER_DISK"
        if problem:
            yield Finding("places", what, f"{found}, cannot be written", f"The {what} cannot be written: {problem}.",
                          mend, needed=True)  # fmt: skip
        elif free < FEW:
            wrong = f"{free:.1f} GiB are free for the {what}; a demo run needs about {FEW}."
            yield Finding("places", what, found, wrong, mend, needed=free < LEAST)
        else:
            yield Finding("places", what, f"{found}, writable")


def room(folder: Path) -> tuple[float, str]:
    """GiB free where a folder is or would be, and why it cannot be written, or ""."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free / 2**30
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * 2**16)
            file.flush()
    except OSError as error:
        return free, error.strerror or str(error)
    return free, ""


def threads() -> Iterator[Finding]:
    """How many threads there are and how they wait for each other."""
    import torch

    told = ", ".join(f"{name}={os.environ[name]}" for name in THREADS if name in os.environ)
    count = torch.get_num_threads()
    mend, wrong = "unset OMP_NUM_THREADS", ""
    if count > CORES:
        wrong = f"{count} threads share {CORES} cores, so trainings are slower than with {CORES}."
    elif os.environ.get("OMP_WAIT_POLICY", "").lower() == "active":
        wrong, mend = (
            "Threads spin while they wait, which beside other work is many times slower.",
            "unset OMP_WAIT_POLICY",
        )
    yield Finding("threads", "torch", f"{count} of {CORES} cores; {told or 'no variable set'}", wrong, mend)


def report(device: str | None) -> None:
    """Print the table, compare devices where one is named, and end with what is wrong.

    Raises SystemExit with status 1 where something that is needed is broken, or answers differ by more than they may;
    StudyError, after the table, where there is no such device.
    """
    findings = examine()
    lines = [
        {"": each.area, "what": each.what, "found": ("✗ " if each.wrong else "") + each.found} for each in findings
    ]
    print_table(lines, "What is here")
    broken, wrong = any(each.needed for each in findings), [each for each in findings if each.wrong]
    print("\nNothing is wrong." if not wrong else f"\n{len(wrong)} to mend:")
    for each in wrong:
        print(f"- {each.wrong}\n  {each.mend}")
    if device and not broken:
        broken = not compared(device, findings)
    if broken:
        sys.exit(1)


def compared(device: str, findings: list[Finding]) -> bool:
    """Whether all answers of two devices are as near as they should be; printed, and written to
    `results/<device>-check.json`."""
    from lib.files import write_json
    from lib.study import results_root
    from lib.study.provenance import portable, resolve_device
    from lib.workflow import devices
    from lib.workflow.bench import slug

    found = devices.compare(device := resolve_device(device), tell=devices.told)
    path = results_root("") / f"{slug(device)}-check.json"
    write_json(path, portable({**found, "machine": [asdict(each) for each in findings]}))
    print()
    names = ("cpu", device if device != "cpu" else "cpu again")
    print_table(devices.lines(found["rows"], names), " and ".join(found["devices"]))
    wrong = [row["wrong"] for row in found["rows"] if row["wrong"]]
    memory = f"{found['peak_memory_mib'] / 1024:.1f} GiB of memory"
    print(f"\n{len(found['rows']) - len(wrong)} of {len(found['rows'])} agree; {found['seconds']:.0f} s, {memory}.")
    for line in wrong:
        print(f"- {line}")
    print(f"Written: {portable(path)}")
    return not wrong


VERBS = {
    "doctor": Verb(
        lambda options: report(options.device),
        "python -m lib doctor --device cuda",
        (("--device", {"help": "compare every method and metric on the CPU and here: cuda, or cpu with itself"}),),
    )
}
