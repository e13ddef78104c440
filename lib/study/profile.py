"""Profiles: every number of a run, read from notebooks/profiles, and which runs a profile consists of."""

import os
from functools import reduce
from pathlib import Path

import yaml

from lib.files import ROOT, fingerprint

PROFILES = ROOT / "notebooks" / "profiles"
OTHER = "other_corpus"  # the run of a paper on a real voice
PER_RUN = ("systems", "headline", "seeds")  # keys of a paper's section that say which runs there are
DEFAULT = ("start", "trained")  # says what a section without it means


class StudyError(ValueError):
    """A profile, row or manifest that cannot be used; the message names it and the fix."""


def load_profile(name: str, overrides: dict | None = None) -> dict:
    """Parameters of a profile: base.yaml, then <name>.yaml, then `overrides`, merged section by section.

    These files hold what all papers share. A paper's own parameters are one section, "ha" for example: what
    papers/ha.yaml holds under `base`, then under the profile's name, then what <name>.yaml itself says of it. A profile
    that says `like: demo` is laid over demo, which is laid over base. `only` in a section names those of its systems
    that the profile has (null: all), and what is laid over it may add others.

    Raises StudyError for a profile that does not exist, an override of a section no profile has, and a system of `only`
    that there is not.
    """
    available = sorted(path.stem for path in PROFILES.glob("*.yaml") if path.stem != "base")
    if name not in available:
        raise StudyError(f"there is no profile {name!r}; choose one of {', '.join(available)}")
    like = _read_yaml(PROFILES / f"{name}.yaml").get("like")
    if like is not None and like not in available:
        raise StudyError(
            f"the profile {name} is like {like!r}, which there is not; choose one of {', '.join(available)}"
        )
    stems = [stem for stem in ("base", like, name) if stem and (PROFILES / f"{stem}.yaml").exists()]
    profile, asked = reduce(merge, (_read_yaml(PROFILES / f"{stem}.yaml") for stem in stems)), overrides or {}
    profile.pop("like", None)
    papers = paper_settings()
    unknown = sorted(set(asked) - {*profile, *papers})
    if unknown:
        there = ", ".join(profile | papers)
        raise StudyError(f"{', '.join(unknown)}: no such section in profile {name}; it has {there}")
    for paper, parts in papers.items():
        laid = [parts.get(stem) for stem in dict.fromkeys(("base", *stems))]
        profile[paper] = _lay(paper, [each or {} for each in (*laid, profile.get(paper), asked.get(paper))])
    return merge(profile, {key: value for key, value in asked.items() if key not in papers}) | {"name": name}


def _lay(paper: str, layers: list[dict]) -> dict:
    """A paper's section of layers, each over those before, with the systems of the last `only` and of later ones."""
    section, only = {}, None
    for layer in layers:
        told = layer.get("systems") or {}
        only = layer.get("only", only and [*only, *told])
        section = merge(section, {key: value for key, value in layer.items() if key != "only"})
    if only is None:
        return section
    systems = section.get("systems") or {}
    if strange := [name for name in only if name not in systems]:
        raise StudyError(f"{paper}.only: there is no system {strange[0]}; choose of {', '.join(systems)}")
    headline = [name for name in section.get("headline") or [] if name in only]
    return section | {"systems": {name: systems[name] for name in only}, "headline": headline}


def paper_settings() -> dict[str, dict]:
    """The files papers/<paper>.yaml, read: `base` and the profiles' parts, by the paper's lower-case id."""
    return {path.stem: _read_yaml(path) for path in sorted((PROFILES / "papers").glob("[!.]*.yaml"))}


def merge(base: dict, changes: dict) -> dict:
    """A copy of `base` with `changes` laid over it; mappings merge, anything else replaces."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def results_root(profile: dict | str | Path) -> Path:
    """results/<profile>, or <profile> in the folder that the environment variable STUDY_RESULTS names; a folder given
    as a path is one of results itself.
    """
    if isinstance(profile, Path):
        return profile
    name = profile if isinstance(profile, str) else profile["name"]
    return Path(os.environ.get("STUDY_RESULTS") or ROOT / "results") / name


def profile_hash(profile: dict, paper: str = "HT") -> str:
    """Hash of what the runs of a paper share in a profile: data, features, models, training, scoring.

    A paper whose section has its own `data` does not depend on the corpus; where a run does, its manifest says so.
    """
    section = profile.get(paper.lower()) or {}
    shared = {key: value for key, value in section.items() if key not in PER_RUN and (key, value) != DEFAULT}
    corpus = None if "data" in section else profile.get("corpus")
    return fingerprint({"corpus": corpus, "features": profile.get("features"), paper.lower(): shared})


def expected_runs(profile: dict, paper: str | None = None) -> set[str]:
    """Run ids of a paper's systems (None: of all papers): headline systems with every seed, others with the first."""
    runs = set()
    for name in paper_settings() if paper is None else [paper.lower()]:
        section = profile.get(name) or {}
        seeds, headline = section.get("seeds") or [0], section.get("headline") or []
        for system in section.get("systems") or {}:
            runs |= {f"{name}-{system}-s{seed}" for seed in (seeds if system in headline else seeds[:1])}
    return runs


def runs_on_the_real_voice(profile: dict) -> set[str]:
    """Run ids of the papers that are tried on a real voice, too (section real)."""
    return {f"{name}-{OTHER}-s0" for name in (profile.get("real") or {}).get("runs") or {} if name in profile}


def _read_yaml(path: Path) -> dict:
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" near line {mark.line + 1}" if mark else ""
        raise StudyError(f"{short(path)} is not valid YAML{line}; correct it and run again") from error
    if not isinstance(content, dict):
        raise StudyError(f"{short(path)} holds no sections; write `section: ...` lines or restore it")
    return content


def short(path: Path) -> str:
    """The path from the project's folder, or else its last three parts."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else "/".join(path.parts[-3:])
