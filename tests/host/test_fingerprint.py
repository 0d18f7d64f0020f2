"""Fingerprints: the same for the same model, another one for whatever changes what it computes."""

from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pack.host.fingerprint import fingerprint
from torch import nn


@dataclass
class Patcher:
    model: nn.Module
    patches: dict[str, Any] = field(default_factory=dict)
    model_options: dict[str, Any] = field(default_factory=dict)
    backup: dict[str, Any] = field(default_factory=dict)


def network(seed=0, size=1000):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(size, 3)


def scaled(factor):
    def scale(x):
        return x * factor

    return scale


def test_the_same_weights_have_one_fingerprint():
    assert fingerprint(Patcher(network())) == fingerprint(Patcher(network()))
    assert fingerprint(SimpleNamespace(patcher=Patcher(network()))) == fingerprint(Patcher(network()))


@pytest.mark.parametrize("other", [network(1), network().half(), network(size=999), nn.Identity()])
def test_other_weights_have_another(other):
    assert fingerprint(Patcher(other)) != fingerprint(Patcher(network()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lora": [(1.0, torch.ones(3), 1.0)]}, {"lora": [(0.5, torch.ones(3), 1.0)]}),
        ({"lora": [(1.0, torch.ones(3), 1.0)]}, {"lora": [(1.0, torch.zeros(3), 1.0)]}),
        ({"windows": Fraction(8)}, {"windows": Fraction(9)}),
        ({"function": scaled(2)}, {"function": scaled(3)}),
        ({"settings": SimpleNamespace(scale=2)}, {"settings": SimpleNamespace(scale=3)}),
        ({"method": SimpleNamespace(scale=2).__eq__}, {}),
    ],
)
def test_what_is_attached_counts(one, other):
    prints = {fingerprint(Patcher(network(), model_options=options)) for options in (one, other)}
    assert len(prints) == 2
    assert fingerprint(Patcher(network(), patches=one)) == fingerprint(Patcher(network(), patches=one))


def test_a_lora_that_is_in_place_does_not_hide_the_weights_beneath():
    plain, patched = Patcher(network()), Patcher(network())
    patched.backup["weight"] = SimpleNamespace(weight=patched.model.weight.detach().clone())
    with torch.no_grad():
        patched.model.weight += 1
    assert fingerprint(plain) == fingerprint(patched)


def test_what_holds_itself_ends():
    options: dict[str, Any] = {}
    options["self"] = options
    assert fingerprint(Patcher(network(), model_options=options))


def test_the_order_of_models_counts():
    one, other = Patcher(network()), Patcher(network(1))
    assert fingerprint(one, other) != fingerprint(other, one)
