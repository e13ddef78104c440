"""SEP-28k: 28,177 clips of three seconds from podcasts about stuttering, each labelled by three people.

    SEP-28k_labels.csv                        Show,EpId,ClipId,Start,Stop,Unsure,PoorAudioQuality,Prolongation,Block,...
    clips/HVSA/0/HVSA_0_0.wav                 cut by the release's extract_clips.py, or
    wavs/HVSA/0.wav                           whole episodes at 16 kHz; Start and Stop are samples

Labels CC BY-NC 4.0, the recordings their podcasters'; 23 hours, clips of 2.6 GB. Labels count the annotators who heard
it (0 to 3) and are kept in the recipe. A clip that two of them find without speech, with music or hard to understand
is set aside. There are no transcripts: Whisper tiny.en writes them, and the recipe says so; they are unfit as the
reference of a word error rate.

Conditions: stuttering where two annotators hear a prolongation, block or repetition, else typical (hosts and fluent
stretches). A speaker is an episode, since guests are not named. Roles: the shows HVSA and MyStutteringLife are never
seen, the others adaptation. Splits by transcript.
"""

from pathlib import Path

from lib.corpora.corpus import CorpusError
from lib.corpora.recorded.clip import Clip, safe_name
from lib.corpora.recorded.folder import rows
from lib.corpora.recorded.layout import About, find, hold_out, some

ABOUT = About(
    "sep28k",
    "SEP-28k",
    "labels CC BY-NC 4.0, the recordings their podcasters'",
    "8 shows, 23 h, 2.6 GB",
    "Fetch labels and scripts from github.com/apple/ml-stuttering-events-dataset; its scripts fetch and cut the audio.",
    trim=False,
)
LABELS = "SEP-28k_labels.csv"
DYSFLUENT = ("Prolongation", "Block", "SoundRep", "WordRep")
UNUSABLE = ("NoSpeech", "Music", "PoorAudioQuality", "DifficultToUnderstand")
KEYS = ("Show", "EpId", "ClipId", "Start", "Stop")
NEVER_SEEN = ("HVSA", "MyStutteringLife")
AGREEING = 2  # of three annotators
RATE = 16_000  # of Start and Stop


def clips(source: Path) -> list[Clip]:
    """All labelled clips; those whose audio is gone from the web are set aside while they are prepared."""
    root = find(source, LABELS, ABOUT)
    found = [_clip(root, f"{LABELS}, line {number}", row) for number, row in rows(root / LABELS, (*KEYS, *DYSFLUENT))]
    clips = some(found, root, ABOUT, "rows in its labels")
    return hold_out(clips, {clip.speaker for clip in clips if clip.speaker.rsplit("_", 1)[0] in NEVER_SEEN})


def _clip(root: Path, where: str, row: dict[str, str]) -> Clip:
    show, episode, number = (safe_name(row[key]) for key in ("Show", "EpId", "ClipId"))
    try:
        labels = {name: int(float(value)) for name, value in row.items() if name not in KEYS and value}
        start, stop = (int(row[key]) / RATE for key in ("Start", "Stop"))
    except ValueError:
        raise CorpusError(
            f"{root / LABELS}: {where} holds a value that is no number; fetch the labels again."
        ) from None
    heard = [name for name in UNUSABLE if labels.get(name, 0) >= AGREEING]
    problem = f"{where}: the annotators hear {', '.join(heard)}; it is left out." if heard else ""
    name = f"{show}_{episode}_{number}"
    cut = root / "clips" / show / episode / f"{name}.wav"
    whole = {"file": root / "wavs" / show / f"{episode}.wav", "start": start, "end": stop}
    stuttered = any(labels.get(label, 0) >= AGREEING for label in DYSFLUENT)
    known = {"condition": "stuttering" if stuttered else "typical", "recipe": labels, "problem": problem}
    known |= {"file": cut} if cut.is_file() else whole
    return Clip(name, f"{show}_{episode}", "", machine=True, **known)
