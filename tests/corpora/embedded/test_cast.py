"""Who speaks in the profiles: people in one role, as many women as men, adaptation outside pre-training."""

import itertools
from collections import Counter

import pytest

from lib.corpora.embedded import recipe
from lib.study import load_profile

WOMEN = {"hibari", "flite slt"}  # of the voices whose names do not tell
ONE_PERSON = {"hibari": "af_heart"}
ALIKE = (  # GE2E above 0.85, or nearly
    *(("af_heart", "af_bella"), ("am_puck", "am_echo"), ("am_puck", "am_fenrir")),
    *(("jf_nezumi", "jf_gongitsune"), ("jf_nezumi", "jf_tebukuro")),
)


@pytest.fixture(scope="module")
def full() -> dict:
    return recipe.resolve(load_profile("full")["corpus"])


@pytest.fixture(scope="module")
def demo() -> dict:
    return recipe.resolve(load_profile("demo")["corpus"])


def people(base: dict) -> set[str]:
    if base["voice"] == "kokoro":
        return set(base["timbre"]) | set(base.get("prosody", ()))
    name = f"flite {base['speaker']}" if base["voice"] == "flite" else base["voice"]
    return {ONE_PERSON.get(name, name)}


def is_woman(person: str) -> bool:
    return person in WOMEN or person[1:2] == "f" and person[2:3] == "_"


def roles_of_people(settings: dict) -> dict[str, set[str]]:
    roles: dict[str, set[str]] = {}
    for entry in settings["speakers"].values():
        for person in people(settings["bases"][entry["base"]]):
            roles.setdefault(person, set()).add(entry["role"])
    return roles


def test_every_person_and_whoever_sounds_alike_is_in_one_role(full):
    roles = roles_of_people(full)
    assert {person: held for person, held in roles.items() if len(held) > 1} == {}
    for one, other in ALIKE:
        assert len(roles.get(one, set()) | roles.get(other, set())) <= 1, f"{one} sounds like {other}"


def test_every_role_has_its_speakers_half_of_them_women(full):
    spoken = Counter()
    for entry in full["speakers"].values():
        (person,) = people(full["bases"][entry["base"]])
        spoken[entry["role"], is_woman(person)] += 1
    assert spoken == {
        **{("pretraining", woman): 8 for woman in (True, False)},
        **{(role, woman): 12 for role in ("adaptation", "never_seen") for woman in (True, False)},
    }


def test_the_demo_is_a_part_of_full_so_that_what_full_trained_starts_it(demo, full):
    for kind in ("bases", "speakers"):
        assert demo[kind] == {name: full[kind][name] for name in demo[kind]}
    spoken = Counter()
    for entry in demo["speakers"].values():
        (person,) = people(demo["bases"][entry["base"]])
        spoken[entry["role"], is_woman(person)] += 1
    assert len(spoken) == 6 and all(spoken[role, True] == spoken[role, False] for role, _ in spoken)


def test_adaptation_lies_outside_pretraining_in_engine_or_accent(full):
    kinds = {role: set() for role in full["counts"]}
    for entry in full["speakers"].values():
        base = full["bases"][entry["base"]]
        accent = next(iter(base["timbre"]))[0] if base["voice"] == "kokoro" else base["voice"]
        kinds[entry["role"]].add((base["voice"], accent))
    assert kinds["pretraining"] == {("kokoro", "a")}
    assert not kinds["pretraining"] & kinds["adaptation"]
    assert {"kokoro", "flite", "joe"} == {voice for voice, _ in kinds["adaptation"]}


def test_shifted_speakers_of_a_base_differ_and_stand_beside_it(full):
    seen = [(e["base"], e.get("warp", 1.0), e.get("f0", 1.0)) for e in full["speakers"].values()]
    assert len(seen) == len(set(seen))
    plain = {base for base, *shift in seen if shift == [1.0, 1.0]}
    assert plain == set(full["bases"])
    assert not any(full["bases"][base]["voice"] == "flite" for base, *shift in seen if shift != [1.0, 1.0])


def test_no_utterance_of_a_split_is_asked_for_beyond_its_sentences(full):
    sentences = recipe.read_sentences()
    for counts, split in itertools.product(full["counts"].values(), sentences):
        assert counts[split] <= len(sentences[split])


def test_the_size_of_a_recipe_is_told_before_it_is_made():
    assert recipe.size(load_profile("full")["corpus"]) == "64 speakers, 5,208 utterances, about 4.3 hours"
    assert recipe.size(load_profile("smoke")["corpus"]).startswith("6 speakers, 20 utterances, about 0.0")
