import json
from pathlib import Path

import pytest
from pack.cli import batch, main
from pack.cli.foley_presets import PRESETS


def write_table(folder: Path, rows: list[dict]) -> Path:
    table = folder / "jobs.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def sound(name: str, **settings) -> dict:
    return {"out": name, "prompt": name, "seconds": 1, "steps": 2, **settings}


def run(table: Path, capsys) -> tuple[int, list[str]]:
    status = main(["batch", str(table)])
    return status, [line for line in capsys.readouterr().out.splitlines() if line.startswith("row")]


def test_a_bad_row_does_not_stop_the_others_and_is_reported(tmp_path, capsys):
    table = write_table(
        tmp_path,
        [
            sound("a.wav"),
            sound("b.mp3", solver="eulr") | {"out": "b.wav"},
            {"out": "c.wav", "colour": 1},
            sound("d.flac"),
        ],
    )
    status, lines = run(table, capsys)
    assert status == 1
    assert [line.split(": ")[1] for line in lines] == ["made", "failed", "failed", "made"]
    assert "--solver eulr is not known" in lines[1]
    assert "There is no column 'colour'" in lines[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.wav",
        "d.flac",
        "jobs.jsonl",
        "jobs.jsonl.done",
    ]


def test_the_second_run_makes_only_what_changed(tmp_path, capsys):
    rows = [sound("a.wav"), sound("b.wav"), sound("c.wav")]
    table = write_table(tmp_path, rows)
    assert run(table, capsys)[0] == 0
    before = (tmp_path / "a.wav").stat().st_mtime_ns

    rows[1]["seed"] = 5
    (tmp_path / "c.wav").write_bytes(b"damaged")
    _, lines = run(write_table(tmp_path, rows), capsys)
    assert [line.split(": ")[1] for line in lines] == ["unchanged", "made", "made"]
    assert (tmp_path / "a.wav").stat().st_mtime_ns == before


def test_a_video_of_other_content_is_another_job(tmp_path):
    video = tmp_path / "v.mp4"
    ledger = batch.Ledger(tmp_path / "done", "weights")
    job = batch.job_of({"video": "v.mp4", "out": "o.mp4"}, tmp_path)
    video.write_bytes(b"one")
    first = ledger.key(job)
    video.write_bytes(b"two")
    assert ledger.key(job) != first
    video.write_bytes(b"one")
    assert ledger.key(job) == first
    assert batch.Ledger(tmp_path / "done", "other weights").key(job) != first


def test_a_list_of_shots_lies_beside_the_table_and_is_another_job_when_it_changes(tmp_path):
    shots, ledger = tmp_path / "shots.json", batch.Ledger(tmp_path / "done", "weights")
    (tmp_path / "v.mp4").write_bytes(b"video")
    shots.write_text('[{"start": 0}]')
    job = batch.job_of({"video": "v.mp4", "out": "o.mp4", "shots": "shots.json"}, tmp_path)
    assert job.shots == str(shots)
    first = ledger.key(job)
    shots.write_text('[{"start": 0, "prompt": "rain"}]')
    assert ledger.key(job) != first
    assert batch.job_of({"video": "v.mp4", "out": "o.mp4", "shots": "auto"}, tmp_path).shots == "auto"


def test_a_row_does_not_overwrite_what_an_earlier_one_made(tmp_path, capsys):
    code, lines = run(write_table(tmp_path, [sound("a.wav"), sound("a.wav", seed=1)]), capsys)
    assert code == 1
    assert [line.split(": ")[1] for line in lines] == ["made", "failed"]
    assert "a.wav is written by row 1 already" in lines[1]


def test_line_breaks_within_a_cell_belong_to_it(tmp_path):
    table = tmp_path / "jobs.csv"
    table.write_text('out,prompt\na.wav,"rain\nthunder"\n')
    assert batch.read_rows(table) == [{"out": "a.wav", "prompt": "rain\nthunder"}]
    lines = tmp_path / "jobs.jsonl"
    lines.write_text('{"prompt": "rain\u2028thunder"}\n', encoding="utf-8")
    assert batch.read_rows(lines) == [{"prompt": "rain\u2028thunder"}]


def test_a_line_cut_off_by_a_kill_is_overlooked(tmp_path, capsys):
    table = write_table(tmp_path, [sound("a.wav")])
    run(table, capsys)
    done = tmp_path / "jobs.jsonl.done"
    done.write_text(done.read_text() + '{"key": "cut o')
    assert [line.split(": ")[1] for line in run(table, capsys)[1]] == ["unchanged"]
    table = write_table(tmp_path, [sound("a.wav"), sound("b.wav")])
    assert [line.split(": ")[1] for line in run(table, capsys)[1]] == ["unchanged", "made"]
    assert [line.split(": ")[1] for line in run(table, capsys)[1]] == ["unchanged", "unchanged"]


def test_csv_cells_are_read_as_numbers_and_empty_ones_as_defaults(tmp_path):
    table = tmp_path / "jobs.csv"
    table.write_text("out,prompt,seconds,steps,cfg\na.wav,rain,2.5,10,\n")
    (row,) = batch.read_rows(table)
    job = batch.job_of(row, tmp_path)
    assert (job.out, job.seconds, job.steps, job.cfg) == (tmp_path / "a.wav", 2.5, 10, 4.5)


def test_a_row_may_name_a_preset_and_differ_from_it(tmp_path):
    job = batch.job_of({"out": "a.wav", "seconds": "1", "preset": "fast", "solver": "heun"}, tmp_path)
    fast = PRESETS["fast"]
    assert (job.steps, job.solver, job.guide_to) == (fast.steps, "heun", fast.guide_to)
    with pytest.raises(ValueError, match=r"--preset quick is not known\. Choose one of fast"):
        batch.job_of({"out": "a.wav", "seconds": "1", "preset": "quick"}, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("jobs.txt", "", "must be .csv or .jsonl"),
        ("jobs.jsonl", "{]\n", "line 1: not JSON"),
        ("jobs.jsonl", "3\n", "line 1: not a JSON object"),
        ("jobs.csv", b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["batch", str(path)]) == 1
    assert message in capsys.readouterr().err


def test_a_cell_that_is_no_number_names_its_column(tmp_path):
    with pytest.raises(ValueError, match="Column steps: 'many' cannot be understood"):
        batch.job_of({"out": "a.wav", "steps": "many"}, tmp_path)
