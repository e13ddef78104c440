"""Where the study writes: one variable for each place, also where the installation and the home are read-only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.files import DATA, ROOT, disk_error

ASKED = """
import json, os, lib
from lib.corpora.recorded.read import BUILT
from lib.files import cache_root
print(json.dumps({"built": str(BUILT), "cache": str(cache_root()), "numba": os.environ.get("NUMBA_CACHE_DIR")}))
"""
WAITING = "import os, sys, lib; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"


def places(home: Path, **variables: str) -> dict:
    """What a fresh process takes for its places."""
    taken = ("STUDY_CACHE", "STUDY_RESULTS", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in taken}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT), **variables}
    return json.loads(subprocess.check_output([sys.executable, "-c", ASKED], env=environment, text=True))


def test_one_variable_moves_corpora_features_and_compiled_code(tmp_path):
    found = places(tmp_path, STUDY_CACHE=str(tmp_path / "mine"))
    assert {Path(place).relative_to(tmp_path / "mine").as_posix() for place in found.values()} == {
        *("built", ".", "numba")
    }


def test_compiled_code_stays_where_numba_keeps_it_or_goes_beside_the_features_without_a_home(tmp_path):
    assert places(tmp_path)["numba"] is None
    assert places(Path("/proc/self/no home"))["numba"] == str(DATA / "cache/numba")
    assert places(Path("/proc/self/no home"), NUMBA_CACHE_DIR="/mine")["numba"] == "/mine"


@pytest.mark.parametrize(("own", "taken"), [(None, "3000"), ("7", "7")])
def test_how_long_threads_spin_is_set_before_torch_reads_it_and_ones_own_value_wins(own, taken):
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"GOMP_SPINCOUNT": own} if own else {})
    assert subprocess.check_output([sys.executable, "-c", WAITING], env=environment, text=True).split() == [
        *("False", taken)
    ]


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        ("cache/states/1.npy", "STUDY_CACHE"),
        ("cache/built/corpus-0/manifest.jsonl", "STUDY_CACHE"),
        ("results/smoke/rows.json", "STUDY_RESULTS"),
    ],
)
def test_a_file_that_cannot_be_written_names_the_variable_of_its_place(tmp_path, monkeypatch, path, variable):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    assert variable in str(disk_error(PermissionError(13, "Permission denied"), tmp_path / path))
