"""The committed reference run: its claims and figures in results/reference/, its tables in the README.

    python -m lib report reference --profile demo
    python -m lib report benchmarks

The first copies claims.json and the figures of a finished run and the speech it kept as Opus, writes its results
table beside them as results.json, its report as index.html and its tables as README.md, and puts the verdicts in
numbers between the markers in the project's README.md. runs/ there has the run itself, from which another machine goes
on (`lib.study.report.portions`). Papers that the profile has not run stay as an earlier run
left them, so a long run can be committed paper by paper. With --profile nonnative it takes that run in beside the
other, in a folder of its own. The second puts the tables of the committed benchmarks (bench-<device>.json, written by
`python -m lib bench`) into docs/speed.md. `python -m lib claims --evidence results/reference` judges what is committed
by today's rules, with what listeners answered since. Nothing in those parts is written by hand.
"""

import json
import shutil
from pathlib import Path

from matplotlib import rc_context

from lib import study
from lib.files import ROOT, replace_file, write_json
from lib.study import columns, tables
from lib.study.again import LISTENERS, judge_again, newest, read_results
from lib.study.claim_compare import corpora
from lib.study.claims import VERDICTS, load_claims
from lib.study.drawing import RC, show
from lib.study.registry import paper_of, papers
from lib.study.report import clips, portions
from lib.study.report.evidence import against
from lib.study.report.index import significant, write_report
from lib.study.report.verdict_figure import verdicts
from lib.study.units import METRICS, short

REFERENCE = ROOT / "results" / "reference"
SPEED = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- results: python -m lib report reference -->", "<!-- end of results -->"
BENCH_BEGIN, BENCH_END = ("<!-- benchmarks: python -m lib report benchmarks -->", "<!-- end of benchmarks -->")
LARGE = 300_000  # bytes
CLIPS = (
    "`audio/` has {} Opus clips of its speech, which `index.html` plays; `python -m lib listen make --paper {} "
    "--evidence results/reference` makes a listening test of them."
)


def collect(profile: dict, folder: Path = REFERENCE) -> None:
    """Copy what a reader needs of a finished run into `folder`, replacing what earlier runs left of the same papers.

    Papers that the profile has not run stay as an earlier run left them, judged by today's rules.

    Raises:
        ValueError: the profile has no claims.json yet, or keeps more speech than is committed.
    """
    root = study.results_root(profile)
    if not (root / "claims.json").exists():
        raise ValueError(f"results/{profile['name']} has no claims yet: run ./run_all.sh --profile {profile['name']}")
    column = columns.of(load_claims(), profile).get("column")
    speech, mine = {} if column else clips.encode(profile), _facts(profile)
    earlier = read_results(folder) if (folder / "results.json").exists() else {"facts": {}}
    kept = {paper: facts for paper, facts in earlier["facts"].items() if paper not in mine}
    judged = judge_again(folder)[0] if kept else {}
    for paper, facts in mine.items():
        facts["clips"] = sum(name.startswith(f"{paper.lower()}-") for name in speech)
        (folder / "evidence" / f"{paper}{LISTENERS}").unlink(missing_ok=True)
    order = {claim["id"]: place for place, claim in enumerate(load_claims()["claims"])}
    records = [r for r in _records(root / "claims.json") if r["paper"] not in kept]
    records += [r for r in judged.get("claims", []) if r["paper"] in kept]
    gates = [gate for gate in _records(root / "gates.json") if gate["paper"] in mine]
    gates += [gate for gate in judged.get("gates", []) if gate["paper"] in kept]
    write_json(folder / "claims.json", sorted(records, key=lambda record: order[record["id"]]))
    write_json(folder / "gates.json", gates)
    _copy_figures(root / "figures", folder / "figures", set(kept))
    clips.write(speech, folder, [paper for paper in mine if not column])
    portions.keep(profile, folder, list(mine))
    if "HT" in mine or not kept:
        rows = study.read_rows(profile, "HT")
        earlier["table"] = [] if column else tables.results(rows, load_claims()["papers"]["HT"], profile)
        earlier["corpus_check"] = None if column else tables.corpus_check(rows, profile)
    write_json(folder / "results.json", earlier | {"facts": mine | kept})
    write_report(profile, copied=folder)


def refresh(folder: Path) -> list[dict]:
    """Judge a committed run by today's rules on what is committed of it: claims.json, gates.json and its report are
    written anew, and the tables where it belongs to results/reference. Returns the claims' records.
    """
    judged, profile = judge_again(folder)
    for name, records in judged.items():
        write_json(folder / f"{name}.json", records)
    write_report(profile, copied=folder, ran=False)
    if REFERENCE in (folder.resolve(), folder.resolve().parent):
        write_tables()
    return judged["claims"]


def _records(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _facts(profile: dict) -> dict[str, dict]:
    """Of each paper that the profile ran: how, when and with what, and the texts of what players play."""
    every, found = study.read_manifests(profile), {}
    for paper in sorted({manifest["paper"] for manifest in every.values()}):
        manifests = {run: manifest for run, manifest in every.items() if manifest["paper"] == paper}
        last = max(manifests.values(), key=lambda manifest: manifest["started"])
        facts = {name: last.get(name) for name in ("device", "started")} | {"profile": profile["name"]}
        facts |= {name: _known(manifests, name) for name in ("commit", "data_hash", "vocoder")}
        texts = {key: text for each in manifests.values() for key, text in (each.get("texts") or {}).items()}
        found[paper] = facts | {"runs": len(manifests), "corpora": corpora(manifests, paper), "texts": texts}
    return found


def _copy_figures(source: Path, target: Path, kept: set[str]) -> None:
    """The run's figures in the place of earlier ones of the same papers, and of the same chapter where that is about
    no paper; the others stay.
    """

    def chapters(folder: Path) -> dict[Path, str]:
        return {
            path: str(json.loads(path.read_text(encoding="utf-8")).get("notebook")) for path in folder.glob("*.json")
        }

    drawn = set(chapters(source).values())
    for path, chapter in chapters(target).items():
        of = paper_of(chapter)
        if chapter in drawn if of is None else of.id not in kept:
            for each in target.glob(f"{path.stem}.*"):
                each.unlink()
    target.mkdir(parents=True, exist_ok=True)
    for figure in sorted(source.glob("*.[pj][ns][go]*")):
        _copy_figure(figure, target / figure.name)


def _copy_figure(source: Path, target: Path) -> None:
    """A copy; a large picture (the latents' and attention's, which are pixels) in 256 colours, a third of its bytes."""
    from PIL import Image

    if source.suffix != ".png" or source.stat().st_size < LARGE:
        shutil.copy(source, target)
        return
    with Image.open(source) as picture, replace_file(target) as temporary:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(temporary, format="png", optimize=True)


def draw_verdicts(records: list[dict], folder: Path, profile: str, beside: dict) -> None:
    """The README's picture: every claim's verdict at a glance, as verdicts.png, .svg and its caption."""
    figure = verdicts(columns.groups(records, beside))
    with replace_file(folder / "verdicts.png") as temporary:
        temporary.write_bytes(show(figure).png)
    with replace_file(folder / "verdicts.svg") as temporary, rc_context(RC):
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    write_json(folder / "verdicts.json", figure.description | {"name": "verdicts", "profile": profile})


def _known(manifests: dict[str, dict], name: str) -> list[str]:
    return sorted({str(manifest[name]) for manifest in manifests.values() if manifest.get(name)})


def summary(claims: list[dict], beside: dict[str, list[dict]]) -> str:
    """The README's table: for each paper how many of its claims have each verdict, and which."""
    lines = [f"| paper | {' | '.join(VERDICTS)} |", "|---|" + "---|" * len(VERDICTS)]
    for name, records in columns.groups(claims, beside):
        cells = [[record["id"] for record in records if record["verdict"] == verdict] for verdict in VERDICTS]
        told = [f"{len(ids)}: {', '.join(ids)}" if ids else "0" for ids in cells]
        lines.append(f"| {name} | {' | '.join(told)} |")
    return "\n".join(
        [*lines, "", "Every claim with its numbers is in [results/reference](results/reference/README.md)."]
    )


def markdown(results: dict, claims: list[dict], beside: dict[str, list[dict]]) -> str:
    """The page of the reference run: how it was made, a table of claims for each paper, HyperTTS's systems.

    beside: other columns.
    """
    spoken = {paper: facts["clips"] for paper, facts in results["facts"].items() if facts.get("clips")}
    lines = [
        "# The reference run",
        "",
        "`python -m lib report reference` writes this page, of each paper from the newest run that was made of it; "
        "[index.html](index.html) is the report, [evidence](evidence) has the rows that each claim compares"
        + "".join(f", [{name}]({name}/index.html) a run beside it" for name in sorted(_beside(REFERENCE)))
        + ".",
        "",
        "| paper | profile | runs | newest | device | vocoder | commits | data |",
        "|---|---|---|---|---|---|---|---|",
        *(_run(paper, facts) for paper, facts in results["facts"].items()),
        "",
        *([CLIPS.format(sum(spoken.values()), next(iter(spoken)).lower()), ""] if spoken else []),
        "![Every verdict at a glance](figures/verdicts.png)",
    ]
    for paper in dict.fromkeys(record["paper"] for record in claims):
        lines += ["", f"## {papers()[paper.lower()].name}", ""]
        lines += ["| claim | statement | published | ours | 95 % interval | verdict |", "|---|---|---|---|---|---|"]
        others = {name: {r["id"]: r for r in theirs if r["paper"] == paper} for name, theirs in beside.items()}
        others = {name: mine for name, mine in others.items() if mine}
        lines[-2] += "".join(f" on {name} | 95 % interval | verdict |" for name in others)
        lines[-1] += "---|---|---|" * len(others)
        for record in (record for record in claims if record["paper"] == paper):
            cells = [f" {cell} |" for mine in others.values() for cell in _measured(mine[record["id"]])]
            lines.append(_claim(record) + "".join(cells))
    if not results["table"]:
        return "\n".join(lines) + "\n"
    metrics = load_claims()["papers"]["HT"]["table"]["columns"]
    names = [f"{short(metric)} (published)" for metric in metrics]
    lines += ["", "## The systems of HyperTTS", "", "Test sentences of the adaptation speakers.", ""]
    lines += [f"| system | trainable | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    lines += [_system(entry, metrics) for entry in results["table"]]
    return "\n".join(lines) + "\n"


def _beside(folder: Path) -> list[str]:
    """The folders of columns beside the committed run."""
    return [path.parent.name for path in folder.glob("*/claims.json")]


def _run(paper: str, facts: dict) -> str:
    commits = ", ".join(f"`{commit[:10]}`" for commit in facts["commit"]) or "unknown"
    vocoders, data = (", ".join(facts[name]) or "–" for name in ("vocoder", "data_hash"))
    cells = [paper, f"`{facts['profile']}`", facts["runs"], facts["started"][:10], facts["device"], vocoders]
    return f"| {' | '.join(map(str, [*cells, commits, data]))} |"


def _claim(record: dict) -> str:
    value = (record["published"] or {}).get("value") if isinstance(record["published"], dict) else record["published"]
    published = "–" if value is None else f"{value:g}"
    return f"| {record['id']} | {record['statement']} | {published} | {' | '.join(_measured(record))} |"


def _measured(record: dict) -> tuple[str, str, str]:
    """What we have, its interval and the verdict."""
    low, high = (significant(record[name]) for name in ("ci_low", "ci_high"))
    interval = "–" if record["ci_low"] is None else f"{low} to {high}"
    ours = f"{significant(record['value'])} {(record['value'] is not None and record['unit']) or ''}".strip()
    other = against(record)
    told = "" if other is None else f" for {other['name']} ({significant(other['value'])})"
    return ours, interval, f"{record['verdict']}{told}"


def _system(entry: dict, metrics: list[str]) -> str:
    cells = []
    for metric in metrics:
        cell, digits = entry["cells"][metric], METRICS[metric].decimals
        ours = "–" if cell["value"] is None else f"{cell['value']:.{digits}f}"
        cells.append(ours if cell["published"] is None else f"{ours} ({cell['published']:g})")
    trainable = "–" if not entry["trainable"] else f"{entry['trainable']:,.0f}"
    return f"| {entry['label']} | {trainable} | {' | '.join(cells)} |"


def benchmarks() -> str:
    """One table for each bench-<device>.json: what, beside which library, seconds, how many times as fast."""
    tables = []
    for path in sorted(REFERENCE.glob("bench-*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))
        lines = [f"Measured on {rows[0]['device']}:", ""]
        lines += ["| what | beside | size | ours, s | theirs, s | ratio | what bounds ours |"]
        lines += ["|---|---|---|---|---|---|---|", *(_timing(row) for row in rows)]
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _timing(row: dict) -> str:
    seconds = ["–" if row[key] is None else f"{row[key]:.3g}" for key in ("ours_s", "peer_s")]
    ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2g}"
    cells = (row["name"], row["peer"], row["size"], *seconds, ratio, row.get("bound") or "–")
    return f"| {' | '.join(cells)} |"


def put_into_readme(text: str, readme: Path = ROOT / "README.md", begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between two markers of the README, or of another page.

    Raises:
        ValueError: a marker is missing.
    """
    content = readme.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        raise ValueError(f"{readme.name} lacks the lines {begin!r} and {end!r}: put them where the tables belong")
    before, after = content.split(begin)[0], content.split(end)[1]
    with replace_file(readme) as temporary:
        temporary.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def write(profile: dict) -> None:
    """Copy a profile's results to results/reference and write the tables there and in the README.

    A column's (`lib.study.columns`) go into a folder of its profile's name there, beside the other run's. Raises
    ValueError where runs of the column are missing.
    """
    paper = columns.of(load_claims(), profile).get("column")
    if paper:
        section, there = profile[paper.lower()], study.read_manifests(profile, paper)
        first, plain = section["seeds"][:1], load_claims()["papers"][paper]["untrained"]
        each = [(name, first) for name in plain] + [(name, section["seeds"]) for name in section["headline"]]
        runs = [f"{paper.lower()}-{name}-s{seed}" for name, seeds in each for seed in seeds]
        if missing := [run for run in runs if run not in there]:
            raise ValueError(
                f"{len(missing)} of {len(runs)} runs of the {profile['name']} profile are missing, {missing[0]} for "
                f"example: python -m lib run {paper.lower()} --profile {profile['name']} makes them"
            )
    collect(profile, REFERENCE / profile["name"] if paper else REFERENCE)
    write_tables()


def write_tables() -> None:
    """Write the tables and the picture of verdicts from what is in results/reference."""
    results, claims = (json.loads((REFERENCE / name).read_text()) for name in ("results.json", "claims.json"))
    beside = columns.beside(load_claims(), REFERENCE)
    with replace_file(REFERENCE / "README.md") as temporary:
        temporary.write_text(markdown(results, claims, beside), encoding="utf-8")
    put_into_readme(summary(claims, beside))
    draw_verdicts(claims, REFERENCE / "figures", newest(results)["profile"], beside)
