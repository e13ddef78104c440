"""The one door to the study: python -m lib VERB, and python -m lib VERB --help for each one's options and an example.

A verb imports what it needs when it is called, so that the door opens at once.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lib import cli
from lib.cli import ANY_PAPER, CORES, DEVICE, LOG, ONE, PAPER, PROFILE, REST, THREADS, Verb

if TYPE_CHECKING:
    from lib.study.protocol import Study

SHARED = ("corpus", "aligner", "real")  # what `prepare` makes beside the papers
DOCUMENTS = ("methods", "reference", "benchmarks", "examples")  # what `report` writes beside the papers' pages


def prepare(options: argparse.Namespace) -> None:
    from lib.study import load_profile

    _threads(options)
    profile = load_profile(options.profile)
    if options.paper == "corpus":
        from lib.workflow.steps import write_corpus

        print(write_corpus(profile, options.threads))
    elif options.paper == "aligner":
        from lib.papers.common.alignment import Aligning

        print(Aligning(profile, options.device, options.threads).told())
    elif options.paper == "real":
        from lib.papers.common.real_voice import RealVoice

        RealVoice(profile, options.device, options.threads).prepare()
    else:
        _kind(options.paper)(profile, options.device, options.threads).prepare()


def train(options: argparse.Namespace) -> None:
    from lib.training import parallel

    _threads(options)
    with parallel.joined(options.device) as device:
        study, name = _study(options, device)
        with parallel.in_turn():
            study.ready()
        path = study.train(name, options.seed)
        if parallel.first():
            print(path)


def run(options: argparse.Namespace) -> None:
    _threads(options)
    study, name = _study(options, options.device)
    if name is None:
        study.ensure()
        return
    if study.own:
        study.prepare()
    rows = study.run(name, options.seed)
    print(f"{study.run_id(name, options.seed)}: {len(rows)} rows in {study.root / 'rows'}")


def status(options: argparse.Namespace) -> None:
    from lib import study

    entries = study.status(study.load_profile(options.profile))
    chosen = [entry for entry in entries if options.paper in (None, entry["run"].split("-")[0])]
    cli.print_table(chosen, f"Runs of profile {options.profile}")


def claims(options: argparse.Namespace) -> None:
    from lib.study import again, claims, convergence, load_profile

    if options.evidence:
        from lib.study.report.index import write_report

        judged, profile = again.judge_again(options.evidence)
        cli.print_table(claims.summary(judged["claims"]), f"Claims of the run in {options.evidence}, judged again")
        print(write_report(profile, copied=options.evidence, again=judged))
        return
    records = claims.write_claims(load_profile(options.profile))
    convergence.draw_all(load_profile(options.profile))
    cli.print_table(claims.summary(records), f"Claims in profile {options.profile}")


def figures(options: argparse.Namespace) -> None:
    from lib.study import load_profile
    from lib.workflow.figures import draw_all

    draw_all(load_profile(options.profile), options.paper)


def compare(options: argparse.Namespace) -> None:
    from lib.study import compare

    a, b = compare.locate(options.a), compare.locate(options.b)
    for number, title in enumerate(("provenance", "verdicts", "intervals", "means")):
        print(end="\n" if number else "")
        cli.print_table(getattr(compare, title)(a, b), f"{title} that differ: {options.a} (a), {options.b} (b)")


def report(options: argparse.Namespace) -> None:
    from lib.study import load_profile
    from lib.study.report import index, methods, reference
    from lib.workflow import examples

    part, profile = options.part, load_profile(options.profile)
    if part == "methods":
        print(methods.write_page(profile))
    elif part == "reference":
        reference.write(profile)
    elif part == "benchmarks":
        reference.write_benchmarks()
    elif part == "examples":
        examples.write()
    else:
        print(index.write_report(profile, part.upper() if part else None))


def score(options: argparse.Namespace) -> None:
    from lib.study.protocol import resolve_device
    from lib.workflow import score

    scored = score.score(options.speech, options.reference, options.texts, resolve_device(options.device))
    cli.print_table(score.summary(scored.table), f"{options.speech}, {len(scored.table)} files")
    if scored.left_out:
        cli.print_table(scored.left_out, f"Left out: {len(scored.left_out)} files")
    if options.csv:
        scored.table.to_csv(options.csv, index=False)


def transcribe(options: argparse.Namespace) -> None:
    from lib.papers.ha import shipped
    from lib.study.protocol import resolve_device

    heard, facts = shipped.transcribe(
        options.recordings, options.system, options.weights, resolve_device(options.device)
    )
    print(f"Whisper {facts['whisper']['name']}, before and after {facts['system']['name']}", file=sys.stderr)
    if warning := facts["system"].get("warning"):
        print(warning, file=sys.stderr)
    for each in heard:
        told = [each.failed] if each.failed else [f"before: {each.before.strip()}", f"after:  {each.after.strip()}"]
        print("\n  ".join([str(each.recording), *told]))
    if all(each.failed for each in heard):
        raise SystemExit(1)


def ship(options: argparse.Namespace) -> None:
    from lib.papers.ha import shipped
    from lib.study import load_profile

    card = shipped.ship(load_profile(options.profile), options.system, options.seed, options.output or shipped.WEIGHTS)
    for cohort, found in card["gain"].items():
        print(f"{cohort}: WER {found['before'][0]} before, {found['after'][0]} after, {found['speakers']} speakers")


def page(options: argparse.Namespace) -> None:
    from lib.study.report.page import render

    render(options.notebook, options.page)


def clean(options: argparse.Namespace) -> None:
    from lib.study import housekeeping, load_profile, results_root

    profile = load_profile(options.profile)
    root, found = results_root(profile), housekeeping.leftovers(profile)
    cli.print_table([{"file": str(path.relative_to(root)), "why": why} for path, why in found], "No longer needed")
    if found and options.yes:
        housekeeping.remove([path for path, _ in found], root)
    elif found:
        print("Nothing was removed: add --yes to remove them.")


def estimate(options: argparse.Namespace) -> None:
    from lib.corpora.embedded.recipe import size
    from lib.study import load_profile
    from lib.workflow import estimate

    profile, device = load_profile(options.profile), estimate.present(options.device)
    if "cast" in profile["corpus"]:
        print(f"The corpus of profile {options.profile}: {size(profile['corpus'])}.", flush=True)
    entries = estimate.estimate(profile, device, lambda line: print(line, file=sys.stderr))
    cli.print_table(entries, f"Trainings of profile {options.profile} on {device}")
    print(estimate.summary(entries, device))


def power(options: argparse.Namespace) -> None:
    from lib.study import load_profile
    from lib.study.planning import power

    told = f"Parts of claims that the design of profile {options.profile} cannot decide"
    cli.print_table(power(load_profile(options.profile), options.claims), told)


def coverage(options: argparse.Namespace) -> None:
    from lib.study import coverage
    from lib.study.report.reference import put_into_readme

    cells = coverage.coverage(options.output, options.simulations)
    print(coverage.markdown(cells))
    if options.output.resolve() == coverage.REFERENCE:
        put_into_readme(coverage.markdown(cells), coverage.DOCS, "<!-- coverage -->", "<!-- end of coverage -->")
    if wrong := coverage.outside(cells):
        cli.print_table(wrong, "Designs whose interval covers too little or too much")
        raise SystemExit(1)


def bench(options: argparse.Namespace) -> None:
    if options.recordings:
        from lib.study.protocol import resolve_device
        from lib.workflow.benchmarks import pitch, vocoders

        folder, size = options.recordings, options.size or 20
        cli.print_table(pitch.compare(folder, size).to_dict("records"), "F0 trackers")
        device = resolve_device(options.device)
        cli.print_table(vocoders.compare(folder, size, device).to_dict("records"), f"Vocoders on {device}")
        return
    from lib.workflow.bench import report

    report(options.device, options.size, options.seconds, options.output)


def words(options: argparse.Namespace) -> None:
    from lib.papers.ld.words import words
    from lib.study.protocol import resolve_device

    _threads(options)
    device = resolve_device(options.device)
    lines = words(options.profile, options.choices, options.steps, options.sampling, device)
    cli.print_table(lines, "CER of sampled latents, without a condition")


def doctor(options: argparse.Namespace) -> None:
    from lib.workflow import doctor

    doctor.report(options.device)


def corpora(options: argparse.Namespace) -> None:
    from lib.corpora import command

    command.main(options)


def _corpora(parser: argparse.ArgumentParser) -> None:
    from lib.corpora import command

    command.add_arguments(parser)


def listen(options: argparse.Namespace) -> None:
    from lib.study.listening import command

    command.main(options)


def _listen(parser: argparse.ArgumentParser) -> None:
    from lib.study.listening import command

    command.add_arguments(parser)


def step(options: argparse.Namespace) -> None:
    from lib.workflow import steps

    module = [] if options.arguments[:1] == ["-m"] else ["-m", "lib"]
    sys.exit(steps.run(options.log, [sys.executable, *module, *options.arguments]))


def chapter(options: argparse.Namespace) -> None:
    from lib.workflow import steps

    sys.exit(steps.run_notebook(options.log, options.notebook, options.executed, options.parameters))


def _threads(options: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(options.threads)


def _kind(paper: str) -> type[Study]:
    from lib.study.registry import paper as registered

    return registered(paper).room("study").Study


def _study(options: argparse.Namespace, device: str) -> tuple[Study, str | None]:
    """The paper's study, and the system's name: one of its own where settings are changed."""
    from lib.study import load_profile
    from lib.study.variant import changed

    kind, profile = _kind(options.paper), load_profile(options.profile)
    if not options.set or options.system is None:
        return kind(profile, device), options.system
    nested = {key: value for key, value in options.set if key.split(".")[0] in profile}
    flat = {key: value for key, value in options.set if key not in nested}
    return changed(kind, options.profile, device, options.system, nested, **flat)


VERBS = {
    "prepare": Verb(
        prepare,
        f"Make what all systems of a paper share, or what the papers share: {', '.join(SHARED)}.",
        "python -m lib prepare sp --profile demo",
        (PAPER, PROFILE, DEVICE, ("--threads", {**THREADS, "default": CORES})),
    ),
    "train": Verb(
        train,
        "Train one system, or find it trained; under torchrun on several GPUs.",
        "python -m lib train sp dp_r45 --seed 3",
        (PAPER, ("system", {}), *ONE),
    ),
    "run": Verb(
        run,
        "Train one system if need be and measure it; without a system, all runs of the paper that are missing.",
        "python -m lib run sp dp_r45 --set ratio=0.35 --set sp.train.steps=500",
        (PAPER, ("system", {"nargs": "?"}), *ONE),
    ),
    "status": Verb(
        status,
        "What has run, what is missing, what is stale.",
        "python -m lib status --profile demo",
        (ANY_PAPER, PROFILE),
    ),
    "claims": Verb(
        claims,
        "Judge the claims on the rows and write claims.json.",
        "python -m lib claims --profile demo",
        (PROFILE, ("--evidence", {"type": Path, "help": "a committed run's folder, to be judged again"})),
    ),
    "figures": Verb(
        figures, "Draw every figure again from the rows alone.", "python -m lib figures sp", (ANY_PAPER, PROFILE)
    ),
    "compare": Verb(
        compare,
        "What changed between two runs: how they were made, verdicts, intervals without the other's value, means.",
        "python -m lib compare demo other/demo",
        (("a", {"help": "a profile that has run, or a folder of results"}), ("b", {"help": "another one"})),
    ),
    "report": Verb(
        report,
        "Write the report, or one page: a paper's, methods; reference, benchmarks and examples go into the documents.",
        "python -m lib report --profile demo",
        (("part", {"nargs": "?", "help": f"ht, ha, sp, ld, xp, {', '.join(DOCUMENTS)}"}), PROFILE),
    ),
    "score": Verb(
        score,
        "Compare two folders of speech, file by file of the same name, by every metric; or judge one by itself.",
        "python -m lib score speech/ reference/ --texts texts.csv --csv scores.csv",
        (
            ("speech", {"type": Path, "help": "a folder of recordings"}),
            ("reference", {"type": Path, "nargs": "?", "help": "what they are compared with"}),
            ("--texts", {"type": Path, "help": "a CSV with the columns path and text: word and phoneme errors"}),
            ("--csv", {"type": Path, "help": "write every file's values here"}),
            DEVICE,
        ),
    ),
    "transcribe": Verb(
        transcribe,
        "Transcribe recordings by Whisper before and after adaptation: the shipped hypernetwork, or other weights.",
        "python -m lib transcribe recording.wav --system hyper",
        (
            ("recordings", {"type": Path, "nargs": "+", "help": "files of at most 30 s each"}),
            ("--system", {"default": "hyper", "help": "hyper, which is shipped, or a trained system of results/"}),
            ("--weights", {"type": Path, "help": "a checkpoint, weights with a card, or a PEFT adapter's folder"}),
            DEVICE,
        ),
    ),
    "ship": Verb(
        ship,
        "Write a trained and measured recogniser with its card into data/weights, for `transcribe`.",
        "python -m lib ship hyper_mlp --profile nonnative --seed 0",
        (
            ("system", {}),
            PROFILE,
            ("--seed", {"type": int, "default": 0}),
            ("--output", {"type": Path, "help": "another file than data/weights/ha-hyper.safetensors"}),
        ),
    ),
    "page": Verb(
        page,
        "Write a notebook that was run as a page that needs no network.",
        "python -m lib page results/demo/notebooks/00_corpus.ipynb 00_corpus.html",
        (("notebook", {"type": Path}), ("page", {"type": Path})),
    ),
    "clean": Verb(
        clean,
        "List what nothing needs any more; with --yes, remove it.",
        "python -m lib clean --profile demo --yes",
        (PROFILE, ("--yes", {"action": "store_true", "help": "remove what is listed"})),
    ),
    "estimate": Verb(
        estimate,
        "Time a few training steps of every model and say how long the profile's trainings take here.",
        "python -m lib estimate --profile paper --device cuda",
        (PROFILE, DEVICE),
    ),
    "power": Verb(
        power,
        "Which claims a profile's design cannot decide, and what would, before anything is trained.",
        "python -m lib power --profile full",
        (PROFILE, ("--claims", {"type": Path, "help": "a claims.json whose variances count"})),
    ),
    "coverage": Verb(
        coverage,
        "How often the intervals hold the truth in simulated designs, into results/reference/coverage.json.",
        "python -m lib coverage",
        (
            ("--output", {"type": Path, "default": Path("results/reference/coverage.json"), "help": "the file"}),
            ("--simulations", {"type": int, "default": 12000, "help": "studies of each design and spread"}),
        ),
    ),
    "bench": Verb(
        bench,
        "How fast our metrics and methods are beside the libraries that people use for the same work.",
        "python -m lib bench --device cuda --size 256",
        (
            DEVICE,
            ("--size", {"type": int, "help": "utterances (64 on a CPU, 256 on a GPU; 20 of each group of recordings)"}),
            ("--recordings", {"type": Path, "help": "F0 trackers and vocoders on this folder with a metadata.csv"}),
            ("--seconds", {"type": float, "default": 3.0, "help": "of timing each side of a row"}),
            ("--output", {"type": Path, "default": Path("results/reference"), "help": "folder of bench-<device>.json"}),
        ),
    ),
    "words": Verb(
        words,
        "Which choices of a latent sampler keep the words: small trainings of process:pairs:prediction, each measured.",
        "python -m lib words palette:sampled:x0 palette:aligned:x0 --sampling 12 1",
        (
            ("choices", {"nargs": "+", "help": "such as palette:aligned:x0"}),
            PROFILE,
            DEVICE,
            ("--steps", {"type": int, "default": 600, "help": "of training"}),
            ("--sampling", {"type": int, "nargs": "+", "default": [12], "help": "steps of sampling"}),
            ("--threads", {**THREADS, "default": 1}),
        ),
    ),
    "doctor": Verb(
        doctor,
        "What is here and what is missing, and what mends it; with --device, both devices' answers side by side.",
        "python -m lib doctor --device cuda",
        (("--device", {"help": "compare every method and metric on the CPU and here: cuda, or cpu with itself"}),),
    ),
    "corpora": Verb(
        corpora,
        "Fetch, check and prepare recorded corpora: list, fetch, check, prepare.",
        "python -m lib corpora prepare folder --source my_recordings --align",
        (),
        _corpora,
    ),
    "listen": Verb(
        listen,
        "Let people judge the speech: make a test, serve it, read the answers, plan how many listeners it needs.",
        "python -m lib listen make --profile full --paper sp",
        (),
        _listen,
    ),
    "step": Verb(
        step,
        "A verb as a step of the workflow: what it prints goes to a log, and it ends with the workflow.",
        "python -m lib step claims.log claims --profile smoke",
        (LOG, REST),
    ),
    "chapter": Verb(
        chapter,
        "Run a notebook as a step of the workflow.",
        "python -m lib chapter log.txt notebooks/00_corpus.ipynb executed.ipynb profile=smoke",
        (LOG, ("notebook", {}), ("executed", {"type": Path}), ("parameters", {"nargs": "*", "metavar": "NAME=VALUE"})),
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Do what a verb says; a mistake ends it with one sentence."""
    arguments = sys.argv[1:] if arguments is None else arguments
    told = "\n".join(f"  {name:9} {verb.about}" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="python -m lib",
        usage="python -m lib VERB [OPTIONS]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Four papers on speech adaptation, trained, measured and compared.\n\n{told}",
        epilog="python -m lib VERB --help tells a verb's options.",
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help=argparse.SUPPRESS)
    name = parser.parse_args(arguments[:1]).verb
    with cli.told():
        VERBS[name].work(VERBS[name].parser(name).parse_args(arguments[1:]))


if __name__ == "__main__":
    if sys.stderr is not None:
        faulthandler.enable()  # a library that aborts leaves where it did so in the step's log
    main()
