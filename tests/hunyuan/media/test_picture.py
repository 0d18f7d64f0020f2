"""Pictures and masks from files, in every form that fails elsewhere."""

import numpy as np
import pytest
import torch
from pack.hunyuan.media.picture import read_mask, read_picture
from PIL import Image

COLOURS = np.array([[[200, 30, 60], [10, 220, 90]], [[40, 80, 250], [255, 255, 255]]], np.uint8)


def test_a_picture_is_read_as_it_is(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), COLOURS)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, COLOURS), (3, np.rot90(COLOURS, 2)), (6, np.rot90(COLOURS, -1)), (8, np.rot90(COLOURS))],
)
def test_a_photograph_is_turned_as_its_exif_says(tmp_path, orientation, turned):
    large = Image.fromarray(COLOURS.repeat(16, 0).repeat(16, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    large.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    found = read_picture(tmp_path / "a.jpg")[8::16, 8::16].astype(int)
    assert np.abs(found - turned.astype(int)).max() < 12


def test_what_is_transparent_lies_on_white(tmp_path):
    alpha = np.array([[255, 0], [128, 255]], np.uint8)
    Image.fromarray(np.dstack([COLOURS, alpha])).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    assert found[0].tolist() == [[200, 30, 60], [255, 255, 255]]
    assert np.abs(found[1, 0].astype(int) - (COLOURS[1, 0].astype(int) + 255) / 2).max() <= 1.5


@pytest.mark.parametrize("size", [(16, 16), (400, 100)])
def test_sixteen_bits_keep_their_levels(tmp_path, size):
    levels = np.linspace(0, 65_535, size[0] * size[1]).reshape(size[::-1]).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    assert found.shape == (*size[::-1], 3)
    assert np.abs(found[..., 1] - levels / 257).max() <= 0.51


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1"])
def test_other_modes_become_rgb(tmp_path, mode):
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / "a.tiff")
    assert read_picture(tmp_path / "a.tiff").shape == (2, 2, 3)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_file_that_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png is"):
        read_picture(tmp_path / "a.png")


def test_a_truncated_picture_is_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.png is no picture that can be read"):
        read_picture(tmp_path / "a.png")


def test_a_mask_is_white_where_something_is_selected(tmp_path):
    Image.fromarray(np.array([[0, 51], [255, 255]], np.uint8)).save(tmp_path / "a.png")
    torch.testing.assert_close(read_mask(tmp_path / "a.png"), torch.tensor([[[0, 0.2], [1, 1]]]))
    white = np.full((2, 2, 4), 255, np.uint8)
    white[0, :, 3] = 0
    Image.fromarray(white).save(tmp_path / "b.png")
    assert read_mask(tmp_path / "b.png").tolist() == [[[0, 0], [1, 1]]]


def test_a_moving_mask_has_all_its_frames(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 255, 0)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_mask(tmp_path / "a.gif").mean((1, 2)).tolist() == [0, 1, 0]
