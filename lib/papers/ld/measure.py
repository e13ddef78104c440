"""What a system says and how far it moved: content by CER, style by prosody and CLAP, speaker by COS.

With s the prosody of a wave (`FEATURES`, each over its scale), the wanted move is d = s(restyled recording) -
s(recording) of the same sentence, whose truth is known, and

    style_moved = 100 (s(output) - s(unmoved)) . d / |d|^2

in percent, where unmoved is z_text through the frozen decoder. For what goes through z and a decoder, style_kept is
the same from the neutral recording's z through the same decoder, so that what the decoder itself changes is no style,
and cos_other is the likeness to the mean of another speaker than joe. A move that breaks the words is no change of
style: style_moved_intact is 0 where the CER has risen by more than the profile's `intact_cer`, and content_broken is
then 1. An output without voice has no F0 and has not moved.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib import audio
from lib.corpora.styled.styles import intonation
from lib.files import fingerprint, write_json
from lib.metrics import MetricError, cos, prosody, wer
from lib.papers.ld.clap import conditions
from lib.papers.ld.data import SPEAKER, LatentError, Sentence, heard
from lib.papers.ld.decoders import CORPUS, OTHER
from lib.papers.ld.systems import Systems
from lib.study.profile import StudyError
from lib.study.units import unit
from lib.training.loop import autocast

FEATURES = ("f0_median", "f0_spread", "energy_mean", "hnr")
MEASURED = ("energy_mean", "hnr", "energy_range", "rate", "jitter", "shimmer", "pause_share")
MOST = 20  # guidance
UNTRAINED = ("recording", "none", "posterior")


def measures(waves: list[np.ndarray], words: list[str], neutral: list[np.ndarray], device: str) -> pd.DataFrame:
    """Per wave (16 kHz): cer, wer, cos to the neutral recording, `MEASURED` (NaN where it has no voice), voiced."""
    rates = wer.score(waves, words, device=device)
    found = {
        "cer": rates["cer"],
        "wer": rates["wer"],
        "cos": cos.score([audible(wave) for wave in waves], neutral, device=device)["cos"],
    }
    return pd.DataFrame(found).join(prosody_of(waves, device))


def audible(wave: np.ndarray) -> np.ndarray:
    """The wave, or for silence a stand-in that metrics of sound accept: faint noise of the same length."""
    if np.abs(wave).max() >= audio.SILENCE:
        return wave
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


def baseline(study: Systems) -> dict[str, pd.DataFrame]:
    """Measures of the test sentences before any change: unmoved (z_text decoded) and the recording in every style.

    By "text" and the style's name, in the order of the test sentences; computed once per data set.
    """
    wanted = list(dict.fromkeys(["neutral", *study.settings["evaluate"]["styles"]]))
    path = study.corpus.root / f"baseline-{fingerprint(wanted, len(study.tested))}.json"
    if path.is_file():
        return {name: pd.DataFrame(columns) for name, columns in json.loads(path.read_text()).items()}
    words, neutral = [s.text for s in study.tested], recordings(study, "neutral")
    found = {"text": measures(text_waves(study), words, neutral, study.device)}
    for style in wanted:
        found[style] = measures(recordings(study, style), words, neutral, study.device)
    write_json(path, {name: table.to_dict("list") for name, table in found.items()})
    return found


def recordings(study: Systems, style: str) -> list[np.ndarray]:
    """The test recordings in a style at 16 kHz."""
    return [study.heard(s, style) for s in study.tested]


def text_latents(study: Systems) -> tuple[Tensor, Tensor]:
    """z_text of the test sentences, with sampled durations: `(batch, latent, frames)`, padded, and their frames."""
    latents = [torch.from_numpy(study.corpus.spoken(s)["sampled_0"]) for s in study.tested]
    frames = torch.tensor([z.shape[1] for z in latents])
    padded = nn.utils.rnn.pad_sequence([z.T for z in latents], batch_first=True).transpose(1, 2)
    return padded.contiguous().to(study.device), frames.to(study.device)


@torch.no_grad()
def decode(study: Systems, z: Tensor, frames: Tensor, decoder: Callable | None = None) -> list[np.ndarray]:
    """16 kHz waves of padded latents, each decoded alone: faster on a CPU than a padded batch."""
    decoder = decoder or study.vits.decoder
    with precise(study):
        waves = [decoder(item[None, :, : int(n)], None)[0] for item, n in zip(z, frames, strict=True)]
    return [heard(wave.float().cpu().numpy(), study.vits.dims.rate) for wave in waves]


def text_waves(study: Systems) -> list[np.ndarray]:
    return decode(study, *text_latents(study))


def decoder_of(study: Systems, name: str, seed: int, condition: Tensor | None = None) -> Callable | None:
    """The decoder of a system that has one of its own, told the speaker's code or the style's condition `(1, size)`."""
    system = study.system(name)
    kind = system.get("decoder")
    if kind == "speaker":
        condition = study.voices.code(system.get("speaker", SPEAKER))
    return partial(study.decoder(kind, seed), g=condition if kind in ("speaker", "style") else None) if kind else None


def through(study: Systems, name: str, seed: int, style: str) -> list[np.ndarray]:
    """The test recordings in a style through z and a system's decoder; where the system keeps content, that of the
    neutral recording.
    """
    found, decoder = [study.latents(s) for s in study.tested], decoder_of(study, name, seed)
    if study.system(name).get("content") and any(z[style].shape != z["neutral"].shape for z in found):
        raise LatentError(f"The style {style} changes the rate, so the neutral recording's content does not fit it.")
    both = [(torch.from_numpy(z["neutral"])[None], torch.from_numpy(z[style])[None]) for z in found]
    latents = [study.kept_content(name, neutral, z) for neutral, z in both]
    return [decode(study, z.to(study.device), torch.tensor([z.shape[2]]), decoder)[0] for z in latents]


def condition_of(study: Systems, style: str, count: int) -> Tensor:
    """The condition of a style's prompt, `(count, size)`."""
    embedded = study.clap.embed_text([study.corpus.prompt(style)])
    return conditions(study.clap, embedded).expand(count, -1).to(study.device)


def sampling(study: Systems, seed: int, guidance: float) -> dict:
    """The options of `LatentDiffusion.trajectory`."""
    settings = study.settings["sampling"]
    return {"guidance": guidance, "seed": seed} | {k: v for k, v in settings.items() if k != "precision"}


def precise(study: Systems) -> AbstractContextManager:
    """Samplers and decoders in the profile's precision, measures outside of it in float32."""
    return autocast(study.settings["sampling"].get("precision", "float32"), study.device)


def sample(study: Systems, name: str, seed: int, style: str, guidance: float) -> tuple[Tensor, Tensor]:
    """A system's z for the test sentences in a style, `(batch, latent, frames)`, and the valid frames."""
    z_text, frames = text_latents(study)
    condition = condition_of(study, style, len(frames))
    model, options = study.diffusion(name, seed), sampling(study, seed, guidance)
    with precise(study):
        z = model.sample(z_text, frames, condition, **options)
    return study.kept_content(name, z_text, z), frames


def guidances(study: Systems, name: str) -> list[float]:
    """The guidance scales that a system is measured at, its own or the profile's."""
    return study.system(name).get("guidance", study.settings["evaluate"]["guidance"])


def scales(given: float | list[float]) -> list[float]:
    """Guidance scales, given as one number or several. Raises StudyError for what is none."""
    found = given if isinstance(given, list) else [given]
    if not all(isinstance(x, (int, float)) and 0 <= x <= MOST for x in found):
        raise StudyError(f"guidance {given!r}: give a number from 0 to {MOST}, or a list of them")
    return found


def spoken(study: Systems, name: str, seed: int) -> Iterator[tuple[float | None, list[str], list[np.ndarray]]]:
    """What a system says: guidance (None where it has none), the styles it stands for, and the test waves."""
    system, wanted = study.system(name), study.settings["evaluate"]["styles"]
    method, told = system["method"], system.get("decoder") == "style"

    def decoder(style: str) -> Callable | None:
        return decoder_of(study, name, seed, condition_of(study, system.get("prompt", style), 1) if told else None)

    if method == "none":
        for styles in [[style] for style in wanted] if told else [wanted]:
            yield None, styles, decode(study, *text_latents(study), decoder(styles[0]))
    elif method == "recording":
        for style in wanted:
            yield None, [style], recordings(study, style)
    elif method == "posterior":
        for style in wanted:
            yield None, [style], through(study, name, seed, style)
    else:
        for guidance in guidances(study, name):  # at 0 the condition plays no part: one sample is for all styles
            for styles in [wanted] if guidance == 0 and not told else [[style] for style in wanted]:
                z, frames = sample(study, name, seed, styles[0], guidance)
                yield guidance, styles, decode(study, z, frames, decoder(styles[0]))


def evaluate(study: Systems, name: str, seed: int) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Rows of a system, every metric of every test sentence, style (variant) and guidance scale (x); and its waves."""
    sentences = study.tested
    before, tables, kept = baseline(study), [], {}
    neutral, words = recordings(study, "neutral"), [s.text for s in sentences]
    system, still = study.system(name), None
    if system["method"] == "posterior":
        still = prosody_of(through(study, name, seed, "neutral"), study.device)
    named = system.get("speaker", SPEAKER)
    other = (OTHER if named == SPEAKER else named) if system.get("decoder") in CORPUS else None
    for guidance, styles, waves in spoken(study, name, seed):
        measured = measures(waves, words, neutral, study.device)
        if other:
            measured["cos_other"] = study.voices.like([audible(wave) for wave in waves], other)
        similar = study.clap.embed_audio([audible(wave) for wave in waves]).cpu()
        for style in styles:
            prompt = study.clap.embed_text([study.corpus.prompt(style)])[0].cpu()
            values = measured.assign(clap_similarity=100 * (similar @ prompt).numpy())
            values = judged(study, values, before, style, still)
            tables.append(tidy(values, sentences, style).assign(x=np.nan if guidance is None else guidance))
            kept |= {player(s, style, guidance): wave for s, wave in zip(sentences, waves, strict=True)}
    return pd.concat(tables, ignore_index=True), kept


def player(sentence: Sentence, style: str, guidance: float | None) -> str:
    """The name of a wave that may be kept."""
    return f"{sentence.name}-{style}" + ("" if guidance is None else f"-x{guidance:g}")


def judged(
    study: Systems,
    measured: pd.DataFrame,
    before: dict[str, pd.DataFrame],
    style: str,
    still: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """`measured` with cer_added, content_broken, style_moved, style_moved_intact and style_distance.

    still: measures of the neutral recording by the same way; adds style_kept, the move from there.
    """
    settings = study.settings["evaluate"]
    scales = np.array([settings["scales"][name] for name in FEATURES])

    def point(table: pd.DataFrame) -> np.ndarray:
        return table[list(FEATURES)].to_numpy(float) / scales

    wanted = point(before[style]) - point(before["neutral"])

    def moved(start: pd.DataFrame) -> np.ndarray:
        move = point(measured) - point(start)
        share = 100 * (move * wanted).sum(1) / np.maximum((wanted**2).sum(1), 1e-9)
        return np.where(np.isfinite(share), share, 0.0)

    share = moved(before["text"])
    added = measured["cer"].to_numpy() - before["text"]["cer"].to_numpy()
    broken = added > settings["intact_cer"]
    distance = np.linalg.norm(point(measured) - point(before[style]), axis=1)
    measured = measured if still is None else measured.assign(style_kept=moved(still))
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
