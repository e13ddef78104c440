"""The receiver: serves the page of a test and stores one file of answers per listener."""

from __future__ import annotations

import itertools
import os
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from lib.files import replace_file
from lib.study.listening.answers import check, load_key
from lib.study.listening.stimuli import ListeningError

LARGEST = 1_000_000  # bytes of one listener's answers
PATIENCE = 30  # s that a sender may be silent


def server(folder: Path, host: str = "127.0.0.1", port: int = 8000) -> ThreadingHTTPServer:
    """A server of the test in `folder`, not yet at work; port 0 takes a free one."""
    key = load_key(folder)[0]
    answers, writing = folder / "answers", Lock()
    turn = itertools.count(sum(1 for _ in answers.glob("[!.]*.json")))

    class Handler(SimpleHTTPRequestHandler):
        timeout = PATIENCE

        def __init__(self, *arguments, **options):
            super().__init__(*arguments, directory=str(folder / "page"), **options)

        def do_GET(self) -> None:
            if self.path == "/":  # the next list to the next listener
                self.send_response(302)
                self.send_header("Location", f"/index.html?receiver&list={next(turn) % len(key['lists'])}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                super().do_GET()

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if urlsplit(self.path).path != "/answers":
                self._say(404, "there is nothing here: answers go to /answers")
            elif not length.isdecimal() or int(length) > LARGEST:
                self._say(413, f"answers have a length of at most {LARGEST} bytes")
            else:
                data = self.rfile.read(int(length))
                try:
                    listener = check(data, key)["listener"]
                    with writing:
                        self._say(*store(answers / f"{listener}.json", data))
                except ListeningError as error:
                    self._say(400, str(error))
                except OSError as error:
                    self._say(507, str(error))

        def list_directory(self, path) -> None:
            self._say(404, "there is no such page")

        def _say(self, status: int, sentence: str) -> None:
            data = sentence.encode()
            self.close_connection = True
            self.send_response(status)
            for name, value in {"Content-Type": "text/plain", "Access-Control-Allow-Origin": "*"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_) -> None:  # addresses of listeners are nobody's business
            pass

    return ThreadingHTTPServer((host, port), Handler)


def store(path: Path, data: bytes) -> tuple[int, str]:
    """Put answers on the disk before saying that they are there; a second, different file is refused."""
    if path.exists():
        same = path.read_bytes() == data
        return (200, "received before") if same else (409, "this listener has answered: save the file instead")
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return 201, "received"
