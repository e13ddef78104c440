"""Phoneme durations for a corpus that comes without them: the unsupervised aligner, trained on the corpus itself.

    python -m lib corpora prepare librispeech --source ~/corpora/librispeech --align

Texts become phonemes, recordings mels and speaker embeddings (in parallel), the aligner is trained on them and its
likeliest paths are the durations. They are kept beside the manifest, so that a corpus is aligned once.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lib import text
from lib.corpora.corpus import Corpus, CorpusError, Utterance, write_text
from lib.corpora.features import Features, features_of
from lib.files import fingerprint
from lib.models import aligner
from lib.models.aligner import Aligner, AlignerDims, AlignerError
from lib.models.mel import MelDims
from lib.training.loop import BucketedBatches, TrainConfig, fit, seed_everything
from lib.workers import map_in_processes

SETTINGS = {
    "dims": {},
    "train": {"steps": 600, "batch_size": 16, "learning_rate": 0.001, "schedule": "cosine", "warmup": 50},
    "binarise_from": 0.5,  # share of the steps after which the binarisation loss is added
}
CHUNK = 64  # texts a worker takes together
LEAST = 0.8  # share of a corpus's utterances that must be usable


def make(settings: dict, mel: MelDims, device: str = "cpu") -> Aligner:
    """An untrained aligner of the sizes that `settings` (as SETTINGS) gives."""
    sizes = {"n_symbols": len(text.SYMBOLS), "n_mels": mel.n_mels, **settings["dims"]}
    return Aligner(AlignerDims.from_dict(sizes)).to(device)


def objective(
    model: Aligner, features: Features, utterances: list[Utterance], settings: dict, config: TrainConfig, device: str
) -> tuple[Callable[[int], dict[str, Tensor]], Callable[[dict[str, Tensor]], dict[str, Tensor]]]:
    """The batches of some utterances, of which durations are not looked at, and an aligner's losses of one.

    Raises AlignerError for an utterance with fewer frames than symbols.
    """
    rows = features.rows(utterances)
    check_frames(utterances, features.frames(rows))
    sampler = BucketedBatches(features.frames(rows), config.batch_size, config.seed)
    binarise_from = settings["binarise_from"] * config.steps * config.accumulate

    def batch_at(micro: int) -> dict[str, Tensor]:
        weight = torch.tensor(float(micro >= binarise_from))
        return features.batch(rows[sampler(micro)], device) | {"binarise": weight}

    return batch_at, lambda batch: aligner.loss(model, batch)


def check_frames(utterances: list[Utterance], frames: np.ndarray) -> None:
    """Raise AlignerError for an utterance with fewer frames than symbols."""
    for utterance, length in zip(utterances, frames, strict=True):
        if length < len(utterance.phonemes):
            raise AlignerError(
                f"{utterance.utterance} has {length} frames for {len(utterance.phonemes)} symbols: "
                "give a recording of the whole text."
            )


def seconds_of(durations: Tensor, symbol_lengths: Tensor, dims: MelDims = MelDims()) -> list[np.ndarray]:
    """Frames per symbol `(batch, symbols)` to seconds, one array `(symbols,)` per utterance."""
    pairs = zip(durations.cpu().numpy(), symbol_lengths.tolist(), strict=True)
    return [frames[:length] / dims.frames_per_second for frames, length in pairs]


def heard(
    model: Aligner, features: Features, utterances: list[Utterance], mel: MelDims, device: str = "cpu"
) -> list[np.ndarray]:
    """Seconds per symbol of a batch of utterances, as the aligner hears them."""
    batch = features.batch(features.rows(utterances), device)
    return seconds_of(aligner.durations_of(model.eval(), batch), batch["symbol_lengths"], mel)


def align(
    corpus: Corpus,
    cache: Path,
    settings: dict | None = None,
    mel: MelDims = MelDims(),
    device: str = "cpu",
    cores: int | None = None,
    start: dict[str, Tensor] | None = None,
    start_mark: str = "",
) -> Corpus:
    """The corpus with phonemes and durations, written to its own manifest; where that was done before, it is read.

    cache: folder of the features, as `lib.corpora.features.features_of` takes it. start: weights to go on from, of
    another corpus's aligner of the same sizes, and start_mark: what they depend on. device: "auto" is the GPU where
    there is one. Utterances that cannot be spoken, or have more symbols than frames, are set aside. Raises CorpusError
    when fewer than LEAST of the utterances are left.
    """
    settings, cores = settings or SETTINGS, cores or len(os.sched_getaffinity(0))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    mark = fingerprint(corpus.hash, settings, vars(mel), start_mark, device.split(":")[0])
    journal = corpus.root / f"durations-{mark}.jsonl"
    if (known := _read(corpus, journal, mark)) is not None:
        known.save()
        return known
    spoken = speakable(corpus, mel, cores)
    features = features_of(spoken, cache, mel, cores)
    seed_everything(0)
    model = make(settings, mel, device)
    if start is not None:
        model.load_state_dict(start)
    config, resume = TrainConfig.from_dict(settings["train"], seed=0), corpus.root / "aligner.resume.pt"
    batch_at, losses = objective(model, features, spoken.utterances, settings, config, device)
    fit(model.train(), losses, batch_at, config, resume, mark, device, "aligner")
    utterances = []
    size = settings["train"]["batch_size"]
    for first in tqdm(range(0, len(spoken.utterances), size), desc="alignments", unit="batch", mininterval=2):
        chosen = spoken.utterances[first : first + size]
        found = heard(model, features, chosen, mel, device)
        utterances += [replace(u, durations=_fitted(d, u.seconds)) for u, d in zip(chosen, found, strict=True)]
    record = {u.utterance: {"phonemes": u.phonemes, "durations": u.durations} for u in utterances}
    write_text(journal, json.dumps(record, ensure_ascii=False))
    resume.unlink(missing_ok=True)
    aligned = replace(spoken, utterances=utterances, hash=mark)
    aligned.save()
    return aligned


def speakable(corpus: Corpus, mel: MelDims, cores: int) -> Corpus:
    """The corpus with phonemes and, for want of better ones, equal durations; what cannot be aligned is set aside."""
    items = corpus.utterances
    chunks = [[item.text for item in items[i : i + CHUNK]] for i in range(0, len(items), CHUNK)]
    found: dict[str, tuple[str, str]] = {}
    for pairs in map_in_processes(_phonemes, chunks, cores, label="phonemes", size=len):
        found |= dict(pairs)
    usable, aside = [], list(corpus.set_aside)
    for item in items:
        phonemes, reason = found[item.text]
        frames = 1 + int(item.seconds * mel.frames_per_second)
        if not reason and frames < len(phonemes):
            reason = f"{frames} frames for {len(phonemes)} symbols; give a recording of the whole text."
        if reason:
            aside.append({"utterance": item.utterance, "speaker": item.speaker, "text": item.text, "reason": reason})
            continue
        equal = (item.seconds / len(phonemes),) * len(phonemes)
        usable.append(replace(item, phonemes=phonemes, durations=equal))
    if len(usable) < LEAST * len(items):
        raise CorpusError(
            f"{corpus.name}: only {len(usable)} of {len(items)} utterances can be aligned ({aside[-1]['reason']}); "
            "check that its transcripts are of these recordings."
        )
    return Corpus(corpus.root, corpus.name, fingerprint(corpus.hash, "equal durations"), usable, aside)


def _phonemes(sentences: list[str]) -> list[tuple[str, tuple[str, str]]]:
    """Sentence, and its phonemes and "", or "" and why it has none."""
    found = []
    for sentence in sentences:
        try:
            found.append((sentence, (text.phonemize(sentence), "")))
        except text.TextError as error:
            found.append((sentence, ("", str(error))))
    return found


def _fitted(durations: np.ndarray, seconds: float) -> tuple[float, ...]:
    """Durations whose sum is the recording's length: whole frames can miss it by one."""
    ends = np.minimum(np.cumsum(durations), seconds)
    ends[-1] = seconds
    return tuple(float(each) for each in np.diff(ends, prepend=0.0))


def _read(corpus: Corpus, journal: Path, mark: str) -> Corpus | None:
    """The aligned corpus from what an earlier alignment wrote down, or None where there is none or it is damaged."""
    try:
        record = json.loads(journal.read_text(encoding="utf-8"))
        utterances = [
            replace(item, phonemes=own["phonemes"], durations=tuple(own["durations"]))
            for item in corpus.utterances
            if (own := record.get(item.utterance))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    left = {item.utterance for item in utterances}
    aside = [
        {"utterance": u.utterance, "speaker": u.speaker, "text": u.text, "reason": "It could not be aligned."}
        for u in corpus.utterances
        if u.utterance not in left
    ]
    return replace(corpus, utterances=utterances, hash=mark, set_aside=[*corpus.set_aside, *aside])
