"""What the study's vocoders lose of recordings: each back from its own mel, by predicted MOS and GE2E, and how fast."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lib.audio import RATE
from lib.metrics import cos, mos
from lib.models.mel import log_mel
from lib.models.vocoder import GriffinLim, UniversalHiFiGAN, Vocoder
from lib.workflow.benchmarks.pitch import recordings

LONGEST = 5 * RATE  # samples of a recording that are heard


def compare(folder: Path, per_group: int = 20, device: str = "cpu") -> pd.DataFrame:
    """Means over `per_group` recordings of each group of a folder with a metadata.csv, by what speaks them.

    Columns: speech, mos_predicted (DistillMOS), cos (GE2E, to the recording, times 100) and rtf, the seconds that a
    second of speech takes on `device`. Raises CorpusError for a folder without a table.
    """
    waves = [wave[:LONGEST] for _, wave in recordings(folder, per_group)]
    lines = [{"speech": f"{len(waves)} recordings", "mos_predicted": mos.score(waves)["mos_predicted"].mean()}]
    half = UniversalHiFiGAN(device=device, precision="bfloat16")
    for name, speak in (("", UniversalHiFiGAN(device=device)), (", bfloat16", half), ("", GriffinLim())):
        lines.append({"speech": speak.name + name, **scores(speak, waves, device)})
    return pd.DataFrame(lines)


def scores(speak: Vocoder, waves: list[np.ndarray], device: str) -> dict[str, float]:
    """mos_predicted, cos and rtf of what a vocoder makes of the mels of some recordings, in one call."""
    mels = [log_mel(torch.from_numpy(wave)[None])[0] for wave in waves]
    frames = torch.tensor([len(mel) for mel in mels], device=device)
    padded = torch.nn.utils.rnn.pad_sequence(mels, batch_first=True).to(device)
    began = time.perf_counter()
    made = speak(padded, frames)
    taken = time.perf_counter() - began
    heard = [wave[: len(own)] for wave, own in zip(waves, made, strict=True)]
    return {
        "mos_predicted": mos.score(made)["mos_predicted"].mean(),
        "cos": cos.score(made, heard)["cos"].mean(),
        "rtf": taken / sum(len(wave) / RATE for wave in made),
    }
