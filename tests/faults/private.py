"""What a result or a committed notebook must not give away: secrets, user names, machines, absolute paths."""

from __future__ import annotations

import getpass
import os
import re
import socket
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from faults import ROOT
from faults.processes import undisturbed

SECRETS = (
    r"AKIA[0-9A-Z]{16}",
    r"gh[pousr]_[A-Za-z0-9]{30,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"sk-[A-Za-z0-9-]{20,}",
    r"xox[abp]-[A-Za-z0-9-]{10,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY",
    r"(?i)\b(?:password|passwd|api_key|secret|token)['\"]?\s*[:=]\s*['\"][^'\"\s]{6,}",
    r"://[^/\s:@'\"]+:[^/\s:@'\"]+@",
)
FOLDERS = r"(?<![\w.~/:+…-])/(?:home|root|Users|tmp|var|opt|usr|mnt|srv|work|workspace)/[\w.-]+"
COMMON = ("root", "user", "runner", "localhost", "ubuntu")
NAMED = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")


@cache
def patterns() -> tuple[re.Pattern, ...]:
    """What to look for on this machine: its folders, its user's and its own name, and what looks like a secret."""
    words = {str(ROOT) + "/", str(Path.home()) + "/"} - {"//", "/"}
    words |= {value for name, value in os.environ.items() if NAMED.search(name) and len(value) >= 8}
    names = {name for name in (getpass.getuser(), socket.gethostname()) if len(name) > 3 and name not in COMMON}
    exact = [re.escape(word) for word in sorted(words)] + [rf"\b{re.escape(name)}\b" for name in sorted(names)]
    return tuple(re.compile(pattern) for pattern in (*SECRETS, FOLDERS, *exact))


def given_away(content: str) -> list[str]:
    """What a text gives away; embedded sound and images are left out."""
    told = re.sub(r"base64,[A-Za-z0-9+/=\\n]+", "base64,", content)
    return [found[0] for pattern in patterns() for found in pattern.finditer(told)]


def published() -> list[Path]:
    """The committed results and notebooks."""
    files = [path for path in (ROOT / "results" / "reference").rglob("*") if path.is_file()]
    return sorted(files) + sorted((ROOT / "notebooks").rglob("*.ipynb")) + sorted((ROOT / "notebooks").rglob("*.yaml"))


def text_of(path: Path) -> str:
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_csv(index=False)
    return path.read_bytes().decode(errors="replace")


def _is_clean(path: Path) -> bool:
    found = given_away(text_of(path))
    if found:
        print(f"{path.name} gives away {sorted(set(found))[:3]}")
    return not found


def committed(folder: Path, tries: int, random: np.random.Generator) -> int:
    """Committed results and notebooks, file by file."""
    return sum(_is_clean(path) for path in published()[:tries])


STUDIES = ("scoring", "notebook", "report")


def made(folder: Path, tries: int, random: np.random.Generator) -> int:
    """What small studies leave here: rows, manifests, weights and their facts, an executed notebook, claims, report."""
    clean = 0
    for name in STUDIES[:tries]:
        results = undisturbed(name, folder)[2] / "results"
        files = [p for p in results.rglob("*") if p.is_file() and p.suffix not in (".log", ".wav")]
        clean += bool(files) and all([_is_clean(path) for path in files])
    return clean
