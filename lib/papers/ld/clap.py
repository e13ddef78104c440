"""The CLAP of the latent study: mini-CLAP trained on restyled speech, conditions, retrieval, and what it knows.

A training pair is a restyled sentence and one of a few prompts for some of its factors, in one of several wordings;
the last wording of every level is kept for testing. Conditions are embeddings times the root of their size, so that
a number of a condition has about unit variance. `probe` is claim LD8: ridge regression from the audio embedding to
F0 mean and range, energy, rate and pauses on sentences that nothing was fitted to.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from lib.corpora.styled import styles
from lib.models import clap
from lib.models.clap import Clap, MiniClap, MiniClapDims
from lib.papers.ld.data import SPEAKER, TRUTHS, Styled, fingerprint_seed, floats
from lib.papers.ld.posterior import training
from lib.study.part import Part
from lib.study.watch import drawn
from lib.training import parallel

PROMPTS = 4  # of every recording
HELD_WORDING = 3  # of `styles.PHRASES`, for testing only
WORDINGS = {"used": 0, "new": HELD_WORDING}  # that of the systems' prompts, and one that was never trained on
UNITS = {
    "f0_mean": "semitones",
    "f0_range": "semitones",
    "energy_mean": "dB",
    "rate": "vowels/s",
    "pause_share": "share",
}


def vocabulary() -> list[str]:
    """Every word of the prompts that are trained on."""
    phrases = [p for levels in styles.PHRASES.values() for names in levels.values() for p in names]
    return sorted({word for phrase in phrases for word in clap.words_of(phrase)})


def clap_part(study: Styled, seed: int) -> Part:
    """mini-CLAP, as it is trained."""
    section, corpus = study.settings["clap"], study.corpus
    dims = MiniClapDims(**section["dims"], text=section["text"])
    config = training(section["train"], 0)
    draws = corpus.settings["draws"]

    def build() -> MiniClap:
        return MiniClap(dims, vocabulary() if dims.text == "words" else [])

    def pairs_at(step: int, split: str) -> tuple[np.ndarray, list[str]]:
        random, sentences = np.random.default_rng([7 + seed, step]), corpus.sentences(split)
        mels, prompts, used = [], [], set()
        for _ in range(20 * config.batch_size):
            sentence = sentences[random.integers(len(sentences))]
            arrays, draw = corpus.spoken(sentence), f"draw{random.integers(draws)}"
            levels = dict(zip(styles.PHRASES, arrays[f"levels_{draw}"].tolist(), strict=True))
            if tuple(levels.values()) in used and len(mels) > 1:
                continue  # two of one style in a batch would be called different
            used.add(tuple(levels.values()))
            mels.append(crop(arrays[f"mel_{draw}"], section["frames"], random))
            prompts.append(some_prompt(levels, sentence.name, draw, int(random.integers(PROMPTS))))
            if len(mels) == config.batch_size:
                break
        return np.stack(mels), prompts

    def batches(model: MiniClap, step: int, split: str = "train") -> dict:
        mels, prompts = pairs_at(step, split)
        frozen = {"sentences": sentences_of(model, prompts)} if model.text.minilm else {"prompts": prompts}
        return {"mels": torch.from_numpy(mels), **frozen}

    def start(model: MiniClap):
        def towers(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"audio": model.audio(batch["mels"]), "text": model.text(batch["sentences"])}

        def losses(batch: dict) -> dict[str, Tensor]:
            sentences = batch["sentences"] if "sentences" in batch else sentences_of(model, batch["prompts"])
            both = parallel.forward(towers, {"mels": batch["mels"], "sentences": sentences})
            scale = model.log_scale.clamp_max(math.log(100.0))
            return {"total": clap.contrastive_loss(both["audio"], both["text"], scale)}

        return partial(batches, model), losses

    def unseen(model: MiniClap, losses: Callable) -> Callable[[], float]:
        return drawn(partial(batches, model), study.device)(model, losses)

    return Part(config, (corpus.hash, section, dims.text, study.device.split(":")[0]), build, start, unseen=unseen)


def some_prompt(levels: dict[str, str], *which) -> str:
    """A prompt for some of the levels, in a wording that is trained on; the same for the same call."""
    random = np.random.default_rng(fingerprint_seed(which))
    named = random.permutation(list(levels))[: random.integers(1, len(levels) + 1)]
    return styles.prompt({factor: levels[factor] for factor in named}, int(random.integers(HELD_WORDING)))


def crop(mel: np.ndarray, frames: int, random: np.random.Generator) -> np.ndarray:
    """`(frames, mels)` of a log-mel `(any, mels)`, from a random place; a shorter one is repeated."""
    mel = np.tile(mel, (math.ceil(frames / len(mel)), 1)) if len(mel) < frames else mel
    start = int(random.integers(len(mel) - frames + 1))
    return mel[start : start + frames].astype(np.float32)


_SENTENCES: dict[str, Tensor] = {}


def sentences_of(model: MiniClap, prompts: list[str]) -> Tensor:
    """What the text tower's trained layers see; MiniLM is frozen, so it reads each prompt once."""
    if not model.text.minilm:
        return model.text.sentences(prompts)
    new = sorted({prompt for prompt in prompts if prompt not in _SENTENCES})
    if new:
        _SENTENCES.update(zip(new, model.text.sentences(new), strict=True))
    return torch.stack([_SENTENCES[prompt] for prompt in prompts]).to(model.log_scale.device)


def conditions(model: Clap, embeddings: Tensor) -> Tensor:
    """Embeddings `(batch, size)` as conditions of the diffusion."""
    return embeddings * math.sqrt(model.size)


def draws_of(study: Styled, model: Clap, *splits: str, most: int | None = None) -> pd.DataFrame:
    """Embedded draws: utterance, speaker, `levels` (by factor), truths, and the embedding as an array.

    most: samples from the middle that are embedded, of all by default.
    """
    lines = []
    for sentence in study.corpus.sentences(*splits):
        arrays = study.corpus.spoken(sentence)
        for draw in range(study.corpus.settings["draws"]):
            wave = floats(arrays[f"heard_draw{draw}"])
            aside = max(0, len(wave) - most) // 2 if most else 0
            embedding = model.embed_audio([wave[aside : len(wave) - aside]])[0].cpu().numpy()
            levels = dict(zip(styles.PHRASES, arrays[f"levels_draw{draw}"].tolist(), strict=True))
            truths = dict(zip(TRUTHS, arrays[f"truth_draw{draw}"].tolist(), strict=True))
            named = {"utterance": f"{sentence.name}-draw{draw}", "speaker": SPEAKER}
            lines.append({**named, "levels": levels, **truths, "embedding": embedding})
    return pd.DataFrame(lines)


def retrieval(table: pd.DataFrame, model: Clap) -> pd.DataFrame:
    """For each embedded draw and factor: 1 where the true level's prompt is nearest.

    Rows retrieval_accuracy with the factor as variant, and retrieval_chance beside each; target says which wording the
    prompts have (`WORDINGS`).
    """
    rows = []
    audio_side = torch.from_numpy(np.stack(table["embedding"]))
    for (factor, levels), (kind, wording) in product(styles.PHRASES.items(), WORDINGS.items()):
        prompts = [styles.prompt({factor: level}, wording) for level in levels]
        nearest = (audio_side @ model.embed_text(prompts).cpu().T).argmax(1).numpy()
        for name, found, true in zip(table["utterance"], nearest, table["levels"], strict=True):
            shared = {"variant": factor, "target": kind, "speaker": SPEAKER, "utterance": name, "split": "test"}
            shared |= {"unit": "share"}
            rows.append(shared | {"metric": "retrieval_accuracy", "value": float(list(levels)[found] == true[factor])})
            rows.append(shared | {"metric": "retrieval_chance", "value": 1 / len(levels)})
    return pd.DataFrame(rows)


def probe(fitted: pd.DataFrame, tested: pd.DataFrame) -> pd.DataFrame:
    """Rows probe_r2 of every test recording: 1 - squared error / variance, whose mean is the held-out R squared.

    Both tables have utterance, speaker, embedding and the truths. variant is the property; rows also hold what was
    predicted and true (probe_predicted, probe_true).
    """
    rows = []
    for truth in TRUTHS:
        ridge = RidgeCV(np.logspace(-4, 2, 13)).fit(np.stack(fitted["embedding"]), fitted[truth])
        predicted = ridge.predict(np.stack(tested["embedding"]))
        variance = max(float(np.mean((tested[truth] - fitted[truth].mean()) ** 2)), 1e-9)
        columns = (tested["utterance"], tested["speaker"], tested[truth], predicted)
        for name, speaker, true, guess in zip(*columns, strict=True):
            shared = {"variant": truth, "speaker": speaker, "utterance": name, "split": "test"}
            skill = 1 - (guess - true) ** 2 / variance
            rows.append(shared | {"metric": "probe_r2", "value": skill, "unit": "R squared"})
            rows.append(shared | {"metric": "probe_predicted", "value": guess, "unit": UNITS[truth]})
            rows.append(shared | {"metric": "probe_true", "value": true, "unit": UNITS[truth]})
    return pd.DataFrame(rows)


def similarities(study: Styled, model: Clap) -> pd.DataFrame:
    """Mean cosine x 100 of each style's prompt (rows) to the test recordings in each style (columns)."""
    corpus = study.corpus
    prompts = model.embed_text([corpus.prompt(style) for style in corpus.styles]).cpu()
    table = {}
    for style in corpus.styles:
        embedded = model.embed_audio([study.heard(s, style) for s in corpus.sentences("test")]).cpu()
        table[style] = 100 * (prompts @ embedded.T).mean(1).numpy()
    return pd.DataFrame(table, index=corpus.styles)
