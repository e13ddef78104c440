"""The voice's decoder, trained on: to speak restyled recordings, other voices, or a style told beside z.

    trainable   restyled recordings from their own z (claim LD2)
    voices      the same and, half of the time, speakers of the profile's corpus
    speaker     as voices, and told the speaker's code, as the decoder of a multi-speaker VITS is
    style       restyled recordings from the z of the recording, and told the style's CLAP condition (FiLM)

A speaker's code is the unit-norm mean GE2E embedding of some recordings, times the root of its size: one for all that
a speaker says, so that a style can pass through z alone, and to be had of anybody. z is the posterior's mean, but for
`style` the z that the text gave: content and style have a space each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lib import audio
from lib.corpora.corpus import Corpus, Utterance
from lib.files import fingerprint, read_array, write_array
from lib.metrics import cos
from lib.models.speaker import SIZE
from lib.papers.ld.data import SPEAKER, LatentError, Restyled, Sentence, Styled, heard
from lib.papers.ld.posterior import encode, mel_distance, stretch, training
from lib.study.part import Part
from lib.study.watch import drawn
from lib.training import parallel

KINDS = ("trainable", "voices", "speaker", "style")
CORPUS = ("voices", "speaker")  # the kinds that hear the profile's corpus
OTHER = "other"  # names the speaker whose code is least like joe's
CODED = 8  # recordings of a speaker that its code is made of


class Example(NamedTuple):
    """A wave at the voice's rate, the z `(latent, frames)` to speak it from (None: its own), a condition `(size,)`."""

    wave: np.ndarray
    z: np.ndarray | None = None
    g: Tensor | None = None


Draw = Callable[[np.random.Generator, str], Example]


def restyled(corpus: Restyled, random: np.random.Generator, split: str) -> Example:
    """A restyled recording, from its own z."""
    sentence, style = _drawn(corpus, random, split)
    return Example(corpus.wave(sentence, style))


def two_spaces(corpus: Restyled, named: list[str], told: Tensor, random: np.random.Generator, split: str) -> Example:
    """A restyled recording, from the recording's z and the condition, told `(sentences named, styles, size)`."""
    sentence, style = _drawn(corpus, random, split)
    arrays = corpus.spoken(sentence)
    if len(arrays[f"wave_{style}"]) != len(arrays["wave_recorded"]):
        raise LatentError(f"The style {style} changes the rate, so z cannot be kept: leave it out of data.trained.")
    g = told[named.index(sentence.name), corpus.styles.index(style)]
    return Example(corpus.wave(sentence, style), arrays["z"], g)


def _drawn(corpus: Restyled, random: np.random.Generator, split: str) -> tuple[Sentence, str]:
    sentences = corpus.sentences(split)
    place, kind = random.integers(len(sentences)), random.integers(len(corpus.styles))
    return sentences[place], corpus.styles[kind]


@dataclass(frozen=True)
class Voices:
    """joe and the speakers of the profile's corpus that are trained on: all but the never seen."""

    corpus: Corpus
    own: Restyled
    rate: int  # of the voice
    device: str

    def recordings(self, *splits: str) -> list[Utterance]:
        """Raises LatentError where there are none."""
        found = [item for item in self.corpus.utterances if item.split in splits and item.role != "never_seen"]
        if not found:
            raise LatentError(f"The corpus {self.corpus.name} has no {splits[0]} recordings: name one that has.")
        return found

    @cached_property
    def codes(self) -> dict[str, Tensor]:
        """Codes `(size,)` by speaker, joe first; kept in the cache."""
        names = list(dict.fromkeys([SPEAKER, *(u.speaker for u in self.recordings("train", "validation"))]))
        path = self.own.root / f"codes-{fingerprint(self.corpus.hash, CODED, self.device.split(':')[0])}.table"
        table = read_array(path)
        if table is None:
            table = np.stack([_code(self._said(name), self.device) for name in names])
            write_array(path, table)
        return dict(zip(names, torch.from_numpy(table), strict=True))

    def _said(self, speaker: str) -> list[np.ndarray]:
        """The recordings that a speaker's code is made of, 16 kHz."""
        if speaker == SPEAKER:
            return [heard(self.own.wave(s, "neutral"), self.rate) for s in self.own.sentences("train")[:CODED]]
        mine = [item for item in self.recordings("train", "validation") if item.speaker == speaker]
        return [self.corpus.wave(item) for item in mine[:CODED]]

    def named(self, speaker: str) -> str:
        """The speaker, or who `OTHER` is. Raises LatentError for one whom the corpus lacks."""
        if speaker == OTHER:
            return min(self.codes, key=lambda name: float(self.codes[name] @ self.codes[SPEAKER]))
        if speaker not in self.codes:
            known = ", ".join([OTHER, *self.codes])
            raise LatentError(f"There is no speaker {speaker!r} to take the code of: choose one of {known}.")
        return speaker

    def code(self, speaker: str) -> Tensor:
        """The code `(1, size)`. Errors as `named`."""
        return self.codes[self.named(speaker)][None].to(self.device)

    def like(self, waves: list[np.ndarray], speaker: str) -> np.ndarray:
        """COS `(batch,)` of 16 kHz waves to a speaker's mean. Errors as `named`."""
        mean = self.codes[self.named(speaker)].numpy() / SIZE**0.5
        return cos.against(waves, np.tile(mean, (len(waves), 1)), self.device)

    def draw(self, coded: bool, random: np.random.Generator, split: str) -> Example:
        """joe, restyled, or as often a recording of the corpus; coded: with the speaker's code."""
        if random.integers(2):
            every = self.recordings(split)
            item = every[random.integers(len(every))]
            speaker, wave = item.speaker, audio.resample(self.corpus.wave(item), audio.RATE, self.rate)
        else:
            speaker, wave = SPEAKER, restyled(self.own, random, split).wave
        return Example(wave, g=self.codes[speaker] if coded else None)


def _code(waves: list[np.ndarray], device: str) -> np.ndarray:
    mean = cos.embed(waves, device).astype(np.float64).mean(0)
    return (mean / np.linalg.norm(mean) * SIZE**0.5).astype(np.float32)


def decoder_part(study: Styled, draw: Draw, encoder: nn.Module | None, depends: tuple, shape: dict, seed: int) -> Part:
    """The voice's decoder, trained on by what is drawn.

    encoder: gives z, where examples have none. depends: what its weights depend on beside the section and the seed.
    shape: the arguments of `Decoder.trainable`.
    """
    section, voice = study.settings["decoder"], study.vits
    config = training(section, seed, "segment")

    def batch_at(step: int, split: str = "train") -> dict[str, Tensor]:
        random = np.random.default_rng([seed, step, 1])
        examples = [draw(random, split) for _ in range(config.batch_size)]
        cut = [stretch(wave, z, 2 * section["segment"], voice.dims.hop, random) for wave, z, _ in examples]
        batch = {"waves": [torch.from_numpy(wave) for wave, _ in cut]}
        batch |= {"z": [torch.from_numpy(z) for _, z in cut]} if encoder is None else {}
        batch |= {"g": [example.g for example in examples]} if examples[0].g is not None else {}
        return {name: torch.stack(values) for name, values in batch.items()}

    def start(decoder: nn.Module):
        def spectral(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            z = batch["z"] if encoder is None else encode(voice, encoder, batch["waves"])
            told = partial(decoder, g=batch.get("g"))
            return {"total": mel_distance(voice, told, z, batch["waves"], section["segment"])}

        return batch_at, lambda batch: parallel.mean(spectral, batch, torch.ones(len(batch["waves"])))

    def build() -> nn.Module:
        return voice.decoder.trainable(**shape)

    return Part(config, (*depends, section, seed), build, start, unseen=drawn(batch_at, study.device))
