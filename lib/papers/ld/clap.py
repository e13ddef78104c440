"""The CLAP of the latent study: mini-CLAP trained on restyled speech, conditions, retrieval, and what it knows.

A training pair is a restyled sentence and one of a few prompts for some of its factors, in one of several wordings;
the last wording of every level is kept for testing. Conditions are embeddings times the root of their size, so that
a number of a condition has about unit variance. `probe` is claim LD8: ridge regression from the audio embedding to
F0 mean and range, energy, rate and pauses on sentences that nothing was fitted to.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.corpora.styled import styles
from lib.files import file_hash, fingerprint, read_array, write_array
from lib.models import clap
from lib.models.clap import Clap, MiniClap, MiniClapDims
from lib.papers.ld.data import SPEAKER, TRUTHS, Lab, fingerprint_seed, floats, heard
from lib.papers.ld.posterior import mark_of, train_once, training
from lib.training import parallel
from lib.training.loop import seed_everything

PROMPTS = 4  # of every recording
HELD_WORDING = 3  # of `styles.PHRASES`, for testing only
UNITS = {
    "f0_mean": "semitones",
    "f0_range": "semitones",
    "energy_mean": "dB",
    "rate": "vowels/s",
    "pause_share": "share",
}


def text_tower(lab: Lab) -> str:
    """The profile's choice; "auto" is MiniLM where its package is installed, else a bag of words."""
    wanted = lab.settings["clap"]["text"]
    return wanted if wanted != "auto" else "minilm" if clap.find_minilm() else "words"


def clap_of(lab: Lab) -> Clap:
    """The profile's CLAP: LAION's from its checkpoint, or mini-CLAP, trained now if it is not there."""
    section = lab.settings["clap"]
    if "clap" not in lab.kept:
        laion = section["model"] == "laion"
        lab.kept["clap"] = clap.load_laion(section["checkpoint"], lab.device) if laion else mini_clap(lab)
    return lab.kept["clap"]


def clap_path(lab: Lab) -> Path:
    return lab.root / "checkpoints" / "ld-clap-s0.safetensors"


def source(lab: Lab) -> dict[str, str]:
    """Which CLAP conditions the runs, for manifests."""
    section = lab.settings["clap"]
    if section["model"] == "laion":
        return {"clap": f"LAION-CLAP, {Path(section['checkpoint']).name}"}
    return {"clap": f"mini-CLAP, trained by this study, {mark_of(clap_path(lab))}, text tower {text_tower(lab)}"}


def vocabulary() -> list[str]:
    """Every word of the prompts that are trained on."""
    phrases = [p for levels in styles.PHRASES.values() for names in levels.values() for p in names]
    return sorted({word for phrase in phrases for word in clap.words_of(phrase)})


def mini_clap(lab: Lab) -> MiniClap:
    """mini-CLAP, trained now if it is not there."""
    section = lab.settings["clap"]
    dims = MiniClapDims(**section["dims"], text=text_tower(lab))
    config = training(section["train"], 0)
    seed_everything(0)
    model = MiniClap(dims, vocabulary() if dims.text == "words" else []).to(lab.device)
    sentences = lab.sentences("train")
    draws = lab.settings["data"]["draws"]

    def batch_at(step: int) -> dict[str, Tensor]:
        random = np.random.default_rng([7, step])
        mels, prompts, used = [], [], set()
        for _ in range(20 * config.batch_size):
            sentence = sentences[random.integers(len(sentences))]
            arrays, draw = lab.spoken(sentence), f"draw{random.integers(draws)}"
            levels = dict(zip(styles.PHRASES, arrays[f"levels_{draw}"].tolist(), strict=True))
            if tuple(levels.values()) in used and len(mels) > 1:
                continue  # two of one style in a batch would be called different
            used.add(tuple(levels.values()))
            mels.append(crop(arrays[f"mel_{draw}"], section["frames"], random))
            prompts.append(some_prompt(levels, sentence.name, draw, int(random.integers(PROMPTS))))
            if len(mels) == config.batch_size:
                break
        frozen = {"sentences": sentences_of(model, prompts)} if dims.text == "minilm" else {"prompts": prompts}
        return {"mels": torch.from_numpy(np.stack(mels)), **frozen}

    def towers(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"audio": model.audio(batch["mels"]), "text": model.text(batch["sentences"])}

    def loss(batch: dict) -> dict[str, Tensor]:
        sentences = batch["sentences"] if "sentences" in batch else sentences_of(model, batch["prompts"])
        if parallel.size() == 1:
            return model.loss({"mels": batch["mels"], "sentences": sentences})
        both = parallel.forward(towers, {"mels": batch["mels"], "sentences": sentences})
        return {"total": clap.contrastive_loss(both["audio"], both["text"], model.log_scale.clamp_max(math.log(100)))}

    path = clap_path(lab)
    mark = fingerprint(lab.hash, section, dims.text, lab.device.split(":")[0])
    train_once(path, mark, model, loss, batch_at, config, lab.device)
    return model.eval().requires_grad_(False)


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
    if model.dims.text != "minilm":
        return model.text.sentences(prompts)
    new = sorted({prompt for prompt in prompts if prompt not in _SENTENCES})
    if new:
        _SENTENCES.update(zip(new, model.text.sentences(new), strict=True))
    return torch.stack([_SENTENCES[prompt] for prompt in prompts]).to(model.log_scale.device)


def conditions(model: Clap, embeddings: Tensor) -> Tensor:
    """Embeddings `(batch, size)` as conditions of the diffusion."""
    return embeddings * math.sqrt(model.size)


@torch.no_grad()
def training_conditions(lab: Lab, model: Clap) -> Tensor:
    """Conditions `(train sentences, styles, size)` of the restyled recordings, embedded once and kept in the cache."""
    path = lab.folder / f"conditions-{fingerprint(audio_hash(lab), lab.device.split(':')[0])}.table"
    table = read_array(path)
    if table is None:
        sentences, rate = lab.sentences("train"), lab.vits.dims.rate
        rows = [[model.embed_audio([heard(lab.wave(s, style), rate)]) for style in lab.styles] for s in sentences]
        table = torch.stack([conditions(model, torch.cat(row)) for row in rows]).cpu().numpy()
        write_array(path, table)
    return torch.from_numpy(table)


@torch.no_grad()
def draws_of(lab: Lab, model: Clap, *splits: str) -> pd.DataFrame:
    """Embedded draws: utterance, levels by factor, truths, and the embedding as an array."""
    lines = []
    for sentence in lab.sentences(*splits):
        arrays = lab.spoken(sentence)
        for draw in range(lab.settings["data"]["draws"]):
            embedding = model.embed_audio([floats(arrays[f"heard_draw{draw}"])])[0].cpu().numpy()
            levels = dict(zip(styles.PHRASES, arrays[f"levels_draw{draw}"].tolist(), strict=True))
            truths = dict(zip(TRUTHS, arrays[f"truth_draw{draw}"].tolist(), strict=True))
            lines.append({"utterance": f"{sentence.name}-draw{draw}", **levels, **truths, "embedding": embedding})
    return pd.DataFrame(lines)


def retrieval(lab: Lab, model: Clap) -> pd.DataFrame:
    """For test draws and each factor: 1 where the prompt of the true level is nearest, in a wording never trained on.

    Rows retrieval_accuracy with the factor as variant, and retrieval_chance beside each.
    """
    table, rows = draws_of(lab, model, "test"), []
    audio_side = torch.from_numpy(np.stack(table["embedding"]))
    for factor, levels in styles.PHRASES.items():
        prompts = [styles.prompt({factor: level}, HELD_WORDING) for level in levels]
        nearest = (audio_side @ model.embed_text(prompts).cpu().T).argmax(1).numpy()
        for name, found, true in zip(table["utterance"], nearest, table[factor], strict=True):
            shared = {"variant": factor, "speaker": SPEAKER, "utterance": name, "split": "test", "unit": "share"}
            rows.append(shared | {"metric": "retrieval_accuracy", "value": float(list(levels)[found] == true)})
            rows.append(shared | {"metric": "retrieval_chance", "value": 1 / len(levels)})
    return pd.DataFrame(rows)


def probe(lab: Lab, model: Clap) -> pd.DataFrame:
    """Rows probe_r2 of every test draw: 1 - squared error / variance, whose mean is the held-out R squared.

    variant is the property; rows also hold what was predicted and true (probe_predicted, probe_true).
    """
    from sklearn.linear_model import RidgeCV

    fitted, tested = draws_of(lab, model, "train", "validation"), draws_of(lab, model, "test")
    rows = []
    for truth in TRUTHS:
        ridge = RidgeCV(np.logspace(-4, 2, 13)).fit(np.stack(fitted["embedding"]), fitted[truth])
        predicted = ridge.predict(np.stack(tested["embedding"]))
        variance = max(float(np.mean((tested[truth] - fitted[truth].mean()) ** 2)), 1e-9)
        for name, guess, true in zip(tested["utterance"], predicted, tested[truth], strict=True):
            shared = {"variant": truth, "speaker": SPEAKER, "utterance": name, "split": "test"}
            rows.append(
                shared | {"metric": "probe_r2", "value": 1 - (guess - true) ** 2 / variance, "unit": "R squared"}
            )
            rows.append(shared | {"metric": "probe_predicted", "value": guess, "unit": UNITS[truth]})
            rows.append(shared | {"metric": "probe_true", "value": true, "unit": UNITS[truth]})
    return pd.DataFrame(rows)


def audio_hash(lab: Lab) -> str:
    """Names the CLAP's weights in the fingerprints of what was trained with it."""
    section = lab.settings["clap"]
    return file_hash(section["checkpoint"] if section["model"] == "laion" else clap_path(lab))


def similarities(lab: Lab) -> pd.DataFrame:
    """Mean cosine x 100 of each style's prompt (rows) to the test recordings in each style (columns)."""
    model = clap_of(lab)
    prompts = model.embed_text([lab.prompt(style) for style in lab.styles]).cpu()
    table = {}
    for style in lab.styles:
        waves = [heard(lab.wave(s, style), lab.vits.dims.rate) for s in lab.sentences("test")]
        table[style] = 100 * (prompts @ model.embed_audio(waves).cpu().T).mean(1).numpy()
    return pd.DataFrame(table, index=lab.styles)
