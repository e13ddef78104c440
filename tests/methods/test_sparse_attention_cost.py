"""The measurement of what pruning costs: memory against known sizes, ratios against dense attention."""

import pytest
import torch

from lib.methods.sparse_attention import SparseSettings
from lib.methods.sparse_attention_cost import attention_cost, peak_bytes


def test_peak_is_what_a_job_holds_at_once_and_not_the_sum():
    mebibyte = 2**20

    def job() -> None:
        first = torch.empty(mebibyte // 4)
        second = first + 1
        del first
        third = second * 2
        del second, third

    assert peak_bytes(job) == pytest.approx(2 * mebibyte, rel=0.01)


def test_pruned_attention_holds_the_weights_that_fused_attention_does_not():
    records = attention_cost({"VP": SparseSettings(method="row_mean")}, (256,), 2, 32, 2, repeats=2)
    assert [(r["variant"], r["part"]) for r in records] == [
        ("dense", "forward"), ("VP", "forward"), ("dense", "training"), ("VP", "training"),
    ]  # fmt: skip
    weights_mib = 2 * 2 * 256 * 256 * 4 / 2**20
    by_name = {(r["variant"], r["part"]): r for r in records}
    assert by_name["VP", "forward"]["peak_mib"] > weights_mib > by_name["dense", "forward"]["peak_mib"]
    for record in records:
        dense = by_name["dense", record["part"]]
        assert record["seconds"] > 0
        assert record["time_ratio"] == record["seconds"] / dense["seconds"]
        assert record["memory_ratio"] == record["peak_mib"] / dense["peak_mib"]


def test_dp_is_measured_in_both_phases():
    variants = {"DP": SparseSettings(method="learned"), "DP soft": SparseSettings(method="learned", hard_phase=False)}
    records = attention_cost(variants, (32,), 1, 16, 2, repeats=1)
    assert {r["variant"] for r in records} == {"dense", "DP", "DP soft"}


def test_a_pruned_variant_cannot_pass_for_the_dense_one():
    with pytest.raises(ValueError, match='called "dense"'):
        attention_cost({"dense": SparseSettings(method="row_mean")})
