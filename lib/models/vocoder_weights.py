"""Where other HiFi-GAN weights come from, a file or the hub, and the forms in which files hold them."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from lib.files import ROOT

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
HUB_FILES = ("generator.safetensors", "generator.ckpt", "generator.pt")
ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
SETTING = "vocoder.hifigan in the profile"


def find(given: str | Path, network: bool = False) -> Path:
    """The file that a profile's `vocoder.hifigan` means.

    A path counts from the working folder, then from the project's; an id of the hub, owner/name or
    owner/name@revision, is looked for in the hub's cache and fetched only if `network` is true. Raises ValueError,
    with what to set, when there is no such file.
    """
    path = Path(given).expanduser()
    for place in (path, ROOT / path):
        if place.is_file():
            return place
    if path.suffix not in ENDINGS and HUB_ID.fullmatch(str(given)):
        return _from_hub(str(given), network)
    raise ValueError(f"there is no HiFi-GAN checkpoint {path.name}: check {SETTING}")


def _from_hub(given: str, network: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = given.partition("@")
    reason = "it is not on this machine; set vocoder.network: true to fetch it"
    for offline in (True, False) if network else (True,):
        for name in HUB_FILES:
            try:
                return Path(hf_hub_download(repository, name, revision=revision or None, local_files_only=offline))
            except (LocalEntryNotFoundError, EntryNotFoundError, HfHubHTTPError, OSError) as error:
                reason = reason if offline else " ".join(str(error).split())[:200]
    raise ValueError(f"the HiFi-GAN {given} cannot be had from the hub ({reason}), or give a file's path ({SETTING})")


def read(path: Path) -> dict[str, Tensor]:
    """A generator's tensors with the authors' names, weight normalisation folded in.

    Read are the authors' `{"generator": state}`, a plain state, SpeechBrain's names and safetensors. Raises ValueError
    for a file that is none of these.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("generator", state)
        return _fold_weight_norm({name.replace(".conv.", "."): value for name, value in state.items()})
    except Exception as error:  # each format fails in ways of its own
        raise ValueError(f"{path.name} does not hold a HiFi-GAN generator's weights: check {SETTING}") from error


def _fold_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    folded = {k: v for k, v in state.items() if not k.endswith(("weight_g", "weight_v"))}
    for key, direction in state.items():
        if key.endswith("weight_v"):
            norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.ndim - 1))
            folded[key.removesuffix("_v")] = direction * state[key.removesuffix("v") + "g"] / norm
    return folded
