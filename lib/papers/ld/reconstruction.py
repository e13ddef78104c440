"""How well the posterior encoder's z gives recordings back through the frozen decoder, in result rows.

Roles: held_out (the voice's own test recordings), styled (restyled), other_speaker (envelope warped) and, where the
profile names them, acted (test recordings of the corpus of `lib.papers.ld.acted`) and real (a folder's). mel_l1 (nat),
f0_error (of the median, semitones), ffe and gpe (%), cer and cer_input (ratio), cos (x 100).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lib import audio
from lib.corpora.recorded.layout import recordings, transcript
from lib.corpora.styled.styles import intonation
from lib.metrics import MetricError, cos, ffe, wer
from lib.papers.ld import acted
from lib.papers.ld.data import SPEAKER, LatentError, heard
from lib.papers.ld.posterior import encode, log_mel
from lib.papers.ld.systems import Systems
from lib.study.units import unit

RATES = ("cer", "cer_input")  # of the wave made, of the wave given


def report(study: Systems) -> pd.DataFrame:
    """Rows by utterance."""
    every, values, said = [], [], []
    for role, style, speaker, name, wave, words in _judged(study):
        found, pair = reconstruction_error(study, wave)
        every.append({"role": role, "variant": style, "speaker": speaker, "utterance": name, "split": "test"})
        values.append(found)
        said += [(len(values) - 1, metric, wave, words) for metric, wave in zip(RATES, pair, strict=True) if words]
    rates = wer.score([wave for _, _, wave, _ in said], [words for *_, words in said], device=study.device)["cer"]
    for (place, metric, _, _), rate in zip(said, rates, strict=True):
        values[place][metric] = float(rate)
    pairs = zip(every, values, strict=True)
    rows = pd.DataFrame([shared | {"metric": k, "value": v} for shared, found in pairs for k, v in found.items()])
    return rows.assign(unit=rows["metric"].map(unit))


@torch.no_grad()
def reconstruction_error(study: Systems, wave: np.ndarray) -> tuple[dict, list[np.ndarray]]:
    """Errors of one wave at the voice's rate against itself encoded and decoded, and these two waves at 16 kHz."""
    voice = study.vits
    given = torch.from_numpy(wave[: len(wave) // voice.dims.hop * voice.dims.hop]).unsqueeze(0).to(study.device)
    made = voice.decode(encode(voice, study.encoder, given))
    values = {"mel_l1": float((log_mel(made, voice) - log_mel(given, voice)).abs().mean())}
    pair = [heard(w[0].cpu().numpy(), voice.dims.rate) for w in (made, given)]
    values |= {k: float(v[0]) for k, v in cos.score(pair[:1], pair[1:], device=study.device).items()}
    medians = [intonation(w)["f0_median"] for w in pair]
    if np.isfinite(medians).all():
        values["f0_error"] = abs(medians[0] - medians[1])
    try:
        found = ffe.score(pair[:1], pair[1:], device=study.device)
        values |= {name: float(found[name][0]) for name in ("ffe", "gpe") if np.isfinite(found[name][0])}
    except MetricError:  # speech without voice has no F0 to be wrong about
        pass
    return values, pair


def _judged(study: Systems) -> Iterator[tuple[str, str, str, str, np.ndarray, str]]:
    """Role, style, speaker, utterance, wave at the voice's rate and words, "" where they are not known."""
    corpus, settings, rate = study.corpus, study.settings["evaluate"], study.vits.dims.rate
    for s in corpus.sentences("test"):
        yield "held_out", "recorded", SPEAKER, f"{s.name}-recorded", corpus.wave(s, "recorded"), s.text
        for name in [*settings["styles"], *corpus.voices]:
            role = "styled" if name in corpus.styles else "other_speaker"
            yield role, name, SPEAKER, f"{s.name}-{name}", corpus.wave(s, name), s.text
    if people := acted.corpus_of(study):
        for u in acted.chosen(study, people, "test"):
            wave = audio.resample(people.wave(u), audio.RATE, rate)
            yield "acted", f"acted_{u.recipe['style']}", u.speaker, u.utterance, wave, u.text
    for path in real_recordings(settings["real"]) if settings["real"] else []:
        wave, words = audio.read(path, rate), transcript(path.with_suffix(".txt"))[0]
        yield "real", "recorded", path.stem.split("-")[0], path.stem, wave, words


def real_recordings(folder: str | Path) -> list[Path]:
    """The recordings in a folder. Raises LatentError when there are none."""
    found = recordings(Path(folder), "*")
    if not found:
        raise LatentError(f"There are no recordings in {folder}: give another folder, or null for none.")
    return found
