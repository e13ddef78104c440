"""The one door to the study: python -m lib VERB, and python -m lib VERB --help for each one's options and an example.

A verb's module is imported when the verb is asked for, so that the door opens at once. It has the verb's options and
work in its own `VERBS`.
"""

import argparse
import faulthandler
import sys
from importlib import import_module

from lib import cli

VERBS = {  # the module of lib that does a verb's work, and what it is about
    "prepare": (
        "workflow.runs",
        "Make what all systems of a paper share, or what the papers share: corpus, aligner, real.",
    ),
    "train": ("workflow.runs", "Train one system, or find it trained; under torchrun on several GPUs."),
    "rates": (
        "workflow.runs",
        "Try the same multiples of every method's learning rate, judged by the loss on validation sentences.",
    ),
    "run": (
        "workflow.runs",
        "Train one system if need be and measure it; without a system, all runs of the paper that are missing.",
    ),
    "resume": (
        "workflow.runs",
        "Take up the committed runs of a profile, so that another machine's portion of it goes on here.",
    ),
    "status": ("workflow.runs", "What has run, what is missing, what is stale."),
    "claims": ("workflow.runs", "Judge the claims on the rows and write claims.json."),
    "figures": ("workflow.runs", "Draw every figure again from the rows alone."),
    "compare": (
        "study.compare",
        "What changed between two runs: how they were made, verdicts, intervals without the other's value, means.",
    ),
    "report": (
        "workflow.runs",
        "Write the report, or one page: a paper's, methods; reference, benchmarks and examples go into the documents.",
    ),
    "score": (
        "workflow.tools",
        "Compare two folders of speech, file by file of the same name, by every metric; or judge one by itself.",
    ),
    "transcribe": (
        "workflow.tools",
        "Transcribe recordings by Whisper before and after adaptation: the shipped hypernetwork, or other weights.",
    ),
    "ship": (
        "workflow.tools",
        "Write a trained part that a paper's systems share, or a recogniser, with its card into data/weights.",
    ),
    "page": ("study.report.page", "Write a notebook that was run as a page that needs no network."),
    "clean": ("study.housekeeping", "List what nothing needs any more; with --yes, remove it."),
    "estimate": (
        "workflow.tools",
        "Time a few training steps of every model and say how long the profile's trainings take here.",
    ),
    "power": (
        "study.planning",
        "Which claims a profile's design cannot decide, and what would, before anything is trained.",
    ),
    "coverage": (
        "study.coverage",
        "How often the intervals hold the truth in simulated designs, into results/reference/coverage.json.",
    ),
    "bench": (
        "workflow.tools",
        "How fast our metrics and methods are beside the libraries that people use for the same work.",
    ),
    "words": (
        "workflow.tools",
        "Which choices of a latent sampler keep the words: small trainings of process:pairs:prediction, each measured.",
    ),
    "doctor": (
        "workflow.doctor",
        "What is here and what is missing, and what mends it; with --device, both devices' answers side by side.",
    ),
    "corpora": ("corpora.command", "Fetch, check and prepare recorded corpora: list, fetch, check, prepare."),
    "listen": (
        "study.listening.command",
        "Let people judge the speech: make a test, serve it, read the answers, plan how many listeners it needs.",
    ),
    "step": (
        "workflow.steps",
        "A verb as a step of the workflow: what it prints goes to a log, and it ends with the workflow.",
    ),
    "chapter": ("workflow.steps", "Run a notebook as a step of the workflow."),
}


def verb(name: str) -> cli.Verb:
    """A verb with its options and its work."""
    return import_module(f"lib.{VERBS[name][0]}").VERBS[name]


def parser(name: str) -> argparse.ArgumentParser:
    """What reads a verb's options."""
    return verb(name).parser(name, VERBS[name][1])


def main(arguments: list[str] | None = None) -> None:
    """Do what a verb says; a mistake ends it with one sentence."""
    arguments = sys.argv[1:] if arguments is None else arguments
    told = "\n".join(f"  {name:9} {about}" for name, (_, about) in VERBS.items())
    door = argparse.ArgumentParser(
        prog="python -m lib",
        usage="python -m lib VERB [OPTIONS]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Four papers on speech adaptation, trained, measured and compared.\n\n{told}",
        epilog="python -m lib VERB --help tells a verb's options.",
    )
    door.add_argument("verb", choices=VERBS, metavar="VERB", help=argparse.SUPPRESS)
    name = door.parse_args(arguments[:1]).verb
    with cli.told():
        options = parser(name).parse_args(arguments[1:])
        if "threads" in options:
            import torch

            torch.set_num_threads(options.threads)
        verb(name).work(options)


if __name__ == "__main__":
    if sys.stderr is not None:
        faulthandler.enable()  # a library that aborts leaves where it did so in the step's log
    main()
