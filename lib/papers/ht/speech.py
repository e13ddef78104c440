"""Speech of the HyperTTS systems: any text in the voice of a speaker's enrolment recordings."""

import numpy as np
import torch
from torch import Tensor

from lib import text
from lib.corpora.corpus import Utterance
from lib.models import vocoder
from lib.papers.ht.systems import Adapted, Systems


def enrolment(study: Systems, speakers: list[str]) -> Tensor:
    """`Study.centroid` of each speaker, `(speakers, 256)`."""
    return torch.from_numpy(np.stack([study.centroid(speaker) for speaker in speakers]))


def synthesise(study: Systems, model: Adapted, utterances: list[Utterance], batch_size: int = 16) -> list[np.ndarray]:
    """The texts of some utterances in their speakers' voices: one 16 kHz waveform each.

    The model sees phonemes and the speaker's enrolment centroid only; durations, pitch and energy are predicted.
    """
    speak = vocoder.load(study.profile["vocoder"], study.mel, study.device)
    centroids = dict(zip(names := sorted({u.speaker for u in utterances}), enrolment(study, names), strict=True))
    waves: dict[int, np.ndarray] = {}
    order = sorted(range(len(utterances)), key=lambda i: len(utterances[i].phonemes))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        symbols = [torch.tensor(text.encode(utterances[i].phonemes)) for i in chosen]
        lengths = torch.tensor([len(s) for s in symbols])
        padded = torch.nn.utils.rnn.pad_sequence(symbols, batch_first=True)
        speaker = torch.stack([centroids[utterances[i].speaker] for i in chosen])
        mel, frames = model.synthesise(*(t.to(study.device) for t in (padded, lengths, speaker)))
        waves |= dict(zip(chosen, speak(mel, frames), strict=True))
    return [waves[i] for i in range(len(utterances))]


def vocode(study: Systems, utterances: list[Utterance]) -> list[np.ndarray]:
    """The recordings' own log-mels through the vocoder: what a perfect acoustic model would give."""
    speak = vocoder.load(study.profile["vocoder"], study.mel, study.device)
    batches = study.features.batches(study.features.rows(utterances), study.device)
    return [wave for batch in batches for wave in speak(batch["mel"], batch["frame_lengths"])]
