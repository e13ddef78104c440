"""Files that appear whole or not at all, and names for content."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success rename it to `path`, on failure leave `path` as it was.

    Raises:
        OSError: a full disk, told in one sentence.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                f"the disk is full: free some space and run the same command again ({path.name})",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, value) -> None:
    """Write JSON by rename, keys in order."""
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def fingerprint(*values) -> str:
    """Twelve hex digits of the SHA-256 of JSON-serialisable values."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
