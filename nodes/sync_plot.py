"""A node that shows whether a sound follows its picture, and moves it if it is late or early throughout.

It tells the browser what it found, for the plot on the node, as `ui` data under `hyav_sync`: a list of one

    {
      "duration": 8.0, "fps": 25.0,                      # seconds, frames per second
      "motion": [[t, e], ...],                           # energy of the motion over time, at most 2000 points
      "waveform": {"min": [...], "max": [...], "rate": 200.0},   # extremes in -1..1, `rate` pairs a second
      "events": [s, ...], "onsets": [s, ...],            # seconds at which something is seen, and heard
      "matches": [[i, j, offset_ms], ...],               # event i is heard as onset j, so much later
      "offset_ms": 12.0, "matched": 0.93,                # median of the matches; share of the events; or null
      "strip": {"filename", "subfolder", "type"},        # frames from all over the clip, side by side
      "audio": {"filename", "subfolder", "type"}         # the sound
    }

All of it describes the sound that the node gives, after it was moved. Times count from the clip's start.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import host
from ..hunyuan.media.audio import check_waveform
from .loaders import CATEGORY
from .sockets import NOT_CONNECTED, open_footage

io = host.io


class FoleySyncPlot(io.ComfyNode):
    """VIDEO or IMAGE + fps, AUDIO, max shift -> AUDIO, IMAGE, offset, matched fraction."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleySyncPlot",
            display_name="Foley Sync Plot",
            category=CATEGORY,
            description="Draws what is seen and what is heard over time and measures how well both go "
            "together. A sound that is late or early throughout is moved to its place.",
            search_aliases=["audio video sync", "synchronization", "onset detection", "audio offset"],
            inputs=[
                io.Audio.Input("audio", tooltip="The sound to judge, from the beginning of the video on."),
                io.Video.Input(
                    "video", optional=True, tooltip="What is seen. Connect either this or images."
                ),
                io.Image.Input(
                    "images", optional=True, tooltip="Frames, in order. Connect either these or a video."
                ),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frames per second of the images. A video knows its own.",
                ),
                io.Float.Input(
                    "max_shift_ms",
                    default=0.0,
                    min=0.0,
                    max=2000.0,
                    step=10.0,
                    tooltip="How far the sound may be moved, in milliseconds, if all of it is late or early. "
                    "0 leaves it where it is.",
                ),
            ],
            outputs=[
                io.Audio.Output(
                    display_name="audio", tooltip="The sound, moved if that helps, else untouched."
                ),
                io.Image.Output(
                    display_name="plot", tooltip="Frames, motion, waveform, and what was seen and heard when."
                ),
                io.Float.Output(
                    display_name="offset_ms",
                    tooltip="Milliseconds by which the given sound is late; below 0 it is early. 0 if "
                    "nothing seen is heard.",
                ),
                io.Float.Output(
                    display_name="matched",
                    tooltip="Share of the events seen that are heard within 80 ms, after moving: 0 to 1.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(
        cls, audio: Any, video: Any = NOT_CONNECTED, images: Any = NOT_CONNECTED
    ) -> bool | str:
        """Whether a picture is connected: a plot without one must not stop the other outputs of a graph."""
        missing = video is NOT_CONNECTED and images is NOT_CONNECTED
        return "Foley Sync Plot needs a picture: connect a video, or images." if missing else True

    @classmethod
    def execute(
        cls,
        audio: Any,
        fps: float,
        max_shift_ms: float,
        video: Any | None = None,
        images: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..hunyuan.foley.sync_check import check_sync

        waveform, rate = first_take(audio), int(audio["sample_rate"])
        with open_footage(video, images, fps, any_length=True) as footage:
            frames = host.progress(footage.frames, footage.count, "Watching the video")
            check = check_sync(frames, footage.seconds, waveform, rate, max_shift_ms)
        moved = moved_sound(audio, round(check.shift * rate))
        plot = check.plot(first_take(moved), rate)
        told = plot.as_json()
        sound = host.save_sound(first_take(moved), rate)
        ui = {"hyav_sync": [{**told, "strip": saved(check.strip), "audio": sound}]}
        picture = torch.from_numpy(plot.draw()).float()[None] / 255
        return io.NodeOutput(moved, picture, milliseconds(check.offset), told["matched"] or 0.0, ui=ui)


def first_take(audio: Mapping[str, Any] | None) -> np.ndarray:
    """(channels, samples): the first sound of an AUDIO. Raises ValueError if there is none."""
    if audio is None:
        raise ValueError("There is no sound: the video that was loaded has none. Connect another AUDIO.")
    return check_waveform(audio["waveform"][0].float().cpu().numpy())


def moved_sound(audio: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """All takes later by so many samples, or the AUDIO itself for 0."""
    if not samples:
        return dict(audio)
    from ..hunyuan.foley.synchrony import shifted

    waveform = torch.from_numpy(shifted(audio["waveform"].cpu().numpy(), samples))
    return {**audio, "waveform": waveform}


def saved(strip: np.ndarray) -> dict[str, str]:
    return host.save_preview(torch.from_numpy(strip).float() / 255)


def milliseconds(seconds: float) -> float:
    return 0.0 if np.isnan(seconds) else 1000 * seconds
