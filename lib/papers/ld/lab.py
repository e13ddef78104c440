"""A laboratory for diffusion in the latent space of VITS: a sentence, a style in words, and how hard to push.

Diffusions are read from the checkpoints of a profile and never trained here.
"""

import json

import numpy as np
import torch
from torch import Tensor

from lib.corpora.styled import styles
from lib.metrics import is_silent
from lib.models.mel import MelDims
from lib.papers.ld.clap import conditions
from lib.papers.ld.measure import decode, decoder_of, precise, prosody_of, sampling, text_latents
from lib.papers.ld.pictures import LIMIT, image
from lib.papers.ld.systems import POSTERIOR, Systems
from lib.study.heard import ExploreError, Heard, Panel, speech_panel, transcript
from lib.study.rows import read_manifests

DIFFUSIONS = ("palette", "i2sb")
PROSODY = {"f0_mean": "F0 (Hz)", "f0_range": "F0 range (semitones)", "energy_mean": "energy (dB)", "hnr": "HNR (dB)"}


def trained(study: Systems, seed: int = 0) -> list[str]:
    """The diffusions that have been trained, by the name of the profile."""
    systems = study.settings["systems"].items()
    return [name for name, entry in systems if entry["method"] in DIFFUSIONS and not missing(study, name, seed)]


def missing(study: Systems, name: str, seed: int) -> str:
    """Why a diffusion cannot speak yet, in one sentence, or "". Raises LatentError for a system that there is not."""
    if study.system(name)["method"] not in DIFFUSIONS:
        return f"{name} is no diffusion and takes no prompt: choose palette, i2sb or one of their variants"
    profile = study.profile["name"]
    if study.run_id(name, seed) in read_manifests(study.profile, "LD") and _prepared_here(study):
        return ""
    return (
        f"{name}, seed {seed}, has not been trained in the profile {profile} on this kind of device: "
        f"run ./run_all.sh --profile {profile} first, or choose another system"
    )


def _prepared_here(study: Systems) -> bool:
    """Whether the posterior encoder was prepared on this kind of device, which the trained systems depend on."""
    try:
        facts = json.loads((study.root / "prepared" / "ld.json").read_text())
    except (OSError, ValueError):
        return False
    return facts.get("encoder") == study.mark_of(POSTERIOR, 0)


def prompt(**levels: str) -> str:
    """English words for levels of pitch, range, energy, rate and breath. Raises StyleError for unknown levels."""
    return styles.prompt(styles.levels_of(levels))


@torch.no_grad()
def speak_latents(
    study: Systems, system: str, seed: int, number: int = 0, words: str = "", guidance: float = 2.0
) -> Heard:
    """A test sentence of the VITS voice, moved towards a style in English words by classifier-free guidance.

    number: which test sentence, from 0; words: the prompt, such as "a high voice, lively intonation"; guidance: 0 is
    without the prompt, 1 with it, more is further. Shows log-mel and F0 after and before, and both latents, channels
    sorted, in standard deviations. Raises ExploreError for a diffusion that has not been trained, a sentence that
    there is not and an empty prompt.
    """
    if reason := missing(study, system, seed):
        raise ExploreError(reason)
    sentences = study.tested
    if not 0 <= number < len(sentences):
        raise ExploreError(f"there are {len(sentences)} test sentences: choose a number from 0 to {len(sentences) - 1}")
    if not words.strip():
        raise ExploreError("the prompt is empty: describe a style, such as 'a high voice, lively intonation'")
    every, frames = text_latents(study)
    z_text, frames = every[number : number + 1, :, : int(frames[number])], frames[number : number + 1]
    wanted = study.clap.embed_text([words])
    condition = conditions(study.clap, wanted).to(study.device)
    model, options = study.diffusion(system, seed), sampling(study, seed, guidance)
    with precise(study):
        z = model.sample(z_text, frames, condition, **options)
    z = study.kept_content(system, z_text, z)
    wave = decode(study, z, frames, decoder_of(study, system, seed, condition))[0]
    before = decode(study, z_text, frames)[0]
    dims = MelDims()
    latents = {"z_text": z_text, "z after": z, "z after, less z_text": z - z_text}
    return Heard(
        title=f"{system}, seed {seed}, guidance {guidance:g}: {words}",
        wave=wave,
        text=sentences[number].text,
        panels=[
            [speech_panel(wave, dims, "after")],
            [speech_panel(before, dims, "before: the text through VITS")],
            [_latent(study, title, value[0], title.endswith("less z_text")) for title, value in latents.items()],
        ],
        transcripts=[
            transcript(wave, sentences[number].text, "after: Whisper tiny.en heard", study.device),
            transcript(before, sentences[number].text, "before: Whisper tiny.en heard", study.device),
        ],
        beside={"before": before},
        facts=_facts(study, wanted, wave, before),
        mel=dims,
    )


def _latent(study: Systems, title: str, z: Tensor, difference: bool) -> Panel:
    """`(latent, frames)` in standard deviations; of a difference the mean is left in place."""
    values = z.cpu().numpy()
    drawn = image(study, values) - image(study, np.zeros_like(values)) if difference else image(study, values)
    return Panel("weights", f"{title} (deviations)", drawn, names=("Latent frame", "Channel"), limit=LIMIT)


def _facts(study: Systems, wanted: Tensor, wave: np.ndarray, before: np.ndarray) -> dict[str, str]:
    """Prosody before and after, and how near the audio comes to the prompt in CLAP's space."""
    prosody = prosody_of([before, wave], study.device)
    facts = {name: f"{prosody[key][0]:.1f} → {prosody[key][1]:.1f}" for key, name in PROSODY.items() if key in prosody}
    if not (is_silent(wave) or is_silent(before)):
        near = 100 * (study.clap.embed_audio([before, wave]).cpu() @ wanted[0].cpu())
        facts["CLAP cosine to the prompt"] = f"{near[0]:.1f} → {near[1]:.1f}"
    return facts
