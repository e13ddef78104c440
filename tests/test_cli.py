"""The options that the study's steps share."""

import sys

import pytest
import torch

from lib import cli


@pytest.fixture
def given(monkeypatch):
    """Read options from a line; afterwards torch has the threads it had."""
    before = torch.get_num_threads()

    def read(line: str, **facts):
        monkeypatch.setattr(sys, "argv", ["program", *line.split()])
        return cli.options("lib.thing", "What it does.\nMore.", **facts)

    yield read
    torch.set_num_threads(before)


def test_a_step_has_its_options_and_torch_its_threads(given):
    read = given("run --profile smoke --system a --seed 3 --threads 1", steps=("prepare", "run"), system="b")
    assert vars(read) == {
        **{"step": "run", "profile": "smoke", "system": "a", "seed": 3, "device": "auto", "threads": 1},
    }
    assert torch.get_num_threads() == 1


def test_what_has_a_default_may_be_left_out(given):
    read = given("", system="b", seed=False, paper={"choices": ("ht", "ha"), "default": "ht"})
    assert (read.profile, read.system, read.paper) == ("demo", "b", "ht") and not hasattr(read, "seed")


@pytest.mark.parametrize(
    ("line", "facts", "told"),
    [
        ("", {"system": ""}, "--system"),
        ("fly", {"steps": ("prepare", "run")}, "choose from"),
        ("--paper xx", {"paper": {"choices": ("ht",)}}, "--paper"),
    ],
)
def test_what_is_missing_or_unknown_is_named(given, capsys, line, facts, told):
    with pytest.raises(SystemExit):
        given(line, **facts)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError, OSError, FloatingPointError])
def test_an_error_that_says_what_to_change_ends_the_process_with_its_sentence(error):
    with pytest.raises(SystemExit, match="^mend the corpus$"), cli.told():
        raise error("mend the corpus")


def test_a_fault_of_our_own_keeps_its_traceback():
    with pytest.raises(KeyError), cli.told():
        raise KeyError("x")
