"""The training loop: the same weights after an interruption, batches that depend on seed and step only."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib.training import loop
from lib.training.loading import ahead
from lib.training.loop import BucketedBatches, TrainConfig, fit, seed_everything


def run(tmp_path, config: TrainConfig, stop_at: int | None = None) -> list[float]:
    seed_everything(config.seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    data = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))

    def batch_at(step: int):
        if step == stop_at:
            raise KeyboardInterrupt
        return {"x": data[(step * 8) % 64 :][:8]}

    def loss(batch):
        return {"total": (model(batch["x"]).squeeze(1) - batch["x"].sum(1)).square().mean()}

    fit(model, loss, batch_at, config, tmp_path / "run.resume.pt", "print")
    return torch.cat([p.flatten() for p in model.parameters()]).tolist()


CONFIG = TrainConfig(steps=60, batch_size=8, learning_rate=1e-2, checkpoint_every=10, accumulate=2)


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path):
    whole = run(tmp_path / "whole", CONFIG)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", CONFIG, stop_at=2 * 37)
    assert (tmp_path / "cut" / "run.resume.pt").exists()
    assert run(tmp_path / "cut", CONFIG) == whole


def test_the_average_of_an_interrupted_run_goes_on_where_it_was(tmp_path):
    config = replace(CONFIG, average=0.9)
    whole = run(tmp_path / "whole", config)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", config, stop_at=2 * 37)
    assert run(tmp_path / "cut", config) == whole != run(tmp_path / "plain", CONFIG)


def test_the_average_is_what_is_watched_and_kept_and_training_goes_on_from_its_own_weights(tmp_path):
    """Against the recursion written out: m = d m + (1 - d) w after step n, d = min(decay, (1 + n) / (10 + n))."""
    x, trained, watched = torch.linspace(-1, 1, 8).reshape(8, 1), [], []
    for decay in (0.0, 0.5):
        seed_everything(0)
        model = nn.Linear(1, 1, bias=False)
        expected = [model.weight.item()]
        config = TrainConfig(steps=20, batch_size=8, learning_rate=0.1, average=decay)

        def see(step: int, model=model) -> dict[str, float]:
            return {"weight": model.weight.item()}

        history = fit(
            model, lambda batch, m=model: {"total": (m(batch) - 2 * batch).square().mean()}, lambda step: x, config,
            tmp_path / f"{decay}.pt", "", watch=see,
        )  # fmt: skip
        trained.append([record["weight"] for record in history])
        watched.append(model.weight.item())
    for n, weight in enumerate(trained[0], start=1):
        d = min(0.5, (1 + n) / (10 + n))
        expected.append(d * expected[-1] + (1 - d) * weight)
    assert trained[1] == pytest.approx(expected[1:], rel=1e-5)
    assert watched == pytest.approx([trained[0][-1], expected[-1]], rel=1e-5)


def test_a_training_inside_autocast_is_refused_since_its_weights_would_stay_those_of_the_first_step(tmp_path):
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="inside autocast"):
        run(tmp_path, CONFIG)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_a_decay_outside_zero_to_one_is_refused(decay):
    with pytest.raises(ValueError, match="average: .* 0 or more, and less than 1"):
        replace(CONFIG, average=decay)


def trained_from(gradient: float | None, resume_path) -> torch.Tensor:
    """The weights of a linear layer after three steps, its gradients filled with a number before."""
    seed_everything(0)
    model, x = nn.Linear(4, 1), torch.randn(8, 4)
    for parameter in model.parameters():
        parameter.grad = None if gradient is None else torch.full_like(parameter, gradient)
    config = TrainConfig(steps=3, batch_size=8, learning_rate=1e-2)
    fit(model, lambda batch: {"total": model(batch).square().mean()}, lambda step: x, config, resume_path, "")
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_gradients_left_by_earlier_work_do_not_count(tmp_path):
    clean, left = trained_from(None, tmp_path / "a"), trained_from(5.0, tmp_path / "b")
    torch.testing.assert_close(left, clean, rtol=0, atol=0)


def test_killed_process_ends_with_the_same_weights(tmp_path):
    script = textwrap.dedent(
        """
        import json, os, signal, sys, pathlib
        sys.path.insert(0, "tests")
        import test_train
        folder, kill = pathlib.Path(sys.argv[1]), int(sys.argv[2])
        if kill:
            import lib.training.loop as t
            save = t.save_checkpoint
            def save_then_die(*a):
                save(*a)
                if a[2] >= kill: os.kill(os.getpid(), signal.SIGKILL)
            t.save_checkpoint = save_then_die
        print(json.dumps(test_train.run(folder, test_train.CONFIG)))
        """
    )

    def call(folder, kill):
        command = [sys.executable, "-c", script, str(tmp_path / folder), str(kill)]
        return subprocess.run(command, capture_output=True, text=True)

    whole = json.loads(call("whole", 0).stdout)
    assert call("cut", 30).returncode == -9
    assert json.loads(call("cut", 0).stdout) == whole


def test_a_checkpoint_of_another_configuration_is_left_aside(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, CONFIG, stop_at=2 * 37)
    state = torch.load(tmp_path / "run.resume.pt", weights_only=True)
    torch.save(state | {"fingerprint": "other"}, tmp_path / "run.resume.pt")
    run(tmp_path, CONFIG)
    assert "belongs to another configuration" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_left_aside(tmp_path, capsys):
    (tmp_path / "run.resume.pt").write_bytes(b"not a checkpoint")
    assert run(tmp_path, CONFIG) == run(tmp_path / "fresh", CONFIG)
    assert "cannot be read" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_stops_the_run_with_a_sentence(tmp_path):
    model = nn.Linear(1, 1)

    def loss(batch):
        return {"total": model(torch.ones(1, 1)).sum() * float("nan")}

    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fit(model, loss, lambda step: {}, CONFIG, tmp_path / "r.pt", "print")


def test_batches_cover_every_item_once_an_epoch_and_are_of_similar_length():
    lengths = np.random.default_rng(0).integers(50, 400, 203)
    batches = BucketedBatches(lengths, 8, seed=3)
    epoch = [batches(step) for step in range(batches.per_epoch)]
    assert sorted(np.concatenate(epoch)) == list(range(203))
    within = np.mean([np.ptp(lengths[b]) for b in epoch])
    assert within < 0.25 * np.ptp(lengths)


def test_batches_depend_on_seed_and_step_only():
    lengths = np.arange(40)
    first, second = BucketedBatches(lengths, 8, seed=3), BucketedBatches(lengths, 8, seed=3)
    first(17)
    assert (first(4) == second(4)).all()
    different = BucketedBatches(lengths, 8, seed=4)
    assert any((first(s) != different(s)).any() for s in range(5))


def test_no_utterances_is_one_clear_sentence():
    with pytest.raises(ValueError, match="no utterances to train on"):
        BucketedBatches(np.array([]), 8, 0)


def test_noam_rises_to_its_peak_at_the_warm_up_and_anneals():
    config = TrainConfig(1000, 8, 1e-3, "noam", warmup=100, anneal_steps=(500,), anneal_rate=0.3)
    rates = [config.rate(step) for step in range(1000)]
    assert max(rates) == pytest.approx(1e-3) and int(np.argmax(rates)) == 99
    assert rates[400] == pytest.approx(1e-3 * (100 / 401) ** 0.5)
    assert rates[600] == pytest.approx(0.3 * 1e-3 * (100 / 601) ** 0.5)


def test_unknown_setting_names_those_that_exist():
    with pytest.raises(ValueError, match="unknown training settings"):
        TrainConfig.from_dict({"steps": 1, "batch_size": 1, "learning_rate": 1, "momentum": 0.9})


def test_batches_made_ahead_come_in_order_one_before_its_turn():
    made, used = [], []
    for batch in ahead(lambda number: made.append(number) or number, range(3, 8)):
        used.append(batch)
        assert len(made) - len(used) <= 1
    assert used == made == [3, 4, 5, 6, 7]


def test_a_batch_that_cannot_be_made_ahead_stops_the_training():
    def make(number: int) -> int:
        if number == 2:
            raise OSError("a file is gone")
        return number

    with pytest.raises(OSError, match="a file is gone"):
        list(ahead(make, range(4)))


def test_compiling_without_a_gpu_is_refused_before_the_first_step(tmp_path):
    config, steps = replace(CONFIG, compile=True), []
    with pytest.raises(ValueError, match="compile: true is for a GPU"):
        fit(nn.Linear(1, 1), lambda batch: batch, steps.append, config, tmp_path / "r.pt", "print", "cpu")
    assert steps == []


def test_compiling_belongs_to_the_settings_that_decide_the_weights_only_where_it_is_on():
    assert CONFIG.compile is False and "compile" not in vars(CONFIG)
    assert vars(TrainConfig(1, 1, 0.1, compile=True))["compile"] is True


def test_bfloat16_is_left_to_processors_that_multiply_it(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "BFLOAT16_ON_CPU", True)
    low = run(tmp_path / "low", replace(CONFIG, precision="bfloat16"))
    assert run(tmp_path / "again", replace(CONFIG, precision="bfloat16")) == low
    exact = run(tmp_path / "exact", CONFIG)
    assert low != exact and np.allclose(low, exact, atol=0.1)
    monkeypatch.setattr(loop, "BFLOAT16_ON_CPU", False)
    assert run(tmp_path / "elsewhere", replace(CONFIG, precision="bfloat16")) == exact
