"""LAION-CLAP of random weights in the published checkpoint's layout, and what `load_laion` makes of it.

`python laion_stand_in.py FOLDER`, with HF_HUB_CACHE=FOLDER/hub and HF_HUB_OFFLINE=1, writes FOLDER/found.npz: audio and
text `(2, 512)` as `load_laion` embeds them; own_audio and own_text as laion_clap does with its own loader of
checkpoints, narrow_audio for the waves at 16 kHz; refused, JSON: file name -> the ClapError for one that is not.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

PROMPTS = ["a high voice, lively intonation", "softly spoken"]
ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}


def waves() -> list[np.ndarray]:
    """Noise and a tone of different lengths, (samples,) float32 at 16 kHz."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(9600)
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    return [noise.astype(np.float32), tone.astype(np.float32)]


def write_hub(hub: Path) -> None:
    """A hub cache: tokenizers of single letters, and RoBERTa-base's sizes; one of its weights, the others are drawn."""
    from safetensors.torch import save_file
    from tokenizers.pre_tokenizers import ByteLevel

    def snapshot(name: str, files: dict[str, str]) -> Path:
        folder = hub / f"models--{name.replace('/', '--')}"
        for file, content in {"refs/main": "0", **{f"snapshots/0/{f}": c for f, c in files.items()}}.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(content)
        return folder / "snapshots/0"

    letters = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    pairs = {"vocab.json": json.dumps({letter: i for i, letter in enumerate(letters)}), "merges.txt": "#version: 0.2\n"}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    snapshot("bert-base-uncased", {"vocab.txt": "\n".join(pieces), "config.json": json.dumps({"model_type": "bert"})})
    snapshot("facebook/bart-base", {**pairs, "config.json": json.dumps({"model_type": "bart"})})
    config = json.dumps({"model_type": "roberta", **ROBERTA})
    roberta = snapshot("roberta-base", {**pairs, "config.json": config})
    weights = {"roberta.embeddings.LayerNorm.bias": torch.zeros(768)}
    save_file(weights, roberta / "model.safetensors", metadata={"format": "pt"})


def save(network: dict[str, torch.Tensor], file: Path) -> None:
    """A checkpoint as LAION-CLAP's training writes it: of a data-parallel network, with its optimiser."""
    positions = {"module.text_branch.embeddings.position_ids": torch.arange(514)[None]}
    state = {f"module.{name}": value for name, value in network.items()} | positions
    optimiser = {"state": {}, "param_groups": [{"lr": np.float64(1e-4), "params": [0]}]}
    torch.save({"epoch": 45, "name": "stand-in", "state_dict": state, "optimizer": optimiser}, file)


def reference(file: Path) -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor]]:
    """laion_clap's own embeddings by a random network that is saved to the file; and empty tensors like its weights."""
    import laion_clap
    import soxr

    torch.manual_seed(0)
    module = laion_clap.CLAP_Module(enable_fusion=False, device="cpu")
    save(module.model.state_dict(), file)
    for weight in module.parameters():
        nn.init.zeros_(weight)
    module.load_ckpt(str(file), verbose=False)

    def heard(sounds: list[np.ndarray]) -> np.ndarray:
        return module.get_audio_embedding_from_data([torch.from_numpy(s) for s in sounds], use_tensor=True).numpy()

    with torch.no_grad():
        found = {
            "own_audio": heard([soxr.resample(wave, 16_000, 48_000) for wave in waves()]),
            "narrow_audio": heard(waves()),
            "own_text": module.get_text_embedding(PROMPTS),
        }
    return found, {name: torch.zeros(()).expand(value.shape) for name, value in module.model.state_dict().items()}


def refusal(file: Path) -> str:
    from lib.models.clap import ClapError, load_laion

    try:
        load_laion(file)
    except ClapError as error:
        return str(error)
    return "taken"


def main(folder: Path) -> None:
    from lib.models.clap import load_laion

    torch.set_num_threads(1)
    write_hub(folder / "hub")
    file = folder / "clap.pt"
    try:
        found, empty = reference(file)
        model = load_laion(file)
        found |= {"audio": model.embed_audio(waves()).numpy(), "text": model.embed_text(PROMPTS).numpy()}
        del model
        os.truncate(file, file.stat().st_size // 2)
        refused = {file.name: refusal(file)}
    finally:
        file.unlink(missing_ok=True)
    save(empty | {"audio_branch.patch_embed.mel_conv2d.weight": torch.zeros(96, 1, 4, 12)}, folder / "fusion.pt")
    save(empty | {"audio_projection.0.weight": torch.zeros(512, 1024)}, folder / "base.pt")
    refused |= {name: refusal(folder / name) for name in ("fusion.pt", "base.pt")}
    np.savez(folder / "found.npz", refused=json.dumps(refused), **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
