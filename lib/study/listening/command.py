"""python -m lib listen make | serve | read | power."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lib import cli, study
from lib.files import replace_file
from lib.study.again import LISTENERS
from lib.study.claims import load_claims
from lib.study.listening import answers, plan, stimuli
from lib.study.listening.make import COMPARED, KINDS, make, protocol
from lib.study.listening.stimuli import REFERENCE, ListeningError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True)
    made = verbs.add_parser("make", help="write a test: a page to serve or to send, and beside it its key and rules")
    made.add_argument("--profile", default="demo", help="whose runs' speech (demo)")
    made.add_argument("--paper", help="ht, sp or ld: that paper's test")
    made.add_argument("--evidence", type=Path, help="a committed run's folder, whose clips are heard instead")
    made.add_argument("--from", dest="folder", type=Path, help="a folder with SYSTEM/SENTENCE.wav instead")
    made.add_argument("--reference", default=REFERENCE, help="the folder of the recordings in it (reference)")
    made.add_argument("--kinds", help=f"of {', '.join(KINDS)}; the paper's, or mos")
    made.add_argument("--systems", help="the systems to rate, by commas")
    made.add_argument("--pairs", help="what is compared, as A:B,A:C")
    made.add_argument("--items", type=int, help="sentences that one listener hears (the paper's, or 10)")
    made.add_argument("--post", help="address that answers are posted to; without one the listener saves a file")
    made.add_argument("--to", type=Path, help="the test's folder")
    served = verbs.add_parser("serve", help="serve a test's page and store the answers that it posts")
    served.add_argument("test", type=Path)
    served.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets others in")
    served.add_argument("--port", type=int, default=8000)
    read = verbs.add_parser("read", help="check the answers and make rows of them")
    read.add_argument("answers", type=Path, help="the folder of answers, in the test's or elsewhere")
    read.add_argument("--test", type=Path, help="the test's folder, where the answers are elsewhere")
    power = verbs.add_parser("power", help="how many listeners and sentences an expected difference needs")
    power.add_argument("difference", type=float, help="in points of the scale, such as 0.33")
    power.add_argument("--pilot", type=Path, help="a test whose answers tell the spread")
    power.add_argument("--metric", default="mos_listeners", help="of the pilot's rows (mos_listeners)")
    power.add_argument("--sd", type=float, help="standard deviation of single ratings of one system, as published")
    power.add_argument("--listener-sd", type=float, default=0.0, help="of the difference between listeners")
    power.add_argument("--item-sd", type=float, default=0.0, help="of the difference between sentences")
    power.add_argument("--power", type=float, default=0.8)


def main(options: argparse.Namespace) -> None:
    {"make": _make, "serve": _serve, "read": _read, "power": _power}[options.action](options)


def _make(options: argparse.Namespace) -> None:
    if (options.paper is None) == (options.folder is None):
        raise ListeningError("give either --paper, whose runs are heard, or --from with a folder of speech")
    given = {
        "kinds": options.kinds and options.kinds.split(","),
        "systems": options.systems and options.systems.split(","),
        "pairs": options.pairs and [pair.split(":") for pair in options.pairs.split(",")],
        "items": options.items,
    }
    if wrong := [":".join(pair) for pair in given["pairs"] or [] if len(set(pair)) != 2]:
        raise ListeningError(f"{wrong[0]} is no pair: write A:B")
    if options.items is not None and options.items < 1:
        raise ListeningError(f"--items {options.items}: a listener hears at least one sentence")
    given = {name: value for name, value in given.items() if value}
    if options.paper:
        paper, there, root = options.paper.lower(), None, options.evidence
        if root:
            profile, there = stimuli.from_evidence(root, paper)
        else:
            profile = study.load_profile(options.profile)
        test = protocol(paper, profile, there) | given
        test["pairs"] = test["pairs"] if set(test["kinds"]) & set(COMPARED) else []
        systems = list(dict.fromkeys([*test["systems"], *(name for pair in test["pairs"] for name in pair)]))
        systems = [name for name in systems if name != REFERENCE]
        fix = "take a run that was committed with its clips" if root else f"run profile {profile['name']}"
        clips = stimuli.kept(root or stimuli.with_recordings(profile, paper), paper, systems, fix)
        facts = {"profile": profile["name"], "paper": paper, "evidence": root and str(root.resolve())}
        home = study.results_root(profile)
        out = options.to or (home.parent if root else home) / "listening" / paper
    else:
        clips = stimuli.from_folder(options.folder)
        if options.reference in clips:
            clips[REFERENCE] = clips.pop(options.reference)
        rated = [name for name in clips if name != REFERENCE]
        test = {"kinds": ["mos"], "systems": rated, "pairs": [rated[:2]] if len(rated) == 2 else [], "items": 10}
        test, facts = test | given, {"profile": None, "paper": None}
        out = options.to or Path("listening") / options.folder.resolve().name
    key = make(clips, test, out, facts | {"pairs": test["pairs"]}, options.post)
    trials = sum(len(part) for part in key["lists"][0])
    print(f"{out / 'page' / 'index.html'}: {', '.join(test['kinds'])}, {trials} trials a listener")
    print(f"Keep {out / 'key.json'} to yourself; python -m lib listen serve {out} serves the page")


def _serve(options: argparse.Namespace) -> None:
    from lib.study.listening.receive import server

    with server(options.test, options.host, options.port) as receiver:
        print(f"http://{options.host}:{receiver.server_port}/ (answers in {options.test / 'answers'})", flush=True)
        receiver.serve_forever()


def _read(options: argparse.Namespace) -> None:
    began, folder = time.time(), options.test or options.answers.resolve().parent
    key, rules, changed = answers.load_key(folder)
    heard = answers.read(options.answers, key, rules)
    cli.print_table(heard.files, f"{len(heard.files)} files, {heard.listeners} listeners count")
    if changed:
        print(f"{folder / 'rules.yaml'} was changed after the test was made")
    if heard.rows.empty:
        raise ListeningError(f"no listener of {options.answers} counts: nothing was written")
    published = load_claims()["papers"][key["paper"].upper()]["systems"] if key["paper"] else {}
    print()
    cli.print_table(answers.scores(heard.rows, published), f"{heard.listeners} listeners")
    heard.rows.to_csv(folder / "scores.csv", index=False)
    if key.get("evidence"):
        target = Path(key["evidence"]) / "evidence" / f"{key['paper'].upper()}{LISTENERS}"
        target.parent.mkdir(exist_ok=True)
        with replace_file(target) as temporary:
            heard.rows.drop(columns="unit").assign(part="listeners").to_csv(temporary, index=False)
        print(f"{target}: {len(heard.rows)} rows; python -m lib claims --evidence {key['evidence']} judges them")
    elif key["paper"]:
        profile, run = study.load_profile(key["profile"]), f"{key['paper']}-listeners-s0"
        study.write_rows(heard.rows, run, profile)
        facts = {"listeners": heard.listeners, "left_out": [f for f in heard.files if f["counts"] == "no"]}
        facts |= {"test": key["test"], "rules": rules, "rules_changed": changed}
        study.write_manifest(run, profile, profile[key["paper"]], began, **facts)
        print(f"{run}: {len(heard.rows)} rows; python -m lib claims --profile {profile['name']} judges them")


def _power(options: argparse.Namespace) -> None:
    if (options.pilot is None) == (options.sd is None):
        raise ListeningError("give either --pilot, a test with answers, or --sd, a standard deviation of ratings")
    if options.pilot:
        key, rules, _ = answers.load_key(options.pilot)
        terms = plan.spread(answers.read(options.pilot / "answers", key, rules).rows, options.metric)
    else:
        terms = plan.published(options.sd, options.listener_sd, options.item_sd)
    told = f"Listeners for a difference of {options.difference:g} with power {options.power:g}"
    cli.print_table(plan.listeners(terms, options.difference, options.power), told)


VERBS = {"listen": cli.Verb(main, "python -m lib listen make --profile full --paper sp", more=add_arguments)}
