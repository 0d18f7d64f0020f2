"""Frames of which only a part is shown."""

import numpy as np
import pytest
import torch
from pack.hunyuan.media.mask import mask_frames

RNG = np.random.default_rng(0)
FRAMES = [(i / 8, RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)) for i in range(3)]


def test_a_mask_of_ones_shows_every_level_and_one_of_zeros_a_grey():
    shown = list(mask_frames(FRAMES, torch.ones(1, 2, 3)))
    assert all(np.array_equal(a[1], b[1]) and a[0] == b[0] for a, b in zip(FRAMES, shown, strict=True))
    for _, frame in mask_frames(FRAMES, torch.zeros(1, 6, 9)):
        assert frame.dtype == np.uint8
        assert set(frame.flatten().tolist()) == {128}


def test_each_frame_has_its_own_mask_if_there_are_several():
    masks = torch.stack([torch.full((6, 9), value) for value in (1.0, 0.0, 0.5)])
    first, second, third = (frame for _, frame in mask_frames(FRAMES, masks))
    assert np.array_equal(first, FRAMES[0][1])
    assert (second == 128).all()
    assert np.abs(third.astype(int) - (FRAMES[2][1].astype(int) + 127.5) / 2).max() <= 0.5


def test_too_few_masks_are_counted():
    with pytest.raises(ValueError, match="2 masks for 3 frames"):
        list(mask_frames(FRAMES, torch.ones(2, 6, 9)))


def test_frames_are_not_changed_in_place():
    before = FRAMES[0][1].copy()
    list(mask_frames(FRAMES, torch.zeros(1, 6, 9)))
    assert np.array_equal(before, FRAMES[0][1])
