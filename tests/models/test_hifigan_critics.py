"""HiFi-GAN's discriminators and losses against a literal transcription, layer by layer and sum by sum."""

import pytest
import torch
import torch.nn.functional as F

from lib.models.hifigan_critics import (
    PERIODS,
    Critics,
    PeriodCritic,
    ScaleCritic,
    adversarial_loss,
    critic_loss,
    feature_loss,
)


@pytest.fixture(scope="module")
def judged():
    torch.manual_seed(0)
    critics = Critics(period_width=1, scale_width=16).eval()
    real, made = torch.randn(2, 1000) / 4, torch.randn(2, 1000) / 4
    with torch.no_grad():
        return critics, real, made, critics(real), critics(made)


def test_a_period_discriminator_convolves_every_period_th_sample_by_itself():
    torch.manual_seed(1)
    critic, wave = PeriodCritic(3, 1).eval(), torch.randn(1, 31)
    scores, features = critic(wave)
    padded = torch.cat([wave, wave[:, -3:-1].flip(1)], 1)  # 31 samples and 2 reflected ones: 11 rows of 3
    columns = []
    for phase in range(3):
        x = padded[:, phase::3].unsqueeze(1)
        for layer, stride in zip(critic.layers, (3, 3, 3, 3, 1), strict=True):
            x = F.leaky_relu(F.conv1d(x, layer.weight.squeeze(3), layer.bias, stride, padding=2), 0.1)
        columns.append(F.conv1d(x, critic.last.weight.squeeze(3), critic.last.bias, padding=1))
    assert torch.allclose(scores, torch.stack(columns, 3).flatten(1), atol=1e-6)
    assert len(features) == 6


def test_discriminators_have_the_published_sizes():
    period, scale = PeriodCritic(2, 32), ScaleCritic(128)
    assert [layer.out_channels for layer in period.layers] == [32, 128, 512, 1024, 1024]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0], c.groups) for c in scale.layers] == [
        *((128, 15, 1, 1), (128, 41, 2, 4), (256, 41, 2, 16)),
        *((512, 41, 4, 16), (1024, 41, 4, 16), (1024, 41, 1, 16), (1024, 5, 1, 1)),
    ]


def test_scales_see_the_waveform_and_its_averages(judged):
    critics, real, _, said, _ = judged
    assert len(said) == len(PERIODS) + 3
    half = F.avg_pool1d(F.pad(real, (2, 2)).unsqueeze(1), 4, 2).squeeze(1)
    assert torch.allclose(critics.scales[1](half)[0], said[len(PERIODS) + 1][0], atol=1e-6)


def test_losses_are_the_sums_of_the_paper(judged):
    _, _, _, real, made = judged
    against = with_them = features = 0.0
    for (real_scores, real_layers), (made_scores, made_layers) in zip(real, made, strict=True):
        for item in range(2):
            for r, m in zip(real_scores[item].tolist(), made_scores[item].tolist(), strict=True):
                against += ((r - 1) ** 2 + m**2) / real_scores.numel()
                with_them += (m - 1) ** 2 / made_scores.numel()
        for r, m in zip(real_layers, made_layers, strict=True):
            features += float((r - m).abs().sum()) / r.numel()
    assert float(critic_loss(real, made)) == pytest.approx(against, rel=1e-4)
    assert float(adversarial_loss(made)) == pytest.approx(with_them, rel=1e-4)
    assert float(feature_loss(real, made)) == pytest.approx(features, rel=1e-4)
    assert float(feature_loss(real, real)) == 0.0


def test_a_width_that_the_groups_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="scale_width is 24: give a multiple of 16"):
        Critics(1, 24)
