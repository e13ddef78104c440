"""What the TTS models read of a corpus, computed once and kept as memory-mapped arrays.

Per utterance: symbols, frames per symbol, log-mel, pitch and energy per symbol, GE2E embedding. Pitch and energy are
z-scores with the mean and deviation of the pre-training speakers' training utterances.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib import audio, text
from lib.corpora.corpus import Corpus, Utterance
from lib.files import file_hash, fingerprint, replace_file, write_json
from lib.models.mel import MelDims, log_mel
from lib.workers import map_in_processes, one_thread

VERSION = 3  # raise when what is computed changes
ARRAYS = ("mel", "symbols", "durations", "pitch", "energy", "speaker")


@dataclass
class Features:
    """The features of a corpus; `index` has one row per utterance with its corpus columns and offsets."""

    root: Path
    index: pd.DataFrame
    statistics: dict[str, float]

    def __post_init__(self):
        self._arrays = {name: np.load(self.root / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        self._row = {name: i for i, name in enumerate(self.index["utterance"])}
        self._symbols = self.index[["symbol_start", "symbol_end"]].to_numpy()
        self._frames = self.index[["frame_start", "frame_end"]].to_numpy()

    def rows(self, utterances: list[Utterance]) -> np.ndarray:
        """Positions of utterances, `(utterances,)`."""
        missing = [u.utterance for u in utterances if u.utterance not in self._row]
        if missing:
            raise ValueError(
                f"{missing[0]} and {len(missing) - 1} more have no features: "
                f"delete {self.root.name} in data/cache and run again"
            )
        return np.array([self._row[u.utterance] for u in utterances], dtype=np.int64)

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """Mel frames of each utterance."""
        return np.diff(self._frames[rows], axis=1)[:, 0]

    def item(self, row: int) -> dict[str, np.ndarray]:
        symbols, frames = slice(*self._symbols[row]), slice(*self._frames[row])
        out = {name: self._arrays[name][symbols] for name in ("symbols", "durations", "pitch", "energy")}
        return out | {"mel": self._arrays["mel"][frames], "speaker": self._arrays["speaker"][row]}

    def batch(self, rows: np.ndarray, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Padded tensors of some utterances, as `FastSpeech2.forward` takes them."""
        return padded([self.item(int(row)) for row in rows], device)

    def batches(self, rows: np.ndarray, device: torch.device | str = "cpu", size: int = 16) -> Iterator[dict]:
        """All of some rows in batches, in their order."""
        return (self.batch(rows[start : start + size], device) for start in range(0, len(rows), size))

    def centroid(self, rows: np.ndarray) -> np.ndarray:
        """Unit-norm mean GE2E embedding of some utterances, `(256,)`."""
        mean = np.asarray(self._arrays["speaker"][rows], dtype=np.float64).mean(0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def embeddings(self, rows: np.ndarray) -> np.ndarray:
        """GE2E embeddings `(utterances, 256)`."""
        return np.array(self._arrays["speaker"][rows], dtype=np.float32)


def padded(items: list[dict[str, np.ndarray]], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Padded tensors, and lengths, of what `Features.item` gives; whole numbers as int64, others as float32."""
    lengths = {"symbol_lengths": "symbols", "frame_lengths": "mel"}
    out = {name: torch.tensor([len(item[of]) for item in items]) for name, of in lengths.items()}
    for name in items[0]:
        whole = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(np.array(i[name])) for i in items], batch_first=True)
        out[name] = whole.to(torch.float32 if whole.is_floating_point() else torch.long)
    return {name: value.to(device, non_blocking=True) for name, value in out.items()}


def frames_per_symbol(durations: np.ndarray, frames: int, frames_per_second: float) -> np.ndarray:
    """Durations in seconds to whole frames that sum to `frames`: the boundaries are rounded, not the durations."""
    ends = np.round(np.cumsum(durations) * frames_per_second).astype(np.int64)
    ends = np.minimum(ends, frames)
    ends[-1] = frames
    return np.diff(np.concatenate([[0], ends]))


def symbol_means(track: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """Mean of a frame track over each symbol's frames; a symbol without frames takes its left neighbour's mean."""
    ends = np.cumsum(durations)
    sums = np.concatenate([[0.0], np.cumsum(track)])
    means = (sums[ends] - sums[ends - durations]) / np.maximum(durations, 1)
    for i in np.flatnonzero(durations == 0):
        means[i] = means[i - 1] if i else 0.0
    return means


def log_f0(wave: np.ndarray, frames: int, dims: MelDims) -> np.ndarray:
    """Natural-log F0 per mel frame (WORLD's DIO and StoneMask), linear through unvoiced frames; 0 if none is voiced."""
    import pyworld

    x = wave.astype(np.float64)
    raw, times = pyworld.dio(x, dims.rate, frame_period=1000 * dims.hop / dims.rate, f0_floor=60, f0_ceil=600)
    f0 = pyworld.stonemask(x, raw, times, dims.rate)
    f0 = np.pad(f0[:frames], (0, max(0, frames - len(f0))))
    voiced = np.flatnonzero(f0 > 0)
    if len(voiced) == 0:
        return np.zeros(frames)
    return np.interp(np.arange(frames), voiced, np.log(f0[voiced]))


def utterance_features(wave: np.ndarray, phonemes: str, durations: tuple[float, ...], dims: MelDims) -> dict:
    """Symbols, frames per symbol, log-mel, mean log F0 and log energy per symbol of one utterance."""
    mel = log_mel(torch.from_numpy(wave).unsqueeze(0), dims)[0]
    frames = len(mel)
    per_symbol = frames_per_symbol(np.array(durations), frames, dims.frames_per_second)
    energy = torch.logsumexp(2 * mel, dim=1).numpy() / 2
    return {
        "mel": mel.numpy().astype(np.float32),
        "symbols": np.array(text.encode(phonemes), dtype=np.int16),
        "durations": per_symbol.astype(np.int32),
        "pitch": symbol_means(log_f0(wave, frames, dims), per_symbol).astype(np.float32),
        "energy": symbol_means(energy, per_symbol).astype(np.float32),
    }


@one_thread()
def _chunk(utterances: list[Utterance], root: Path, dims: MelDims) -> list[dict]:
    warnings.filterwarnings("ignore", message="pkg_resources")  # pyworld's import says where it is installed
    from lib.models import speaker

    waves = [audio.read(root / u.path, dims.rate) for u in utterances]
    embeddings = speaker.embed(waves)
    out = []
    for utterance, wave, embedding in zip(utterances, waves, embeddings, strict=True):
        item = utterance_features(wave, utterance.phonemes, utterance.durations, dims)
        out.append(item | {"speaker": embedding.astype(np.float32)})
    return out


def features_of(corpus: Corpus, cache: Path, dims: MelDims = MelDims(), cores: int = 1) -> Features:
    """The corpus's features, computed in parallel if `cache` does not hold them yet.

    A cached set with a file whose SHA-256 is not the one written down (a damaged file) is computed again.
    """
    root = cache / f"features-{fingerprint(corpus.hash, VERSION, vars(dims))}"
    try:
        return _load(root)
    except (OSError, ValueError, KeyError):
        _compute(corpus, root, dims, cores)
        return _load(root)


def _load(root: Path) -> Features:
    facts = json.loads((root / "features.json").read_text())
    for name, expected in facts["sha256"].items():
        if file_hash(root / name) != expected:
            raise ValueError(f"{name} in {root.name} is damaged")
    return Features(root, pd.read_parquet(root / "index.parquet"), facts["statistics"])


def _compute(corpus: Corpus, root: Path, dims: MelDims, cores: int) -> None:
    utterances = corpus.utterances
    chunks = [utterances[i : i + 16] for i in range(0, len(utterances), 16)]
    compute = partial(_chunk, root=corpus.root, dims=dims)
    items = [item for made in map_in_processes(compute, chunks, cores, label="features", size=len) for item in made]
    index = corpus.table()[["utterance", "speaker", "role", "split"]].reset_index(drop=True)
    for unit, name in (("symbol", "symbols"), ("frame", "mel")):
        ends = np.cumsum([len(i[name]) for i in items])
        index[f"{unit}_end"] = ends
        index[f"{unit}_start"] = np.concatenate([[0], ends[:-1]])
    statistics = _standardise(items, index)
    root.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        whole = np.stack([i[name] for i in items]) if name == "speaker" else np.concatenate([i[name] for i in items])
        with replace_file(root / f"{name}.npy") as temporary:
            np.save(temporary, whole)
    with replace_file(root / "index.parquet") as temporary:
        index.to_parquet(temporary)
    digests = {name: file_hash(root / name) for name in (*(f"{array}.npy" for array in ARRAYS), "index.parquet")}
    write_json(root / "features.json", {"statistics": statistics, "sha256": digests})


def _standardise(items: list[dict], index: pd.DataFrame) -> dict[str, float]:
    base = index[(index["role"] == "pretraining") & (index["split"] == "train")].index
    base = base if len(base) else index.index
    statistics = {}
    for name in ("pitch", "energy"):
        values = np.concatenate([items[i][name] for i in base]).astype(np.float64)
        mean, deviation = float(values.mean()), float(values.std() + 1e-8)
        statistics |= {f"{name}_mean": mean, f"{name}_deviation": deviation}
        for item in items:
            item[name] = ((item[name] - mean) / deviation).astype(np.float32)
    return statistics
