"""Parts that come with the project: written with a card, taken instead of trained, refused where they do not fit."""

import json

import pytest
import torch
from synthetic_zero_shot import make_study

from lib import __main__ as door
from lib import study
from lib.files import file_hash
from lib.papers.sp.systems import DENSE
from lib.study import protocol, shipped
from lib.study.gates import read_curves
from lib.study.profile import PROFILES, StudyError, profile_hash
from lib.training.weights import WeightsError, metadata
from lib.workflow import runs


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))


@pytest.fixture
def trained(tmp_path):
    """A study whose dense model is trained and shipped."""
    made = make_study(tmp_path / "trained")
    made.train(DENSE, 0)
    shipped.ship(made, DENSE)
    return made


@pytest.fixture
def taking(trained, tmp_path, monkeypatch):
    """Makes studies that start from what is shipped, with results of their own."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "others"))
    return lambda **settings: make_study(tmp_path / "taking", start="shipped", **settings)


def no_training(monkeypatch):
    def refuse(*arguments, **more):
        raise AssertionError("something is trained")

    monkeypatch.setattr(protocol, "fit", refuse)


def card_path():
    return shipped.file_of("sp", DENSE).with_suffix(".json")


def change_card(**values):
    card_path().write_text(json.dumps(json.loads(card_path().read_text()) | values))


def test_what_is_taken_speaks_as_what_was_shipped_within_half_precision(trained, taking, monkeypatch, tmp_path):
    model = taking().restore(DENSE, 0).backbone
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    first = trained.restore(DENSE, 0).backbone
    batch = trained.features.batch(trained.features.rows(trained.corpus.select(split="test")[:2]))
    with torch.no_grad():
        torch.testing.assert_close(model(batch)["mel"], first(batch)["mel"], rtol=1e-2, atol=1e-2)
    weights = dict(first.named_parameters())
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert any(not torch.equal(p, weights[name]) for name, p in model.named_parameters())  # they were rounded


def test_nothing_is_trained_and_manifests_name_the_shipped_file(taking, monkeypatch):
    no_training(monkeypatch)
    made, source = taking(), shipped.file_of("sp", DENSE)
    made.prepare()
    made.run("attention_cost", 0)
    named = f"shipped, SHA-256 {file_hash(source)[:12]}"
    manifest = study.read_manifests(made.profile, "SP")["sp-attention_cost-s0"]
    assert manifest["shipped"] == {DENSE: named} and made.start_of(DENSE, 0) == named
    assert json.loads((made.root / "prepared" / "sp.json").read_text())["sp-dense-s0"]["fingerprint"] == named
    assert made.mark_of(DENSE, 0) == file_hash(source)[:12]


def test_what_starts_from_a_shipped_part_depends_on_its_hash(trained, taking):
    assert file_hash(shipped.file_of("sp", DENSE)) in str(taking().part("vp", 0).depends)
    other = make_study(trained.corpus.root, start="shipped")
    path = other.train("vp", 0)
    written = path.stat().st_mtime_ns
    assert other.train("vp", 0).stat().st_mtime_ns == written and other.trained("vp", 0)["after"] == "sp-dense-s0"


def test_a_part_that_is_not_shipped_is_trained_and_says_so(tmp_path, capsys):
    made = make_study(tmp_path / "alone", start="shipped")
    path = made.train(DENSE, 0)
    assert "sp-dense-s0 is trained: these weights are not shipped.\n" in capsys.readouterr().err
    assert metadata(path)["fingerprint"] == made.mark_of(DENSE, 0) and made.taken() == {}


def test_a_part_with_other_settings_than_the_profiles_is_trained(taking):
    own = taking()
    for steps, source in ((3, shipped.file_of("sp", DENSE)), (2, None)):
        other = taking(dense={"steps": steps, "batch_size": 4, "learning_rate": 0.005})
        other.own = own
        assert other.shipped(DENSE) == source


def test_from_scratch_trains_what_is_shipped_and_what_is_trained(taking, monkeypatch, capsys):
    made = taking()
    made.train(DENSE, 0)
    monkeypatch.setattr(runs, "chosen", lambda options, device: (made, options.system))
    for _ in range(2):
        began = made.checkpoint(DENSE, 0).stat().st_mtime_ns
        door.main(["train", "sp", "dense", "--from-scratch", "--device", "cpu"])
        assert made.checkpoint(DENSE, 0).stat().st_mtime_ns > began
    assert made.start_of(DENSE, 0).startswith(made.mark(made.part(DENSE, 0)))
    path = made.checkpoint(DENSE, 0)
    content = path.read_bytes()
    assert str(path) in capsys.readouterr().out
    made.settings["start"] = "shipped"
    made.train(DENSE, 0)
    assert path.read_bytes() != content == (path.parent / "trained" / path.name).read_bytes()  # nothing is lost


def test_where_every_system_starts_from_random_weights_the_dense_model_is_the_baseline(tmp_path, monkeypatch):
    whole = make_study(tmp_path / "whole", from_scratch=True, start="shipped")
    with pytest.raises(ValueError, match="dense is no training of its own in this profile: baseline is the same model"):
        whole.train(DENSE, 0)
    whole.train("baseline", 0)
    card = shipped.ship(whole, DENSE)
    assert card["commands"][0].startswith("python -m lib train sp baseline") and whole.taken() == {}
    weights = whole.restore("baseline", 0).backbone.state_dict()
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "others"))
    taken = make_study(tmp_path / "taking", start="shipped").restore(DENSE, 0).backbone.state_dict()
    for name, value in weights.items():
        torch.testing.assert_close(taken[name], value, rtol=1e-3, atol=1e-6)


def test_a_part_that_this_recipe_made_is_adopted_as_trained_and_no_other(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "others"))
    other = make_study(trained.corpus.root, dense={"steps": 2, "batch_size": 4, "learning_rate": 0.005})
    assert not shipped.adopt(other, DENSE) and not other.checkpoint(DENSE, 0).exists()
    same = make_study(trained.corpus.root)
    assert shipped.adopt(same, DENSE) and not shipped.adopt(same, DENSE)
    no_training(monkeypatch)
    same.restore(DENSE, 0)
    adopted = same.start_of(DENSE, 0)
    assert adopted.startswith(same.mark_of(DENSE, 0)) and same.trained(DENSE, 0)["from"].startswith("shipped")
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    assert trained.start_of(DENSE, 0) == adopted  # the same training, though its weights were rounded
    facts = trained.trained(DENSE, 0)
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "others"))
    first = json.loads(card_path().read_text())
    again = shipped.ship(same, DENSE)  # for the quality on its card, which is measured with what was taken over
    assert (again["made"], again["sha256"]) == (first["made"], first["sha256"])
    assert set(facts) - {"wall_seconds"} <= set(same.trained(DENSE, 0)) and again["validation"] == facts["validation"]
    same.prepare()  # reads these facts
    change_card(sha256="0")
    with pytest.raises(WeightsError, match="its SHA-256 is not the one on its card"):
        shipped.adopt(same, DENSE)


def test_a_training_takes_what_its_recipe_made_but_from_scratch(trained, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "others"))
    same = make_study(trained.corpus.root)
    no_training(monkeypatch)
    same.restore(DENSE, 0)
    assert "sp-dense.safetensors of data/weights" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="something is trained"):
        same.train(DENSE, 0, again=True)


def test_a_card_says_how_and_on_what_and_how_good(tmp_path):
    made = make_study(tmp_path / "trained")
    made.train(DENSE, 0)
    factors = {
        "system": "baseline",
        "seed": 0,
        "variant": "zero_shot",
        "split": "test",
        "metric": "cos",
        "unit": "x100",
    }
    rows = [factors | {"role": "never_seen", "utterance": f"u{i}", "value": 60.0 + i} for i in range(3)]
    study.write_rows(rows, "sp-baseline-s0", made.profile)
    study.write_manifest("sp-baseline-s0", made.profile, {}, 0.0)
    card = shipped.ship(made, DENSE)
    train, ship = (f"python -m lib {verb} sp dense --seed 0 --profile tiny" for verb in ("train", "ship"))
    assert card["commands"] == [f"{train} --from-scratch", ship]
    assert card["trained_on"]["hash"] == made.corpus.hash and card["training"]["steps"] == card["steps"] == 3
    assert card["trained_on"]["people"]["ada_b"] == "adaptation" and card["needs"]["model"]["hidden"] == 16
    told = {"system": "baseline", "metric": "cos", "unit": "x100", "role": "never_seen", "value": 61.0, "rows": 3}
    assert card["quality"] == [told]
    assert card["history"][-1]["step"] == 3 and "validation" in card["history"][-1]
    assert shipped.read_card(shipped.file_of("sp", DENSE)) == json.loads(json.dumps(card))


def test_the_gates_read_a_shipped_parts_learning_curve(taking):
    made = taking()
    made.prepare()
    assert read_curves(made.profile)["sp-dense-s0"] == json.loads(card_path().read_text())["history"]


def test_a_learning_curve_is_thinned_but_keeps_every_loss_on_unseen_sentences():
    curve = [
        {"step": i, "total": 1 / 3, "seconds": 1.0} | ({"validation": 2.0} if i % 20 == 0 else {}) for i in range(200)
    ]
    kept = shipped.thinned(curve)
    assert len(kept) <= shipped.POINTS and sum("validation" in record for record in kept) == 10
    assert kept[1] == {"step": kept[1]["step"], "total": 0.3333} and kept == sorted(kept, key=lambda r: r["step"])


def test_numbers_that_float16_cannot_hold_are_kept_in_full(tmp_path):
    path = tmp_path / "xx-a.safetensors"
    shipped.write(path, {"large": torch.tensor([1e6]), "small": torch.tensor([0.5]), "count": torch.tensor(7)}, {})
    found = shipped.load_file(path)
    assert (found["large"].item(), found["small"].dtype, found["count"].dtype) == (1e6, torch.float16, torch.int64)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda path: path.unlink(), "no weights, only a card: `git checkout data/weights` restores both"),
        (lambda path: card_path().unlink(), "card sp-dense.json is missing or damaged: `git checkout data/weights`"),
        (lambda path: card_path().write_text("{"), "card sp-dense.json is missing or damaged: `git checkout"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "its SHA-256 is not the one on its card"),
        (
            lambda path: change_card(needs={}),
            "made with other symbols, features, model than .* `start: trained` in sec",
        ),
        (lambda path: change_card(trained_on={"hash": "of another"}), "another corpus, where pre_a is not in the same"),
    ],
)
def test_files_that_cannot_be_used_are_told_with_what_mends_them(taking, broken, said):
    broken(shipped.file_of("sp", DENSE))
    with pytest.raises(WeightsError, match=said):
        taking().train(DENSE, 0)


def test_weights_of_a_model_of_another_size_are_refused(taking):
    model = taking().settings["model"] | {"filter": 24}
    with pytest.raises(
        WeightsError, match="other model than this profile has: write `start: trained` in section sp of"
    ):
        taking(model=model).train(DENSE, 0)
    change_card(needs=json.loads(json.dumps(taking(model=model).lesson(DENSE).needs)))
    with pytest.raises(WeightsError, match="of another architecture than dense"):
        taking(model=model).train(DENSE, 0)


def test_a_smaller_corpus_takes_the_weights_unless_it_tests_on_their_sentences(taking):
    made = taking()
    made.corpus.hash, made.corpus.utterances = "smaller", made.corpus.utterances[:10]
    assert metadata(made.train(DENSE, 0))["fingerprint"] == shipped.MARK
    trained_on = json.loads(card_path().read_text())["trained_on"]
    change_card(trained_on=trained_on | {"sentences": shipped._named(made.corpus.select(split="test"))})
    with pytest.raises(WeightsError, match="trained on sentences that this profile tests on"):
        made.train(DENSE, 0)


def test_only_a_shared_part_that_is_trained_as_the_profile_says_is_shipped(tmp_path):
    made = make_study(tmp_path / "trained")
    with pytest.raises(StudyError, match="vp is nothing that the systems of sp share: they share dense"):
        shipped.ship(made, "vp")
    with pytest.raises(StudyError, match="sp-dense-s0 is not trained with .*: python -m lib train sp dense --seed 0"):
        shipped.ship(made, DENSE)
    made.train(DENSE, 0)
    made.settings["dense"] = {"steps": 4, "batch_size": 4, "learning_rate": 0.005}
    with pytest.raises(StudyError, match="is not trained with the settings of this profile"):
        shipped.ship(made, DENSE)


def test_the_default_start_leaves_a_profile_as_it_was_and_another_one_does_not():
    profile = study.load_profile("smoke")
    sections = {start: {**profile, "sp": {**profile["sp"], "start": start}} for start in ("trained", "shipped")}
    assert profile_hash(sections["trained"], "SP") == profile_hash(profile, "SP")
    assert profile_hash(sections["shipped"], "SP") != profile_hash(profile, "SP")


def test_a_start_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(StudyError, match="start 'bought' in section sp: choose trained or shipped"):
        make_study(tmp_path, start="bought").train(DENSE, 0)


def test_what_is_in_the_repository_has_its_card_and_is_small():
    folder = PROFILES.parents[1] / "data" / "weights"
    files = sorted(folder.glob("*.safetensors"))
    assert all(shipped.read_card(path)["sha256"] for path in files)
    assert {path.stem for path in folder.glob("*.json")} == {path.stem for path in files}
    assert sum(path.stat().st_size for path in files) < 46e6  # 40 MB of parts, and the recogniser's hypernetwork
