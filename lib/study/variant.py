"""A system with other settings than its profile gives it: checked, named for what was changed, run beside the others.

    study, system = variant(Study, "demo", "auto", "dp_r45", seed=3, ratio=0.35)

What is not changed is the profile's own: weights, corpus, features. What is changed gets weights of its own and rows
under a name of its own, which say what was changed, so the profile's runs stay as they are.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib.study.profile import StudyError, load_profile
from lib.study.protocol import Study
from lib.study.rows import read_manifests


@dataclass(frozen=True)
class Choice:
    """What a flat parameter may be: one of some values, or a number from `low` to `high` (whole where both are).

    place: where it stands in the paper's section, "{system}" for the system's name; "" for a key of the system's entry.
    read: what is written there for a value; of a parameter without values or bounds, it raises StudyError itself.
    instead: a key of the system's entry whose place the parameter takes.
    """

    values: tuple = ()
    low: float | None = None
    high: float | None = None
    place: str = ""
    read: Callable[[Any], object] = lambda value: value
    instead: str = ""

    def told(self) -> str:
        return f"one of {', '.join(map(str, self.values))}" if self.values else f"from {self.low:g} to {self.high:g}"

    def check(self, name: str, value: object) -> object:
        """The value. Raises StudyError with the range where it is outside it."""
        if self.values or self.low is None:
            right = not self.values or value in self.values
        else:
            whole = isinstance(self.low, int) and isinstance(self.high, int)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            right = number and self.low <= value <= self.high and (not whole or value == int(value))
            value = int(value) if right and whole else value
        if not right:
            raise StudyError(f"{name} {value!r}: give {self.told()}")
        return value


def variant(
    kind: type[Study],
    profile: str,
    device: str,
    system: str,
    seed: int = 0,
    overrides: str | dict = "",
    beside: bool = True,
    **changes: object,
) -> tuple[Study, str]:
    """`changed`, run if it has no rows. beside: the profile's own runs are made first, to be compared with."""
    study, name = changed(kind, profile, device, system, overrides, **changes)
    return ran(study, name, seed, beside), name


def ran(study: Study, name: str, seed: int, beside: bool = True) -> Study:
    """The study, after the profile's own runs (beside) and this one where they had not finished."""
    own = study.own or study
    if beside:
        own.ensure()
    if study.run_id(name, seed) not in read_manifests(own.profile, study.paper.upper()):
        study.prepare()
        study.run(name, seed)
    return study


def changed(
    kind: type[Study], profile: str, device: str, system: str, overrides: str | dict = "", **changes
) -> tuple[Study, str]:
    """The study with these changes, and the name under which a system of it has its rows; nothing is run.

    changes: flat parameters, of `kind.choices`, None for the profile's value. overrides: any other settings, such as
    {"sp.train.steps": 500}, as a mapping or as JSON. Without changes it is the profile's own study and system.

    Raises StudyError for a parameter, a value or a setting that cannot be.
    """
    own = kind(load_profile(profile), device)
    entry = own.system(system)
    found = {name: _choice(kind, name).check(name, value) for name, value in changes.items() if value is not None}
    found = {k: value for k, value in found.items() if kind.choices[k].read(value) != _now(own, system, k)}
    settings = _read(overrides)
    for key in settings:
        _known(key, own.profile)
    if not found and not settings:
        return own, system
    name = system + "".join(f"_{_short(key)}_{_short(value)}" for key, value in {**found, **settings}.items())
    nested = load_profile(profile, _nested(settings))
    section = nested[kind.paper]
    section["systems"] = {**section["systems"], name: {k: v for k, v in entry.items() if k != "name"}}
    for key, value in found.items():
        section["systems"][name].pop(kind.choices[key].instead, None)
        _put(section, _place(kind, key, name), kind.choices[key].read(value))
    study = kind(nested, device, own=own)
    study.changed = {"of": system, **found, **settings}
    study.system(name)  # a system that cannot be is told before anything runs
    return study, name


def _known(key: str, profile: dict) -> None:
    """Raise StudyError for a setting that the profile does not have."""
    section, place = profile, key.split(".")
    for depth, part in enumerate(place):
        if part not in section:
            there = f"{'.'.join(place[:depth]) or 'it'} has {', '.join(map(str, section)) or 'none'}"
            raise StudyError(f"there is no setting {key} in profile {profile['name']}: {there}")
        section = section[part] if isinstance(section[part], dict) else {}


def _choice(kind: type[Study], name: str) -> Choice:
    if name not in kind.choices:
        raise StudyError(f"{kind.paper} has no parameter {name}: choose from {', '.join(kind.choices)}")
    return kind.choices[name]


def _place(kind: type[Study], key: str, system: str) -> list[str]:
    return (_choice(kind, key).place or f"systems.{{system}}.{key}").format(system=system).split(".")


def _now(own: Study, system: str, key: str) -> object:
    value = {**own.settings, "systems": {system: own.system(system)}}
    for part in _place(type(own), key, system):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _put(section: dict, place: list[str], value: object) -> None:
    for part in place[:-1]:
        section[part] = dict(section.get(part) or {})
        section = section[part]
    section[place[-1]] = value


def _read(overrides: str | dict) -> dict:
    if isinstance(overrides, dict):
        return overrides
    try:
        read = json.loads(overrides or "{}")
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise StudyError(f'overrides {overrides!r}: write JSON such as {{"sp.train.steps": 500}}')
    return read


def _nested(settings: dict) -> dict:
    """{"sp.train.steps": 500} as {"sp": {"train": {"steps": 500}}}."""
    nested: dict = {}
    for key, value in settings.items():
        _put(nested, key.split("."), value)
    return nested


def _short(value: object) -> str:
    """A key or a value as a run id can hold it: 0.35 is 0p35."""
    if isinstance(value, list):
        return "_".join(map(_short, value))
    text = str(value).replace(".", "p" if isinstance(value, float) else "_")
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
