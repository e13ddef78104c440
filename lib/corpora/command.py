"""List, fetch, check and prepare recorded corpora: the verb `corpora` of the command line.

    python -m lib corpora list
    python -m lib corpora fetch librispeech --to ~/corpora/librispeech --parts test-clean
    python -m lib corpora check my_recordings --csv recordings.csv
    python -m lib corpora prepare librispeech --source ~/corpora/librispeech
    python -m lib corpora prepare folder --source my_recordings --never-seen anna --align

A corpus is prepared into `data/built/<name>-<hash>/`, and `lib.corpora.source.open_corpus` opens it by its name.
`--align` gives every phoneme a duration, by an aligner trained on the corpus (`lib.corpora.durations`); `--textgrids`
takes the durations of a forced aligner.
"""

import argparse
from pathlib import Path

from lib.cli import Verb
from lib.corpora import check, durations, published
from lib.corpora.corpus import CONDITIONS, ROLES, Corpus
from lib.corpora.recorded import folder
from lib.corpora.recorded.read import BUILT
from lib.corpora.textgrids import timed
from lib.files import cache_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands and their options."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("list", help="the corpora, their licences and sizes, and where they come from")
    fetching = commands.add_parser("fetch", help="download a corpus that needs no permission")
    fetching.add_argument("name", metavar="NAME")
    fetching.add_argument("--to", type=Path, required=True, help="folder to fetch it to")
    fetching.add_argument("--parts", nargs="+", default=(), help="of a corpus in several archives, those to fetch")
    checking = commands.add_parser(
        "check",
        help="what of a folder would be used, what set aside and why, how it sounds",
        epilog="example: python -m lib corpora check my_recordings --csv recordings.csv",
    )
    checking.add_argument("source", type=Path, metavar="FOLDER", help="folder of recordings, or a CSV")
    checking.add_argument(
        "--name", default="folder", metavar="NAME", help="the corpus that was unpacked there (one's own recordings)"
    )
    checking.add_argument(
        "--csv", type=Path, dest="listing", metavar="FILE", help="write a line for every recording here"
    )
    preparing = commands.add_parser("prepare", help="write a corpus's 16 kHz recordings and manifest")
    preparing.add_argument("name", metavar="NAME")
    preparing.add_argument("--source", type=Path, required=True, help="folder the corpus was unpacked to")
    preparing.add_argument(
        "--root", type=Path, default=BUILT, help="where prepared corpora go (data/built, or built in STUDY_CACHE)"
    )
    timing = preparing.add_argument_group("phoneme durations")
    timing.add_argument("--align", action="store_true", help="train the aligner on the corpus and give it durations")
    timing.add_argument("--steps", type=int, help="steps of the aligner's training (600)")
    timing.add_argument("--device", default="auto", help="auto, cpu or cuda, of the aligner")
    timing.add_argument("--textgrids", type=Path, help="folder of <utterance>.TextGrid files to take durations from")
    for command in (checking, preparing):
        command.add_argument("--cores", type=int, help="worker processes (all cores)")
        own = command.add_argument_group("of NAME folder only")
        own.add_argument("--role", choices=ROLES, help="role of its speakers (adaptation)")
        own.add_argument("--condition", choices=CONDITIONS, help="condition of its speakers (typical)")
        own.add_argument("--never-seen", nargs="+", metavar="SPEAKER", help="speakers kept out of all training")


def main(options: argparse.Namespace) -> None:
    """Do what the command line says and print what came of it. Raises ValueError or OSError of one sentence."""
    given = vars(options)
    command = given.pop("command")
    if command == "list":
        print(list_corpora())
    elif command == "fetch":
        source = published.fetch(options.name, options.to, options.parts)
        print(f"{source}: ready; now run python -m lib corpora prepare {options.name} --source {source}")
    elif command == "check":
        check.report(**given)
    else:
        corpus = prepare(**given)
        minutes = sum(item.seconds for item in corpus.utterances) / 60
        print(
            f"{corpus.root}: {len(corpus.utterances)} utterances, {minutes:.1f} minutes, "
            f"{len(corpus.speakers())} speakers, {len(corpus.set_aside)} set aside"
            + (", with durations" if any(item.durations for item in corpus.utterances) else "")
        )


def list_corpora() -> str:
    """Every corpus with its licence and size, and how to get it, two lines for each."""
    abouts = [folder.ABOUT, *(loader.ABOUT for loader in published.LOADERS.values())]
    return "\n".join(f"{a.name:12} {a.title}: {a.size}; {a.licence}.\n{'':12} {a.access}" for a in abouts)


def prepare(
    name: str,
    source: Path,
    root: Path = BUILT,
    cores: int | None = None,
    align: bool = False,
    steps: int | None = None,
    device: str = "auto",
    textgrids: Path | None = None,
    **own: object,
) -> Corpus:
    """Prepare a published corpus, or with the name `folder` one's own, with durations where they are asked for.

    own: options of `lib.corpora.recorded.folder.read`. Raises CorpusError or AudioError of one sentence.
    """
    own = {option: value for option, value in own.items() if value is not None}
    if name == "folder":
        corpus = folder.read(source, root=root, cores=cores, **own)
    elif own:
        raise ValueError(f"Roles and conditions of {name} are its loader's; leave {', '.join(own)} out.")
    else:
        corpus = published.prepare(name, source, root, cores)
    if textgrids is not None:
        return timed(corpus, textgrids)
    if not align:
        return corpus
    train = durations.SETTINGS["train"] | ({"steps": steps} if steps else {})
    return durations.align(corpus, cache_root(), durations.SETTINGS | {"train": train}, device=device, cores=cores)


EXAMPLE = "python -m lib corpora prepare folder --source my_recordings --align"
VERBS = {"corpora": Verb(main, EXAMPLE, more=add_arguments)}
