"""A laboratory for diffusion in the latent space of VITS: a sentence, a style in words, and how hard to push.

Diffusions are read from the checkpoints of a profile and never trained here.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor

from lib import study
from lib.corpora.styled import styles
from lib.metrics import is_silent
from lib.models.mel import MelDims
from lib.papers.ld.clap import clap_of, conditions
from lib.papers.ld.data import Lab
from lib.papers.ld.measure import decode, prosody_of, text_latents
from lib.papers.ld.pictures import LIMIT, image
from lib.papers.ld.posterior import decoder_of
from lib.papers.ld.study import is_prepared, run_id
from lib.papers.ld.train import diffusion_of, keep_content, system_of
from lib.study.heard import ExploreError, Heard, Panel, speech_panel, transcript
from lib.study.protocol import resolve_device

DIFFUSIONS = ("palette", "i2sb")
PROSODY = {"f0_mean": "F0 (Hz)", "f0_range": "F0 range (semitones)", "energy_mean": "energy (dB)", "hnr": "HNR (dB)"}


def lab_of(profile: dict, device: str = "auto") -> Lab:
    """The laboratory of a profile. Raises ExploreError for a profile without this study."""
    if "ld" not in profile:
        raise ExploreError(f"the profile {profile['name']} has no section ld: there is nothing to explore")
    return Lab(profile, resolve_device(device))


def trained(lab: Lab, seed: int = 0) -> list[str]:
    """The diffusions that have been trained, by the name of the profile."""
    systems = lab.settings["systems"].items()
    return [name for name, entry in systems if entry["method"] in DIFFUSIONS and not missing(lab, name, seed)]


def missing(lab: Lab, name: str, seed: int) -> str:
    """Why a diffusion cannot speak yet, in one sentence, or "". Raises LatentError for a system that there is not."""
    if system_of(lab.profile, name)["method"] not in DIFFUSIONS:
        return f"{name} is no diffusion and takes no prompt: choose palette, i2sb or one of their variants"
    profile = lab.profile["name"]
    if is_prepared(lab) and _device_of(lab) and run_id(name, seed) in study.read_manifests(lab.profile, "LD"):
        return ""
    return (
        f"{name}, seed {seed}, has not been trained in the profile {profile} on this kind of device: "
        f"run ./run_all.sh --profile {profile} first, or choose another system"
    )


def _device_of(lab: Lab) -> bool:
    """Whether the posterior encoder was prepared on this kind of device, which the trained systems depend on."""
    return json.loads((lab.root / "prepared" / "ld.json").read_text())["encoder"] == lab.encoder_mark


def prompt(**levels: str) -> str:
    """English words for levels of pitch, range, energy, rate and breath. Raises StyleError for unknown levels."""
    return styles.prompt(styles.levels_of(levels))


@torch.no_grad()
def speak_latents(lab: Lab, system: str, seed: int, number: int = 0, words: str = "", guidance: float = 2.0) -> Heard:
    """A test sentence of the VITS voice, moved towards a style in English words by classifier-free guidance.

    number: which test sentence, from 0; words: the prompt, such as "a high voice, lively intonation"; guidance: 0 is
    without the prompt, 1 with it, more is further. Shows log-mel and F0 after and before, and both latents, channels
    sorted, in standard deviations. Raises ExploreError for a diffusion that has not been trained, a sentence that
    there is not and an empty prompt.
    """
    if reason := missing(lab, system, seed):
        raise ExploreError(reason)
    sentences = lab.sentences("test")
    if not 0 <= number < len(sentences):
        raise ExploreError(f"there are {len(sentences)} test sentences: choose a number from 0 to {len(sentences) - 1}")
    if not words.strip():
        raise ExploreError("the prompt is empty: describe a style, such as 'a high voice, lively intonation'")
    (model, projection), clap = diffusion_of(lab, system, seed), clap_of(lab)
    every, frames = text_latents(lab)
    z_text, frames = every[number : number + 1, :, : int(frames[number])], frames[number : number + 1]
    wanted = clap.embed_text([words])
    options = {"guidance": guidance, "seed": seed, **lab.settings["sampling"]}
    z = model.sample(z_text, frames, conditions(clap, wanted).to(lab.device), **options)
    z = z if projection is None else keep_content(projection, z_text, z)
    decoder = decoder_of(lab, 0) if system_of(lab.profile, system).get("decoder") == "trainable" else None
    wave, before, dims = decode(lab, z, frames, decoder)[0], decode(lab, z_text, frames)[0], MelDims()
    latents = {"z_text": z_text, "z after": z, "z after, less z_text": z - z_text}
    return Heard(
        title=f"{system}, seed {seed}, guidance {guidance:g}: {words}",
        wave=wave,
        text=sentences[number].text,
        panels=[
            [speech_panel(wave, dims, "after")],
            [speech_panel(before, dims, "before: the text through VITS")],
            [_latent(lab, title, value[0], title.endswith("less z_text")) for title, value in latents.items()],
        ],
        transcripts=[
            transcript(wave, sentences[number].text, "after: Whisper tiny.en heard", lab.device),
            transcript(before, sentences[number].text, "before: Whisper tiny.en heard", lab.device),
        ],
        beside={"before": before},
        facts=_facts(clap, wanted, wave, before, lab.device),
        mel=dims,
    )


def _latent(lab: Lab, title: str, z: Tensor, difference: bool) -> Panel:
    """`(latent, frames)` in standard deviations; of a difference the mean is left in place."""
    values = z.cpu().numpy()
    drawn = image(lab, values) - image(lab, np.zeros_like(values)) if difference else image(lab, values)
    return Panel("weights", f"{title} (deviations)", drawn, names=("Latent frame", "Channel"), limit=LIMIT)


def _facts(clap, wanted: Tensor, wave: np.ndarray, before: np.ndarray, device: str) -> dict[str, str]:
    """Prosody before and after, and how near the audio comes to the prompt in CLAP's space."""
    prosody = prosody_of([before, wave], device)
    facts = {name: f"{prosody[key][0]:.1f} → {prosody[key][1]:.1f}" for key, name in PROSODY.items() if key in prosody}
    if not (is_silent(wave) or is_silent(before)):
        near = 100 * (clap.embed_audio([before, wave]).cpu() @ wanted[0].cpu())
        facts["CLAP cosine to the prompt"] = f"{near[0]:.1f} → {near[1]:.1f}"
    return facts
