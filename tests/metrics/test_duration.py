import numpy as np
import pytest
import torch

from lib import text
from lib.metrics import MetricError, duration


def test_the_error_is_the_mean_absolute_difference_in_ms():
    found = duration.score([np.array([0.1, 0.2]), np.array([0.3])], [np.array([0.11, 0.17]), np.array([0.3])])
    assert found["duration_error"] == pytest.approx([20.0, 0.0])


def test_only_phones_of_a_batch_count():
    symbols = torch.tensor([text.encode("|ˈA t,|"), text.encode("|ɑ|") + [0] * 4])
    durations = torch.tensor([[9, 0, 10, 3, 5, 7, 9], [9, 8, 9, 0, 0, 0, 0]])
    spoken = torch.tensor([[0, 5, 12, 0, 5, 0, 0], [0, 4, 0, 1, 1, 1, 1]])
    batch = {"symbols": symbols, "durations": durations}
    assert duration.of_batch(batch, spoken.double().log1p(), 100.0) == pytest.approx([10.0, 40.0])


@pytest.mark.parametrize(
    ("spoken", "sentence"),
    [
        ([0.1], "Utterance 0 has 1 durations and its reference 2"),
        ([0.1, np.nan], "Utterance 0 has a duration that is negative or NaN"),
        ([0.1, -0.1], "Utterance 0 has a duration that is negative or NaN"),
    ],
)
def test_durations_that_do_not_fit_are_named(spoken, sentence):
    with pytest.raises(MetricError, match=sentence):
        duration.score([np.array(spoken)], [np.array([0.1, 0.2])])
