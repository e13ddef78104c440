"""The expected time of a profile's trainings: every training counted once, real steps timed, the rest multiplied."""

import pytest
import torch
from torch import nn

from lib.study import load_profile
from lib.study.cost import Stage, runs_by_system, speech_batch
from lib.training.loop import TrainConfig
from lib.workflow import estimate
from lib.workflow.estimate import stages


@pytest.mark.parametrize("name", ["smoke", "full", "paper"])
def test_every_training_of_a_profile_is_in_one_stage(name):
    profile = load_profile(name)
    counted = {paper: [s for s in stages(profile) if s.paper == paper] for paper in ("HT", "HA", "SP", "LD")}
    fixed = ("none", "recording", "vocoded_recording", "generated")
    adapted_runs = [
        n for k, n in runs_by_system(profile, "HT").items() if profile["ht"]["systems"][k]["method"] not in fixed
    ]
    assert sum(s.trainings for s in counted["HT"]) == sum(adapted_runs) + 1  # the backbone
    adapted = {
        k: n for k, n in runs_by_system(profile, "HA").items() if profile["ha"]["systems"][k]["method"] != "none"
    }
    assert sum(s.trainings for s in counted["HA"]) == sum(adapted.values())
    pruned = sum(n for k, n in runs_by_system(profile, "SP").items() if k != "attention_cost")
    starts = 0 if profile["sp"]["from_scratch"] else len(profile["sp"]["seeds"]) if profile["sp"]["own_dense"] else 1
    assert sum(s.trainings for s in counted["SP"]) == pruned + starts
    assert counted["LD"][0].trainings == 1 and {s.config.steps for s in counted["LD"][1:]} == {
        profile["ld"]["diffusion"]["steps"]
    }


def test_the_paper_profile_counts_the_published_steps():
    steps = {(s.paper, s.name): (s.config.steps, s.config.batch_size) for s in stages(load_profile("paper"))}
    assert steps["HT", "backbone"] == (600_000, 16) and steps["HT", "hypernetwork"] == (300_000, 16)
    assert steps["SP", "learned"] == (300_000, 48)
    assert steps["LD", "diffusion (palette)"] == (50_000, 64)


def tiny(sizes: list[int], batch_size: int, accumulate: int = 1) -> Stage:
    def build(device: str, size: int):
        model = nn.Linear(2, 1).to(device)
        return model, lambda: sizes.append(size) or model(torch.ones(size, 2)).mean()

    config = TrainConfig(steps=100, batch_size=batch_size, learning_rate=0.1, accumulate=accumulate)
    return Stage("HT", "tiny", 3, config, build)


def test_hours_are_the_time_of_a_step_times_the_steps_of_all_trainings(monkeypatch):
    ticks = iter(range(0, 100, 2))
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: float(next(ticks)))
    sizes: list[int] = []
    monkeypatch.setattr(estimate, "stages", lambda profile: [tiny(sizes, 16, accumulate=2)])
    (entry,) = estimate.estimate({}, "cpu")
    assert set(sizes) == {estimate.ON_A_CPU}
    assert entry["s_per_step"] == 2 * 16 / estimate.ON_A_CPU * 2
    assert entry["hours"] == pytest.approx(entry["s_per_step"] * 100 * 3 / 3600, rel=0.01)
    assert "hours of training on one CPU" in estimate.summary([entry], "cpu")


def test_a_step_of_every_paper_can_be_timed(monkeypatch):
    monkeypatch.setattr(estimate, "STEPS", 0)
    chosen = {stage.paper: stage for stage in reversed(list(stages(load_profile("smoke"))))}
    assert set(chosen) == {"HT", "HA", "SP", "LD"}
    assert all(estimate.seconds_per_step(stage, "cpu") > 0 for stage in chosen.values())


def test_a_gpu_that_is_on_another_machine_is_replaced_by_the_processor(monkeypatch, capsys):
    monkeypatch.setattr(estimate.torch.cuda, "is_available", lambda: False)
    assert estimate.present("cuda") == estimate.present("auto") == estimate.present("cpu") == "cpu"
    assert "No GPU is visible here" in capsys.readouterr().err


def test_a_random_batch_has_as_many_frames_as_its_durations_say():
    batch = speech_batch(3, 2.0, 80, "cpu")
    assert batch["mel"].shape == (3, 125, 80)
    assert torch.equal(batch["durations"].sum(1), batch["frame_lengths"])
