"""A micro training of every method, on made-up data of utterances of different lengths.

    torchrun --nproc-per-node 2 tests/synthetic_trainings.py <prepared data> <results> [run ...]

Batches are of three utterances and of one, so that two processes have unequal shares, or one of them nothing. Adam's
eps is large: Adam divides by the size of a gradient, and would otherwise make weights of the rounding of one near 0.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from synthetic_corpus import source
from synthetic_zero_shot import PROFILE as ZERO_SHOT
from synthetic_zero_shot import SPEAKERS

from lib import study, text
from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.features import ARRAYS, Features
from lib.papers.common.alignment import ALIGNER, Aligning
from lib.papers.ha.study import Study as Recognisers
from lib.papers.ht.study import Study as HyperTTS
from lib.papers.ld.study import Study as Latents
from lib.papers.sp.study import Study as Pruned
from lib.study import protocol
from lib.training import parallel
from lib.training.loop import TrainConfig

STEPS = {"steps": 4, "batch_size": 3, "eps": 1e-3, "checkpoint_every": 2}
SPEECH = {
    "ht": {
        "pretrain": STEPS | {"learning_rate": 0.003, "schedule": "constant", "accumulate": 2},
        "adapt": STEPS | {"learning_rate": 0.003},
    }
}
ASR = {
    "context": 5,
    "train": STEPS | {"rates": {"hyper_linear": 0.01, "full": 0.001}},
    "systems": {
        "hyper": {"method": "hyper", "targets": ["decoder.W1"], "rank": 1},
        "biases": {"method": "bias", "side": "encoder", "steps": 2, "rate": 0.001},
    },
}
LATENTS = {
    "data": {"sentences": {"train": 2, "validation": 1, "test": 1}, "draws": 2, "takes": 1},
    "posterior": STEPS | {"channels": 16, "layers": 1, "frames": 24, "styled": 1, "segment": 6, "warmup": 0},
    "clap": {"text": "words", "dims": {"size": 8, "channels": 8, "layers": 2}, "train": STEPS | {"warmup": 0}},
    "diffusion": STEPS | {"frames": 24, "warmup": 0},
    "decoder": {"steps": 1, "batch_size": 3, "segment": 6, "eps": 1e-3, "learning_rate": 1e-5},
}
RUNS = (
    *("ht-backbone", "ht-tts_ft", "ht-hypertts_evd", "ht-aligner", "sp-dense", "sp-dp_r45", "ha-hyper", "ha-biases"),
    *("ld-posterior", "ld-clap", "ld-decoder", "ld-palette", "ld-i2sb_aligned"),
)


def utterances() -> list[Utterance]:
    """Five training utterances and a validation utterance of each speaker, of 5 to 16 symbols."""
    found = []
    for place, (speaker, role) in enumerate(SPEAKERS.items()):
        for i, split in enumerate(["train"] * 5 + ["validation"]):
            phonemes = "hˈɛlO ðˈɛɹ, hˈɛlO."[: 5 + (3 * i + 5 * place) % 12]
            durations, name = (0.08,) * len(phonemes), f"{speaker}-{split}{i}"
            said, path = f"Hello {split} {i}.", f"{name}.wav"
            seconds = 0.08 * len(phonemes)
            found.append(Utterance(name, speaker, said, phonemes, durations, role, split, "typical", path, seconds))
    return found


def features(root: Path, items: list[Utterance]) -> Features:
    """Random features of the utterances, 5 frames a symbol."""
    own = np.random.default_rng(0)
    counts = [len(u.phonemes) for u in items]
    arrays = {
        "mel": own.normal(-4, 1, (5 * sum(counts), 80)).astype(np.float32),
        "symbols": np.concatenate([text.encode(u.phonemes) for u in items]).astype(np.int16),
        "durations": np.full(sum(counts), 5, dtype=np.int32),
        "pitch": own.normal(size=sum(counts)).astype(np.float32),
        "energy": own.normal(size=sum(counts)).astype(np.float32),
        "speaker": own.normal(size=(len(items), 256)).astype(np.float32) / 16,
    }
    root.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        np.save(root / f"{name}.npy", arrays[name])
    index = pd.DataFrame([{k: getattr(u, k) for k in ("utterance", "speaker", "role", "split")} for u in items])
    for unit, size in (("symbol", 1), ("frame", 5)):
        index[f"{unit}_end"] = size * np.cumsum(counts)
        index[f"{unit}_start"] = index[f"{unit}_end"] - size * np.array(counts)
    index.to_parquet(root / "index.parquet")
    return Features(root, index, {})


def prepare(data: Path) -> None:
    """Make what all trainings read, in a folder: features, recordings, encoder states, speech and its latents."""
    os.environ |= {"STUDY_CACHE": str(data / "cache"), "STUDY_RESULTS": str(data / "results")}
    features(data / "features", utterances())
    source(data / "speech")
    recogniser(data).fill()
    latents().encoded  # noqa: B018 - what is not there is made


def speech(data: Path, kind: type[protocol.Study], profile: dict) -> protocol.Study:
    bench = kind(profile, "cpu", 1)
    bench.corpus = Corpus(data, "synthetic", "0123456789ab", utterances())
    bench.features = Features(data / "features", pd.read_parquet(data / "features" / "index.parquet"), {})
    return bench


def recogniser(data: Path) -> Recognisers:
    base = study.load_profile("smoke")
    profile = base | {"ha": base["ha"] | ASR}
    corpus = Corpus.load(data / "speech")
    trained = corpus.select(role="adaptation", split="train")
    made = Recognisers(profile, "cpu", 1)
    made.corpus = Corpus(corpus.root, "part", corpus.hash, trained)
    return made


def latents() -> Latents:
    return Latents(study.load_profile("smoke", {"ld": LATENTS}), "cpu", 1)


def train(data: Path, runs: list[str]) -> None:
    """Train some of `RUNS`, and what they start from, into the folder that STUDY_RESULTS names."""
    aligner = {"train": STEPS, "dims": {"embedding": 16, "shared": 8}}
    profile = study.load_profile("smoke", SPEECH) | {"real": {"aligner": aligner}}
    spoken, aligning = speech(data, HyperTTS, profile), speech(data, Aligning, profile)
    rate = STEPS | {"learning_rate": 0.003}
    pruned = ZERO_SHOT | {"name": "smoke", "sp": ZERO_SHOT["sp"] | {"train": rate, "dense": rate}}
    pruned = speech(data, Pruned, pruned)
    heard, diffused = recogniser(data), latents()
    special = {"ht-aligner": lambda: aligning.train(ALIGNER, 0)}
    by_paper = {
        "ht": lambda name: spoken.train(name, 0),
        "sp": lambda name: pruned.train(name, 0),
        "ha": lambda name: heard.train(name, 0),
        "ld": lambda name: diffused.train(name, 0),
    }
    for run in runs:
        paper, name = run.split("-")
        special[run]() if run in special else by_paper[paper](name)


def interrupted(data: Path, run: str, at: int) -> None:
    """Train a run that is stopped before a step, and then again to its end."""
    rate = TrainConfig.rate

    def stop(self: TrainConfig, step: int) -> float:
        if step == at:
            raise KeyboardInterrupt
        return rate(self, step)

    TrainConfig.rate = stop
    try:
        train(data, [run])
    except KeyboardInterrupt:
        TrainConfig.rate = rate
    train(data, [run])


def weights(results: Path, runs: list[str]) -> dict[str, dict[str, torch.Tensor]]:
    """The trained weights by run, as `train` left them."""
    return {run: load_file(results / "smoke" / "checkpoints" / f"{run}-s0.safetensors") for run in runs}


def main(data: str, results: str, runs: list[str]) -> None:
    """Train runs, of which "~<run>" is interrupted once, in this process or in those that torchrun started."""
    torch.set_num_threads(1)
    os.environ |= {"STUDY_RESULTS": results, "STUDY_CACHE": f"{data}/cache"}
    with parallel.joined("cpu"):
        for run in runs or RUNS:
            interrupted(Path(data), run[1:], 3) if run[0] == "~" else train(Path(data), [run])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
