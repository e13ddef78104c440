"""The laboratory of latent diffusion, where nothing was trained."""

import pytest

from lib.corpora.styled.styles import StyleError
from lib.papers.ld import lab, widget
from lib.papers.ld.systems import Systems
from lib.study import StudyError, heard, load_profile, widgets


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDY_RESULTS", str(folder / "results"))
    patch.setenv("STUDY_CACHE", str(folder / "cache"))
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def study(place):
    return Systems(load_profile("smoke"), "cpu", 1)


def test_diffusions_that_have_not_been_trained_are_named(study):
    note = heard.attempt(lab.speak_latents, study, "i2sb", 0, 0, "a high voice")
    assert "i2sb, seed 0, has not been trained in the profile smoke" in note.sentence
    assert lab.trained(study) == []
    assert "takes no prompt" in heard.attempt(lab.speak_latents, study, "text", 0).sentence


def test_a_prompt_names_every_factor_of_the_style():
    words = lab.prompt(pitch="high", rate="slow")
    assert "high voice" in words and "slow" in words and words.count(",") == 4
    with pytest.raises(StyleError, match="pitch 'higher'"):
        lab.prompt(pitch="higher")


def test_a_profile_without_the_study_is_refused():
    with pytest.raises(StudyError, match="no section ld"):
        Systems({"name": "old"})


def test_no_widgets_without_a_reader(study):
    assert widget.laboratory(study).sentence == widgets.NO_READER
