"""The verb `corpora` of the command line, as a program of its own."""

import argparse

from lib.cli import told
from lib.corpora import command

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m lib.corpora", description=command.__doc__.splitlines()[0])
    command.add_arguments(parser)
    with told():
        command.main(parser.parse_args())
