"""What would become of a folder of recordings, before anything is prepared or trained: `corpora check FOLDER`.

Every recording is read and judged as `lib.corpora.recorded.read.prepare` does it; nothing is written. Loudness is that
of the speech that would be used; rate, peak and clipping are those of the files as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from lib import audio, text
from lib.cli import CORES, print_table
from lib.corpora import published
from lib.corpora.corpus import SPLITS, Corpus, CorpusError, Utterance
from lib.corpora.recorded import folder, read
from lib.corpora.recorded.clip import Clip, with_splits
from lib.corpora.source import with_roles
from lib.files import replace_file
from lib.workers import map_in_processes

FULL_SCALE = 0.999  # of a sample's magnitude, from which on it is counted as clipped
CLIPPED = 0.1  # % of the samples, from which on a recording is named
QUIET = -45.0  # dBFS
ENGLISH = 70.0  # % of the words in the lexicon, below which a transcript is named
SHOWN = 20  # set-aside recordings in the terminal; a CSV lists all


def check(name: str, source: Path, cores: int | None = None, **own: object) -> list[dict]:
    """One row for each recording of a folder (`name` "folder") or of a published corpus that was unpacked there.

    Keys: utterance, file, speaker, role, condition, split, text, used (bool), reason (why not), seconds, dbfs, peak
    (1 is full scale), clipped (% of the samples), rate (Hz), english (% of the words); None where not known. own: role,
    condition and never_seen of `lib.corpora.recorded.folder.read`. Raises CorpusError for a folder of another layout.
    """
    source, trim = Path(source), True
    if name == "folder":
        found = folder.clips(source, own.get("condition") or "typical")
        clips = folder.with_roles(found, own.get("role") or "adaptation", own.get("never_seen") or (), source)
    elif given := [key for key, value in own.items() if value]:
        raise CorpusError(f"Roles and conditions of {name} are its loader's; leave {', '.join(given)} out.")
    else:
        module = published.loader(name)
        clips, trim = module.clips(source), module.ABOUT.trim
    clips = read.with_texts(clips)
    written = iter(with_splits([clip for clip in clips if not clip.machine]))
    clips = [clip if clip.machine else next(written) for clip in clips]
    looked = map_in_processes(partial(look, trim=trim), read.chunks(clips), cores or CORES, None, "recordings", len)
    return [row for rows in looked for row in rows]


def look(clips: Sequence[Clip], trim: bool) -> list[dict]:
    """Rows of `check`."""
    rows = []
    for clip in clips:
        wave, reason = (None, clip.problem) if clip.problem else read.speech(clip, trim)
        row = {
            key: getattr(clip, key) for key in ("utterance", "file", "speaker", "role", "condition", "split", "text")
        }
        row |= {"used": wave is not None, "reason": reason}
        row |= dict.fromkeys(("seconds", "dbfs", "peak", "clipped", "rate", "english"))
        if wave is not None:
            rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
            row |= {"seconds": len(wave) / audio.RATE, "dbfs": 20 * np.log10(rms), **_as_it_is(clip, wave)}
        if clip.text and clip.language == "en":
            row["english"] = 100 * text.known_words(clip.text)
        rows.append(row)
    return rows


def _as_it_is(clip: Clip, wave: np.ndarray) -> dict[str, float]:
    """Rate, peak and clipped samples of a clip's file, before it is resampled."""
    rate = audio.RATE
    if clip.file.suffix != ".g722":
        import soundfile

        rate = soundfile.info(clip.file).samplerate
        end = None if clip.end is None else round(clip.end * rate)
        wave = soundfile.read(clip.file, start=round(clip.start * rate), stop=end, dtype="float32")[0]
    magnitude = np.abs(wave)
    return {"rate": rate, "peak": float(magnitude.max()), "clipped": 100 * float((magnitude >= FULL_SCALE).mean())}


def speakers(rows: Sequence[dict]) -> tuple[list[dict], list[dict]]:
    """Two tables with a line for each speaker: what would be used, and how it sounds."""
    used, sounds = [], []
    for name in dict.fromkeys(row["speaker"] for row in rows):
        own = [row for row in rows if row["speaker"] == name]
        kept = [row for row in own if row["used"]]
        splits = "/".join(str(sum(row["split"] == split for row in kept)) for split in SPLITS)
        used.append(
            {
                "speaker": name,
                "role": own[0]["role"],
                "condition": "/".join(dict.fromkeys(row["condition"] for row in own)),
                "used": f"{len(kept)} of {len(own)}",
                "minutes": f"{sum(row['seconds'] for row in kept) / 60:.1f}",
                "train/val./test": splits,
            }
        )
        if kept:
            known = [row["english"] for row in kept if row["english"] is not None]
            sounds.append(
                {
                    "speaker": name,
                    "seconds": f"{min(_of(kept, 'seconds')):.1f} to {max(_of(kept, 'seconds')):.1f}",
                    "kHz": "/".join(f"{rate / 1000:g}" for rate in sorted(set(_of(kept, "rate")))),
                    "dBFS": f"{median(_of(kept, 'dbfs')):.0f}",
                    "peak": f"{max(_of(kept, 'peak')):.2f}",
                    "clipped": sum(row["clipped"] >= CLIPPED for row in kept),
                    "English": f"{np.mean(known):.0f} %" if known else "",
                }
            )
    return used, sounds


def _of(rows: Iterable[dict], key: str) -> list[float]:
    return [row[key] for row in rows]


def remarks(rows: Sequence[dict]) -> list[str]:
    """What is worth a look before training, a sentence each."""
    kept = [row for row in rows if row["used"]]
    unwritten = sum(not row["text"] for row in kept)
    texts = [row for row in kept if row["english"] is not None]
    kinds = (
        ([row for row in kept if row["clipped"] >= CLIPPED], f"{CLIPPED} % of the samples or more at full scale"),
        ([row for row in kept if row["dbfs"] < QUIET], f"quieter than {QUIET:g} dBFS"),
        (
            [row for row in kept if row["rate"] < audio.RATE],
            "sampled below 16 kHz, so its high frequencies are missing",
        ),
        (
            [row for row in texts if row["english"] < ENGLISH],
            f"fewer than {ENGLISH:g} % English words in its transcript",
        ),
    )
    told = [
        f"{len(found)} of {len(kept)}: {why} ({', '.join(_of(found[:3], 'utterance'))}{', …' if found[3:] else ''})."
        for found, why in kinds
        if found
    ]
    if unwritten:
        told.append(
            f"{unwritten} without a transcript: {read.RECOGNISER} writes them, and then the splits, in prepare."
        )
    elif missing := [split for split in ("train", "test") if kept and split not in _of(kept, "split")]:
        told.append(f"No recording in {' and '.join(missing)}: give more recordings, of different sentences.")
    if kept:
        told.append(_doors(kept))
    return told


def _doors(kept: Sequence[dict]) -> str:
    """Whose splits and roles these are, and what a study makes of them."""
    known = {row["text"]: row["split"] or "train" for row in kept}
    items = [
        Utterance(row["utterance"], row["speaker"], row["text"], "", (), row["role"], known[row["text"]],
                  row["condition"], "", row["seconds"])
        for row in kept
    ]  # fmt: skip
    held = with_roles(Corpus(Path(), "", "", items)).speakers("never_seen")
    kept_out = f"{', '.join(held[:5])}{', …' if held[5:] else ''} as never seen" if held else "nobody"
    return (
        f"Splits and roles are those of `corpora prepare`. A study on this corpus holds out {kept_out}; chapter 10 "
        "takes its validation part from the training part."
    )


def write(rows: Sequence[dict], path: Path) -> None:
    """All rows as a CSV, in UTF-8 with the mark that spreadsheets look for."""
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def report(name: str, source: Path, cores: int | None = None, listing: Path | None = None, **own: object) -> None:
    """Print the tables, write the listing. Raises CorpusError where nothing could be used, after all is told."""
    if listing and listing.resolve().parent == source.resolve():
        raise CorpusError(f"{listing}: a CSV there would be taken for the folder's own; write it somewhere else.")
    rows = check(name, source, cores, **own)
    used, sounds = speakers(rows)
    kept, aside = [row for row in rows if row["used"]], [row for row in rows if not row["used"]]
    print_table(used, f"{source}: speakers")
    if sounds:
        print()
        print_table(sounds, "How the recordings sound")
    if aside:
        print()
        lines = [{"set aside": row["utterance"], "why": row["reason"]} for row in aside[:SHOWN]]
        print_table(lines, f"Set aside: {len(aside)}")
        if len(aside) > SHOWN:
            print(f"… and {len(aside) - SHOWN} more; --csv FILE lists all.")
    print()
    for line in remarks(rows):
        print(f"- {line}")
    minutes = sum(_of(kept, "seconds")) / 60
    print(f"{len(kept)} of {len(rows)} recordings would be used: {minutes:.1f} minutes, "
          f"{len({row['speaker'] for row in kept})} speakers; {len(aside)} set aside.")  # fmt: skip
    if listing:
        write(rows, listing)
    if not kept:
        raise CorpusError(f"{source}: none of its {len(rows)} recordings is usable, for the reasons above.")
