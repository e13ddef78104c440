"""What z and the CLAP know of acted styles: real speakers, beside the one voice whose styles WORLD made.

The profile names a prepared corpus or a folder of recordings as `ld.probes: {source: ravdess}`; its manifest says the
style of every recording. With `if_there: true` one that is not prepared is left out, in a line that says so. Fitted on
its training sentences and measured on its test sentences, of the speakers of the role adaptation, at most `utterances`
of each. Nothing is known of timing, so there are no phones and no exact split of the variance. F0 is YIN's, and pauses
are what lies between sounding frames. What a CLAP's prompts retrieve among voices that it never heard is asked of the
speakers' neutral recordings, restyled as the voice's own are. Rows have the role acted, the corpus as target, and a
variant of their own: acted_style, acted_f0_mean and so on.
"""

import numpy as np
import pandas as pd
import torch

from lib import audio, text
from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.source import given, open_corpus
from lib.corpora.styled import styles
from lib.metrics import prosody
from lib.models.clap import Clap
from lib.papers.ld import clap
from lib.papers.ld.data import TRUTHS, LatentError, energy_of_frames, f0_of_frames, fingerprint_seed, truths
from lib.papers.ld.posterior import encode
from lib.papers.ld.probes import Items, every, explained, frame_probes, item, label_probe, rate_probe, scale_of
from lib.papers.ld.systems import Systems
from lib.pitch import yin

MOST = 400  # utterances of a split
STEP = 0.01  # seconds between frames of F0
NEUTRAL = ("neutral", "default")  # what corpora call it
RESTYLINGS = 4  # of each neutral recording, with a random level of every factor


def corpus_of(study: Systems) -> Corpus | None:
    """The corpus of acted styles, or None where there is none. Raises LatentError for one without styles."""
    source = given(study.settings.get("probes"))
    if source is None:
        return None
    corpus = open_corpus(source, cores=study.cores)
    if not all(u.recipe.get("style") for u in corpus.utterances):
        raise LatentError(f"{corpus.name} does not say its recordings' style: name ravdess, esd, emovdb or expresso.")
    return corpus


def chosen(study: Systems, corpus: Corpus, split: str) -> list[Utterance]:
    """The utterances of a split that are probed, spread over all of them."""
    found, most = corpus.select("adaptation", split), study.settings["probes"].get("utterances", MOST)
    if not found:
        raise LatentError(f"{corpus.name} has no {split} sentences: the probes of acted styles need train and test.")
    places = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    return [found[place] for place in places]


def f0_of(wave: np.ndarray) -> np.ndarray:
    """F0 in Hz of a 16 kHz wave every 10 ms, 0 where unvoiced."""
    return yin(torch.from_numpy(wave).unsqueeze(0), f0_min=50.0, f0_max=500.0)[0][0].numpy()


def vowels_of(utterance: Utterance) -> int:
    return sum(symbol in text.VOWELS for symbol in text.phonemize(utterance.text))


@torch.no_grad()
def items_of(study: Systems, corpus: Corpus, split: str) -> Items:
    """The recordings of a split, an utterance each."""
    rate, hop, found = study.vits.dims.rate, study.vits.dims.hop, {}
    for utterance in chosen(study, corpus, split):
        heard = corpus.wave(utterance)
        wave = audio.resample(heard, audio.RATE, rate)
        z = encode(study.vits, study.encoder, torch.from_numpy(wave)[None].to(study.device))[0].cpu().numpy()
        frames = z.shape[1]
        arrays = {"f0_acted": f0_of_frames(f0_of(heard), STEP, frames, hop / rate)}
        arrays["energy_acted"] = energy_of_frames(wave, frames, hop)
        labels = {"style": utterance.recipe["style"], "speaker": utterance.speaker}
        spoken = vowels_of(utterance) * study.vits.dims.frames_per_second / frames
        found[utterance.utterance] = {"acted": item(z, wave, study, arrays, "acted", labels=labels, rate=spoken)}
    return found


def latent_rows(study: Systems) -> list[dict]:
    """Rows variance_explained and probe_skill of acted speech, as `lib.papers.ld.probes` makes them of restyled."""
    corpus = corpus_of(study)
    if corpus is None:
        return []
    train, test = items_of(study, corpus, "train"), items_of(study, corpus, "test")
    names = {label: sorted({item.labels[label] for item in every(train)}) for label in ("style", "speaker")}
    scale, rows = scale_of(train), []
    for factor in ("prosody", "style", "speaker"):
        rows += explained(train, test, factor, names.get(factor, []), scale)
    for layer in ("z", "mel"):
        rows += frame_probes(train, test, layer) + rate_probe(train, test, layer)
        for label, known in names.items():
            rows += label_probe(train, test, label, known, layer)
    return named(pd.DataFrame(rows), corpus).to_dict("records")


def clap_rows(study: Systems, model: Clap) -> list[pd.DataFrame]:
    """The rows of `lib.papers.ld.clap.probe` for acted speech and, where some of it is neutral, of its `retrieval` by
    the systems' prompts, with the voice itself no longer than those recordings beside it (variants short_pitch, ...).

    No table where the profile names no corpus.
    """
    corpus = corpus_of(study)
    if corpus is None:
        return []
    tables = [clap.probe(*(_embedded(study, model, corpus, split) for split in ("train", "test")))]
    if not (neutral := [u for u in corpus.select("adaptation", "test") if u.recipe["style"].lower() in NEUTRAL]):
        return [named(table, corpus) for table in tables]
    tables += [clap.retrieval(_restyled(study, model, corpus, neutral), model).query("target == 'used'")]
    most = round(audio.RATE * float(np.median([u.seconds for u in neutral])))
    own = clap.retrieval(clap.draws_of(study, model, "test", most=most), model).query("target == 'used'")
    own = own.assign(variant="short_" + own["variant"], role="acted", target=corpus.name)
    return [*(named(table, corpus) for table in tables), own]


def named(rows: pd.DataFrame, corpus: Corpus) -> pd.DataFrame:
    """The rows as those of a corpus of acted speech."""
    speakers = {u.utterance: u.speaker for u in corpus.utterances}
    speaker = rows["utterance"].str.replace(r"-draw\d+$", "", regex=True).map(speakers)
    return rows.assign(variant="acted_" + rows["variant"], role="acted", target=corpus.name, speaker=speaker)


def _restyled(study: Systems, model: Clap, corpus: Corpus, neutral: list[Utterance]) -> pd.DataFrame:
    """Audio embeddings of some recordings with random levels, at first as loud as the voice's own are."""
    own = np.mean([_rms(study.heard(sentence, "neutral")) for sentence in study.corpus.sentences("test")])
    amounts, lines = study.corpus.settings["amounts"], []
    for u in neutral:
        wave = corpus.wave(u)
        analysis = styles.analyse(wave * (own / _rms(wave)), audio.RATE)
        for draw in range(RESTYLINGS):
            levels = styles.drawn(np.random.default_rng(fingerprint_seed(u.utterance, draw)))
            heard = styles.restyle(analysis, styles.change_of(levels, amounts), audio.RATE)
            embedding = model.embed_audio([heard])[0].cpu().numpy()
            lines.append({"utterance": f"{u.utterance}-draw{draw}", "levels": levels, "embedding": embedding})
    return pd.DataFrame(lines)


def _rms(wave: np.ndarray) -> np.float32:
    return np.sqrt(np.mean(wave**2))


def _embedded(study: Systems, model: Clap, corpus: Corpus, split: str) -> pd.DataFrame:
    """Audio embeddings of a split with the values of `TRUTHS`, as they are heard."""
    lines = []
    for u in chosen(study, corpus, split):
        wave = corpus.wave(u)
        pause = float(prosody.timing([wave], device=study.device)["pause_seconds"][0])
        known = dict(zip(TRUTHS, truths(wave, f0_of(wave), vowels_of(u), pause).tolist(), strict=True))
        embedding = model.embed_audio([wave])[0].cpu().numpy()
        lines.append({"utterance": u.utterance, "speaker": u.speaker, **known, "embedding": embedding})
    return pd.DataFrame(lines)
