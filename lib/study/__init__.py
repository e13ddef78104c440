"""The study around the papers: profiles, result rows, intervals, verdicts, figures, listening and the report."""

# ruff: noqa: F401

from lib.study.profile import (
    OTHER,
    PER_RUN,
    StudyError,
    expected_runs,
    load_profile,
    profile_hash,
    results_root,
    runs_on_the_real_voice,
)
from lib.study.rows import (
    COLUMNS,
    TYPES,
    read_manifests,
    read_rows,
    status,
    write_manifest,
    write_rows,
)
