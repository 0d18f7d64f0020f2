"""Convolutions over tokens: the same numbers, weights and names, however they are computed."""

import pytest
import torch
import torch.nn.functional as F
from pack.hunyuan.layers.convolution import as_2d, channels_innermost, token_convolution
from torch import nn

KIND = token_convolution(nn.Conv1d)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return KIND(12, 20, 3, padding=1)


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("innermost", [False, True])
def test_a_convolution_of_height_one_is_the_same(layer, length, innermost):
    x = torch.randn(2, length, 12).transpose(1, 2)
    weight = channels_innermost(layer.weight) if innermost else layer.weight
    expected = F.conv1d(x, layer.weight, layer.bias, padding=1)
    made = as_2d(x, weight, layer.bias, padding=1)
    assert torch.allclose(made, expected, atol=1e-6)
    assert made.transpose(1, 2).is_contiguous()  # tokens again have their channels innermost


def test_weights_laid_out_are_the_same_weights_and_need_not_be_copied(layer):
    laid_out = channels_innermost(layer.weight)
    assert torch.equal(laid_out, layer.weight)
    assert channels_innermost(laid_out).data_ptr() == laid_out.data_ptr()
    assert laid_out[:, :, None].is_contiguous(memory_format=torch.channels_last)


def test_on_a_cpu_it_is_torchs_own_in_all_ways(layer):
    plain = nn.Conv1d(12, 20, 3, padding=1)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 12, 9)
    assert torch.equal(layer(x), plain(x))
    assert layer.to(torch.float64).weight.is_contiguous()
    assert repr(layer) == repr(plain)


def test_a_host_is_asked_for_its_weights_as_ever():
    class Hosted(nn.Conv1d):
        def forward(self, x):
            return self._conv_forward(x, self.weight * 2, self.bias)

    hosted = token_convolution(Hosted)(4, 4, 3, padding=1, bias=False)
    x = torch.randn(1, 4, 5)
    assert torch.equal(hosted(x), F.conv1d(x, hosted.weight * 2, padding=1))


def test_a_hosts_own_kind_of_weight_is_not_laid_out_anew(layer):
    """A packed weight cannot be turned around: it would be unpacked for that, for good."""

    class OnCard(nn.Parameter):
        is_cuda = True

    layer.weight = OnCard(layer.weight.data)
    layer._apply(lambda tensor: tensor)
    assert layer.weight.is_contiguous()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_weights_lie_as_they_are_read_and_stay_the_same(layer):
    x = torch.randn(2, 9, 12).transpose(1, 2)
    expected, weight = layer(x), layer.weight.clone()
    layer.cuda()
    assert layer.weight.stride() == (36, 1, 12)
    assert torch.allclose(layer(x.cuda()).cpu(), expected, atol=5e-3)  # TensorFloat-32
    assert torch.equal(layer.cpu().weight, weight)
