"""The verbs beside a profile's course: score, transcribe, ship, estimate, bench and words.

What needs torch is imported when they are called, so that their options are told at once.
"""

import argparse
import sys
from pathlib import Path

from lib import cli
from lib.cli import DEVICE, PROFILE, SEED, THREADS, Verb
from lib.study import load_profile
from lib.study.registry import paper


def score(options: argparse.Namespace) -> None:
    from lib.study.provenance import resolve_device
    from lib.workflow import score

    scored = score.score(options.speech, options.reference, options.texts, resolve_device(options.device))
    cli.print_table(score.summary(scored.table), f"{options.speech}, {len(scored.table)} files")
    if scored.left_out:
        cli.print_table(scored.left_out, f"Left out: {len(scored.left_out)} files")
    if options.csv:
        scored.table.to_csv(options.csv, index=False)


def transcribe(options: argparse.Namespace) -> None:
    from lib.papers.ha import shipped
    from lib.study.provenance import resolve_device

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
    from lib.study.shipped import ship

    profile, (*named, name) = load_profile(options.profile), options.names
    if named:
        card = ship(paper(" ".join(named)).room("study").Study(profile), name, options.seed, options.output)
        cli.print_table(card["quality"], card["what"])
        return
    card = shipped.ship(profile, name, options.seed, options.output or shipped.WEIGHTS)
    for cohort, found in card["gain"].items():
        print(f"{cohort}: WER {found['before'][0]} before, {found['after'][0]} after, {found['speakers']} speakers")


def estimate(options: argparse.Namespace) -> None:
    from lib.corpora.embedded.recipe import size
    from lib.workflow import estimate

    profile, device = load_profile(options.profile), estimate.present(options.device)
    if "cast" in profile["corpus"]:
        print(f"The corpus of profile {options.profile}: {size(profile['corpus'])}.", flush=True)
    entries = estimate.estimate(profile, device, lambda line: print(line, file=sys.stderr))
    cli.print_table(entries, f"Trainings of profile {options.profile} on {device}")
    print(estimate.summary(entries, device))


def bench(options: argparse.Namespace) -> None:
    if options.recordings:
        from lib.study.provenance import resolve_device
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
    from lib.study.provenance import resolve_device

    device = resolve_device(options.device)
    lines = words(options.profile, options.choices, options.steps, options.sampling, device)
    cli.print_table(lines, "CER of sampled latents, without a condition")


VERBS = {
    "score": Verb(
        score,
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
        "python -m lib ship ld posterior --profile full",
        (
            ("names", {"nargs": "+", "metavar": "NAME", "help": "a paper and its part, or the recogniser's system"}),
            PROFILE,
            SEED,
            ("--output", {"type": Path, "help": "another file than the one in data/weights"}),
        ),
    ),
    "estimate": Verb(estimate, "python -m lib estimate --profile paper --device cuda", (PROFILE, DEVICE)),
    "bench": Verb(
        bench,
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
}
