"""Predicted mean opinion score: DistillMOS, a distilled XLS-R speech quality model.

Stahl and Gamper, "Distillation and pruning for scalable self-supervised representation-based speech
quality assessment", ICASSP 2025. The value predicts how listeners would rate quality from 1 (bad) to 5
(excellent); no listener is involved, so it is always called predicted. `dnsmos` is a second, independent
predictor: Reddy et al., "DNSMOS P.835", ICASSP 2022, and "DNSMOS", ICASSP 2021 (P.808).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from lib.metrics import MetricError, check_waves
from lib.pretrained import PretrainedError, resolve

SEGMENT = 122880
LARGEST_HOP = 16000
FEATURE_HOP = 320
REACH = 5
CPU_BATCH = 2  # segments at once: what a CPU computes for more leaves its cache, and takes half as long again
RATE = 16000
SPEECHMOS = {  # what the package speechmos calls them
    "dnsmos_signal_predicted": "sig_mos",
    "dnsmos_background_predicted": "bak_mos",
    "dnsmos_overall_predicted": "ovrl_mos",
    "dnsmos_p808_predicted": "p808_mos",
}


def score(
    speech: Sequence[np.ndarray], reference: None = None, *, device: str = "cpu", batch_size: int = 16
) -> dict[str, np.ndarray]:
    """`mos_predicted` (batch,) of mono 16 kHz waves, 1 to 5, higher is better.

    The model hears segments of 7.68 s: a shorter wave is padded with zeros at its end, a longer one is the
    mean over overlapping segments, exactly as its authors do it. All segments have one length, so they are
    batched without changing any score. Raises MetricError for silent, NaN or empty waves.
    """
    if reference is not None:
        raise MetricError("Predicted MOS takes no reference: give None.")
    waves = check_waves(speech, "Speech")
    cuts = [segments(torch.from_numpy(wave)) for wave in waves]
    if not cuts:
        return {"mos_predicted": np.zeros(0)}
    predictor = load(str(device))
    lengths = torch.tensor([min(len(wave), SEGMENT) for wave in waves]).repeat_interleave(
        torch.tensor([len(cut) for cut in cuts])
    )
    if torch.device(device).type == "cpu":
        batch_size = min(batch_size, CPU_BATCH)
    stacked, order = torch.cat(cuts), lengths.argsort(stable=True)
    values = torch.zeros(len(order))
    for batch in order.split(batch_size):
        values[batch] = predictor(stacked[batch].to(device), int(lengths[batch].max())).cpu()
    parts = values.split([len(cut) for cut in cuts])
    return {"mos_predicted": np.array([float(part.mean()) for part in parts], dtype=np.float64)}


class Predictor(nn.Module):
    """DistillMOS on batches of segments, without convolving the zeros that pad short utterances.

    The convolutions reach less than 0.1 s to either side, so all features further than that from the sound
    equal the features of a silent segment, which are computed once.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.convolutions, self.transformer = model.cnn, model.transformer_pool_attn
        self.register_buffer("silence", self.convolutions(torch.zeros(1, SEGMENT)))

    @torch.inference_mode()
    def forward(self, batch: Tensor, samples: int) -> Tensor:
        """Scores (batch,), 1 to 5, of segments (batch, 122880) that are zero from `samples` on."""
        batch = batch / (batch.abs().amax(dim=1, keepdim=True) + 1e-8)
        kept = -(-samples // FEATURE_HOP) + REACH
        if kept + REACH < self.silence.shape[2]:
            heard = self.convolutions(batch[:, : (kept + REACH) * FEATURE_HOP])[:, :, :kept]
            rest = self.silence[:, :, kept:].expand(len(batch), -1, -1)
            features = torch.cat([heard, rest], dim=2)
        else:
            features = self.convolutions(batch)
        return 1 + 4 * self.transformer(features.transpose(1, 2)).flatten()


def segments(wave: Tensor) -> Tensor:
    """`wave` (samples,) as the segments (count, 122880) that DistillMOS scores, at most 1 s apart."""
    excess = len(wave) - SEGMENT
    if excess <= 0:
        return nn.functional.pad(wave, (0, -excess))[None]
    count = -(-excess // LARGEST_HOP) + 1
    starts = [int(place * excess) for place in np.linspace(0, 1, count)]
    return torch.stack([wave[start : start + SEGMENT] for start in starts])


@lru_cache(maxsize=2)
def load(device: str = "cpu") -> Predictor:
    """DistillMOS on `device` with its weights from `lib.pretrained`; raises PretrainedError without them."""
    weights = resolve("distillmos")
    try:
        from distillmos import ConvTransformerSQAModel
    except ImportError as error:
        raise PretrainedError("DistillMOS is not installed: run `pip install distillmos`.") from error
    with contextlib.redirect_stdout(io.StringIO()):
        model = ConvTransformerSQAModel(load_weights=False, segmenting_in_forward=False)
    state = torch.load(weights.path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    model.eval().requires_grad_(False)
    return Predictor(model).to(device).eval()


def dnsmos(speech: Sequence[np.ndarray], reference: None = None, *, device: str = "cpu") -> dict[str, np.ndarray]:
    """DNSMOS of mono 16 kHz waves in [-1, 1]: four predictions (batch,), about 1 to 5, higher is better.

    dnsmos_overall_predicted, dnsmos_signal_predicted and dnsmos_background_predicted are those of the P.835
    model, dnsmos_p808_predicted that of the P.808 model, as the package speechmos has them, on the CPU whatever the
    device. Both hear 9.01 s: a shorter wave is repeated, a longer one is the mean over segments. Level matters.
    Raises MetricError for silent, NaN, empty or too loud waves, PretrainedError where the package is missing or its
    files are damaged.
    """
    if reference is not None:
        raise MetricError("DNSMOS takes no reference: give None.")
    waves = check_waves(speech, "Speech")
    for index, wave in enumerate(waves):
        if np.abs(wave).max() > 1:
            raise MetricError(f"Speech {index} leaves [-1, 1]: scale it, DNSMOS depends on the level.")
    resolve("dnsmos")
    from speechmos.dnsmos import run

    told = [run(wave, RATE) for wave in waves]
    return {name: np.array([each[theirs] for each in told], dtype=np.float64) for name, theirs in SPEECHMOS.items()}
