import pytest
import torch
from pack.hunyuan.avatar.conditions import Features
from pack.hunyuan.avatar.feature_ring import FeatureRing


def features_of(window: int, places: torch.Tensor, text_tokens: int = 2) -> Features:
    """Video tokens that know window and place; reference and text that know the window."""
    video = (100 * window + places.float())[None, :, None, None].expand(1, -1, 3, 1)
    return Features.join(
        torch.full((1, 3, 1), float(window)), video, torch.full((1, text_tokens, 1), float(window))
    )


def test_a_window_that_lies_elsewhere_reads_by_place():
    ring = FeatureRing(8)
    ring.write(torch.arange(0, 5), features_of(1, torch.arange(0, 5)))
    later = torch.tensor([5, 6, 7, 0, 1])
    ring.write(later, features_of(2, later))
    read = ring.read(torch.arange(1, 6))
    assert read.video[0, :, 0, 0].tolist() == [201, 102, 103, 104, 205]
    assert read.prefix.unique().tolist() == [2]  # the first latent was last written by the second window
    assert read.text.unique().tolist() == [2]
    assert ring.read(torch.arange(2, 7)).prefix.unique().tolist() == [1]


def test_texts_of_windows_may_differ_in_length():
    ring = FeatureRing(4)
    ring.write(torch.arange(0, 2), features_of(1, torch.arange(0, 2), text_tokens=2))
    ring.write(torch.arange(2, 4), features_of(2, torch.arange(2, 4), text_tokens=5))
    assert ring.read(torch.tensor([1, 2])).text.shape[1] == 2
    assert ring.read(torch.tensor([2, 3])).text.shape[1] == 5


def test_nothing_can_be_read_before_a_full_step():
    with pytest.raises(ValueError, match="A cached step needs a full step before it"):
        FeatureRing(4).read(torch.arange(2))
