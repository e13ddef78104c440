"""Small random Whispers as transformers saves them, in the place of the hub's."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from lib import pretrained

ENGLISH, MULTILINGUAL = 51864, 51865  # tokens
SIZES = {
    **{"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16},
    **{"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16},
}


def save(folder: Path, vocabulary: int = ENGLISH, bands: int = 80, multilingual: bool | None = None, **options) -> Path:
    """Write a random Whisper of 16 channels to `folder`, with the tokenizer of the installed one; the folder.

    multilingual: what its generation configuration says; options: of save_pretrained.
    """
    torch.manual_seed(0)
    config = WhisperConfig(vocab_size=vocabulary, num_mel_bins=bands, d_model=16, max_target_positions=40, **SIZES)
    network = WhisperForConditionalGeneration(config)
    network.generation_config = GenerationConfig(
        suppress_tokens=[1, 2], begin_suppress_tokens=[220], decoder_start_token_id=50257, eos_token_id=50256
    )
    if multilingual is not None:
        network.generation_config.is_multilingual = multilingual
    network.save_pretrained(folder, **options)
    shutil.copy(pretrained.resolve("whisper-tiny.en").path / "tokenizer.json", folder)
    return folder
