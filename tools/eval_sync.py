"""Whether sound follows picture, in figures.

    python tools/eval_sync.py VIDEO [VIDEO ...] [--weights DIR]
    python tools/eval_sync.py --held-out 64 --steps 25 [--weights DIR] [--seed N] [--tables]

Of videos: what is seen and heard, what of it goes together within 80 ms, DeSync (by Synchformer from
`--weights` or the pocket one), loudness, silence, bandwidth. Of held-out scenes, for which sound is made: a
table of the figures by which the pocket weights are judged. Exit status 1 if one is below its bar.
"""

import argparse
import sys
from pathlib import Path

import _pack  # noqa: F401 - makes hunyuan_av importable
from eval_generate import Generator, Settings, add_options
from eval_scenes import SECTIONS, Figure, HeldOut
from eval_tables import tables
from hunyuan_av.cli.desync_command import desync_of
from hunyuan_av.cli.mistakes import MISTAKES, sentence
from hunyuan_av.host.standalone.progress import progress
from hunyuan_av.hunyuan.foley.desync import CROP_SECONDS
from hunyuan_av.hunyuan.foley.sync_check import SyncCheck, check_sync
from hunyuan_av.hunyuan.media.container import probe, read_frames
from hunyuan_av.hunyuan.media.files import read_audio
from hunyuan_av.hunyuan.media.measure import SoundMeasures, measure_sound


def main() -> int:
    options = parse()
    try:
        if options.held_out:
            return judge(options)
        for path in options.videos:
            look_at(path, options.weights)
    except MISTAKES as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whether sound follows picture, in figures.")
    parser.add_argument("videos", nargs="*", type=Path, metavar="VIDEO")
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="make the sound of N held-out scenes"
    )
    add_options(parser)
    parser.add_argument("--only", metavar="DIGITS", help="sections to judge, such as 14 (default: all)")
    parser.add_argument("--tables", action="store_true", help="also tables of guidance, steps and solvers")
    options = parser.parse_args()
    if bool(options.videos) == bool(options.held_out):
        parser.error("name videos, or give --held-out N")
    if options.held_out < 0:
        parser.error(f"--held-out {options.held_out} is too small: it must be at least 1")
    sections = {title[0] for title in SECTIONS}
    if not set(options.only or sections) <= sections:  # a section that is not there would pass unjudged
        parser.error(f"--only {options.only}: there are the sections {', '.join(sorted(sections))}")
    return options


def judge(options: argparse.Namespace) -> int:
    """Print the table; 1 if a bar is missed."""
    generator = Generator.load(options.weights, options.device)
    settings = Settings(steps=options.steps, cfg=options.cfg, seed=options.seed)
    held = HeldOut(generator, settings, options.held_out, progress)
    print(f"{options.held_out} held-out scenes, {settings}, weights: {generator.models.origin}")
    figures: list[Figure] = []
    for title, section in SECTIONS.items():
        if options.only is None or title[0] in options.only:
            print(f"\n{title}", flush=True)
            found = section(held)
            print(*found, sep="\n", flush=True)
            figures += found
    if options.tables:
        tables(held)
    missed = [figure for figure in figures if figure.met is False]
    print(f"\n{sum(figure.met is True for figure in figures)} bars met, {len(missed)} missed")
    return 1 if missed else 0


def look_at(path: Path, weights: Path | None) -> None:
    """Print the figures of a video."""
    info = probe(path)
    waveform, rate = read_audio(path)
    frames = progress(read_frames(path), round(info.duration * info.frame_rate), "Watching the video")
    check = check_sync(frames, info.end_time, waveform, rate)
    print(path, *described(check, measure_sound(waveform, rate)), sep="\n")
    is_long = info.duration >= CROP_SECONDS
    desync = format(desync_of(path, weights)[0], ".2f") if is_long else f"< {CROP_SECONDS:g} s long"
    print(Figure("DeSync, s", desync))


def described(check: SyncCheck, sound: SoundMeasures) -> list[Figure]:
    found = check.synchrony
    return [
        Figure("events seen", str(found.num_events)),
        Figure("onsets heard", str(found.num_onsets)),
        Figure("events heard within 80 ms", format(found.matched, ".2f")),
        Figure("median absolute offset, ms", format(1000 * found.absolute_offset, ".0f")),
        Figure("loudness, LUFS", format(sound.loudness, ".1f")),
        Figure("peak, dBFS", format(sound.peak, ".1f")),
        Figure("silence", format(sound.silence, ".0%")),
        Figure("bandwidth, Hz", format(sound.bandwidth, ".0f")),
        Figure("DC", format(sound.offset, "+.4f")),
        Figure("click at start and end, dB", " ".join(format(click, "+.0f") for click in sound.clicks)),
    ]


if __name__ == "__main__":
    sys.exit(main())
