"""The optimizer: what it does to a matrix, and to everything that is none."""

import pytest
import torch
from pack.training.muon import Muon, balance, is_matrix
from torch import nn


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (20, 20)])
def test_balance_keeps_directions_and_makes_them_equally_strong(shape):
    left = torch.linalg.qr(torch.randn(shape[0], min(shape), generator=torch.Generator().manual_seed(0))).Q
    right = torch.linalg.qr(torch.randn(shape[1], min(shape), generator=torch.Generator().manual_seed(1))).Q
    strengths = torch.logspace(0, -1.5, min(shape))
    balanced = balance(left * strengths @ right.T)
    found = torch.diagonal(left.T @ balanced @ right)
    assert found.min() > 0.6
    assert found.max() < 1.3
    assert torch.allclose(left @ (left.T @ balanced), balanced, atol=0.05)


def test_tables_tokens_and_vectors_are_left_to_adam():
    weight = torch.zeros(16, 9)
    assert is_matrix("blocks.0.mlp.fc1.weight", weight)
    assert is_matrix("conv.weight", torch.zeros(16, 3, 3))
    assert not is_matrix("embeddings.word_embeddings.weight", weight)
    assert not is_matrix("transformer.audio_embedder.proj.weight", weight)
    assert not is_matrix("transformer.final_layer.linear.weight", weight)
    assert not is_matrix("pos_embed", weight)
    assert not is_matrix("norm.weight", torch.zeros(16))
    assert not is_matrix("head.weight", torch.zeros(1, 16))


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_it_finds_a_linear_map_whose_inputs_are_of_very_different_size(rate):
    draw = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -1, 12)
    wanted = torch.randn(10, 12, generator=draw)
    network = nn.Linear(12, 10)
    optimizer = Muon(network, rate, 0.05, weight_decay=0.0)
    for step in range(300):
        x = torch.randn(32, 12, generator=draw) * scales
        loss = (network(x) - x @ wanted.T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.factor.fill_(1 - step / 300)
        optimizer.step()
    assert loss < 0.05


def test_its_state_goes_through_a_file(tmp_path):
    def stepped(network, optimizer):
        network(torch.ones(2, 12)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        return network.weight.clone()

    torch.manual_seed(0)
    network = nn.Linear(12, 10)
    optimizer = Muon(network, 0.02, 0.01, weight_decay=0.1)
    stepped(network, optimizer)
    torch.save([network.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
    expected = stepped(network, optimizer)

    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    again = nn.Linear(12, 10)
    again.load_state_dict(weights)
    other = Muon(again, 0.02, 0.01, weight_decay=0.1)
    other.load_state_dict(state)
    assert torch.equal(stepped(again, other), expected)
