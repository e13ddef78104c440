"""Zero-shot speech: any text in the voice of one reference recording of a speaker that training never saw."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib import audio, text
from lib.corpora.corpus import Utterance
from lib.corpora.features import Features, padded
from lib.corpora.source import open_corpus
from lib.methods.sparse_attention import PrunedTTS
from lib.models import vocoder
from lib.models.mel import log_mel
from lib.models.mel_style import ReferenceSpeechError, check_reference
from lib.papers.sp.systems import Systems, ZeroShotError


@dataclass(frozen=True)
class Sentence:
    """One text to speak and the reference to speak it like."""

    utterance: Utterance  # its text; the recording of it where there is one is what synthesis is compared with
    reference: Tensor  # log-mel (frames, n_mels)
    owner: str  # the reference's speaker


def reference_mel(study: Systems, speaker: str, seconds: float | None = None) -> Tensor:
    """A speaker's reference `(frames, n_mels)`: the first recording of its training or enrolment split, whole.

    seconds: only so many, from its middle; where the recording is shorter, the speaker's next ones follow it.

    Raises:
        ZeroShotError: the speaker has no recording for a reference, or fewer seconds than asked for.
        ReferenceSpeechError: the reference is silent or shorter than the style encoder's receptive field.
    """
    utterances = study.corpus.select(split="train", speaker=speaker)
    if not utterances:
        raise ZeroShotError(f"{speaker} has no recording for a reference: check the corpus's set-aside list")
    mels = [study.features.item(row)["mel"] for row in study.features.rows(utterances)]
    mel = torch.from_numpy(np.array(mels[0]))
    if seconds is not None:
        frames = round(seconds * study.mel.frames_per_second)
        mel = mel if frames <= len(mel) else torch.from_numpy(np.concatenate(mels))
        if frames > len(mel):
            most = len(mel) / study.mel.frames_per_second
            raise ZeroShotError(f"{speaker} has {most:.1f} s of reference speech, not {seconds:g} s: ask for less")
        start = (len(mel) - frames) // 2
        mel = mel[start : start + frames]
    return checked(study, mel, speaker)


def checked(study: Systems, mel: Tensor, name: str) -> Tensor:
    """The reference as it is. Raises ReferenceSpeechError with the name where no style can be read from it."""
    try:
        check_reference(mel[None], torch.tensor([len(mel)]), study.dims.shortest_reference)
    except ReferenceSpeechError as error:
        raise ReferenceSpeechError(f"{name}: {error}") from None
    return mel


def sentences(study: Systems, utterances: list[Utterance], seconds: float | None = None) -> list[Sentence]:
    """The texts of some utterances, each with its speaker's reference."""
    mels = {speaker: reference_mel(study, speaker, seconds) for speaker in {u.speaker for u in utterances}}
    return [Sentence(u, mels[u.speaker], u.speaker) for u in utterances]


def recordings_of(source: str | Path) -> dict[str, np.ndarray]:
    """The first recording of each speaker, at 16 kHz: of a folder with one for each speaker, or of a corpus.

    source: the folder, or what `lib.corpora.source.open_corpus` opens: of a corpus with speakers that are never seen,
    those. Raises ZeroShotError for a folder without any, CorpusError where there is neither, AudioError for a recording
    that cannot be used.
    """
    folder, found = Path(source), {}
    if not folder.is_dir() or (folder / "manifest.jsonl").is_file():
        corpus = open_corpus(source)
        speakers = corpus.speakers("never_seen") or corpus.speakers()
        return {speaker: corpus.wave(corpus.select(speaker=speaker)[0]) for speaker in speakers}
    for speaker in sorted(path for path in folder.glob("*") if path.is_dir()):
        if files := audio.recordings(speaker):
            found[speaker.name] = audio.read(files[0])
    if not found:
        raise ZeroShotError(
            f"{folder.name} holds no <speaker>/recording (wav, flac, mp3 ...): check sp.other_references"
        )
    return found


def speak(study: Systems, model: PrunedTTS, chosen: list[Sentence], batch_size: int = 16) -> list[np.ndarray]:
    """One 16 kHz waveform for each sentence; the model sees phonemes and the reference's log-mel only."""
    voice = vocoder.load(study.profile["vocoder"], study.mel, study.device)
    waves: dict[int, np.ndarray] = {}
    order = sorted(range(len(chosen)), key=lambda i: len(chosen[i].utterance.phonemes))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        symbols, lengths = _padded([torch.tensor(text.encode(chosen[i].utterance.phonemes)) for i in places])
        references, frames = _padded([chosen[i].reference for i in places])
        inputs = (tensor.to(study.device) for tensor in (symbols, lengths, references, frames))
        mel, spoken = model.synthesise(*inputs)
        waves |= dict(zip(places, voice(mel, spoken), strict=True))
    return [waves[i] for i in range(len(chosen))]


def other_sentences(study: Systems, source: str, texts: list[Utterance]) -> tuple[list[Sentence], list[np.ndarray]]:
    """Texts in the voices of another data set's speakers (`recordings_of`), and each one's reference recording."""
    waves = recordings_of(source)
    mels = {name: checked(study, log_mel(torch.from_numpy(w)[None], study.mel)[0], name) for name, w in waves.items()}
    chosen = [(speaker, u) for speaker in waves for u in texts]
    return [Sentence(u, mels[speaker], speaker) for speaker, u in chosen], [waves[speaker] for speaker, _ in chosen]


def joined(features: Features, groups: list[np.ndarray], device: str) -> dict[str, Tensor]:
    """A batch as `Features.batch` makes it, of several utterances spoken one after the other: rows of each group."""
    names = ("symbols", "durations", "pitch", "energy", "mel")
    items = [[features.item(int(row)) for row in group] for group in groups]
    return padded([{name: np.concatenate([part[name] for part in parts]) for name in names} for parts in items], device)


def _padded(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), torch.tensor([len(part) for part in parts])
