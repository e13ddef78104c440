"""Every fault a few times; `python tests/faults` makes them happen as often as the committed table says."""

import json

import numpy as np
import pytest

from faults import ROOT, private, properties, scenarios
from faults.scenarios import FAULTS
from faults.stages import STAGES
from lib.files import replace_file

TABLE = ROOT / "results" / "reference" / "faults.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.in_suite], ids=lambda fault: fault.name)
def test_nothing_is_lost(fault, folder):
    entry = scenarios.suffer(fault, folder, fault.in_suite)
    if not entry["tries"]:
        pytest.skip("this machine cannot make it happen: no right to mount a small file system")
    assert entry["lost"] == 0 and entry["recovered"] == min(fault.tries, fault.in_suite)


def test_a_large_manifest_takes_memory_in_proportion(folder):
    assert properties.many_lines(folder, 1, np.random.default_rng(0), lines=5000) == 1


FULL = {  # what each writer says on a file system without space
    "text": OSError(28, "No space left on device"),
    "safetensors": ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "parquet": OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left on device"),
}


@pytest.mark.parametrize("writer", FULL)
def test_a_full_disk_is_told_in_one_sentence_whatever_wrote(writer, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_text("old")
    with pytest.raises(OSError, match="the disk is full: free some space .*weights.bin"), replace_file(path):
        raise FULL[writer]
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content",
    [
        '"path": "/home/someone/study"',
        "see /" + "root/study/x.py",
        'token = "abcdefgh12345"',
        "-----BEGIN RSA PRIVATE KEY-----",
        "https://name:word@example.org/simple",
    ],
)
def test_what_gives_something_away_is_found(content):
    assert private.given_away(content)


@pytest.mark.parametrize("content", ["https://example.org/home/page", "lib/tmp/x.py", "…/home/x", "a token = 3"])
def test_what_gives_nothing_away_is_left_alone(content):
    assert private.given_away(content) == []


@pytest.mark.skipif(not TABLE.exists(), reason="no table of faults is committed")
def test_the_committed_table_holds_every_fault_and_nothing_was_lost():
    table = json.loads(TABLE.read_text())
    assert {entry["fault"] for entry in table} <= {fault.name for fault in FAULTS}
    assert all(entry["tries"] == entry["recovered"] > 0 and entry["lost"] == 0 for entry in table)
    killed = {entry["fault"]: entry["tries"] for entry in table if entry["fault"].startswith("kill -9")}
    assert set(killed) == {f"kill -9 during {stage}" for stage in STAGES} and sum(killed.values()) >= 20
