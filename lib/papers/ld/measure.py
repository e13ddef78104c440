"""What a system says and how far it moved: content by CER, style by prosody and CLAP, speaker by COS.

With s the prosody of a wave (`FEATURES`, each over its scale), the wanted move is d = s(restyled recording) -
s(recording) of the same sentence, whose truth is known, and

    style_moved = 100 (s(output) - s(unmoved)) . d / |d|^2

in percent, where unmoved is z_text through the frozen decoder. A move that breaks the words is no change of style:
style_moved_intact is 0 where the CER has risen by more than the profile's `intact_cer`, and content_broken is then 1.
An output without voice has no F0 and has not moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib import audio
from lib.corpora.styled.styles import intonation
from lib.files import fingerprint, write_json
from lib.metrics import MetricError, cos, prosody, wer
from lib.papers.ld.clap import clap_of, conditions
from lib.papers.ld.data import SPEAKER, Lab, Sentence, heard
from lib.papers.ld.posterior import decoder_of
from lib.papers.ld.train import diffusion_of, keep_content, system_of
from lib.study.units import unit

FEATURES = ("f0_median", "f0_spread", "energy_mean", "hnr")
MEASURED = ("energy_mean", "hnr", "energy_range", "rate", "jitter", "shimmer", "pause_share")
UNTRAINED = ("recording", "none", "posterior")


def measure(waves: list[np.ndarray], words: list[str], neutral: list[np.ndarray], device: str) -> pd.DataFrame:
    """Per wave (16 kHz): cer, wer, cos to the neutral recording, `MEASURED` (NaN where it has no voice), voiced."""
    audible = [wave if np.abs(wave).max() >= audio.SILENCE else quiet(wave) for wave in waves]
    rates = wer.score(waves, words, device=device)
    found = {"cer": rates["cer"], "wer": rates["wer"], "cos": cos.score(audible, neutral, device=device)["cos"]}
    return pd.DataFrame(found).join(prosody_of(waves, device))


def quiet(wave: np.ndarray) -> np.ndarray:
    """A stand-in for silence that metrics of sound accept: faint noise of the same length."""
    return np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32) * 10 * audio.SILENCE


def prosody_of(waves: list[np.ndarray], device: str = "cpu") -> pd.DataFrame:
    """`MEASURED` and `intonation` of every wave, and voiced (0 or 1); what a wave without voice has not is NaN."""
    for score in (prosody.score, prosody.timing):
        try:
            table = pd.DataFrame(score(waves, None, device=device)).reindex(columns=list(MEASURED))
            table = table.join(pd.DataFrame([intonation(wave) for wave in waves]))
            return table.assign(voiced=float(score is prosody.score))
        except MetricError:
            if len(waves) > 1:
                return pd.concat([prosody_of([wave], device) for wave in waves], ignore_index=True)
    return pd.DataFrame([dict.fromkeys((*MEASURED, *FEATURES[:2]), np.nan) | {"voiced": 0.0}])


def baseline(lab: Lab) -> dict[str, pd.DataFrame]:
    """Measures of the test sentences before any change: unmoved (z_text decoded) and the recording in every style.

    By "text" and the style's name, in the order of the test sentences; computed once per data set.
    """
    wanted = list(dict.fromkeys(["neutral", *lab.settings["evaluate"]["styles"]]))
    path = lab.folder / f"baseline-{fingerprint(wanted)}.json"
    if path.is_file():
        return {name: pd.DataFrame(columns) for name, columns in json.loads(path.read_text()).items()}
    sentences = lab.sentences("test")
    words, neutral = [s.text for s in sentences], recordings(lab, "neutral")
    found = {"text": measure(text_waves(lab), words, neutral, lab.device)}
    for style in wanted:
        found[style] = measure(recordings(lab, style), words, neutral, lab.device)
    write_json(path, {name: table.to_dict("list") for name, table in found.items()})
    return found


def recordings(lab: Lab, style: str) -> list[np.ndarray]:
    """The test recordings in a style at 16 kHz."""
    return [heard(lab.wave(s, style), lab.vits.dims.rate) for s in lab.sentences("test")]


def text_latents(lab: Lab) -> tuple[Tensor, Tensor]:
    """z_text of the test sentences, with sampled durations: `(batch, latent, frames)`, padded, and their frames."""
    latents = [torch.from_numpy(lab.spoken(s)["sampled_0"]) for s in lab.sentences("test")]
    frames = torch.tensor([z.shape[1] for z in latents])
    padded = nn.utils.rnn.pad_sequence([z.T for z in latents], batch_first=True).transpose(1, 2)
    return padded.contiguous().to(lab.device), frames.to(lab.device)


@torch.no_grad()
def decode(lab: Lab, z: Tensor, frames: Tensor, decoder: nn.Module | None = None) -> list[np.ndarray]:
    """16 kHz waves of padded latents, each decoded alone: faster on a CPU than a padded batch."""
    decoder = decoder or lab.vits.decoder
    waves = [decoder(item[None, :, : int(n)], None)[0].cpu().numpy() for item, n in zip(z, frames, strict=True)]
    return [heard(wave, lab.vits.dims.rate) for wave in waves]


def text_waves(lab: Lab) -> list[np.ndarray]:
    return decode(lab, *text_latents(lab))


def condition_of(lab: Lab, style: str, count: int) -> Tensor:
    """The condition of a style's prompt, `(count, size)`."""
    model = clap_of(lab)
    return conditions(model, model.embed_text([lab.prompt(style)])).expand(count, -1).to(lab.device)


def sample(lab: Lab, name: str, seed: int, style: str, guidance: float) -> tuple[Tensor, Tensor]:
    """A system's z for the test sentences in a style, `(batch, latent, frames)`, and the valid frames."""
    model, projection = diffusion_of(lab, name, seed)
    z_text, frames = text_latents(lab)
    options = {"guidance": guidance, "seed": seed, **lab.settings["sampling"]}
    z = model.sample(z_text, frames, condition_of(lab, style, len(frames)), **options)
    return (z if projection is None else keep_content(projection, z_text, z)), frames


def spoken(lab: Lab, system: dict, seed: int) -> Iterator[tuple[float | None, list[str], list[np.ndarray]]]:
    """What a system says: guidance (None where it has none), the styles it stands for, and the test waves."""
    wanted, settings = lab.settings["evaluate"]["styles"], lab.settings
    decoder = decoder_of(lab, 0) if system.get("decoder") == "trainable" else None
    if system["method"] == "none":
        yield None, wanted, text_waves(lab)
        return
    if system["method"] in UNTRAINED:
        for style in wanted:
            yield None, [style], _unsampled(lab, system["method"], style, decoder)
        return
    for guidance in system.get("guidance", settings["evaluate"]["guidance"]):
        if guidance == 0:  # the condition plays no part
            yield guidance, wanted, decode(lab, *sample(lab, system["name"], seed, wanted[0], 0.0), decoder)
            continue
        for style in wanted:
            yield guidance, [style], decode(lab, *sample(lab, system["name"], seed, style, guidance), decoder)


def _unsampled(lab: Lab, method: str, style: str, decoder: nn.Module | None) -> list[np.ndarray]:
    if method == "recording":
        return recordings(lab, style)
    latents = [torch.from_numpy(lab.latents(s)[style]).unsqueeze(0).to(lab.device) for s in lab.sentences("test")]
    return [decode(lab, z, torch.tensor([z.shape[2]]), decoder)[0] for z in latents]


def evaluate(lab: Lab, name: str, seed: int) -> pd.DataFrame:
    """Rows of a system: every metric of every test sentence, style (variant) and guidance scale (x)."""
    system, sentences = system_of(lab.profile, name), lab.sentences("test")
    before, tables = baseline(lab), []
    neutral, words = recordings(lab, "neutral"), [s.text for s in sentences]
    for guidance, wanted, waves in spoken(lab, system, seed):
        measured = measure(waves, words, neutral, lab.device)
        similar = clap_of(lab).embed_audio([_embeddable(wave) for wave in waves]).cpu()
        for style in wanted:
            values = measured.assign(clap_similarity=100 * (similar @ condition_unit(lab, style)).numpy())
            values = judged(lab, values, before, style)
            tables.append(tidy(values, sentences, style).assign(x=np.nan if guidance is None else guidance))
            keep(lab, name, seed, style, guidance, waves)
    return pd.concat(tables, ignore_index=True)


def condition_unit(lab: Lab, style: str) -> Tensor:
    """The unit-norm embedding `(size,)` of a style's prompt."""
    return clap_of(lab).embed_text([lab.prompt(style)])[0].cpu()


def _embeddable(wave: np.ndarray) -> np.ndarray:
    return wave if np.abs(wave).max() >= audio.SILENCE else quiet(wave)


def judged(lab: Lab, measured: pd.DataFrame, before: dict[str, pd.DataFrame], style: str) -> pd.DataFrame:
    """`measured` with cer_added, content_broken, style_moved, style_moved_intact and style_distance."""
    settings = lab.settings["evaluate"]
    scales = np.array([settings["scales"][name] for name in FEATURES])

    def point(table: pd.DataFrame) -> np.ndarray:
        return table[list(FEATURES)].to_numpy(float) / scales

    wanted = point(before[style]) - point(before["neutral"])
    moved = point(measured) - point(before["text"])
    share = 100 * (moved * wanted).sum(1) / np.maximum((wanted**2).sum(1), 1e-9)
    share = np.where(np.isfinite(share), share, 0.0)
    added = measured["cer"].to_numpy() - before["text"]["cer"].to_numpy()
    broken = added > settings["intact_cer"]
    distance = np.linalg.norm(point(measured) - point(before[style]), axis=1)
    return measured.assign(
        cer_added=added,
        content_broken=broken.astype(float),
        style_moved=share,
        style_moved_intact=np.where(broken, 0.0, share),
        style_distance=distance,
    )


def tidy(values: pd.DataFrame, sentences: list[Sentence], style: str) -> pd.DataFrame:
    """One row per metric and utterance; what is NaN (prosody without voice) has no row."""
    named = values.assign(utterance=[f"{s.name}-{style}" for s in sentences])
    long = named.melt(id_vars="utterance", var_name="metric", value_name="value").dropna()
    return long.assign(unit=long["metric"].map(unit), speaker=SPEAKER, split="test", variant=style)


def keep(lab: Lab, name: str, seed: int, style: str, guidance: float | None, waves: list[np.ndarray]) -> None:
    """Write some audio for the players: the first test sentences at the nominal and the largest guidance scale."""
    settings = lab.settings["evaluate"]
    scales = (None, settings["nominal"], max(settings["guidance"]))
    if seed != lab.settings["seeds"][0] or guidance not in scales:
        return
    folder = lab.root / "audio" / f"ld-{name}-s{seed}"
    for sentence, wave in list(zip(lab.sentences("test"), waves, strict=True))[: settings["players"]]:
        file = f"{sentence.name}-{style}" + ("" if guidance is None else f"-x{guidance:g}")
        audio.write(folder / f"{file}.wav", _embeddable(wave))
