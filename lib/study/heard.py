"""One piece of speech as a laboratory shows it: a player, what a recogniser wrote, and pictures of what made it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape

import numpy as np
import torch
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lib import text as texts
from lib.corpora.corpus import Corpus, Utterance
from lib.metrics import is_silent, wer
from lib.models.mel import MelDims, log_mel
from lib.study import drawing, pictures
from lib.study.listen import player
from lib.study.protocol import Study

CONTEXT = 5.0  # s, as in lib.metrics.wer
COLUMNS = 4  # pictures side by side
CLIP = 2.0  # attention is drawn from 10^-2 to 10^2 times uniform
MARKS = {
    "substitute": ("background:#f4c27a;color:#000", "substituted"),
    "delete": ("background:#c9c9c9;color:#000;text-decoration:line-through", "left out"),
    "insert": ("background:#9bd0f5;color:#000;text-decoration:underline", "inserted"),
}


class ExploreError(ValueError):
    """Something that cannot be heard or seen here; the sentence says what to do first."""


@dataclass(frozen=True)
class Panel:
    """One picture; `kind` is a key of `PANELS` and says what `values` are.

    mel: log-mel `(frames, n_mels)`, `f0` `(frames,)` in Hz with NaN where unvoiced, over the page's width;
    attention: weights `(queries, keys)`, each row summing to at most 1, `step` their distances in the axes' units;
    weights: any matrix, 0 in the middle, colours up to `limit` or its largest entry. `names` are those of the axes.
    """

    kind: str
    title: str
    values: np.ndarray = field(repr=False)
    f0: np.ndarray | None = field(default=None, repr=False)
    names: tuple[str, str] = ("", "")
    step: tuple[float, float] = (1.0, 1.0)
    limit: float | None = None


@dataclass(frozen=True)
class Word:
    """A word of a transcript beside the text: `kind` is equal, substitute, delete or insert; the other side is ""."""

    kind: str
    expected: str
    heard: str


@dataclass(frozen=True)
class Transcript:
    """What a recogniser wrote, word by word against the text."""

    name: str
    words: tuple[Word, ...]
    wer: float  # ratio

    @property
    def marked(self) -> str:
        """HTML of the words, errors marked as `legend` says."""
        return " ".join(map(_word, self.words))

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.name)}</b> (WER {100 * self.wer:.0f} %): {self.marked or '<i>nothing</i>'}</p>"


@dataclass
class Heard:
    """A wave (16 kHz), its title, and what there is to see: `panels` in rows, `transcripts`, `facts` by name.

    beside: other waves to compare it with, by name.
    """

    title: str
    wave: np.ndarray = field(repr=False)
    text: str
    panels: list[list[Panel]] = field(repr=False)
    transcripts: list[Transcript] = field(default_factory=list)
    beside: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    facts: dict[str, str] = field(default_factory=dict)
    mel: MelDims = field(default_factory=MelDims, repr=False)

    @property
    def figure(self) -> Figure:
        """The panels as one figure; the rows of a figure share its width."""
        return draw(self.panels, self.mel, f"“{self.text}”, {self.title}.")

    def _repr_html_(self) -> str:
        waves = {"speech": self.wave} | self.beside
        cells = "".join(
            f"<div>{escape(name)}<br>{player(wave, f'{name}: {self.text}')}</div>" for name, wave in waves.items()
        )
        facts = " · ".join(f"{escape(name)} {escape(value)}" for name, value in self.facts.items())
        return (
            f"<p><b>{escape(self.title)}</b><br>“{escape(self.text)}”</p>"
            f'<div style="display:flex;flex-wrap:wrap;gap:.6em 1.2em">{cells}</div>'
            + "".join(transcript._repr_html_() for transcript in self.transcripts)
            + (legend() if self.transcripts else "")
            + f"<p>{facts}</p>"
            + drawing.show(self.figure)._repr_html_()
        )


@dataclass(frozen=True)
class Note:
    """One sentence in the place of something that is not there."""

    sentence: str

    def _repr_html_(self) -> str:
        return f"<p><i>{escape(self.sentence)}</i></p>"


def attempt(function: Callable[..., Heard], *arguments, **options) -> Heard | Note:
    """What the function returns, or the one sentence of its ValueError or OSError."""
    try:
        return function(*arguments, **options)
    except (ValueError, OSError) as error:
        return Note(str(error))


def untrained(study: Study, name: str, seed: int) -> str:
    """Why a part of a study cannot be used yet, in one sentence, or ""."""
    if study.checkpoint(name, seed).exists():
        return ""
    profile = study.profile["name"]
    return (
        f"{name}, seed {seed}, has not been trained in the profile {profile}: "
        f"run ./run_all.sh --profile {profile} first, or choose another system"
    )


def sentence(corpus: Corpus, speaker: str, number: int = 0, said: str = "") -> Utterance:
    """A speaker's test sentence, counted from 0, or any English text `said` in the speaker's voice.

    Raises ExploreError for a number that the speaker has no sentence for, TextError for a text without words.
    """
    there = corpus.select(split="test", speaker=speaker)
    if not 0 <= number < len(there):
        raise ExploreError(f"{speaker} has {len(there)} test sentences: choose a number from 0 to {len(there) - 1}")
    return spoken(there[number], said) if said.strip() else there[number]


def spoken(utterance: Utterance, said: str) -> Utterance:
    """Another text by the same speaker, which was never recorded: it lasts 0 s."""
    phonemes = texts.phonemize(said)
    name, nowhere = f"{utterance.speaker}-said", {"path": "", "seconds": 0.0, "durations": (0.0,) * len(phonemes)}
    return replace(utterance, utterance=name, text=said.strip(), phonemes=phonemes, **nowhere)


def transcript(wave: np.ndarray, text: str, name: str = "Whisper tiny.en heard", device: str = "cpu") -> Transcript:
    """Whisper tiny.en's transcript of a wave (at most 30 s) against the text; nothing for a silent wave."""
    from lib.models.whisper import sizes as whisper

    heard = "" if is_silent(wave) else whisper.load("tiny.en", device).transcribe([wave], context_seconds=CONTEXT)[0]
    return against(heard, text, name)


def against(heard: str, text: str, name: str) -> Transcript:
    """A recogniser's words beside those of the text, both normalised as for WER (`lib.metrics.wer`)."""
    import jiwer

    found = jiwer.process_words(wer.normalise(text), wer.normalise(heard))
    words: list[Word] = []
    expected, written = found.references[0], found.hypotheses[0]
    for part in found.alignments[0]:
        left = expected[part.ref_start_idx : part.ref_end_idx]
        right = written[part.hyp_start_idx : part.hyp_end_idx]
        count = max(len(left), len(right))
        pairs = zip(left + [""] * (count - len(left)), right + [""] * (count - len(right)), strict=True)
        words += [Word(part.type, *pair) for pair in pairs]
    return Transcript(name, tuple(words), float(found.wer))


def _word(word: Word) -> str:
    if word.kind == "equal":
        return escape(word.heard)
    look, name = MARKS[word.kind]
    shown = word.heard or word.expected
    title = f"{name}: “{word.expected}” was expected" if word.expected else f"{name}: nothing was expected"
    small = f" <small>({escape(word.expected)})</small>" if word.kind == "substitute" else ""
    return f'<span style="{look};padding:0 .2em" title="{escape(title)}">{escape(shown)}</span>{small}'


def legend() -> str:
    """What the marks of a transcript mean."""
    marks = " ".join(f'<span style="{look};padding:0 .2em">{name}</span>' for look, name in MARKS.values())
    return f"<p><small>{marks} (expected word in brackets)</small></p>"


def speech_panel(wave: np.ndarray, dims: MelDims, title: str) -> Panel:
    """Log-mel and F0 of a wave; one shorter than a window is followed by silence."""
    wave = np.pad(wave, (0, max(0, dims.n_fft - len(wave))))
    mel = log_mel(torch.from_numpy(wave)[None], dims)[0].numpy()
    return Panel("mel", title, mel, pictures.f0_track(wave, dims))


def draw(rows: Sequence[Sequence[Panel]], dims: MelDims, caption: str) -> Figure:
    """Rows of panels as one figure with its caption; a row is cut after four panels."""
    rows = [list(row[start : start + COLUMNS]) for row in rows for start in range(0, len(row), COLUMNS)]
    if not rows:
        raise ExploreError("there is nothing to draw: give at least one panel")
    heights = [1.7 if row[0].kind == "mel" else 2.5 for row in rows]
    longest = max([len(row[0].values) for row in rows if row[0].kind == "mel"], default=0) * dims.hop / dims.rate
    with style.context("seaborn-v0_8-whitegrid"), rc_context(drawing.RC):
        figure = Figure(figsize=(9.5, sum(heights) + 0.4), layout="constrained")
        for part, row in zip(np.atleast_1d(figure.subfigures(len(rows), height_ratios=heights)), rows, strict=True):
            columns = 1 if row[0].kind == "mel" else max(2, len(row))
            for axis, panel in zip(part.subplots(1, columns, squeeze=False)[0], row + [None] * columns, strict=False):
                if panel is None:
                    axis.set_visible(False)
                    continue
                axis.set_title(panel.title, loc="left", fontsize="small", pad=3)
                axis.tick_params(labelsize=8)
                PANELS[panel.kind](axis, panel, dims)
                axis.xaxis.label.set_size(8)
                axis.yaxis.label.set_size(8)
                if panel.kind == "mel":
                    axis.set_xlim(0, longest)
    kinds = {
        "mel": "Log-mel with F0 as a blue line",
        "attention": "attention, times uniform on a logarithmic scale (white: none)",
        "weights": "weights, blue below 0 and red above",
    }
    seen = list(dict.fromkeys(panel.kind for row in rows for panel in row))
    explained = "; ".join(kinds[kind] for kind in seen)
    return drawing.describe(figure, f"{caption} {explained[0].upper()}{explained[1:]}. n = 1.", explained, 1)


def _mel(axis: Axes, panel: Panel, dims: MelDims) -> None:
    pictures.show_mel(axis, panel.values, dims)
    axis.set(xlabel="Time (s)", ylabel="kHz")
    if panel.f0 is not None:
        right = axis.twinx()
        right.grid(False)
        right.plot((np.arange(len(panel.f0)) + 0.5) * dims.hop / dims.rate, panel.f0, color="#56B4E9", lw=2)
        right.set_ylim(0, 1.6 * np.nanpercentile([*panel.f0, 150.0], 95))
        right.set_ylabel("F0 (Hz)", fontsize=8)
        right.tick_params(labelsize=8)


def _attention(axis: Axes, panel: Panel, dims: MelDims) -> None:
    from matplotlib import colormaps

    with np.errstate(divide="ignore"):
        times = np.log10(panel.values * panel.values.shape[1])
    shown = np.ma.masked_where(panel.values <= 0, np.clip(times, -CLIP, CLIP))
    colours = colormaps["cividis"].with_extremes(bad="white")
    queries, keys = np.multiply(panel.values.shape, panel.step)
    look = {"aspect": "auto", "interpolation": "nearest", "extent": (0, keys, queries, 0)}
    image = axis.imshow(shown, cmap=colours, vmin=-CLIP, vmax=CLIP, **look)
    axis.grid(False)
    axis.set(xlabel=panel.names[0], ylabel=panel.names[1])
    bar = axis.figure.colorbar(image, ax=axis, ticks=[-2, 0, 2])
    bar.ax.set_yticklabels(["0.01 ×", "1 ×", "100 ×"], fontsize=7)


def _weights(axis: Axes, panel: Panel, dims: MelDims) -> None:
    most = panel.limit or float(np.abs(panel.values).max()) or 1.0
    image = axis.imshow(
        panel.values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest", origin="upper"
    )
    axis.grid(False)
    axis.set(xlabel=panel.names[0], ylabel=panel.names[1])
    axis.figure.colorbar(image, ax=axis, ticks=[-most, 0, most], format="%.2g").ax.tick_params(labelsize=7)


PANELS: dict[str, Callable[[Axes, Panel, MelDims], None]] = {
    "mel": _mel,
    "attention": _attention,
    "weights": _weights,
}


def attention_panels(seen: Mapping[str, Tensor], step: float) -> list[Panel]:
    """One map of each block, the mean over its heads; a frame lasts `step` seconds."""
    look = {"names": ("Attended to (s)", "Frame at (s)"), "step": (step, step)}
    return [Panel("attention", name, weights.mean(0).numpy(), **look) for name, weights in seen.items()]
