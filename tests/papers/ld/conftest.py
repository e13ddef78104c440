"""A study of diffusion in latents that is prepared in seconds: four sentences, models of a few channels."""

import pytest

from lib.papers.ld.study import Study
from lib.study.profile import load_profile

MICRO = {
    "data": {"sentences": {"train": 2, "validation": 1, "test": 1}, "draws": 2, "takes": 1},
    "posterior": {"channels": 16, "layers": 1, "steps": 2, "batch_size": 2, "frames": 24, "styled": 1, "segment": 6},
    "clap": {"text": "words", "dims": {"size": 8, "channels": 8, "layers": 2}, "train": {"steps": 2, "batch_size": 3}},
    "diffusion": {"steps": 2, "batch_size": 2, "frames": 24},
    "decoder": {"steps": 1, "batch_size": 1, "segment": 6},
    "sampling": {"steps": 2},
    "evaluate": {"guidance": [0.0, 2.0], "styles": ["high_lively"], "players": 1},
}


@pytest.fixture(scope="package")
def profile() -> dict:
    return load_profile("smoke", {"ld": MICRO})


@pytest.fixture(scope="package")
def prepared(profile, tmp_path_factory) -> Study:
    """The study, prepared in folders of its own."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("latents")
    patch.setenv("STUDY_RESULTS", str(folder / "results"))
    patch.setenv("STUDY_CACHE", str(folder / "cache"))
    made = Study(profile)
    made.prepare()
    yield made
    patch.undo()
