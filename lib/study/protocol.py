"""What every paper's study does in the same way."""

from __future__ import annotations

import torch

from lib.pretrained import resolve
from lib.study.profile import StudyError


def resolve_device(device: str) -> str:
    """ "auto" is the GPU where there is one. Raises StudyError for a GPU that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise StudyError("no CUDA device is visible to torch: run with --device cpu, or check the driver")
    return device


def pretrained_used() -> dict:
    """Where the judges' weights came from."""
    return {name: resolve(name).manifest() for name in ("whisper-tiny.en", "ge2e", "distillmos")}
