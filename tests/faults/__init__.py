"""What goes wrong on real machines, done to small studies on purpose: `python tests/faults` writes the table."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / "tests", ROOT / "tests" / "corpora"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
