"""The laboratory of atypical speech, with a hypernetwork that was never trained and on synthetic speech."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from synthetic_corpus import source as synthetic_source

from lib import study
from lib.models.whisper.states import prepare
from lib.papers.ha import lab, widget
from lib.papers.ha.systems import EVERYBODY, Adaptations, Systems
from lib.study import heard, widgets
from lib.study.heard import ExploreError, Note
from lib.training.weights import saved_state

SYSTEMS = {
    "whisper_0": {"method": "none"},
    "hyper": {"method": "hyper", "targets": ["decoder.W1"], "rank": 2},
    "cohort_lora": {"method": "lora", "targets": ["decoder.cross"], "budget": 0.03, "level": "cohort"},
}


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    """Recognisers of the synthetic corpus, with a checkpoint of a hypernetwork that was never trained."""
    place, patch = tmp_path_factory.mktemp("explore"), pytest.MonkeyPatch()
    patch.setenv("STUDY_RESULTS", str(place / "results"))
    patch.setenv("STUDY_CACHE", str(place / "cache"))
    profile = study.load_profile("smoke")
    made = Systems(profile | {"ha": profile["ha"] | {"systems": SYSTEMS}}, "cpu", 1)
    made.corpus = made.typical = synthetic_source(place / "source")
    torch.manual_seed(0)
    trained = made.corpus.select(role="adaptation", split="train")
    model = made.build(made.system("hyper"), {EVERYBODY: trained})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    path = made.checkpoint("hyper", 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(saved_state(model), path)
    yield made
    patch.undo()


@pytest.fixture
def sentence(recogniser):
    return recogniser.corpus.select(split="test", speaker="new_one")[0]


def test_a_sentence_made_atypical_is_heard_and_read_with_and_without_adaptation(recogniser, sentence):
    shown = lab.hear_atypical(recogniser, "hyper", 0, sentence, "stuttering", "severe")
    assert [t.name for t in shown.transcripts] == ["Whisper tiny.en heard", "with hyper"]
    assert len(shown.wave) > len(shown.beside["recording"]) and shown.facts["rank"] == "2"
    assert "severe stuttering (simulated)" in shown.title
    kinds = [row[0].kind for row in shown.panels]
    assert kinds == ["mel", "mel", "attention", "weights", "weights"]
    assert [panel.title for panel in shown.panels[2]] == [
        "where Whisper tiny.en listens",
        "where Whisper with hyper listens",
    ]
    assert "own part" in shown.panels[-1][0].title


def test_the_decoder_listens_to_the_utterance_and_no_further(recogniser, sentence):
    shown = lab.hear_atypical(recogniser, "whisper_0", 0, sentence, "typical")
    (row,) = [row for row in shown.panels if row[0].kind == "attention"]
    weights = row[0].values
    assert weights.shape[1] == -(-len(shown.wave) // 320)
    assert (weights >= 0).all() and (weights.sum(1) <= 1 + 1e-5).all()
    assert not recogniser.model.network.model.decoder.layers[-1].encoder_attn.q_proj._forward_hooks
    assert len(shown.transcripts) == 1


def test_the_same_draw_gives_the_same_speech_and_another_one_other_speech(recogniser, sentence):
    one, two, other = (lab.make(recogniser.corpus, sentence, "parkinsons", "moderate", draw)[0] for draw in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert len(other) != len(one) or not np.array_equal(one, other)


def test_an_unknown_condition_is_refused(recogniser, sentence):
    with pytest.raises(ExploreError, match="There is no severe whisper: choose one of typical"):
        lab.make(recogniser.corpus, sentence, "whisper", "severe")


def test_a_cohorts_adaptation_is_for_its_cohort(recogniser, sentence):
    systems = Adaptations({"name": "cohort_lora", "level": "cohort"}, {"dysarthria": torch.nn.Identity()})
    item = lab.make(recogniser.corpus, sentence, "stuttering", "mild")[1]
    with pytest.raises(ExploreError, match="cohort_lora has no adaptation for stuttering: choose one of dysarthria"):
        lab.part_for(systems, item)


def test_an_update_is_shown_as_it_is_applied(recogniser):
    systems = lab.load(recogniser, "hyper", 0)
    adaptation = systems.parts[0]
    own = torch.randn(1, len(adaptation.mean))
    with torch.no_grad():
        path, update = next(iter(lab.updates(adaptation, own).items()))
        linear, x = recogniser.model.network.get_submodule(path), torch.randn(1, 3, update.shape[1])
        plain = linear(x)
        with adaptation.applied(recogniser.model.network, own):
            changed = linear(x)
    torch.testing.assert_close(changed - plain, x @ update.T, atol=1e-4, rtol=1e-3)


def test_a_large_matrix_is_drawn_by_the_largest_entry_of_each_block():
    matrix = torch.tensor([[1.0, -3.0, 0.5], [2.0, 0.0, -0.1], [0.0, 0.2, 0.0]])
    assert lab.coarse(matrix, 2).tolist() == [[-3.0, 0.5], [pytest.approx(0.2), 0.0]]
    assert torch.equal(lab.coarse(matrix), matrix)


def test_recognisers_without_a_checkpoint_are_named(recogniser, sentence):
    assert lab.trained(recogniser, 1) == ["whisper_0"]
    note = heard.attempt(lab.hear_atypical, recogniser, "hyper", 1, sentence)
    assert "hyper, seed 1, has not been trained in the profile smoke" in note.sentence
    assert lab.ranks(recogniser)["cohort_lora"] == "lora, 0.03 %, cohort"


def test_an_example_for_listening_has_the_embedding_its_system_asks_for(recogniser, sentence, tmp_path):
    example = prepare(recogniser.model, "x", recogniser.corpus.wave(sentence), None, 5.0)
    cache = lab.EncoderStates(recogniser.model, tmp_path)
    given = {kind: {"method": "hyper", "conditioning": kind} for kind in ("whisper", "ge2e")}
    shapes = {k: tuple(lab.embedding(s, cache, example, "cpu").shape) for k, s in given.items()}
    assert shapes == {"whisper": (1, 384), "ge2e": (1, 256)}
    assert lab.embedding({"method": "lora"}, cache, example, "cpu") is None


def test_no_widgets_without_a_reader(recogniser):
    note = widget.laboratory(recogniser)
    assert isinstance(note, Note) and "JupyterLab" in note.sentence


def test_the_widget_shows_what_is_chosen(recogniser, monkeypatch):
    monkeypatch.setattr(widgets, "_has_reader", lambda: True)
    asked = []
    monkeypatch.setattr(lab, "hear_atypical", lambda *chosen: asked.append(chosen[1:]) or Note("read"))
    controls = {c.description: c for c in widget.laboratory(recogniser).children[0].children}
    controls["condition"].value, controls["severity"].value, controls["draw"].value = "mixed", "severe", 3
    assert asked[-1][3:] == ("mixed", "severe", 3)
