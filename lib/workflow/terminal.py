"""What the terminal shows while a workflow runs: steps done, what is running, the time left, and each page at once.

Snakemake's events (its logger interface) become one line per finished step; on a terminal the running steps stand
below those lines, each with the progress bar that it writes into its log. Warnings and errors stay Snakemake's own.
"""

import logging
import os
import re
import sys
import time
from collections import Counter
from statistics import mean
from threading import Thread

from rich.console import Console
from rich.live import Live
from rich.text import Text
from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import LogEvent, logger

BAR = re.compile(r"([^\r\n|]*?):? *(\d+)%\|")  # as tqdm draws it: what is counted, percent
TAIL = 4096  # bytes of a log in which its last bar is looked for
VARIANT = re.compile(r"^(first|long)_|(?<=^chapter)_.*")  # what tells a rule from others whose steps take as long


def show(workflow, names: dict[str, str]) -> None:
    """Tell a run as this module does, unless it is a dry run or one job of a run elsewhere.

    names: what people call the first word of a step's message, {"ht": "HT"}.
    """
    if not workflow.is_main_process or workflow.output_settings.dryrun:
        return
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(lambda record: record.levelno > logging.INFO or record.msg == NOTHING_TO_BE_DONE_MSG)
    logger.addHandler(Terminal(names))


class Terminal(logging.Handler):
    """A handler of Snakemake's log records that prints to stderr."""

    def __init__(self, names: dict[str, str]):
        super().__init__()
        self.names, self.live = names, None
        self.total, self.waiting = 0, Counter()  # steps in all; those not yet started, by kind
        self.running, self.seconds = {}, {}  # job id to what it does; durations of finished steps by kind
        self.done, self.began = 0, time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = getattr(record, "event", None)
            if event == LogEvent.RUN_INFO:
                for rule, count in record.stats.items():
                    if rule not in ("total", "all"):  # all only names what is wanted
                        self.waiting[VARIANT.sub("", rule)] += count
                self.total = self.waiting.total()
                self.start()
            elif event == LogEvent.JOB_INFO and record.rule_name != "all":
                self.started(record)
            elif event == LogEvent.JOB_FINISHED and record.job_id in self.running:
                self.finished(*self.running.pop(record.job_id))
            elif event == LogEvent.JOB_ERROR:
                self.running.pop(record.jobid, None)
        except Exception:
            self.handleError(record)  # what is shown must not stop a run

    def start(self) -> None:
        """On a terminal, keep the last lines for the running steps: all else that is written to stderr, by this process
        or by a step, comes through a pipe and is printed above them."""
        if not sys.stderr.isatty() or self.live:
            return
        self.own = os.dup(2)
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        console = Console(file=os.fdopen(os.dup(self.own), "w"))
        shown = {"transient": True, "refresh_per_second": 2, "redirect_stdout": False, "redirect_stderr": False}
        self.live = Live(get_renderable=self.view, console=console, **shown)
        self.reader = Thread(target=self.relay, args=(reading, console), daemon=True)
        self.reader.start()
        self.live.start()

    def relay(self, reading: int, console: Console) -> None:
        with os.fdopen(reading, errors="replace") as lines:
            for line in lines:
                console.print(Text.from_ansi(line.rstrip("\n")), soft_wrap=True)

    def close(self) -> None:
        if self.live:
            os.dup2(self.own, 2)
            self.reader.join(timeout=2)
            self.live.stop()
            self.live = None
        super().close()

    def started(self, job: logging.LogRecord) -> None:
        says = re.sub(r"^\w+", lambda word: self.names.get(word[0], word[0]), job.rule_msg or job.rule_name)
        kind = VARIANT.sub("", job.rule_name)
        self.waiting[kind] -= 1
        self.running[job.jobid] = (says, kind, time.monotonic(), list(job.output), list(job.log))
        if not self.live:
            tell(f"started: {says}")

    def finished(self, says: str, kind: str, began: float, outputs: list[str], logs: list[str]) -> None:
        self.done += 1
        seconds = time.monotonic() - began
        self.seconds.setdefault(kind, []).append(seconds)
        left = "" if self.live else self.left()
        tell(f"{self.done} of {self.total} done: {says} ({in_words(seconds)}){left}")
        for page in outputs:
            if page.endswith(".html"):
                tell(f"  {page}")

    def left(self) -> str:
        """The time left, guessed from the finished steps of the same kinds and how many ran at once; "" as long as most
        of the waiting steps are of kinds of which none has finished."""
        finished = dict(self.seconds)  # the terminal is drawn in a thread of its own
        means = {kind: mean(seconds) for kind, seconds in finished.items()}
        waiting = +self.waiting
        known = sum(count for kind, count in waiting.items() if kind in means)
        if not means or self.done == self.total or 2 * known < waiting.total():
            return ""
        usual = mean(means.values())
        now = time.monotonic()
        spent = [(means.get(kind, usual), now - began) for _, kind, began, *_ in list(self.running.values())]
        work = sum(count * means.get(kind, usual) for kind, count in waiting.items())
        work += sum(max(0, whole - so_far) for whole, so_far in spent)
        done = sum(map(sum, finished.values())) + sum(so_far for _, so_far in spent)
        return f", about {in_words(work / max(1, done / (now - self.began)))} left"

    def view(self) -> Text:
        """The last lines of the terminal."""
        now = time.monotonic()
        lines = [f"{self.done} of {self.total} steps, {in_words(now - self.began)}{self.left()}"]
        for says, _, began, _, logs in list(self.running.values()):
            own = last_bar(logs[0]) if logs else ""
            lines.append(f"  {in_words(now - began):>6}  {says}{f' ({own})' if own else ''}")
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def last_bar(log: str) -> str:
    """The last unfinished progress bar of a log in words, "backbone 40 %"; "" if there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.path.getsize(log) - TAIL))
            bars = BAR.findall(file.read().decode(errors="replace"))
    except OSError:
        return ""
    label, percent = bars[-1] if bars else ("", "100")
    return "" if percent == "100" else f"{label.strip()[-20:]} {percent} %".strip()


def in_words(seconds: float) -> str:
    """A duration as people say it: 12 s, 5 min, 3.5 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
