"""What the latent study trains: the parts that its systems share, and the diffusions between latents.

    posterior   the encoder of recordings into z, whose means are z_audio
    clap        mini-CLAP, where the profile does not take LAION's
    decoder     the voice's decoder, trained on; decoder_voices, ... : its other kinds (`lib.papers.ld.decoders`)
    the rest    a diffusion on pairs (z_text, z_audio, condition); with `half` it goes on from that system's weights

Pairs are cut from the same frames of both latents. With shared durations these frames say the same; with sampled
durations, as in the paper, they drift apart along the utterance. Frames of such a z_text may be repeated or dropped to
follow the recording: symbol by symbol (aligned), or to its length alone (stretched).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lib.corpora import source
from lib.corpora.embedded.parts import LICENCES
from lib.files import file_hash, fingerprint, read_array, write_array
from lib.methods.latent_diffusion import PROCESSES, LatentDiffusion
from lib.models import clap
from lib.models.clap import Clap
from lib.models.denoiser import DenoiserDims
from lib.models.speaker import SIZE
from lib.models.vits import model as vits
from lib.models.vits.model import PosteriorEncoder
from lib.papers.ld.clap import clap_part, conditions
from lib.papers.ld.data import PAIRS, SPEAKER, LatentError, Sentence, Styled, read, write
from lib.papers.ld.decoders import KINDS, Voices, decoder_part, restyled, two_spaces
from lib.papers.ld.posterior import encode, encoder_part, training
from lib.study import watch
from lib.study.part import Part
from lib.study.shipped import Lesson
from lib.training import parallel
from lib.training.weights import load_weights

POSTERIOR, CLAP = "posterior", "clap"
DECODERS = {kind: "decoder" if kind == "trainable" else f"decoder_{kind}" for kind in KINDS}  # parts by kind
TRAINED = ("method", "pairs", "content")  # keys of a system that its weights depend on


class Systems(Styled):
    """What of the latent study is trained."""

    shares: ClassVar[dict] = {
        POSTERIOR: {"system": "posterior", "metric": ["cer", "cer_input", "mel_l1"], "split": "test"},
        CLAP: {"system": "clap_probe", "metric": ["retrieval_accuracy", "retrieval_chance"], "target": "used"},
    }

    def lesson(self, name: str) -> Lesson:
        s = self.settings
        needs = {"voice": vits.find().sha256}
        if name == CLAP:
            needs |= {"towers": [s["clap"]["dims"], s["clap"]["text"]], "levels": s["data"]["amounts"]}
        else:
            needs |= {"encoder": {size: s["posterior"][size] for size in ("channels", "layers")}}
        trained, tested = self.corpus.sentences("train"), self.corpus.sentences("test")
        return Lesson(needs, trained, tested, {SPEAKER: "the frozen voice"}, {SPEAKER: LICENCES[SPEAKER]})

    def part(self, name: str, seed: int) -> Part:
        if name == POSTERIOR:
            return encoder_part(self)
        if name == CLAP:
            return clap_part(self, seed)
        if name in DECODERS.values():
            return self._decoder_part(name, seed)
        return self._diffusion_part(name, seed)

    @cached_property
    def encoder(self) -> PosteriorEncoder:
        """The posterior encoder, trained now if it is not there."""
        return self.restore(POSTERIOR, 0).requires_grad_(False)

    def decoder(self, kind: str, seed: int = 0) -> nn.Module:
        """A decoder that was trained on, trained now if it is not there. Raises LatentError for an unknown kind."""
        if kind not in DECODERS:
            raise LatentError(f"A decoder can be {', '.join(DECODERS)}, not {kind!r}.")
        return self.restored(DECODERS[kind], seed).requires_grad_(False)

    @cached_property
    def voices(self) -> Voices:
        """joe and the speakers of the profile's corpus, which is made now if it is not there."""
        with parallel.in_turn():
            corpus = source.build(self.profile["corpus"], cores=self.cores)
        return Voices(corpus, self.corpus, self.vits.dims.rate, self.device)

    @cached_property
    def clap(self) -> Clap:
        """The CLAP that all systems are conditioned on."""
        return self.clap_of(0)

    def clap_of(self, seed: int) -> Clap:
        """The profile's CLAP: LAION's from its checkpoint, or a training of mini-CLAP, done now if it is not there."""
        section = self.settings["clap"]
        if section["model"] == "laion":
            return clap.load_laion(section["checkpoint"], self.device)
        return self.restore(CLAP, seed).requires_grad_(False)

    @cached_property
    def clap_hash(self) -> str:
        """Names the CLAP's weights in the fingerprints of what was trained with it."""
        section = self.settings["clap"]
        return file_hash(section["checkpoint"] if section["model"] == "laion" else self.train(CLAP, 0))

    def clap_source(self) -> str:
        """Which CLAP conditions the runs, for manifests."""
        section = self.settings["clap"]
        if section["model"] == "laion":
            return f"LAION-CLAP, {Path(section['checkpoint']).name}"
        return f"mini-CLAP, trained by this study, {self.start_of(CLAP, 0)}, text tower {section['text']}"

    @cached_property
    def encoded(self) -> Path:
        """Where z_audio of every sentence in every style and other speaker is, a file each; missing ones are made."""
        folder = self.corpus.root / f"encoded-{self.mark_of(POSTERIOR, 0)}"
        missing = [s for s in self.corpus.sentences() if not (folder / f"{s.name}.npz").is_file()]
        encoder = self.encoder if missing else None  # all processes train it together, before the first one encodes
        with parallel.in_turn(), torch.no_grad():
            for sentence in missing:
                found = {}
                for name in self.corpus.styles + self.corpus.voices:
                    wave = torch.from_numpy(self.corpus.wave(sentence, name)).unsqueeze(0).to(self.device)
                    found[name] = encode(self.vits, encoder, wave)[0].cpu().numpy()
                write(folder / f"{sentence.name}.npz", found)
        return folder

    def latents(self, sentence: Sentence) -> dict[str, np.ndarray]:
        """z_audio `(latent, frames)` of a sentence by style or other speaker, made by the posterior encoder."""
        return read(self.encoded / f"{sentence.name}.npz")

    @property
    def paired(self) -> list[Sentence]:
        """The sentences of which there are training pairs, and those that a training watches."""
        return self.corpus.sentences("train", "validation")

    @property
    def tested(self) -> list[Sentence]:
        """The test sentences that the systems speak: the first `evaluate.sentences` of them, or all."""
        return self.corpus.sentences("test")[: self.settings["evaluate"].get("sentences")]

    @cached_property
    def conditions(self) -> Tensor:
        """Conditions `(sentences, styles, size)` of the restyled recordings of `paired`, kept in the cache."""
        names = [sentence.name for sentence in self.paired]
        path = self.corpus.root / f"conditions-{fingerprint(self.clap_hash, self.device.split(':')[0], names)}.table"
        table = read_array(path)
        if table is None:
            model, styles = self.clap, self.corpus.styles
            rows = [[model.embed_audio([self.heard(s, style)]) for style in styles] for s in self.paired]
            table = torch.stack([conditions(model, torch.cat(row)) for row in rows]).cpu().numpy()
            write_array(path, table)
        return torch.from_numpy(table)

    @cached_property
    def projections(self) -> dict[str, Tensor]:
        """P `(latent, latent)` by a system's `content`: kept, onto the directions in which z tells phones apart (claim
        LD9), and random, onto as many drawn at random; see `projection_of`.
        """
        spoken = [self.corpus.spoken(s) for s in self.corpus.sentences("train")]
        z = np.concatenate([arrays["z"].T for arrays in spoken]).astype(np.float64)
        phones = np.concatenate([arrays["phones"] for arrays in spoken])
        directions = self.settings["content_directions"]
        return {kind: projection_of(z, phones, directions, kind == "random") for kind in ("kept", "random")}

    def restored(self, name: str, seed: int) -> nn.Module:
        """A trained part, read once and trained now if need be."""
        known = vars(self).setdefault("_restored", {})
        if (name, seed) not in known:
            known[name, seed] = self.restore(name, seed)
        return known[name, seed]

    def trained_as(self, name: str) -> str:
        """The system whose weights a system has: its own, or with `weights_of` another's that is trained alike."""
        system, of = self.system(name), self.system(name).get("weights_of", name)
        return of if all(system.get(key) == self.system(of).get(key) for key in TRAINED) else name

    def diffusion(self, name: str, seed: int) -> LatentDiffusion:
        """A system's diffusion, trained now if need be."""
        return self.restored(self.trained_as(name), seed)

    def kept_content(self, name: str, z_text: Tensor, z: Tensor) -> Tensor:
        """z with the content of z_text, where the system is one that keeps it (`projections`); z itself elsewhere."""
        content = self.system(self.trained_as(name)).get("content", "free")
        return z if content == "free" else keep_content(self.projections[content].to(z.device), z_text, z)

    def _decoder_part(self, name: str, seed: int) -> Part:
        if name == DECODERS["style"]:
            draw = partial(two_spaces, self.corpus, [s.name for s in self.paired], self.conditions)
            depends = self.corpus.hash, self.clap_hash, name
            return decoder_part(self, draw, None, depends, {"condition": self.clap.size, "film": True}, seed)
        encoder = file_hash(self.train(POSTERIOR, 0))
        if name == DECODERS["trainable"]:
            return decoder_part(self, partial(restyled, self.corpus), self.encoder, (encoder,), {}, seed)
        coded = name == DECODERS["speaker"]
        depends, shape = (encoder, self.voices.corpus.hash, name), {"condition": SIZE} if coded else {}
        return decoder_part(self, partial(self.voices.draw, coded), self.encoder, depends, shape, seed)

    def _diffusion_part(self, name: str, seed: int) -> Part:
        system, s = self.system(name), self.settings
        if system["method"] not in PROCESSES:
            raise LatentError(f"The system {name} has no diffusion to train: choose palette or i2sb.")
        process = PROCESSES[system["method"]](**s["processes"][system["method"]])
        dims = DenoiserDims(latent=self.vits.dims.latent, condition=self.clap.size, **s["denoiser"])
        section = s["diffusion"]
        config, half = training(section, seed, "frames"), system.get("half")

        def start(model: LatentDiffusion):
            pairs = Pairs(self, name, config.batch_size, section["frames"], seed)
            if half:
                load_weights(model, self.train(half, seed))
            else:
                every = [self.latents(sentence)[style] for sentence in pairs.sentences for style in self.corpus.styles]
                model.set_scale([torch.from_numpy(z).to(self.device) for z in every])
            return pairs, lambda batch: parallel.mean(model.loss, batch, batch["frames"].float())

        def unseen(model: LatentDiffusion, losses: Callable) -> Callable[[], float]:
            pairs = Pairs(self, name, config.batch_size, section["frames"], seed, "validation")
            return watch.drawn(lambda step, split: pairs(step), self.device)(model, losses)

        shared = {k: system.get(k) for k in TRAINED}
        described = (s["processes"][system["method"]], s["denoiser"], s["drop_condition"], section)
        encoder = self.mark_of(POSTERIOR, 0)
        depends = (encoder, self.clap_hash, shared, described, s["content_directions"], seed)
        depends += (self.mark(self.part(half, seed)),) if half else ()
        after = {"after": self.run_id(half, seed)} if half else {}
        return Part(
            config,
            depends,
            lambda: LatentDiffusion(process, dims, s["drop_condition"]),
            start,
            unseen=unseen,
            details=lambda model: after,
        )


@dataclass
class Pairs:
    """Training batches of a system, a function of the seed and the step."""

    study: Systems
    name: str
    batch_size: int
    frames: int
    seed: int
    split: str = "train"

    def __post_init__(self):
        self.kind = self.study.system(self.name)["pairs"]
        if self.kind not in PAIRS:
            raise LatentError(f"Pairs can be {', '.join(PAIRS)}, not {self.kind!r}.")
        corpus = self.study.corpus
        self.sentences, self.styles, self.takes = corpus.sentences(self.split), corpus.styles, corpus.settings["takes"]
        named = [sentence.name for sentence in self.study.paired]
        self.conditions = self.study.conditions[[named.index(sentence.name) for sentence in self.sentences]]

    def pair(self, sentence: Sentence, style: str, take: int) -> tuple[Tensor, Tensor]:
        """z_text and z_audio `(latent, frames)` of a sentence, cut to the shorter of the two."""
        arrays, z_audio = self.study.corpus.spoken(sentence), self.study.latents(sentence)[style]
        z_text = arrays[f"{'shared' if self.kind == 'shared' else 'sampled'}_{take}"]
        if self.kind in ("aligned", "stretched"):
            durations, wanted = arrays[f"durations_{take}"], arrays["durations"]
            if self.kind == "stretched":
                durations, wanted = durations.sum(keepdims=True), wanted.sum(keepdims=True)
            z_text = z_text[:, frames_along(durations, wanted)]
        frames = min(z_text.shape[1], z_audio.shape[1])
        z_text, z_audio = (torch.from_numpy(z[:, :frames]) for z in (z_text, z_audio))
        return z_text, self.study.kept_content(self.name, z_text, z_audio)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """A batch of random stretches; one shorter than `frames` is padded."""
        random = np.random.default_rng([self.seed, step, 2])
        z = torch.zeros(2, self.batch_size, self.study.vits.dims.latent, self.frames)
        frames, conditions = [], []
        for row in range(self.batch_size):
            place, style, take = (int(random.integers(n)) for n in (len(self.sentences), len(self.styles), self.takes))
            both = torch.stack(self.pair(self.sentences[place], self.styles[style], take))
            start = int(random.integers(max(1, both.shape[2] - self.frames + 1)))
            both = both[:, :, start : start + self.frames]
            z[:, row, :, : both.shape[2]] = both
            frames.append(both.shape[2])
            conditions.append(self.conditions[place, style])
        batch = {"z_text": z[0], "z_audio": z[1], "frames": torch.tensor(frames)}
        return batch | {"condition": torch.stack(conditions)}


def frames_along(durations: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which frame of a latent with `durations` `(symbols,)` each frame `(wanted.sum(),)` of other durations shows."""
    owner = np.repeat(np.arange(len(wanted)), wanted)
    place = np.arange(len(owner)) - (wanted.cumsum() - wanted)[owner] + 0.5
    found = (durations.cumsum() - durations)[owner] + place * durations[owner] / wanted[owner]
    return np.minimum(found.astype(int), durations.sum() - 1)


def projection_of(z: np.ndarray, phones: np.ndarray, directions: int, at_random: bool = False) -> Tensor:
    """P `(latent, latent)` for frames z `(frames, latent)` that say phones `(frames,)`.

    B holds the leading `directions` singular vectors of the phones' mean latents, weighted by their frames, and W is
    the covariance within phones: P = B (B' W^-1 B)^-1 B' W^-1, so what is left, (I - P) z, is uncorrelated with P z
    within a phone. at_random: as many directions in which z varies within phones instead, drawn from N(0, W).
    """
    centred, means, counts = z.copy(), [], []
    for phone in np.unique(phones):
        mine = phones == phone
        means.append(z[mine].mean(0))
        counts.append(mine.sum())
        centred[mine] -= means[-1]
    within = centred.T @ centred / len(z) + 1e-3 * np.eye(z.shape[1])
    offsets = (np.stack(means) - z.mean(0)) * np.sqrt(counts)[:, None]
    basis = np.linalg.svd(offsets, full_matrices=False)[2][:directions].T
    if at_random:
        basis = np.linalg.cholesky(within) @ np.random.default_rng(0).normal(size=basis.shape)
    solved = np.linalg.solve(within, basis)
    return torch.from_numpy(basis @ np.linalg.solve(basis.T @ solved, solved.T)).float()


def keep_content(projection: Tensor, z_text: Tensor, z: Tensor) -> Tensor:
    """P z_text + (I - P) z for latents `(..., latent, frames)`: content of z_text, the rest of z."""
    return z + projection @ (z_text - z)
