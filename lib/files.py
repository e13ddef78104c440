"""Files that appear whole or not at all, files found whatever the spelling of their names, and names for content."""

import errno
import fcntl
import functools
import hashlib
import io
import json
import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent  # the project
DATA = ROOT / "data"
FULL = (errno.ENOSPC, errno.EDQUOT)
DIGEST = hashlib.sha256().digest_size


def cache_root() -> Path:
    """Where features, latents and other things that can be made again are kept: STUDY_CACHE, or data/cache."""
    return Path(os.environ.get("STUDY_CACHE") or DATA / "cache")


# Where prepared corpora are kept: `built` in the STUDY_CACHE that a process starts with, or data/built.
BUILT = cache_root() / "built" if os.environ.get("STUDY_CACHE") else DATA / "built"


def name_key(name: str | Path) -> str:
    """A name as names are compared: in one case and one form of accents, since systems and archives change both."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(name)).casefold())


def named(path: Path) -> Path:
    """The file or folder of this name, in whatever case and form of accents it is there; `path` where there is none."""
    if os.path.lexists(path) or path.parent == path:
        return path
    folder = named(path.parent)
    try:
        there = _names(folder, folder.stat().st_mtime_ns)
    except OSError:
        return path
    return folder / there[name_key(path.name)] if name_key(path.name) in there else path


@functools.lru_cache(maxsize=256)
def _names(folder: Path, changed: int) -> dict[str, str]:
    return {name_key(name): name for name in sorted(os.listdir(folder), reverse=True)}


def walk(folder: Path) -> list[Path]:
    """The files below a folder in order, those in linked folders and links to nothing too.

    What is hidden, or in a hidden folder, is left out (archives from a Mac bring `._` files). Raises OSError for a
    folder that cannot be read.
    """
    found: list[Path] = []
    above = {str(folder): {os.path.realpath(folder)}}  # a link back to a folder above would never end
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = {name: os.path.realpath(os.path.join(root, name)) for name in folders if name[0] != "."}
        folders[:] = [name for name in real if real[name] not in above[root]]
        above |= {os.path.join(root, name): above[root] | {real[name]} for name in folders}
        found += [Path(root, name) for name in names if name[0] != "."]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error


@contextmanager
def replace_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success rename it to `path`, on failure leave `path` as it was.

    Raises:
        OSError: a full disk or a folder that cannot be written, told in one sentence.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = path.parent / Path(name).name  # relative where `path` is: notebooks write it down
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except Exception as error:  # torch, numpy and safetensors tell a full disk in ways of their own
        told = disk_error(error, path)
        if told is not None:
            raise told from error
        raise
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def disk_error(error: Exception, path: Path) -> OSError | None:
    """What is wrong with the disk, in one sentence, where that made writing `path` fail."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    told_full = getattr(error, "errno", None) in FULL or "No space left" in str(error)
    if told_full or (isinstance(error, (OSError, RuntimeError)) and os.statvfs(folder).f_bavail == 0):
        return OSError(errno.ENOSPC, f"the disk is full: free some space and run the same command again ({path.name})")
    if isinstance(error, OSError) and not os.access(folder, os.W_OK):
        short = "/".join(path.parts[-3:])
        below = path.absolute().parents
        kept = cache_root().absolute() in below or DATA in below
        variable = "STUDY_CACHE" if kept else "STUDY_RESULTS"
        return OSError(
            errno.EROFS, f"{short} cannot be written: make its folder writable, or name another in {variable}"
        )
    return None


def write_json(path: Path | str, value) -> None:
    """Write JSON by rename, keys in order."""
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def load_json(path: Path, damaged: Callable[[str], Exception]) -> Any:
    """What a JSON file holds. Where it is missing or damaged, raises what `damaged` makes of the kind of error."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(type(error).__name__) from error


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Write an array by rename, the SHA-256 of its bytes before them: see `read_array`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    with replace_file(path) as temporary:
        temporary.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


def read_array(path: Path | str) -> np.ndarray | None:
    """The array that `write_array` wrote; None where the file is missing or no longer what was written."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
        return None
    return np.load(io.BytesIO(data[DIGEST:]), allow_pickle=False)


def fingerprint(*values) -> str:
    """Twelve hex digits of the SHA-256 of JSON-serialisable values."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".lock").touch()
    except OSError as error:
        raise disk_error(error, path) or error from None
    with open(path.with_suffix(".lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
