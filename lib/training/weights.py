"""Weights as safetensors files: what training changes is kept with its fingerprint and SHA-256, and taken up again."""

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.files import file_hash, replace_file, write_json
from lib.training import parallel


class WeightsError(ValueError):
    """A file of weights that cannot be used; the message names it and the fix."""


def saved_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters and buffers, on the CPU."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items() if k not in frozen}


def keep(path: Path, state: dict[str, Tensor], mark: str, facts: dict) -> None:
    """Write a finished training: its weights with their fingerprint, then `facts` and the weights' SHA-256 beside them.

    The checkpoint to resume from goes last. The file's one metadata entry is `fingerprint`: the order of several is
    not fixed. Of several processes the first writes and the others wait.
    """
    if parallel.first():
        with replace_file(path) as temporary:
            save_file(state, temporary, {"fingerprint": mark})
        write_json(path.with_suffix(".json"), facts | {"fingerprint": mark, "sha256": file_hash(path)})
        path.with_suffix(".resume.pt").unlink(missing_ok=True)
    parallel.wait()


def is_kept(path: Path, mark: str) -> bool:
    """Whether a training with this fingerprint has ended, and its weights are still what they were then.

    Facts that state no SHA-256, as they were written before, are taken at their word. Several processes ask together,
    and all hear what the first one sees.
    """
    return bool(parallel.agree(parallel.first() and _is_kept(path, mark)))


def _is_kept(path: Path, mark: str) -> bool:
    try:
        facts = json.loads(path.with_suffix(".json").read_text())
        written = metadata(path).get("fingerprint")
        digest = file_hash(path)
    except Exception:  # missing, or damaged in one of safetensors' own ways: it is trained again
        return False
    return written == facts.get("fingerprint") == mark and facts.get("sha256", digest) == digest


def load_weights(model: nn.Module, path: Path) -> None:
    """Read a system's safetensors file into it. Raises WeightsError when it is damaged or of a model of other sizes."""
    try:
        with safe_open(path, "pt") as f:
            state = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - not a mapping
        _, unexpected = model.load_state_dict(state, strict=False)
    except Exception as error:
        raise WeightsError(
            f"{path.name} is damaged or belongs to another configuration ({type(error).__name__}): "
            "delete it and run the same command again"
        ) from error
    wanted = {name for name, p in model.named_parameters() if p.requires_grad}
    if unexpected or wanted - set(state):
        raise WeightsError(
            f"{path.name} belongs to another configuration ({len(unexpected)} weights too many, "
            f"{len(wanted - set(state))} too few): delete it and run the same command again"
        )


def metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; nothing for a damaged one."""
    try:
        with safe_open(path, "pt") as f:
            return f.metadata() or {}
    except Exception:  # safetensors raises its own kinds for a damaged file, which is then trained again
        return {}
