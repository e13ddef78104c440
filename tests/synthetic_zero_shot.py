"""A zero-shot study small enough for tests: random features of a few speakers, and a profile of tiny models."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from lib import audio, text
from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.features import ARRAYS, Features
from lib.papers.sp.study import Study

SPEAKERS = {"pre_a": "pretraining", "ada_b": "adaptation", "new_c": "never_seen", "new_d": "never_seen"}
PHONEMES = "hˈɛlO ðˈɛɹ."
PROFILE = {
    "name": "tiny",
    "corpus": {},
    "features": {},
    "vocoder": {"hifigan": None, "iterations": 2, "momentum": 0.9},
    "statistics": {"level": 0.95},
    "sp": {
        "seeds": [0],
        "headline": ["dp_r45"],
        "train_roles": ["pretraining", "adaptation"],
        "from_scratch": False,
        "own_dense": True,
        "seen_systems": ["baseline", "dp_r45"],
        "reference_systems": ["dp_r45"],
        "other_references": None,
        "players": {"systems": ["dp_r45"], "speakers": 1},
        "systems": {
            "baseline": {"method": "dense"},
            "vp": {"method": "row_mean"},
            "dp_r30": {"method": "learned", "ratio": 0.30},
            "dp_r45": {"method": "learned", "ratio": 0.45},
            "attention_cost": {"method": "cost"},
        },
        "model": {
            **{"hidden": 16, "encoder_layers": 1, "decoder_layers": 4, "filter": 16, "kernels": [3, 1]},
            **{"predictor_filter": 16, "style": 8, "style_hidden": 8},
        },
        "dense": {"steps": 3, "batch_size": 4, "learning_rate": 0.005},
        "train": {"steps": 4, "batch_size": 4, "learning_rate": 0.002},
        "soft_steps": 3,
        "theta_scale": 50.0,
        "sentences": {"never_seen": 2, "adaptation": 1},
        "heard_systems": [],
        "heard_seeds": [0],
        "heard_sentences": 1,
        "reference_sentences": 1,
        "reference_seconds": [0.5],
        "joined": [1, 2],
        "attention_sentences": 1,
        "cost": {"frames": [20], "batch_size": 1, "repeats": 1},
    },
}


def make_utterances() -> list[Utterance]:
    """Two training, one validation and two test utterances of each speaker, each with texts of its own split."""
    found = []
    for speaker, role in SPEAKERS.items():
        for split, count in (("train", 2), ("validation", 1), ("test", 2)):
            for i in range(count):
                name, seconds = f"{speaker}-{split}{i}", 0.08 * len(PHONEMES)
                durations = (0.08,) * len(PHONEMES)
                said = f"Hello there {split} {i}."
                found.append(
                    Utterance(name, speaker, said, PHONEMES, durations, role, split, "typical", f"{name}.wav", seconds)
                )
    return found


def make_features(root: Path, utterances: list[Utterance]) -> Features:
    """Random mels (5 frames a symbol) and unit embeddings that are alike within a speaker."""
    own = np.random.default_rng(0)
    count, frames = len(PHONEMES), 5 * len(PHONEMES)
    centres = {speaker: own.normal(size=256) ** 2 for speaker in SPEAKERS}
    arrays = {
        "mel": own.normal(-4, 1, (len(utterances) * frames, 80)).astype(np.float32),
        "symbols": np.tile(np.array(text.encode(PHONEMES), dtype=np.int16), len(utterances)),
        "durations": np.full(len(utterances) * count, 5, dtype=np.int32),
        "pitch": own.normal(size=len(utterances) * count).astype(np.float32),
        "energy": own.normal(size=len(utterances) * count).astype(np.float32),
        "speaker": np.stack([centres[u.speaker] + 0.1 * own.random(256) for u in utterances]).astype(np.float32),
    }
    arrays["speaker"] /= np.linalg.norm(arrays["speaker"], axis=1, keepdims=True)
    root.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        np.save(root / f"{name}.npy", arrays[name])
    index = pd.DataFrame([{k: getattr(u, k) for k in ("utterance", "speaker", "role", "split")} for u in utterances])
    for unit, size in (("symbol", count), ("frame", frames)):
        index[f"{unit}_start"] = size * np.arange(len(utterances))
        index[f"{unit}_end"] = index[f"{unit}_start"] + size
    return Features(root, index, {})


def make_study(root: Path, **settings) -> Study:
    """The tiny study with its features in `root`; settings are laid over the section sp."""
    profile = json.loads(json.dumps(PROFILE))
    profile["sp"] |= settings
    utterances = make_utterances()
    made = Study(profile, "cpu", cores=1)
    for number, utterance in enumerate(utterances):
        wave = 0.1 * np.random.default_rng(number).standard_normal(round(audio.RATE * utterance.seconds))
        audio.write(root / utterance.path, wave.astype(np.float32))
    made.corpus = Corpus(root, "synthetic", "0123456789ab", utterances)
    made.features = make_features(root / "features", utterances)
    return made
