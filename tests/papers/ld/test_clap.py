"""What is asked of a CLAP, with one that knows every level."""

from types import SimpleNamespace

import numpy as np
import torch

from lib.corpora.styled import styles
from lib.papers.ld.clap import WORDINGS, draws_of, retrieval

LEVELS = [(factor, level) for factor, levels in styles.PHRASES.items() for level in levels]


def texts(prompts: list[str]) -> torch.Tensor:
    """A direction for each level of each factor, whatever the wording."""
    known = {styles.prompt({f: level}, w): place for place, (f, level) in enumerate(LEVELS) for w in WORDINGS.values()}
    return torch.eye(len(LEVELS))[[known[prompt] for prompt in prompts]]


def test_a_clap_that_knows_every_level_retrieves_every_factors_prompt(prepared):
    silent = SimpleNamespace(embed_audio=lambda waves: torch.zeros(len(waves), len(LEVELS)), embed_text=texts)
    table = draws_of(prepared, silent, "test")
    each = [np.float32([named[factor] == level for factor, level in LEVELS]) for named in table["levels"]]
    found = retrieval(table.assign(embedding=each), silent)
    hits = found[found["metric"] == "retrieval_accuracy"].groupby(["variant", "target"])["value"].mean()
    assert set(hits.index) == {(factor, kind) for factor in styles.PHRASES for kind in WORDINGS} and (hits == 1).all()
    chance = found[found["metric"] == "retrieval_chance"].groupby("variant")["value"].mean()
    assert chance["breath"] == 0.5 and np.isclose(chance["rate"], 1 / 3)
