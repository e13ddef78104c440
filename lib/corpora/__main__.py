"""Fetch and prepare recorded corpora.

    python -m lib.corpora list
    python -m lib.corpora fetch librispeech --to ~/corpora/librispeech --parts test-clean
    python -m lib.corpora prepare librispeech --source ~/corpora/librispeech
    python -m lib.corpora prepare folder --source my_recordings --never-seen anna --align

A corpus is prepared into `data/built/<name>-<hash>/`; `lib.corpora.corpus.Corpus.load` opens it. `--align` gives every phoneme
a duration, by an aligner trained on the corpus (`lib.corpora.durations`) or from the TextGrids of a forced aligner.
"""

import argparse
from pathlib import Path

from lib.corpora import published
from lib.corpora.corpus import CONDITIONS, ROLES, Corpus
from lib.corpora.recorded import folder
from lib.corpora.recorded.read import BUILT
from lib.files import cache_root
from lib.study.protocol import resolve_device


def main(arguments: list[str] | None = None) -> None:
    """Run one command of the module's docstring; a mistake ends it with one sentence."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped; what is finished is kept, run the same command again to go on.") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib.corpora", description="Fetch and prepare recorded corpora.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the corpora, their licences and sizes, and where they come from")
    listing.set_defaults(run=_list)
    fetching = commands.add_parser("fetch", help="download a corpus that needs no permission")
    fetching.add_argument("name", metavar="NAME")
    fetching.add_argument("--to", type=Path, required=True, help="folder to fetch it to")
    fetching.add_argument("--parts", nargs="+", default=(), help="of a corpus in several archives, those to fetch")
    fetching.set_defaults(run=_fetch)
    preparing = commands.add_parser("prepare", help="write a corpus's 16 kHz recordings and manifest")
    preparing.add_argument("name", metavar="NAME")
    preparing.add_argument("--source", type=Path, required=True, help="folder the corpus was unpacked to")
    preparing.add_argument("--root", type=Path, default=BUILT, help="where prepared corpora go (data/built)")
    preparing.add_argument("--cores", type=int, help="worker processes (all cores)")
    timing = preparing.add_argument_group("phoneme durations")
    timing.add_argument("--align", action="store_true", help="train the aligner on the corpus and give it durations")
    timing.add_argument("--steps", type=int, help="steps of the aligner's training (600)")
    timing.add_argument("--device", default="auto", help="auto, cpu or cuda, of the aligner")
    timing.add_argument("--textgrids", type=Path, help="folder of <utterance>.TextGrid files to take durations from")
    own = preparing.add_argument_group("of NAME folder only")
    own.add_argument("--role", choices=ROLES, help="role of its speakers (adaptation)")
    own.add_argument("--condition", choices=CONDITIONS, help="condition of its speakers (typical)")
    own.add_argument("--never-seen", nargs="+", metavar="SPEAKER", help="speakers kept out of all training")
    preparing.set_defaults(run=_prepare)
    return parser


def _list(options: argparse.Namespace) -> str:
    lines = []
    for name, loader in {"folder": folder, **published.LOADERS}.items():
        about = loader.ABOUT
        lines.append(f"{name:12} {about.title}: {about.size}; {about.licence}.\n{'':12} {about.access}")
    return "\n".join(lines)


def _fetch(options: argparse.Namespace) -> str:
    source = published.fetch(options.name, options.to, options.parts)
    return f"{source}: ready; now run python -m lib.corpora prepare {options.name} --source {source}"


def _prepare(options: argparse.Namespace) -> str:
    given = {"role": options.role, "condition": options.condition, "never_seen": options.never_seen}
    given = {name: value for name, value in given.items() if value is not None}
    if options.name == "folder":
        corpus = folder.read(options.source, root=options.root, cores=options.cores, **given)
    elif given:
        raise ValueError(f"Roles and conditions of {options.name} are its loader's; leave {', '.join(given)} out.")
    else:
        corpus = published.prepare(options.name, options.source, options.root, options.cores)
    return _summary(_timed(corpus, options))


def _timed(corpus: Corpus, options: argparse.Namespace) -> Corpus:
    """The corpus with durations where they are asked for."""
    if options.textgrids is not None:
        from lib.corpora import textgrids as phones

        return phones.timed(corpus, options.textgrids)
    if not options.align:
        return corpus
    from lib import study
    from lib.corpora import durations as aligned

    changes = {"train": {"steps": options.steps}} if options.steps else {}
    cache = cache_root()
    return aligned.align(
        corpus,
        cache,
        study.merge(aligned.SETTINGS, changes),
        device=resolve_device(options.device),
        cores=options.cores,
    )


def _summary(corpus: Corpus) -> str:
    minutes = sum(item.seconds for item in corpus.utterances) / 60
    return (
        f"{corpus.root}: {len(corpus.utterances)} utterances, {minutes:.1f} minutes, "
        f"{len(corpus.speakers())} speakers, {len(corpus.set_aside)} set aside"
        + (", with durations" if any(item.durations for item in corpus.utterances) else "")
    )


if __name__ == "__main__":
    main()
