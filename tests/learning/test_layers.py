"""Heads and critics compute what they say."""

import itertools
import math

import pytest
import torch
from torch import nn

from autoenvbench.learning.networks import (
    EnsembleCritic,
    SquashedGaussian,
    encoder,
    gaussian_nll,
    mixture_nll,
    mlp,
    track,
)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_an_ensemble_is_that_many_networks(layer_norm):
    torch.manual_seed(0)
    critic = EnsembleCritic(3, 4, 2, [16, 16], layer_norm=layer_norm)
    obs, action = torch.randn(5, 4), torch.randn(5, 2)
    together = critic(obs, action)
    assert together.shape == (3, 5)
    for k in range(3):
        alone = mlp([6, 16, 16, 1], layer_norm=layer_norm)
        # its layer norms are those of a network that was not trained: without gain and shift
        for linear, mine in zip((m for m in alone if isinstance(m, nn.Linear)), critic.layers, strict=True):
            linear.weight.data, linear.bias.data = mine.weight.data[k].T, mine.bias.data[k, 0]
        assert torch.allclose(alone(torch.cat([obs, action], 1))[:, 0], together[k], atol=1e-5)


def test_some_members_can_be_asked_alone():
    critic, obs, action = EnsembleCritic(5, 4, 2, [16, 16]), torch.randn(7, 4), torch.randn(7, 2)
    chosen = torch.tensor([3, 1])
    assert torch.allclose(critic(obs, action, chosen), critic(obs, action)[chosen], atol=1e-6)


def test_a_target_follows_by_its_share():
    source, target = EnsembleCritic(2, 3, 1, [8]), EnsembleCritic(2, 3, 1, [8])
    before = [p.clone() for p in target.parameters()]
    track(target, source, 0.25)
    for was, now, to in zip(before, target.parameters(), source.parameters(), strict=True):
        assert torch.allclose(now, 0.75 * was + 0.25 * to, atol=1e-6)


def test_members_learn_apart():
    critic = EnsembleCritic(2, 1, 1, [8])
    critic(torch.ones(4, 1), torch.ones(4, 1))[0].sum().backward()
    for p in critic.parameters():
        assert p.grad[0].abs().sum() > 0 or p.shape[-1] == 1
        assert p.grad[1].abs().sum() == 0


def test_likelihoods_are_those_of_the_distributions():
    mean, log_std, action = torch.randn(6, 2), torch.rand(6, 2) - 1, torch.randn(6, 2)
    weight = torch.ones(6, 2)
    exact = -torch.distributions.Normal(mean, log_std.exp()).log_prob(action).mean() - 0.5 * math.log(2 * math.pi)
    assert torch.allclose(gaussian_nll(torch.cat([mean, log_std], 1), action, weight), exact, atol=1e-5)
    weight[3:] = 0  # what does not count may be anything
    there = gaussian_nll(torch.cat([mean, log_std], 1), action, weight)
    assert torch.equal(there, gaussian_nll(torch.cat([mean, log_std], 1), action + (1 - weight) * 9, weight))
    scores, means = torch.randn(6, 3), torch.randn(6, 3, 2)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=scores),
        torch.distributions.Independent(torch.distributions.Normal(means, 0.3), 1),
    )
    exact = -(mixture.log_prob(action) + 2 * (math.log(0.3) + 0.5 * math.log(2 * math.pi))).mean()
    got = mixture_nll(torch.cat([scores, means.flatten(1)], 1), action, torch.ones(6, 2), 3, 0.3)
    assert torch.allclose(got, exact, atol=1e-4)


def test_the_log_probability_of_a_squashed_sample_is_its_density():
    torch.manual_seed(0)
    actor = SquashedGaussian([3, 16], 1)
    obs = torch.randn(1, 3)
    with torch.no_grad():
        action, log_prob = actor(obs.expand(40_000, 3))
    assert action.abs().max() < 1
    edges = torch.linspace(-0.9, 0.9, 10)
    for low, high in itertools.pairwise(edges):
        inside = (action[:, 0] > low) & (action[:, 0] <= high)
        if inside.sum() > 2000:  # the mean of 1 / density over samples of an interval is its width over its mass
            assert float((-log_prob[inside]).exp().mean() * inside.float().mean()) == pytest.approx(0.2, rel=0.1)


def test_an_encoder_takes_images_of_any_shape():
    assert encoder((48, 64, 3), 20)(torch.rand(2, 3, 48, 64)).shape == (2, 20)
    assert isinstance(encoder((96, 96, 1), 8)[0], nn.Conv2d)


@pytest.mark.parametrize("std", [0.03, 0.5])
def test_an_actor_begins_with_about_the_noise_that_is_asked(std):
    torch.manual_seed(0)
    actor, obs = SquashedGaussian([3, 64], 2, std=std), torch.zeros(20_000, 3)
    with torch.no_grad():
        drawn = torch.atanh(actor(obs)[0].clamp(-0.9999, 0.9999))
    assert drawn.std(dim=0).log().mean().item() == pytest.approx(math.log(std), abs=0.3)
