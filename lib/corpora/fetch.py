"""Downloads that resume and are checked, and archives that cannot write outside their folder.

A download grows in `<file>.part` and is renamed once its checksum is right; one that was stopped goes on with an HTTP
range request. An archive is unpacked beside its folder and moved in when it is whole. Archives with absolute paths,
`..`, links or devices, and archives that swell to more than `SWELLING` times their size, are refused.
"""

import errno
import hashlib
import http.client
import json
import lzma
import os
import shutil
import stat
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from backports import tarfile  # Python's own has no filters before 3.11.4

from lib.corpora.corpus import CorpusError, full_disk
from lib.files import write_json

BLOCK = 1 << 20
TRIES = 4  # a connection that breaks is taken up again so often
PAUSE = 2.0  # seconds before the second try, twice as long before each further one
TIMEOUT = 60  # seconds without a byte
SWELLING = 20  # recordings never shrink more in an archive; bombs do
SMALL = 1 << 26  # bytes any archive may unpack to
MOST_FILES = 2_000_000


def download(url: str, file: Path, sha256: str = "", md5: str = "") -> Path:
    """Fetch `url` to `file`, going on where an earlier try stopped; returns `file`.

    Exactly one checksum (hex) is needed. A file that is there already and whole is left alone. Raises `CorpusError`
    naming the file for a server that cannot be reached, a wrong checksum or a full disk.
    """
    if bool(sha256) == bool(md5):
        raise CorpusError(f"{file.name}: give one checksum, SHA-256 or MD5, to tell whether it arrived whole.")
    kind, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise CorpusError(f"{file.name}: its address {url} is not http or https; correct it.")
    if file.is_file() and checksum(file, kind) == expected.lower():
        return file
    part = file.with_name(file.name + ".part")
    with full_disk(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.is_file() and part.stat().st_size > 0
        _complete(url, part)
        if resumed and checksum(part, kind) != expected.lower():
            part.unlink()
            _complete(url, part)
        if checksum(part, kind) != expected.lower():
            part.unlink()
            raise CorpusError(f"{file}: its {kind.upper()} is not the published one; run again, or tell its publisher.")
        os.replace(part, file)
    return file


def checksum(file: Path, kind: str) -> str:
    """The SHA-256 or MD5 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def _complete(url: str, part: Path) -> None:
    """Fetch what `part` lacks, taking up broken connections."""
    for attempt in range(TRIES):
        try:
            return _transfer(url, part)
        except urllib.error.HTTPError as error:
            raise CorpusError(f"{url}: the server answers {error.code} ({error.reason}); try again later.") from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if attempt + 1 == TRIES:
                size = part.stat().st_size if part.is_file() else 0
                reason = getattr(error, "reason", error)
                raise CorpusError(
                    f"{url}: cannot be fetched ({reason}); the {size} bytes that came are kept, run again to go on."
                ) from None
            time.sleep(PAUSE * 2**attempt)


def _transfer(url: str, part: Path) -> None:
    """One request for the bytes after those of `part`; a server without ranges starts over."""
    from tqdm import tqdm

    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after these bytes: the checksum tells whether they are right
            return
        raise
    with response:
        start = _start(response, have)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        with (
            part.open("r+b" if start else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem[:40]) as bar,
        ):
            file.seek(start)
            file.truncate()
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            arrived = file.tell()
    if total is not None and arrived < total:
        raise ConnectionError(f"the connection ended after {arrived} of {total} bytes")


def _start(response, have: int) -> int:
    """The first byte a response brings: `have` if the server took the range up, else 0."""
    if response.status != 206:
        return 0
    stated = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if stated != str(have):
        raise CorpusError(f"{response.url}: the server sent another part than asked for; delete the .part file.")
    return have


def zenodo(record: int, name: str, to: Path, api: str = "https://zenodo.org/api/records") -> Path:
    """Fetch a file of an open Zenodo record with the checksum the record states."""
    address = f"{api}/{record}"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
            files = {entry["key"]: entry for entry in json.load(response)["files"]}
        kind, digest = files[name]["checksum"].split(":")
        url = files[name]["links"]["self"]
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise CorpusError(
            f"{address}: cannot be reached ({getattr(error, 'reason', error)}); try again later."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise CorpusError(
            f"{address}: does not list {name} with its checksum; fetch it from the record's page."
        ) from None
    return download(url, to / name, **{kind: digest})


def unpack(archive: Path, to: Path) -> Path:
    """Unpack a zip or tar archive into the folder `to`; what is there of the same name is replaced. Returns `to`.

    Raises `CorpusError` naming archive and member for a damaged archive, one that reaches outside its folder, holds
    links or devices, or swells like a bomb; nothing of it is left then.
    """
    gate = _Gate(archive.name, max(SMALL, SWELLING * archive.stat().st_size))
    if not zipfile.is_zipfile(archive):
        with archive.open("rb") as stream:
            return unpack_tar(stream, to, gate.name, gate.limit)
    with _beside(to, gate.name) as folder:
        try:
            with zipfile.ZipFile(archive) as opened:
                for member in opened.infolist():
                    kind = stat.S_IFMT(member.external_attr >> 16)
                    gate.admit(member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR), member.file_size)
                opened.extractall(folder)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
            raise CorpusError(f"{archive}: damaged ({error}); delete it and fetch it again.") from None
    return to


def unpack_tar(stream: BinaryIO, to: Path, name: str, limit: int, links: bool = False) -> Path:
    """Unpack an open tar stream of any compression like `unpack`; at most `limit` bytes; links: those inside may be."""
    gate = _Gate(name, limit)

    def admitted(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
        gate.admit(member.name, member.isfile() or member.isdir() or (links and member.issym()), member.size)
        return tarfile.data_filter(member, folder)

    with _beside(to, name) as folder:
        try:
            with tarfile.open(fileobj=stream, mode="r:*") as opened:
                opened.extractall(folder, filter=admitted)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = str(error).splitlines()[0].rstrip(":")
            raise CorpusError(f"{name}: damaged ({reason}); delete it and fetch it again.") from None
    return to


@dataclass
class _Gate:
    """Refuses members of an archive: those outside its folder, links, devices, too many, too much."""

    name: str
    limit: int  # bytes
    files: int = 0
    bytes: int = 0

    def admit(self, path: str, plain: bool, size: int) -> None:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path.split("/")[0]:
            raise CorpusError(f"{self.name}: {path!r} would be written outside its folder; do not use this archive.")
        if not plain:
            raise CorpusError(f"{self.name}: {path} is a link or device; a corpus needs none, do not use it.")
        self.files, self.bytes = self.files + 1, self.bytes + size
        if self.files > MOST_FILES:
            raise CorpusError(f"{self.name}: holds more than {MOST_FILES} files; do not use it.")
        if self.bytes > self.limit:
            raise CorpusError(
                f"{self.name}: unpacks to more than {self.limit} bytes, far more than it holds; do not use it."
            )


@contextmanager
def _beside(to: Path, name: str) -> Iterator[Path]:
    """An empty folder inside `to`, whose content moves into `to` when all is well and vanishes otherwise."""
    with full_disk(to):
        to.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=to))
        try:
            yield folder
            _merge(folder, to)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise CorpusError(f"{name}: cannot be unpacked ({error.strerror or error}).") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _merge(source: Path, to: Path) -> None:
    for entry in sorted(source.iterdir()):
        target = to / entry.name
        if entry.is_dir() and target.is_dir() and not target.is_symlink():
            _merge(entry, target)
        else:
            os.replace(entry, target)


def fetched(url: str, to: Path, sha256: str = "", md5: str = "") -> Path:
    """Download an archive into `to`, unpack it there and delete it; done once, which `to`/.fetched remembers."""
    name = PurePosixPath(urllib.parse.urlsplit(url).path).name
    digest = sha256 or md5
    if not is_done(to, name, digest):
        archive = download(url, to / name, sha256, md5)
        unpack(archive, to)
        mark_done(to, name, digest)
        archive.unlink()
    return to


def is_done(to: Path, name: str, digest: str) -> bool:
    """Whether the archive with this checksum was unpacked into `to`."""
    try:
        return json.loads((to / ".fetched" / f"{name}.json").read_text())["checksum"] == digest
    except (OSError, ValueError, KeyError, TypeError):
        return False


def mark_done(to: Path, name: str, digest: str) -> None:
    """Remember that the archive with this checksum is unpacked in `to`."""
    write_json(to / ".fetched" / f"{name}.json", {"archive": name, "checksum": digest})
