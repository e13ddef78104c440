"""Downloads from a server on this machine, and archives that mean harm."""

import errno
import hashlib
import http.server
import io
import json
import os
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from lib.corpora import debian, fetch, published
from lib.corpora.atypical import mdvr_kcl
from lib.corpora.corpus import CorpusError
from lib.corpora.recorded import asterisk
from lib.corpora.recorded import librispeech as loader

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; breaks off after `most` bytes `breaks` times; remembers the ranges asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.breaks, self.most, self.ranges = {"/a.bin": CONTENT}, [], 0, 100_000, True

    def url(self, path: str = "/a.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        asked = self.headers.get("Range") if self.server.ranges else None
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        most = len(content)
        if self.server.breaks:
            self.server.breaks -= 1
            most = start + self.server.most
        self.wfile.write(content[start:most])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_download_is_checked_and_made_once(server, tmp_path):
    file = fetch.download(server.url(), tmp_path / "new" / "a.bin", sha256=SHA256)
    assert file.read_bytes() == CONTENT
    fetch.download(server.url(), file, md5=MD5)
    assert server.asked == [None]
    assert os.listdir(file.parent) == ["a.bin"]


def test_a_stopped_download_goes_on_where_it_was(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:120_000])
    fetch.download(server.url(), tmp_path / "a.bin", sha256=SHA256)
    assert server.asked == ["bytes=120000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_again(server, tmp_path):
    server.breaks = 2
    assert fetch.download(server.url(), tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_connection_that_keeps_breaking_keeps_what_came(server, tmp_path):
    server.breaks, server.most = 100, 1000
    with pytest.raises(CorpusError, match=f"the {1000 * fetch.TRIES} bytes that came are kept, run again"):
        fetch.download(server.url(), tmp_path / "a.bin", sha256=SHA256)
    assert (tmp_path / "a.bin.part").stat().st_size == 1000 * fetch.TRIES


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    (tmp_path / "a.bin.part").write_bytes(b"x" * 10)
    assert fetch.download(server.url(), tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 50_000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)])
def test_a_part_that_was_corrupted_is_fetched_again(server, tmp_path, part):
    (tmp_path / "a.bin.part").write_bytes(part)
    assert fetch.download(server.url(), tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_part_that_was_whole_is_taken(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert fetch.download(server.url(), tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_corrupted_download_is_refused_and_removed(server, tmp_path):
    with pytest.raises(CorpusError, match="a.bin: its SHA256 is not the published one"):
        fetch.download(server.url(), tmp_path / "a.bin", sha256="0" * 64)
    assert os.listdir(tmp_path) == []


def test_a_damaged_file_is_fetched_again(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"damaged")
    assert fetch.download(server.url(), tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT


def test_addresses_and_checksums_must_make_sense(server, tmp_path):
    with pytest.raises(CorpusError, match="answers 404"):
        fetch.download(server.url("/none"), tmp_path / "a.bin", sha256=SHA256)
    with pytest.raises(CorpusError, match="not http or https"):
        fetch.download("file:///etc/hosts", tmp_path / "a.bin", sha256=SHA256)
    with pytest.raises(CorpusError, match="give one checksum"):
        fetch.download(server.url(), tmp_path / "a.bin")


def test_a_server_that_is_down_is_told(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "TRIES", 1)
    with pytest.raises(CorpusError, match="cannot be fetched .*run again"):
        fetch.download("http://127.0.0.1:1/a.bin", tmp_path / "a.bin", sha256=SHA256)


def test_a_full_disk_is_told(server, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_transfer", full)
    with pytest.raises(CorpusError, match="the disk is full; free some space and run again"):
        fetch.download(server.url(), tmp_path / "a.bin", sha256=SHA256)


def archive_of(kind: str, files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=made, mode=f"w:{kind}") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["zip", "", "gz", "bz2", "xz"])
def test_archives_unpack_beside_what_is_there(tmp_path, kind):
    archive = tmp_path / "archive"
    to = tmp_path / "to"
    for files in (
        {"corpus/one.txt": b"1", "corpus/both.txt": b"old"},
        {"./corpus/two.txt": b"2", "corpus/both.txt": b"new"},
    ):
        archive.write_bytes(archive_of(kind, files))
        fetch.unpack(archive, to)
    assert contents(to) == ["corpus/both.txt", "corpus/one.txt", "corpus/two.txt"]
    assert (to / "corpus" / "both.txt").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["zip", "gz"])
@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"])
def test_archives_that_reach_outside_are_refused(tmp_path, kind, name):
    archive = tmp_path / "archive"
    archive.write_bytes(archive_of(kind, {"good.txt": b"1", name: b"2"}))
    with pytest.raises(CorpusError, match="archive: .*outside its folder; do not use this archive"):
        fetch.unpack(archive, tmp_path / "to")
    assert contents(tmp_path) == ["archive"]
    assert not list((tmp_path / "to").iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_tar_archives_with_links_or_devices_are_refused(tmp_path, kind):
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(CorpusError, match="a.tar: link is a link or device"):
        fetch.unpack(tmp_path / "a.tar", tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_zip_archives_with_links_are_refused(tmp_path):
    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(CorpusError, match="a.zip: link is a link or device"):
        fetch.unpack(tmp_path / "a.zip", tmp_path / "to")


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
def test_bombs_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fetch, "SMALL", 1000)
    (tmp_path / "bomb").write_bytes(archive_of(kind, {"zeros": bytes(3_000_000)}))
    with pytest.raises(CorpusError, match="bomb: unpacks to more than .* bytes"):
        fetch.unpack(tmp_path / "bomb", tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_archives_of_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MOST_FILES", 3)
    (tmp_path / "a.zip").write_bytes(archive_of("zip", {str(i): b"" for i in range(5)}))
    with pytest.raises(CorpusError, match="more than 3 files"):
        fetch.unpack(tmp_path / "a.zip", tmp_path / "to")


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz", "none"])
def test_damaged_archives_are_refused(tmp_path, kind):
    whole = b"not an archive" if kind == "none" else archive_of(kind, {"a": os.urandom(50_000)})
    half = whole[:-30_000] + bytes(20_000) + whole[-10_000:] if kind == "zip" else whole[: len(whole) // 2]
    (tmp_path / "a").write_bytes(half)
    with pytest.raises(CorpusError, match="damaged .*fetch it again"):
        fetch.unpack(tmp_path / "a", tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_a_subset_is_fetched_unpacked_and_not_fetched_again(server, tmp_path):
    content = archive_of("gz", {"LibriSpeech/dev-clean/84/7/84-7.trans.txt": b"84-7-0000 WORDS\n"})
    server.files = {"/12/dev-clean.tar.gz": content}
    checksums = {server.url("/12/dev-clean.tar.gz"): hashlib.sha256(content).hexdigest()}
    for _ in range(2):
        loader.fetch_subsets(tmp_path, ["dev-clean"], checksums)
    assert len(server.asked) == 1
    assert contents(tmp_path) == [".fetched/dev-clean.tar.gz.json", "LibriSpeech/dev-clean/84/7/84-7.trans.txt"]
    with pytest.raises(CorpusError, match="no subset 'dev-cleen'; there are dev-clean"):
        loader.fetch_subsets(tmp_path, ["dev-cleen"], checksums)


@pytest.mark.parametrize("name", ["librispeech", "libritts", "vctk", "ljspeech", "ravdess"])
def test_published_addresses_come_with_checksums(name, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        fetch, "download", lambda url, file, sha256="", md5="": asked.append((url, sha256 or md5)) or file
    )
    monkeypatch.setattr(fetch, "unpack", lambda archive, to: archive.write_bytes(b""))
    published.fetch(name, tmp_path)
    assert asked and all(url.startswith("http") and len(digest) in (32, 64) for url, digest in asked)
    with pytest.raises(CorpusError, match="leave the parts out|no subset"):
        published.fetch(name, tmp_path, ["none"])


def test_a_zenodo_record_states_its_checksum(server, tmp_path, monkeypatch):
    name = mdvr_kcl.ARCHIVE
    content = archive_of("zip", {"26-29_09_2017_KCL/ReadText/PD/ID02_pd_2_0_0.wav": b"sound"})
    record = {"key": name, "checksum": f"md5:{hashlib.md5(content).hexdigest()}", "links": {"self": server.url("/z")}}
    server.files = {f"/api/{mdvr_kcl.RECORD}": json.dumps({"files": [record]}).encode(), "/z": content, "/api/1": b"{}"}
    api = server.url("/api")
    monkeypatch.setattr(mdvr_kcl, "zenodo", lambda record, name, to: fetch.zenodo(record, name, to, api))
    for _ in range(2):
        mdvr_kcl.fetch(tmp_path)
    assert len(server.asked) == 2
    assert (tmp_path / "26-29_09_2017_KCL" / "ReadText").is_dir()
    with pytest.raises(CorpusError, match="does not list a.zip with its checksum"):
        fetch.zenodo(1, "a.zip", tmp_path, api)
    with pytest.raises(CorpusError, match="cannot be reached"):
        fetch.zenodo(2, "a.zip", tmp_path, api)


def test_a_debian_package_unpacks_without_its_tools(tmp_path):
    import standins

    sound = standins.g722(2.5)
    name = "usr/share/asterisk/sounds/en_US_f_Allison/vm-options.g722"
    package = standins.debian_package({name: sound})
    (tmp_path / f"{asterisk.PACKAGE}_1.6.1-1_all.deb").write_bytes(package)
    assert (asterisk.fetch(tmp_path) / name).read_bytes() == sound
    assert [clip.utterance for clip in asterisk.clips(tmp_path)] == ["vm-options"]
    for damaged, words in (
        (package[:-3000], "cut short"),
        (b"none", "not a Debian package"),
        (package[:130], "no data.tar"),
    ):
        (tmp_path / "x.deb").write_bytes(damaged)
        with pytest.raises(CorpusError, match=words):
            debian.unpack(tmp_path / "x.deb", tmp_path / "to")


@pytest.mark.parametrize("outside", ["../../out.g722"])
def test_a_hostile_debian_package_is_refused(tmp_path, outside):
    import standins

    (tmp_path / "x.deb").write_bytes(standins.debian_package({outside: b"1"}))
    with pytest.raises(CorpusError, match="outside its folder"):
        debian.unpack(tmp_path / "x.deb", tmp_path / "to")


def test_the_prompts_come_from_apt_or_say_how_to_get_them(tmp_path, monkeypatch):
    import standins

    tool = tmp_path / "bin" / "apt-get"
    tool.parent.mkdir()
    (tmp_path / "package").write_bytes(standins.debian_package({"sounds/en/vm-options.g722": standins.g722(2.5)}))
    tool.write_text(f'#!/bin/sh\ncat "{tmp_path}/package" > "$2_1_all.deb"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    assert contents(asterisk.fetch(tmp_path / "to")) == ["sounds/en/vm-options.g722"]
    tool.write_text("#!/bin/sh\necho E: Unable to locate package >&2\nexit 100\n")
    with pytest.raises(CorpusError, match="Unable to locate package.*apt-get update"):
        asterisk.fetch(tmp_path / "other")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CorpusError, match="no apt-get here.*a .deb file.*into the folder"):
        asterisk.fetch(tmp_path / "other")
