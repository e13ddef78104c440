"""Do every fault its full number of times and write what came of it.

python tests/faults --out results/reference/faults.json
python tests/faults --only kill --tries 2
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (2, 1)]

from faults import scenarios  # noqa: E402 - found by the line above
from lib.files import write_json  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a JSON file for the table")
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    parser.add_argument("--tries", type=int, help="so many times at most each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lost = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for fault in scenarios.FAULTS:
            if options.only not in fault.name:
                continue
            began = time.monotonic()
            entry = scenarios.suffer(fault, Path(folder), options.tries, options.seed)
            print(f"{json.dumps(entry)}  {time.monotonic() - began:.0f} s", flush=True)
            lost += entry["lost"]
            if options.out and entry["tries"]:
                put(entry, options.out)
    return int(lost > 0)


def put(entry: dict, file: Path) -> None:
    """Put an entry into the table in a file, in the place of an earlier one of the same fault."""
    table = json.loads(file.read_text()) if file.exists() else []
    entries = {one["fault"]: one for one in [*table, entry]}
    write_json(file, [entries[fault.name] for fault in scenarios.FAULTS if fault.name in entries])


if __name__ == "__main__":
    sys.exit(main())
