"""What a finished run left for the report: figures, audio, provenance, limits, each checked to exist."""

import base64
import io
import re
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import soundfile
from PIL import Image

from lib.files import load_json
from lib.study import StudyError
from lib.study.again import RUNS
from lib.study.listen import mp3_data
from lib.study.power import told
from lib.study.registry import paper_of

IMAGES = {".svg": "image/svg+xml", ".png": "image/png"}
IMAGE_BYTES = 1_500_000  # a larger figure is linked instead of embedded
VECTOR_BYTES = 200_000  # a larger drawing is embedded as pixels where those are smaller
AUDIO_BYTES = 8_000_000  # audio embedded in all; what exceeds it is linked
PLAYERS = 12  # of a sentence, shown at once; the others are folded away and linked
PAPER_BACKBONE = 35.7e6  # parameters of the HyperTTS paper's backbone
SENTENCES = {"adaptation": 3, "never_seen": 2, "pretraining": 1}  # players of a paper by role, one sentence a speaker
OTHER_SENTENCES = 3  # of any other role, or of a paper with one voice


def claim_view(record: dict, root: Path, figures: list[dict], players: dict, tables: dict) -> dict:
    """A record of claims.json with the links that resolve and the marks of its interval strips.

    `players` holds the sentences of each paper, `tables` the file of rows of each claim (`claim_rows.write`).
    """
    links = []
    for name, text in ((record["figure"], "figure"), (f"{record['id'].lower()}_parts", "all parts")):
        if name in {figure["name"] for figure in figures}:
            links.append({"href": f"#figure-{name}", "text": text})
    notebook = root / "notebooks" / f"{record['notebook']}.html"
    if notebook.exists():
        anchored = f'id="{record["anchor"]}"' in notebook.read_text(encoding="utf-8")
        href = f"notebooks/{notebook.name}" + (f"#{record['anchor']}" if anchored else "")
        links.append({"href": href, "text": "notebook"})
    if players.get(record["paper"]):
        links.append({"href": f"#audio-{record['paper']}", "text": "audio"})
    rows = [{"href": href, "text": Path(href).stem} for each in record["rows"] if (href := place(root, each))]
    return claim_parts(record) | {"links": links, "rows": rows, "table": tables.get(record["id"])}


def claim_parts(record: dict) -> dict:
    """A record of claims.json with what would decide it and the marks of its interval strip."""
    return record | {
        "needed": [line for part in record["parts"] if part["primary"] for line in [told(part)] if line],
        "amended": record.get("amended"),
        "strip": strip(record, (record["published"] or {}).get("value"), record["parts"][0]),
        "against": against(record),
    }


def against(record: dict) -> dict | None:
    """The first deciding part with the record's verdict, where the part that gives the claim its number has another."""
    if record["verdict"] in ("reproduced", "not tested", record["parts"][0]["verdict"]):
        return None
    return next((p for p in record["parts"] if p["primary"] and p["verdict"] == record["verdict"]), None)


def strip(numbers: dict, published: float | None, part: dict) -> dict | None:
    """Positions in percent of threshold, interval, value and published value, and of each seed and speaker of the part;
    None without an interval.
    """
    if numbers["ci_low"] is None:
        return None
    marks = {
        "threshold": numbers["threshold"],
        "low": numbers["ci_low"],
        "high": numbers["ci_high"],
        "value": numbers["value"],
    }
    marks |= {"published": published} if published is not None else {}
    each = {"seeds": list(part.get("by_seed", {}).values()), "speakers": part.get("by_speaker", [])}
    every = [*marks.values(), *each["seeds"], *each["speakers"]]
    low, span = min(every), (max(every) - min(every)) or 1.0

    def place(mark: float) -> float:
        return round(6 + 88 * (mark - low) / span, 2)

    return {name: place(mark) for name, mark in marks.items()} | {n: [*map(place, all_)] for n, all_ in each.items()}


def read_figures(root: Path, embed: bool = True) -> list[dict]:
    """Figures with a caption file: name, paper, caption, alt, n, source (embedded or relative), files to open."""
    figures = []
    for path in sorted((root / "figures").glob("*.json")):
        facts = read_json(path, "the notebook that draws it")
        files = [path.with_suffix(suffix) for suffix in IMAGES if path.with_suffix(suffix).exists()]
        inside = _lightest(files) if embed else None
        caption = str(facts.get("caption") or path.stem)
        figures.append(
            {
                "name": path.stem,
                "paper": of.id if (of := paper_of(str(facts.get("notebook")))) else None,
                "caption": caption,
                "alt": facts.get("alt") or re.split(r"(?<=[.:;]) ", caption)[0],
                "n": facts.get("n"),
                "source": _embedded(inside) if inside else f"figures/{files[0].name}" if files else None,
                "files": [{"href": f"figures/{file.name}", "text": file.suffix[1:].upper()} for file in files],
                "notebook": _notebook_link(root, facts),
            }
        )
    return figures


def sentences(root: Path, rows: pd.DataFrame, manifests: dict, name: str, paper: dict, budget: int) -> list[dict]:
    """Sentences that several systems of a paper speak: speaker, role, text, and one player per system, in the paper's
    order: its label, its source and the file of it: the WAV that was measured, or a copy's Opus.

    Of WAV at most `SENTENCES` of each role, one a speaker, those that most systems speak first; their source is the
    speech as MP3 in the page; after `PLAYERS` of them and beyond `budget` bytes it is the WAV file. Of a copy's Opus
    all, which the page plays from beside it.
    """
    labels = {system: facts["label"] for system, facts in paper["systems"].items()}
    rows = rows[(rows["paper"] == name).fillna(False)]
    heard = kept_speech(root, name, paper)
    few = any(path.suffix == ".wav" for systems in heard.values() for path in systems.values())
    known = rows.dropna(subset=["utterance"]).drop_duplicates("utterance").set_index("utterance")
    texts = {key: text for manifest in manifests.values() for key, text in (manifest.get("texts") or {}).items()}
    ranked = sorted((name for name in heard if name in known.index), key=lambda name: (-len(heard[name]), name))
    voices = known.loc[ranked, "speaker"].nunique()
    chosen, speakers, left = [], set(), dict(SENTENCES)
    for name in ranked:
        speaker, role = (str(each) for each in known.loc[name, ["speaker", "role"]].fillna(""))
        if few and (speaker in speakers or not left.setdefault(role, OTHER_SENTENCES)):
            continue
        speakers |= {speaker} if voices > 1 else set()
        left[role] = left.get(role, 0) - 1
        players = []
        for system in (system for system in labels if system in heard[name]):
            wave = str(heard[name][system].relative_to(root))
            source = wave
            if few and budget > 0 and len(players) < PLAYERS:
                source = mp3_data(*soundfile.read(heard[name][system], dtype="float32"))
            budget -= len(source) if source != wave else 0
            players.append({"label": labels[system], "source": source, "wave": wave})
        chosen.append({"utterance": name, "speaker": speaker, "role": role, "text": texts.get(name)})
        chosen[-1]["players"] = players
    order = list(left)
    return sorted(chosen, key=lambda sentence: (order.index(sentence["role"]), sentence["speaker"]))


def kept_speech(root: Path, name: str, paper: dict) -> dict[str, dict[str, Path]]:
    """The speech that runs of a paper kept, by utterance and system, of the first seed there is.

    Where a wave's name ends with a guidance scale (LD's "-x2"), that of the paper's table is the utterance's.
    """
    scales, found = paper["table"]["where"].get("x", []), {}
    for path in sorted((root / "audio").glob(f"{name.lower()}-*/[!.]*")):
        named = re.fullmatch(r"[a-z]+-(.+)-s\d+", path.parent.name)
        said, scale = re.fullmatch(r"(.+?)(?:-x([\d.]+))?", path.stem).groups()
        listed = named and named[1] in paper["systems"] and path.suffix in (".wav", ".opus")
        if listed and (scale is None or float(scale) in scales):
            found.setdefault(said, {}).setdefault(named[1], path)
    return found


def provenance(root: Path, manifests: dict[str, dict]) -> dict:
    """Commits, devices, data, weights, versions and wall time of the runs, and a line for each run.

    Of papers whose runs are not committed it is what is known of all of them (`lib.study.again.read_manifests`).
    """

    def every(key: str) -> list[str]:
        found = [manifest[key] for manifest in manifests.values() if manifest.get(key) is not None]
        return sorted({str(each) for value in found for each in (value if isinstance(value, list) else [value])})

    weights: dict[str, str] = {}
    for manifest in manifests.values():
        for name, source in (manifest.get("pretrained") or {}).items():
            if isinstance(source, dict):
                source = f"{source.get('source')} ({str(source.get('sha256'))[:12]})"
            weights[name] = str(source)
    named = [m for m in manifests.values() if m.get("corpus") and m.get("data_hash")]
    data = {
        (m["corpus"], ", ".join(m["data_hash"]) if isinstance(m["data_hash"], list) else m["data_hash"]) for m in named
    }
    newest = max(manifests.values(), key=lambda manifest: manifest.get("started") or "", default={})
    return {
        "commits": every("commit"),
        "dirty": any(manifest.get("dirty") for manifest in manifests.values()),
        "devices": every("device"),
        "cpus": every("cpus"),
        "python": every("python"),
        "data": [f"{corpus}, {digest}" for corpus, digest in sorted(data)],
        "weights": sorted(weights.items()),
        "vocoders": every("vocoder"),
        "seconds": sum(manifest.get("seconds") or 0 for manifest in manifests.values()),
        "memory": max((manifest.get("peak_memory_mib") or 0 for manifest in manifests.values()), default=0),
        "newest": newest.get("started"),
        "without": {m["paper"]: m["runs"] for m in manifests.values() if m.get("runs")},
        "packages": sorted((newest.get("packages") or {}).items(), key=lambda item: item[0].lower()),
        "runs": [
            {
                "run": run_id,
                "seconds": manifest.get("seconds"),
                "memory": manifest.get("peak_memory_mib"),
                "commit": (manifest.get("commit") or "")[:10],
                "rows": place(root, f"rows/{run_id}.parquet"),
                "manifest": place(root, f"manifests/{run_id}.json"),
            }
            for run_id, manifest in manifests.items()
            if "run_id" in manifest
        ],
    }


def limits(rows: pd.DataFrame, manifests: dict[str, dict], papers: dict, profiles: dict[str, dict]) -> list[str]:
    """What these numbers cannot say, in plain sentences: each from a fact of the rows or manifests, then those that
    claims.yaml states of each paper that has rows. A corpus that no manifest names is the embedded one where the
    paper's profile has a cast of its own.
    """
    cast = {name for name, profile in profiles.items() if "cast" in profile.get("corpus", {})}
    corpora = {str(m.get("corpus") or ("embedded" if m["paper"] in cast else "")) for m in manifests.values()}
    vocoders = {str(m.get("vocoder")).lower() for m in manifests.values() if m.get("vocoder")}
    size = rows[((rows["metric"] == "trainable_parameters") & (rows["system"] == "tts_ft")).fillna(False)]["value"]
    told = ["MOS is predicted by DistillMOS, and no verdict stands for a listening test."]
    if rows["listener"].isna().all():
        told[0] = "No listeners' answers are in these results (python -m lib listen make asks them): " + told[0]
    if any(corpus.startswith("embedded") for corpus in corpora):
        told.append(
            "The embedded corpus is synthetic: its speakers are voices of speech synthesizers and shifts of "
            "them. Absolute values are not comparable with those on recordings of people; verdicts rest on "
            "differences between systems on the same utterances."
        )
    if any("griffin" in vocoder for vocoder in vocoders):
        told.append(
            "Speech is made from mel spectrograms by Griffin-Lim, which lowers naturalness and similarity: "
            "the reference (vocoded) row is the ceiling of every system. The paper uses HiFi-GAN."
        )
    if len(size) and size.mean() < 0.9 * PAPER_BACKBONE:
        told.append(
            f"The backbone has {size.mean() / 1e6:.1f} M parameters, the paper's 35.7 M: shares of trainable "
            "weights are larger here, and what a larger model would gain is not known."
        )
    told.append(
        "Seeds are trainings of what is compared. All start from one pre-trained backbone (HT), Whisper (HA), or "
        "posterior encoder and CLAP (LD): no interval holds variation between those. SP's have a dense model each."
    )
    there = set(rows["paper"].dropna())
    return told + [f"{name}: {limit}" for name in papers if name in there for limit in papers[name].get("limits", [])]


def _lightest(files: list[Path]) -> Path | None:
    """The drawing to embed: vectors, or pixels where those are lighter than a large drawing; None: all too large."""
    sizes = {file: file.stat().st_size for file in files}
    small = [file for file in files if sizes[file] <= IMAGE_BYTES]
    light = [file for file in small if sizes[file] <= VECTOR_BYTES]
    return light[0] if light else min(small, key=sizes.get, default=None)


def _embedded(path: Path) -> str:
    """A drawing as a data address; pixels that are large as WebP, vectors as text, which a server can compress."""
    if path.suffix == ".svg":
        return "data:image/svg+xml," + quote(" ".join(path.read_text(encoding="utf-8").split()), safe=" '()<>/:;=,.@!")
    if path.stat().st_size <= VECTOR_BYTES:
        return _data(IMAGES[path.suffix], path.read_bytes())
    buffer = io.BytesIO()
    Image.open(path).convert("RGB").save(buffer, format="WEBP", quality=85)
    return _data("image/webp", buffer.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _notebook_link(root: Path, facts: dict) -> str | None:
    name = f"notebooks/{facts.get('notebook')}.html"
    if not exists(root, name):
        return None
    anchor = str(facts.get("anchor") or "").lstrip("#")
    return f"{name}#{anchor}" if anchor and f'id="{anchor}"' in (root / name).read_text(encoding="utf-8") else name


def place(root: Path, relative: str) -> str | None:
    """Where a run's file lies, relative to `root`: a folder of results, or a committed run that holds one (runs/)."""
    there = (path for path in (root / relative, *sorted(root.glob(f"{RUNS}/*/{relative}"))) if path.is_file())
    return next((path.relative_to(root).as_posix() for path in there), None)


def exists(root: Path, relative: str) -> bool:
    return (root / relative).is_file()


def read_json(path: Path, maker: str) -> list | dict:
    told = f"{'/'.join(path.parts[-2:])} is damaged; delete it and run {maker} again"
    return load_json(path, lambda _: StudyError(told))
