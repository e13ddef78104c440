"""Energy of the processors and GPUs while the workflow runs, from their own counters, where a machine shows them.

Intel's and AMD's processors count microjoules in /sys/class/powercap (readable by root on many systems), NVIDIA's GPUs
millijoules in NVML. The counters are of the whole machine: other work on it is in them.
"""

from __future__ import annotations

import ctypes
import json
import threading
import time
from pathlib import Path

from lib.files import write_json

POWERCAP = Path("/sys/class/powercap")
SECONDS = 20.0  # between two readings; a processor's counter may start again at 0 after minutes


class Meter:
    """Adds up what the counters say from `start` to `stop`, in the background, and writes R/energy.json.

    What an earlier, interrupted workflow wrote there is added to. Without counters nothing is written.
    """

    def __init__(self, root: Path, powercap: Path = POWERCAP):
        self.path, self.counters = root / "energy.json", {**_processors(powercap), **_gpus()}
        before = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.spent, self.joules = before.get("seconds", 0.0), before.get("joules", {})
        self.ended, self.thread = threading.Event(), threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self.time, self.last = time.monotonic(), {name: read() for name, (read, _) in self.counters.items()}
        if self.counters:
            self.thread.start()

    def stop(self) -> None:
        if self.counters:
            self.ended.set()
            self.thread.join()
            self.sample()

    def sample(self) -> None:
        """Read every counter once and write the sums."""
        now = time.monotonic()
        self.spent, self.time = self.spent + now - self.time, now
        for name, (read, span) in self.counters.items():
            value = read()
            gained = value - self.last[name]
            self.joules[name] = self.joules.get(name, 0.0) + (gained if gained >= 0 else gained + span)
            self.last[name] = value
        write_json(self.path, {"seconds": round(self.spent, 1), "joules": self.joules})

    def _watch(self) -> None:
        while not self.ended.wait(SECONDS):
            self.sample()


def told(root: Path) -> str | None:
    """What R/energy.json says in words; None where no counter was read."""
    path = root / "energy.json"
    if not path.exists():
        return None
    facts = json.loads(path.read_text(encoding="utf-8"))
    parts = [f"{name} {joules / 3.6e6:.3g} kWh" for name, joules in sorted(facts["joules"].items())]
    return f"{', '.join(parts)} in {facts['seconds'] / 60:.0f} min of the workflow, other work on the machine included"


def _processors(folder: Path) -> dict:
    """By processor package: how to read its counter in joules, and the joules at which it starts again."""
    found = {}
    for zone in sorted(folder.glob("*-rapl:[0-9]*")):
        if zone.name.count(":") != 1:
            continue
        try:
            int((zone / "energy_uj").read_text())
            span = int((zone / "max_energy_range_uj").read_text()) / 1e6
        except (OSError, ValueError):
            continue
        name = f"processor {zone.name.rsplit(':')[-1]}"
        found[name] = (lambda file=zone / "energy_uj": int(file.read_text()) / 1e6, span)
    return found


def _gpus() -> dict:
    """By GPU: how to read its counter in joules; it does not start again."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return {}
    count = ctypes.c_uint()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return {}
    found = {}
    for index in range(count.value):
        device, value = ctypes.c_void_p(), ctypes.c_ulonglong()

        def read(device=device, value=value) -> float:
            nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(value))
            return value.value / 1e3

        known = not nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        if known and not nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(value)):
            found[f"GPU {index}"] = (read, 0.0)
    return found
