"""Each example of docs/extending.md: applied to a copy of the project, and run there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.workflow import examples

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("lib", "notebooks", "tests/*.py", "pyproject.toml")

CORPUS = """
import numpy as np, soundfile
from pathlib import Path
from lib.corpora import published
from lib.corpora.corpus import Corpus, CorpusError

source, time = Path("stand-in"), np.arange(16000) / 16000
sentences = ["Author of the danger trail.", "Not at this particular case.", "For the twentieth time."]
for speaker, f0 in (("bdl", 110), ("slt", 210)):
    folder = source / f"cmu_us_{speaker}_arctic"
    (folder / "wav").mkdir(parents=True)
    (folder / "etc").mkdir()
    lines = [f'( arctic_a000{i} "{sentence}" )' for i, sentence in enumerate(sentences)]
    (folder / "etc" / "txt.done.data").write_text("\\n".join(lines))
    for i in range(3):
        wave = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 9)) * np.hanning(16000) * 0.1
        soundfile.write(folder / "wav" / f"arctic_a000{i}.wav", wave, 16000)
made = published.prepare("arctic", source, "built", cores=1)
corpus = Corpus.load(made.root)
assert corpus.utterances == made.utterances and corpus.set_aside == []
assert corpus.speakers() == ["bdl", "slt"] and len(corpus.utterances) == 6
assert {u.split for u in corpus.utterances} == {"train", "validation", "test"}
assert 0.5 < len(corpus.wave(corpus.utterances[0])) / 16000 <= 1
try:
    published.prepare("arctic", "built", "built")
except CorpusError as error:
    assert "not CMU ARCTIC as released" in str(error)
else:
    raise AssertionError("a folder without speakers was read")
"""

METHOD = """
import sys, torch
sys.path.insert(0, "tests")
from lib import study
from lib.papers.ht import systems
from lib.models.layers import count
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims, loss
from synthetic_batch import make_batch

torch.manual_seed(0)
sizes = dict(hidden=32, filter=48, encoder_layers=2, decoder_layers=3, predictor_filter=32, postnet_channels=16)
backbone, batch = FastSpeech2(FastSpeech2Dims(**sizes)), make_batch(speaker=True)
listed = study.load_profile("smoke")["ht"]["systems"]
model = systems.assemble(backbone, {"name": "film_d"} | listed["film_d"])
before = backbone.eval()(batch)["mel"]
assert torch.equal(model.eval()(batch)["mel"], before), "untrained, it must change nothing"
peer = systems.assemble(backbone, {"name": "hypertts_d"} | listed["hypertts_d"])
assert abs(count(model) / count(peer) - 1) < 0.05, "as many weights as the hypernetwork"
optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
for _ in range(2):
    optimiser.zero_grad()
    loss(model(batch), batch)["total"].backward()
    optimiser.step()
after = model(batch)["mel"]
assert (after - before).abs().max() > 1e-3
assert all(torch.equal(a, b) for a, b in zip(model.backbone.parameters(), backbone.parameters(), strict=True))
other = batch | {"speaker": batch["speaker"].flip(0)}
assert not torch.equal(model(other)["mel"], after), "the voice must matter"
"""

METRIC = """
import numpy as np, torch
from types import SimpleNamespace
from lib.papers.ht import measure as scoring
from lib.corpora.corpus import Utterance
from lib.metrics import tempo

def voice(seconds, f0):
    time = np.arange(int(16000 * seconds)) / 16000
    return (0.05 * sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 9))).astype(np.float32)

recorded = [voice(1.0, 120), voice(0.8, 200)]
spoken = [voice(1.5, 120), np.concatenate([recorded[1], np.zeros(8000, np.float32)])]
values = tempo.score(spoken, recorded)["tempo_error"]
assert values.dtype == np.float64 and np.allclose(values, [50, 0], atol=2)
assert (tempo.score(recorded, recorded)["tempo_error"] == 0).all()

said = [Utterance(f"u{i}", "s", "Text.", "", (), "adaptation", "test", "typical", "u.wav", 1.0) for i in range(2)]
scoring.secs = SimpleNamespace(score=lambda *_, **options: {})  # needs weights that are fetched
scoring.enrolment = lambda _, speakers: torch.eye(len(speakers), 256)
scoring.is_listened = lambda *_: False
there = SimpleNamespace(corpus=SimpleNamespace(wave=lambda u: recorded[int(u.utterance[1])]), device="cpu")
rows = scoring.measure(there, "hypertts_d", 0, said, spoken)
mine = rows[rows["metric"] == "tempo_error"]
assert mine["value"].tolist() == values.tolist() and set(mine["unit"]) == {"%"}
assert len(rows["metric"].unique()) > 5, "the other metrics are still there"
"""

CLAIM = """
import sys
sys.path.insert(0, "tests")
from lib import study
from lib.study import claims
from synthetic_study import PROFILE, write_study

write_study()
content = claims.load_claims()
added = [claim for claim in content["claims"] if claim["id"] == "HT11"]
del content["papers"]["HT"]["gates"]  # of random numbers, nothing was trained
rows, manifests = study.read_rows(PROFILE), study.read_manifests(PROFILE)
(record,) = claims.judge(content | {"claims": added}, rows, manifests, PROFILE)
assert record["verdict"] == "reproduced", record["reason"]
assert record["ci_high"] < 0 and [part["verdict"] for part in record["parts"]][0] == "reproduced"
"""

SCRIPTS = {"corpus": CORPUS, "method": METHOD, "metric": METRIC, "claim": CLAIM}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The tracked files that the examples touch or need, as they are in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z", *COPIED], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("the examples are patches of a git checkout, and this is none")
    copy = tmp_path_factory.mktemp("project")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def patched(name: str, project: Path, folder: Path) -> Path:
    """A copy of the project with one example applied."""
    copy = shutil.copytree(project, folder / "project")
    command = ["git", "apply", "--whitespace=error", str(ROOT / "examples" / f"{name}.patch")]
    outside = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder)}
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, env=outside)
    if done.returncode:
        pytest.fail(f"examples/{name}.patch no longer applies; make it again from the code as it is:\n{done.stderr}")
    return copy


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_example_applies_and_runs(name, project, tmp_path):
    copy = patched(name, project, tmp_path)
    shared = {"PYTHONPATH": str(copy), "STUDY_RESULTS": str(tmp_path / "results"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPTS[name]], cwd=copy, capture_output=True, text=True, env=os.environ | shared
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_each_example_is_short():
    for name in SCRIPTS:
        assert 15 <= len((ROOT / "examples" / f"{name}.patch").read_text().splitlines()) <= 60


def test_the_page_shows_the_examples_as_they_are():
    text = examples.PAGE.read_text(encoding="utf-8")
    assert examples.with_diffs(text) == text, "run python -m lib report examples"
    assert all(f"<!-- diff: {name}.patch -->" in text for name in SCRIPTS)


def test_a_patch_without_a_marker_is_named(tmp_path):
    (tmp_path / "new.patch").write_text("+1\n")
    with pytest.raises(ValueError, match="new.patch"):
        examples.with_diffs("no markers", tmp_path)


def test_an_example_that_does_not_apply_says_so(project, tmp_path):
    changed = shutil.copytree(project, tmp_path / "changed")
    (changed / "lib" / "papers" / "ht" / "systems.py").write_text("# nothing left\n")
    with pytest.raises(pytest.fail.Exception, match="examples/method.patch no longer applies"):
        patched("method", changed, tmp_path)
