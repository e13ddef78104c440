"""The verbs of a profile's course: prepare, rates, train, run, status, claims, figures and report.

What needs torch is imported when they are called, so that their options are told at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lib import cli, study
from lib.cli import ANY_PAPER, CORES, DEVICE, ONE, PAPER, PROFILE, SEED, THREADS, Verb
from lib.study import claims, columns, load_profile
from lib.study.planning import REFERENCE
from lib.study.registry import paper, papers
from lib.study.statistics import StatisticsError
from lib.workflow import examples
from lib.workflow.steps import write_corpus

if TYPE_CHECKING:
    from lib.study.protocol import Study


def prepare(options: argparse.Namespace) -> None:
    profile = load_profile(options.profile)
    if options.paper == "corpus":
        print(write_corpus(profile, options.threads))
    elif options.paper == "aligner":
        from lib.papers.common.alignment import Aligning

        print(Aligning(profile, options.device, options.threads).told())
    elif options.paper == "real":
        from lib.papers.common.real_voice import RealVoice

        RealVoice(profile, options.device, options.threads).prepare()
    else:
        paper(options.paper).room("study").Study(profile, options.device, options.threads).prepare()


def train(options: argparse.Namespace) -> None:
    from lib.training import parallel

    with parallel.joined(options.device) as device:
        bench, name = chosen(options, device)
        with parallel.in_turn():
            bench.ready()
        for each in filter(None, (bench, bench.own)) if options.from_scratch else ():
            each.settings["start"] = "trained"
        path = bench.train(name, options.seed, again=options.from_scratch)
        if parallel.first():
            print(path)


def rates(options: argparse.Namespace) -> None:
    from lib.study.rates import advice, tried

    bench, lines = paper(options.paper).room("study").Study(load_profile(options.profile), options.device), []
    bench.ready()
    for line in tried(bench, options.systems, tuple(options.times), options.steps, options.seed):
        lines.append({key: value for key, value in line.items() if key != "mark"})
    cli.print_table(lines, f"Learning rates of {bench.paper.upper()} in profile {options.profile}")
    print("\n".join(advice(lines)))


def run(options: argparse.Namespace) -> None:
    bench, name = chosen(options, options.device)
    if name is None:
        bench.ensure()
        alone = columns.of(claims.load_claims(), bench.profile).get("column")  # a run on recordings of its own
        wanted = set() if alone else study.runs_on_the_real_voice(bench.profile)
        if bench.run_id(study.OTHER, 0) in wanted - set(study.read_manifests(bench.profile)):
            bench.run(study.OTHER, 0)
        return
    if bench.own:
        bench.prepare()
    rows = bench.run(name, options.seed)
    print(f"{bench.run_id(name, options.seed)}: {len(rows)} rows in {bench.root / 'rows'}")


def resume(options: argparse.Namespace) -> None:
    from lib.study.report import portions

    profile = load_profile(options.profile)
    print("\n".join(portions.told(portions.take_up(profile, options.evidence), profile)))


def status(options: argparse.Namespace) -> None:
    entries = study.status(load_profile(options.profile))
    mine = [entry for entry in entries if options.paper in (None, entry["run"].split("-")[0])]
    cli.print_table(mine, f"Runs of profile {options.profile}")


def judge(options: argparse.Namespace) -> None:
    from lib.study import convergence

    if options.evidence:
        from lib.study.report.reference import refresh

        records = refresh(options.evidence)
        cli.print_table(claims.summary(records), f"Claims of the run in {options.evidence}, judged by today's rules")
        print(options.evidence / "index.html")
        return
    records = claims.write_claims(load_profile(options.profile))
    convergence.draw_all(load_profile(options.profile))
    cli.print_table(claims.summary(records), f"Claims in profile {options.profile}")


def figures(options: argparse.Namespace) -> None:
    from lib.study.drawing import PlotError

    profile = load_profile(options.profile)
    for each in [paper(options.paper)] if options.paper else papers().values():
        rows, drawn = study.read_rows(profile, None if each.across else each.id), each.room("figures")
        if rows.empty:
            print(f"{each.id} has no rows in profile {options.profile}")
            continue
        for name in drawn.FIGURES:
            try:
                drawn.draw(name, rows, profile)
                print(name)
            except (PlotError, StatisticsError) as error:
                print(f"{name} is left out: {error}")


def report(options: argparse.Namespace) -> None:
    from lib.study.report import index, methods, reference

    part, profile = options.part, load_profile(options.profile)
    if part == "methods":
        print(methods.write_page(profile))
    elif part == "reference":
        reference.write(profile)
    elif part == "benchmarks":
        reference.put_into_readme(reference.benchmarks(), reference.SPEED, reference.BENCH_BEGIN, reference.BENCH_END)
    elif part == "examples":
        examples.write()
    else:
        print(index.write_report(profile, part.upper() if part else None))


def chosen(options: argparse.Namespace, device: str) -> tuple[Study, str | None]:
    """The paper's study, and the system's name: one of its own where settings are changed."""
    from lib.study.variant import changed

    kind, profile = paper(options.paper).room("study").Study, load_profile(options.profile)
    if not options.set or options.system is None:
        return kind(profile, device), options.system
    nested = {key: value for key, value in options.set if key.split(".")[0] in profile}
    flat = {key: value for key, value in options.set if key not in nested}
    return changed(kind, options.profile, device, options.system, nested, **flat)


DOCUMENTS = "ht, ha, sp, ld, xp, methods, reference, benchmarks, examples"
AGAIN = ("--from-scratch", {"action": "store_true", "help": "though it is shipped or trained already"})
EVIDENCE = {"type": Path, "help": "a committed run's folder, to be judged by today's rules"}
COMMITTED = {"type": Path, "default": REFERENCE, "help": "a committed run's folder (results/reference)"}
PREPARED = (PAPER, PROFILE, DEVICE, ("--threads", {**THREADS, "default": CORES}))
TIMES = {"type": float, "nargs": "+", "default": [0.5, 1.0, 2.0, 4.0], "help": "multiples of the profile's rate"}
RATED = (
    ("systems", {"nargs": "+"}),
    ("--times", TIMES),
    ("--steps", {"type": int, "help": "the profile's without it"}),
)
VERBS = {
    "prepare": Verb(prepare, "python -m lib prepare sp --profile demo", PREPARED),
    "train": Verb(train, "python -m lib train sp dp_r45 --seed 3", (PAPER, ("system", {}), *ONE, AGAIN)),
    "rates": Verb(
        rates,
        "python -m lib rates ht tts_ft hypertts_d --times 0.5 1 2 4",
        (PAPER, *RATED, PROFILE, SEED, DEVICE, ("--threads", {**THREADS, "default": 1})),
    ),
    "run": Verb(
        run,
        "python -m lib run sp dp_r45 --set ratio=0.35 --set sp.train.steps=500",
        (PAPER, ("system", {"nargs": "?"}), *ONE),
    ),
    "resume": Verb(
        resume,
        "python -m lib resume --profile full",
        (PROFILE, ("--evidence", COMMITTED)),
    ),
    "status": Verb(status, "python -m lib status --profile demo", (ANY_PAPER, PROFILE)),
    "claims": Verb(judge, "python -m lib claims --profile demo", (PROFILE, ("--evidence", EVIDENCE))),
    "figures": Verb(figures, "python -m lib figures sp", (ANY_PAPER, PROFILE)),
    "report": Verb(
        report, "python -m lib report --profile demo", (("part", {"nargs": "?", "help": DOCUMENTS}), PROFILE)
    ),
}
