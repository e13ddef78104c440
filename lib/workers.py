"""Worker processes that do not outlive the process they work for."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this worker as soon as its parent has ended, by whatever means; an initializer for process pools.

    A pool's workers wait for work on a pipe whose other end they hold as well, so that after a kill -9 of the parent
    they would wait for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent) -> None:
    parent.join()
    os._exit(1)
