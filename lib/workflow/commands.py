"""The command line of the study: `python -m lib.study status|claims|compare|figures|estimate|clean`."""

from __future__ import annotations

import argparse
import sys

from lib import study


def print_table(entries: list[dict], title: str) -> None:
    """A rich table in a terminal, tab-separated lines with a header when piped."""
    cells = [[_cell(value) for value in entry.values()] for entry in entries]
    if not entries:
        print(f"{title}: none")
        return
    header = list(entries[0])
    if not sys.stdout.isatty():
        print("\n".join("\t".join(line) for line in [header, *cells]))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, title=title)
    for line in cells:
        table.add_row(*line)
    Console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}" if abs(value) < 1e5 else f"{value:.0f}"
    return str(value)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lib.study", description="What has run, and what it shows.")
    parser.add_argument("--profile", default="demo")
    commands = parser.add_subparsers(dest="command", required=True)
    profiled = argparse.ArgumentParser(add_help=False)
    profiled.add_argument("--profile", default=argparse.SUPPRESS)
    for name, told in COMMANDS.items():
        command = commands.add_parser(name, help=told, description=told, parents=[profiled])
        if name == "compare":
            command.add_argument("a", help="a profile that has run, or a folder of results")
            command.add_argument("b", help="another one")
        if name == "estimate":
            command.add_argument("--device", default="auto", help="cpu, cuda or auto")
        if name == "clean":
            command.add_argument("--yes", action="store_true", help="remove what is listed")
    options = parser.parse_args(arguments)
    try:
        HANDLERS[options.command](options)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None


COMMANDS = {
    "status": "what has run, what is missing, what is stale",
    "claims": "judge the claims on the rows and write claims.json",
    "compare": "what changed between two runs: how they were made, verdicts, means of the rows",
    "figures": "draw every figure again from the rows alone",
    "estimate": "time a few training steps of every model and say how long the profile's trainings take here",
    "clean": "list what nothing needs any more; with --yes, remove it",
}


def _status(options: argparse.Namespace) -> None:
    print_table(study.status(study.load_profile(options.profile)), f"Runs of profile {options.profile}")


def _claims(options: argparse.Namespace) -> None:
    from lib.study import claims

    records = claims.write_claims(study.load_profile(options.profile))
    print_table(claims.summary(records), f"Claims in profile {options.profile}")


def _compare(options: argparse.Namespace) -> None:
    from lib.study import compare

    a, b = compare.locate(options.a), compare.locate(options.b)
    for number, title in enumerate(("provenance", "verdicts", "means")):
        print(end="\n" if number else "")
        print_table(getattr(compare, title)(a, b), f"{title} that differ: {options.a} (a), {options.b} (b)")


def _figures(options: argparse.Namespace) -> None:
    from lib.workflow import figures

    figures.draw_all(study.load_profile(options.profile))


def _estimate(options: argparse.Namespace) -> None:
    from lib.workflow import estimate

    profile, device = study.load_profile(options.profile), estimate.present(options.device)
    entries = estimate.estimate(profile, device, lambda line: print(line, file=sys.stderr))
    print_table(entries, f"Trainings of profile {options.profile} on {device}")
    print(estimate.summary(entries, device))


def _clean(options: argparse.Namespace) -> None:
    from lib.study import housekeeping

    profile = study.load_profile(options.profile)
    root, found = study.results_root(profile), housekeeping.leftovers(profile)
    print_table([{"file": str(path.relative_to(root)), "why": why} for path, why in found], "No longer needed")
    if found and options.yes:
        housekeeping.remove([path for path, _ in found], root)
    elif found:
        print("Nothing was removed: add --yes to remove them.")


HANDLERS = {
    "status": _status,
    "claims": _claims,
    "compare": _compare,
    "figures": _figures,
    "estimate": _estimate,
    "clean": _clean,
}
