"""Debian packages without root: apt-get fetches them, checked against Debian's signed index; they unpack anywhere."""

import io
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lib.corpora import fetch as fetching
from lib.corpora.corpus import CorpusError

PATIENCE = 300  # seconds that apt-get may take
UNPACKED = 1 << 28  # bytes a package may unpack to


def fetch(package: str, to: Path, title: str, otherwise: str) -> Path:
    """Fetch a package and unpack it into `to`; a .deb of it lying there is used. Returns `to`.

    title, otherwise: what is fetched, and what to do where there is no apt-get. Raises `CorpusError` of one sentence.
    """
    packages = sorted(to.glob(f"{package}_*.deb"))
    if packages:
        return unpack(packages[-1], to)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=to) as folder:
        return unpack(_download(package, Path(folder), title, otherwise), to)


def _download(package: str, folder: Path, title: str, otherwise: str) -> Path:
    if shutil.which("apt-get") is None:
        raise CorpusError(f"{title}: there is no apt-get here. {otherwise}")
    command = ["apt-get", "download", package]
    try:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise CorpusError(f"{title}: apt-get gave no package within {PATIENCE} s. {otherwise}") from None
    packages = sorted(folder.glob("*.deb"))
    if result.returncode or not packages:
        reason = (result.stderr.strip().splitlines() or ["no package came"])[-1]
        raise CorpusError(f"{title}: apt-get cannot fetch {package} ({reason}); run `sudo apt-get update` first.")
    return packages[0]


def unpack(package: Path, to: Path) -> Path:
    """Unpack the data of a .deb file into `to`; its links may only lead inside."""
    content = package.read_bytes()
    for name, start, size in members(content, package):
        if name.startswith("data.tar"):
            return fetching.unpack_tar(
                io.BytesIO(content[start : start + size]), to, package.name, UNPACKED, links=True
            )
    raise CorpusError(f"{package}: holds no data.tar, so it is no Debian package; fetch it again.")


def members(content: bytes, package: Path) -> list[tuple[str, int, int]]:
    """(name, first byte, size) of the members of an ar archive, which a .deb file is."""
    if not content.startswith(b"!<arch>\n"):
        raise CorpusError(f"{package}: not a Debian package; fetch it again.")
    found, position = [], 8
    while position + 60 <= len(content):
        header = content[position : position + 60]
        size = header[48:58].strip()
        if header[58:] != b"`\n" or not size.isdigit() or position + 60 + int(size) > len(content):
            raise CorpusError(f"{package}: damaged or cut short; fetch it again.")
        name = header[:16].decode("ascii", errors="replace").strip().rstrip("/")
        found.append((name, position + 60, int(size)))
        position += 60 + int(size) + int(size) % 2
    return found
