"""The receiver: what it stores, what it refuses, and that a kill loses nothing."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from synthetic_listeners import answer, make_test, signed

from lib.files import ROOT
from lib.study.listening.receive import LARGEST, server


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_test(tmp_path_factory.mktemp("receiver"))


@pytest.fixture
def receiver(made):
    with server(made[0], port=0) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found.server_port
        found.shutdown()


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    return reply.status, reply.read().decode(errors="replace"), reply.getheader("Location")


def test_it_serves_the_page_with_a_list_for_each_listener_and_nothing_else(made, receiver):
    lists = [ask(receiver, "GET", "/")[2] for _ in range(2)]
    assert len(set(lists)) == 2 and all(each.startswith("/index.html?receiver&list=") for each in lists)
    assert ask(receiver, "GET", "/index.html?receiver&list=0")[0] == 200
    for path in ("/key.json", "/../key.json", "/%2e%2e/key.json", "/audio/", "/answers/"):
        assert ask(receiver, "GET", path)[0] == 404, path


def test_it_stores_one_file_per_listener_and_refuses_anything_else(made, receiver):
    folder, key = made
    rng = np.random.default_rng(0)
    good, other = signed(answer(key, 1, rng)), signed(answer(key, 1, rng))
    stored = folder / "answers" / f"{1:016x}.json"
    assert ask(receiver, "POST", "/answers", good)[0] == 201 and stored.read_bytes() == good
    assert ask(receiver, "POST", "/answers", good)[0] == 200
    assert ask(receiver, "POST", "/answers", other)[0] == 409 and stored.read_bytes() == good
    refused = {
        b"{": 400,
        good[:-9]: 400,
        good.replace(b"60000", b"60001"): 400,
        signed(answer(key, 2, rng, test="1" * 16)): 400,
        signed(answer(key, 2, rng, listener="../../../x")): 400,
        signed(answer(key, 2, rng, list=999)): 400,
        b"[" * 100_000: 400,
    }
    before = {path.name for path in (folder / "answers").iterdir()}
    found = [ask(receiver, "POST", "/answers", data) for data in refused]
    assert [status for status, *_ in found] == list(refused.values())
    assert all(len(said) < 120 for _, said, _ in found)
    large = {"Content-Length": str(LARGEST + 1)}
    assert ask(receiver, "POST", "/answers", None, **large)[0] == 413
    assert ask(receiver, "POST", "/elsewhere", good)[0] == 404
    assert {path.name for path in (folder / "answers").iterdir()} == before


def test_what_it_has_confirmed_survives_a_kill(made, tmp_path):
    folder, key = made
    command = [sys.executable, "-m", "lib", "listen", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().split("/")[2].split(":")[1])
        rng, confirmed = np.random.default_rng(1), []
        for number in range(100, 110):
            data = signed(answer(key, number, rng))
            assert ask(port, "POST", "/answers", data)[0] == 201
            confirmed.append((number, data))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for number, data in confirmed:
        assert (folder / "answers" / f"{number:016x}.json").read_bytes() == data
        assert json.loads(data)["listener"] == f"{number:016x}"
