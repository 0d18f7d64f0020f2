import logging

from pack.host.samples import SAMPLES, place_samples


def test_samples_are_put_among_the_inputs(tmp_path):
    place_samples(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in SAMPLES.iterdir()}
    assert all(path.name.startswith("hunyuan_av_") for path in tmp_path.iterdir())


def test_a_file_of_the_users_is_not_touched(tmp_path):
    mine = tmp_path / next(SAMPLES.iterdir()).name
    mine.write_text("mine")
    place_samples(tmp_path)
    assert mine.read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_said_and_survived(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        place_samples(tmp_path / "missing")
    assert "was not put into" in caplog.text


def test_samples_are_small():
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 1e6
