"""The stages of a study, each on something small: what is killed, starved and damaged here.

A stage reads and writes inside one folder. Doing it again in a folder where it was stopped ends with the results of a
stage that was never stopped; `results` names these.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unittest import mock

import nbformat
import pandas as pd
import synthetic_corpus
import synthetic_study
import synthetic_trainings
import synthetic_zero_shot
import torch

from lib import study
from lib.corpora.corpus import Corpus
from lib.corpora.embedded import build as kokoro
from lib.corpora.features import features_of
from lib.models.mel import MelDims
from lib.papers.ha.study import Study as Recognisers
from lib.papers.ht.study import Study
from lib.papers.ld.study import Study as Latents
from lib.study import claims
from lib.study.report import index as report

READY = ".ready"  # a file that a stage writes when its own work begins
NOTEBOOK, EXECUTED = "notebooks/small.ipynb", "results/executed.ipynb"
SYSTEM = "hypertts_d"
RUN = f"ht-{SYSTEM}-s0"
TIMES = ("seconds_trained", "seconds_per_step")  # metrics that no two runs share

SMALL = {
    "ht": {
        "pretrain": {"steps": 12, "checkpoint_every": 2},
        "adapt": {"steps": 6, "checkpoint_every": 2},
        "evaluate": {"recognised_systems": [], "sentences": {"adaptation": 1, "pretraining": 0, "never_seen": 1}},
    },
    "vocoder": {"hifigan": None, "iterations": 4},
}
SAMPLED = {"sampling": {"steps": 2}, "evaluate": {"guidance": [0.0, 2.0], "styles": ["high_lively"], "players": 1}}
JUDGED = synthetic_study.PROFILE | {"statistics": {"level": 0.95}}
RECIPE = {
    "seed": 0,
    "gate": {"wer": 0.1, "mos": 2.5},
    "bases": {"hibari": {"voice": "hibari"}},
    "speakers": {
        "plain": {"role": "pretraining", "base": "hibari"},
        "high": {"role": "adaptation", "base": "hibari", "warp": 1.1, "f0": 1.2},
    },
    "cast": ["plain", "high"],
    "counts": {
        "pretraining": {"train": 3, "validation": 0, "test": 1},
        "adaptation": {"train": 2, "validation": 0, "test": 1},
        "never_seen": {"train": 0, "validation": 0, "test": 0},
    },
}


PASSED = {"wer": 0.0, "mos": 4.0, "reason": None}


class Small(Study):
    """HyperTTS on the synthetic corpus of a folder."""

    @cached_property
    def corpus(self) -> Corpus:
        return Corpus.load(Path(os.environ["STUDY_RESULTS"]).parent / "corpus")


def small() -> Small:
    return Small(study.load_profile("smoke", SMALL), "cpu", cores=1)


def ready() -> None:
    (Path(os.environ["STUDY_RESULTS"]).parent / READY).touch()


def build_corpus(folder: Path) -> None:
    """Build a corpus in worker processes, with a real voice and judges that pass everything."""
    passing = mock.patch.object(kokoro, "judge", lambda waves, texts, gate: [dict(PASSED) for _ in waves])
    ready()
    with passing, mock.patch.object(kokoro, "BATCH", 1), forked():
        kokoro.build(RECIPE, folder / "built", cores=2)


@contextmanager
def forked() -> Iterator[None]:
    """Workers begin as copies of this process, which has imported everything, instead of importing it again."""
    context = multiprocessing.get_context("fork")
    with mock.patch.object(multiprocessing, "get_context", lambda _: context):
        yield


def compute_features(folder: Path) -> None:
    ready()
    with forked():
        features_of(Corpus.load(folder / "corpus"), folder / "cache", MelDims(), cores=1)


def train(folder: Path) -> None:
    ready()
    small().train(SYSTEM, 0)


def score(folder: Path) -> None:
    ready()
    small().run(SYSTEM, 0)


def recognise(folder: Path) -> None:
    """Prepare, train and measure a hypernetwork for Whisper on the synthetic corpus."""
    ready()
    profile = study.load_profile("smoke")
    profile |= {"ha": profile["ha"] | synthetic_trainings.ASR}
    heard = Recognisers(profile, "cpu", 1)
    heard.corpus = Corpus.load(folder / "corpus")
    heard.prepare()
    heard.run("hyper", 0)


def prune(folder: Path) -> None:
    """Train a tiny dense model, then prune it, speak with it and measure that."""
    ready()
    pruned = synthetic_zero_shot.make_study(folder)
    pruned.prepare()
    pruned.run("dp_r45", 0)


def diffuse(folder: Path) -> None:
    """Prepare styled speech, its latents and mini-CLAP; train a diffusion between latents, sample it, measure that."""
    ready()
    profile = study.load_profile("smoke", {"ld": synthetic_trainings.LATENTS | SAMPLED})
    latents = Latents(profile)
    latents.prepare()
    latents.run("palette", 0)


def run_notebook(folder: Path) -> None:
    """A notebook that writes rows, run by the workflow, whose own process this one stands for."""
    ready()
    (folder / "results").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "lib", "chapter", "results/notebook.log", NOTEBOOK, EXECUTED]
    done = subprocess.run([*command, "profile=tiny"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr)


def judge_claims(folder: Path) -> None:
    ready()
    claims.write_claims(JUDGED)
    report.write_report(JUDGED)


def add_corpus(folder: Path) -> None:
    synthetic_corpus.source(folder / "corpus")


def add_weights(folder: Path) -> None:
    train(folder)


def add_notebook(folder: Path) -> None:
    """A notebook of two cells: parameters, and rows that are written when they are read by a later cell."""
    cell = nbformat.v4.new_code_cell
    cells = [
        cell('profile = "smoke"', metadata={"tags": ["parameters"]}),
        cell("import synthetic_study\nfrom lib import study"),
        cell('synthetic_study.write_run("ht-reference-s0", synthetic_study.reference_rows())'),
        cell('study.read_rows(profile)["value"].tolist()'),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (folder / NOTEBOOK).parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / NOTEBOOK)


def add_rows(folder: Path) -> None:
    for system in ("tts_0", "adaptertts_d", "hypertts_d", "tts_ft"):
        synthetic_study.write_run(f"ht-{system}-s0", synthetic_study.system_rows(system, 0, utterances=2))
    synthetic_study.write_run("ht-reference-s0", synthetic_study.reference_rows())


def _rows(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted((folder / "results" / name / "rows").glob("[!.]*.parquet")):
        rows = pd.read_parquet(path)
        yield path.name, rows[~rows["metric"].isin(TIMES)].to_csv(index=False).encode()
    yield "read", str(len(study.read_rows(name))).encode()


def _files(folder: Path, *patterns: str) -> Iterator[tuple[str, bytes]]:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if not path.name.startswith("."):
                yield str(path.relative_to(folder)), path.read_bytes()


def _corpus_results(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _files(folder / "built", "*/manifest.jsonl", "*/corpus.json", "*/audio/*/*.flac")


def _feature_results(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _files(folder / "cache", "*/*.npy", "*/*.parquet", "*/*.json")


def _weights(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _files(folder / "results" / "smoke" / "checkpoints", "*.safetensors", "*.resume.pt")


def _scores(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _rows(folder, "smoke")
    yield from _files(folder / "results" / "smoke" / "audio", "*/*.wav")


def _recognised(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _rows(folder, "smoke")
    yield from _weights(folder)
    yield from _files(folder / "results" / "smoke", "transcripts/*.json", "adapters/*/*.safetensors")
    yield from _files(folder / "cache", "*/*.table", "*/states/*/*.states")


def _pruned(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _rows(folder, "tiny")
    yield from _files(folder / "results" / "tiny", "checkpoints/*.safetensors", "checkpoints/*.pt", "audio/*/*.wav")


def _diffused(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _rows(folder, "smoke")
    yield from _weights(folder)
    yield from _files(folder / "results" / "smoke" / "audio", "*/*.wav")


def _notebook(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _rows(folder, "tiny")
    cells = nbformat.read(folder / EXECUTED, 4).cells
    outputs = [out["data"]["text/plain"] for cell in cells if cell.cell_type == "code" for out in cell.outputs]
    yield "outputs", repr(outputs).encode()


def _report(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from _files(folder / "results" / "tiny", "claims.json", "index.html")


@dataclass(frozen=True)
class Stage:
    """A stage's work, what its folder holds beforehand, and its results as (name, bytes)."""

    name: str
    work: Callable[[Path], None]
    results: Callable[[Path], Iterator[tuple[str, bytes]]]
    before: tuple[Callable[[Path], None], ...] = ()


STAGES = {
    stage.name: stage
    for stage in (
        Stage("corpus", build_corpus, _corpus_results),
        Stage("features", compute_features, _feature_results, (add_corpus,)),
        Stage("training", train, _weights, (add_corpus, compute_features)),
        Stage("scoring", score, _scores, (add_corpus, compute_features, add_weights)),
        Stage("recognition", recognise, _recognised, (add_corpus,)),
        Stage("pruning", prune, _pruned),
        Stage("latent diffusion", diffuse, _diffused),
        Stage("notebook", run_notebook, _notebook, (add_notebook,)),
        Stage("report", judge_claims, _report, (add_rows,)),
    )
}


def enter(folder: Path) -> None:
    """Make a folder the place of this process's results and caches."""
    os.environ |= {"STUDY_RESULTS": str(folder / "results"), "STUDY_CACHE": str(folder / "cache")}
    torch.set_num_threads(1)


def prepare(stage: Stage, folder: Path) -> None:
    """Fill a stage's folder with what it starts from."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in stage.before:
        step(folder)
    (folder / READY).unlink(missing_ok=True)


def digest(stage: Stage, folder: Path) -> str:
    """SHA-256 of a stage's results; an empty string where there are none."""
    found = list(stage.results(folder))
    whole = hashlib.sha256()
    for name, content in found:
        whole.update(f"{name} {len(content)} ".encode() + content)
    return whole.hexdigest() if found else ""
