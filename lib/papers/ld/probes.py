"""What z holds (claim LD3), before any diffusion is trained.

Variance: the styles of a sentence share text and timing frame by frame, so z's variance splits exactly into what the
styles share (text_and_time) and what changes with the style (style_given_text). Beside it, the held-out share that a
linear map predicts from the phone, the style, F0 and energy, or the speaker. Probes: linear maps from a frame of z
(or of the log-mel, for comparison) to phone, F0 and energy, and from an utterance's mean and deviation to style,
speaker and rate. Both take any recordings as `Item`s: those of the study, or acted ones (`lib.papers.ld.acted`).
"""

from dataclasses import dataclass

import numpy as np
import torch

from lib import text
from lib.papers.ld.data import SPEAKER
from lib.papers.ld.posterior import log_mel
from lib.papers.ld.systems import Systems

ALPHA = 1.0  # ridge penalty on standardised inputs
SYMBOLS = list(range(len(text.SYMBOLS)))


@dataclass
class Item:
    """A recording frame by frame: layers z and mel `(frames, channels)`, voicing (0 or 1), F0 (semitones, 0 unvoiced)
    and energy (dB) `(frames,)`, phones `(frames,)` where they are known; its labels (style, speaker) and its rate."""

    layers: dict[str, np.ndarray]
    voiced: np.ndarray
    f0: np.ndarray
    energy: np.ndarray
    labels: dict[str, str]
    rate: float
    phones: np.ndarray | None = None

    def described(self, factor: str, names: list[str]) -> np.ndarray:
        """A factor as numbers, `(frames, d)`."""
        if factor == "phone":
            return one_hot(self.phones, SYMBOLS)
        if factor == "prosody":
            return np.stack((self.voiced, self.f0, self.energy), 1)
        return np.repeat(one_hot([self.labels[factor]], names), len(self.voiced), 0)

    def summary(self, layer: str) -> np.ndarray:
        """Mean and deviation over the frames."""
        return np.concatenate([self.layers[layer].mean(0), self.layers[layer].std(0)])


Items = dict[str, dict[str, Item]]  # by utterance, and within it by style or other speaker


def item(z: np.ndarray, wave: np.ndarray, study: Systems, arrays: dict, name: str, **known) -> Item:
    """z `(latent, frames)` of a wave at the voice's rate, with f0_<name> and energy_<name> among the arrays."""
    given = torch.from_numpy(wave).unsqueeze(0).to(study.device)
    layers = {"z": z.T, "mel": log_mel(given, study.vits)[0].T.cpu().numpy()[: z.shape[1]]}
    return Item(layers, *prosody_of_frames(arrays, name, z.shape[1]), **known)


def items_of(study: Systems, split: str) -> Items:
    """The restyled recordings of a split, in every style and as every other speaker."""
    corpus, found = study.corpus, {}
    for sentence in corpus.sentences(split):
        arrays, latents = corpus.spoken(sentence), study.latents(sentence)
        vowels = sum(symbol in text.VOWELS for symbol in sentence.phonemes)
        rate = vowels * study.vits.dims.frames_per_second / arrays["z"].shape[1]
        found[sentence.name] = {
            name: item(
                latents[name],
                corpus.wave(sentence, name),
                study,
                arrays,
                name,
                labels={"style": name, "speaker": name},
                rate=rate,
                phones=arrays["phones"][: latents[name].shape[1]],
            )
            for name in corpus.styles + corpus.voices
        }
    return found


def prosody_of_frames(arrays: dict, name: str, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voicing (0 or 1), semitones above 100 Hz (0 unvoiced) and dB of every frame."""
    f0 = arrays[f"f0_{name}"][:frames]
    semitones = np.where(f0 > 0, 12 * np.log2(np.maximum(f0, 1) / 100), 0.0)
    return (f0 > 0).astype(float), semitones, arrays[f"energy_{name}"][:frames]


def some(items: Items, names: list[str]) -> Items:
    """The items of some styles or speakers, in the order of `names`."""
    return {utterance: {name: each[name] for name in names} for utterance, each in items.items()}


def every(items: Items) -> list[Item]:
    return [item for each in items.values() for item in each.values()]


def ridge(inputs: np.ndarray, targets: np.ndarray, alpha: float = ALPHA):
    """A function from inputs `(n, d)` to predictions: least squares with a penalty, inputs standardised."""
    mean, deviation = inputs.mean(0), inputs.std(0) + 1e-6
    x = (inputs - mean) / deviation
    offset = targets.mean(0)
    weights = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ (targets - offset))
    return lambda new: (new - mean) / deviation @ weights + offset


def one_hot(values, names: list) -> np.ndarray:
    return (np.asarray(values)[:, None] == np.asarray(names)[None]).astype(float)


def row(variant: str, utterance: str, metric: str, value: float, unit: str = "share", **more) -> dict:
    shared = {"speaker": SPEAKER, "split": "test", "variant": variant, "utterance": utterance}
    return shared | {"metric": metric, "value": float(value), "unit": unit} | more


def scale_of(items: Items) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every channel of z."""
    z = np.concatenate([item.layers["z"] for item in every(items)])
    return z.mean(0), z.std(0) + 1e-6


def shared_by_styles(items: Items, scale: tuple[np.ndarray, np.ndarray]) -> list[dict]:
    """Rows variance_explained: z's exact split, for items that share text and timing within an utterance."""
    rows = []
    for name, each in items.items():
        cube = np.stack([(item.layers["z"] - scale[0]) / scale[1] for item in each.values()])
        total = (cube**2).mean()
        within = ((cube - cube.mean(0)) ** 2).mean()
        rows.append(row("style_given_text", name, "variance_explained", within / total))
        rows.append(row("text_and_time", name, "variance_explained", 1 - within / total))
    return rows


def explained(train: Items, test: Items, factor: str, names: list[str], scale: tuple) -> list[dict]:
    """Rows variance_explained of a factor by test utterance: what a linear map fitted in training predicts of z."""

    def scaled(item: Item) -> np.ndarray:
        return (item.layers["z"] - scale[0]) / scale[1]

    given = [item.described(factor, names) for item in every(train)]
    predict, rows = ridge(np.concatenate(given), np.concatenate([scaled(item) for item in every(train)])), []
    for name, each in test.items():
        wrong = total = 0.0
        for item in each.values():
            z = scaled(item)
            wrong += ((z - predict(item.described(factor, names))) ** 2).sum()
            total += (z**2).sum()
        rows.append(row(factor, name, "variance_explained", 1 - wrong / total))
    return rows


def frame_probes(train: Items, test: Items, layer: str) -> list[dict]:
    """Rows probe_skill of phone (where it is known), F0 and energy by test utterance: 0 at chance and 1 perfect."""

    def gathered(items: list[Item]) -> tuple[np.ndarray, ...]:
        parts = [(item.layers[layer], item.voiced > 0, item.f0, item.energy) for item in items]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    x, speech, f0, energy = gathered(every(train))
    pitch, level, rows = ridge(x[speech], f0[speech]), ridge(x, energy), []
    spread = f0[speech].var(), energy.var()
    known = every(train)[0].phones is not None
    if known:
        phones = np.concatenate([item.phones for item in every(train)])
        phone = ridge(x, one_hot(phones, SYMBOLS))
        chance = np.bincount(phones, minlength=len(SYMBOLS)).max() / len(phones)
    for name, each in test.items():
        x, speech, f0, energy = gathered(list(each.values()))
        if known:
            said = np.concatenate([item.phones for item in each.values()])
            accuracy = (phone(x).argmax(1) == said).mean()
            rows.append(row("phone", name, "probe_skill", (accuracy - chance) / (1 - chance), layer=layer))
        if speech.any():
            error = ((pitch(x[speech]) - f0[speech]) ** 2).mean()
            rows.append(row("f0", name, "probe_skill", 1 - error / spread[0], layer=layer))
        error = ((level(x) - energy) ** 2).mean()
        rows.append(row("energy", name, "probe_skill", 1 - error / spread[1], layer=layer))
    return rows


def label_probe(train: Items, test: Items, target: str, names: list[str], layer: str) -> list[dict]:
    """Rows probe_skill of style or speaker, from mean and deviation over an utterance: accuracy above chance."""
    inputs = np.stack([item.summary(layer) for item in every(train)])
    predict, rows = ridge(inputs, one_hot([item.labels[target] for item in every(train)], names), 10.0), []
    for name, each in test.items():
        guesses = [(names[predict(i.summary(layer)[None])[0].argmax()], i.labels[target]) for i in each.values()]
        right = np.mean([guess == true for guess, true in guesses])
        skill = (right - 1 / len(names)) / (1 - 1 / len(names))
        rows.append(row(target, name, "probe_skill", skill, layer=layer))
    return rows


def rate_probe(train: Items, test: Items, layer: str) -> list[dict]:
    """Rows probe_skill of the rate, for utterances with one item each."""
    rates, rows = np.array([item.rate for item in every(train)]), []
    predict = ridge(np.stack([item.summary(layer) for item in every(train)]), rates, 100.0)
    for name, each in test.items():
        (one,) = each.values()
        error = (predict(one.summary(layer)[None])[0] - one.rate) ** 2
        rows.append(row("rate", name, "probe_skill", 1 - error / max(rates.var(), 1e-9), layer=layer))
    return rows


def variance_and_probes(study: Systems) -> list[dict]:
    """Rows variance_explained and probe_skill of the restyled recordings; variant is what, layer z or mel."""
    train, test, styles = items_of(study, "train"), items_of(study, "test"), study.corpus.styles
    of = {"style": styles, "speaker": ["neutral", *study.corpus.voices], "neutral": ["neutral"]}
    fitted, tested = ({kind: some(items, names) for kind, names in of.items()} for items in (train, test))
    scale = scale_of(fitted["style"])
    rows = shared_by_styles(tested["style"], scale)
    for factor, kind in {"phone": "style", "prosody": "style", "style": "style", "speaker": "speaker"}.items():
        rows += explained(fitted[kind], tested[kind], factor, of[kind], scale)
    for layer in ("z", "mel"):
        rows += frame_probes(fitted["style"], tested["style"], layer)
        for target in ("style", "speaker"):
            rows += label_probe(fitted[target], tested[target], target, of[target], layer)
        rows += rate_probe(fitted["neutral"], tested["neutral"], layer)
    return rows
