"""The same clip by all the ways that ComfyUI knows, within its process: what is seen must be the same."""

import resource

import av
import numpy as np
import torch
from comfy_api.latest import InputImpl, Types
from distances import far
from given import folder, nodes, pocket

RATE = 25
MINUTES = 5


@torch.inference_mode()
def measure():
    encoder = nodes.FoleyVideoEncoderLoader.execute(pocket("siglip"), pocket("synchformer")).args[0]
    path = folder / "clip.mp4"
    write(path, seconds=3)
    video, part = InputImpl.VideoFromFile(str(path)), {"start": 0.6, "length": 1.4}

    def seen(**inputs):
        given = {"fps": float(RATE), "start": 0.0, "length": 0.0, **inputs}
        return nodes.FoleyVideoEncode.execute(encoder, **given).args[0]

    by_widgets = seen(video=video, **part)
    components = video.get_components()
    first, last = round(part["start"] * RATE), round((part["start"] + part["length"]) * RATE)
    images = components.images[first:last]
    decoded = torch.from_numpy(np.stack(pictures(path, "rgb24")[first:last]).astype(np.float32) / 255)
    made = InputImpl.VideoFromComponents(
        Types.VideoComponents(images=images, frame_rate=components.frame_rate)
    )
    ways = {
        "images": seen(images=images),
        "helper_suite": seen(images=torch.cat([decoded, torch.ones_like(decoded[..., :1])], dim=-1)),
        "made": seen(video=made),
    }
    if hasattr(video, "get_active_trim_window"):
        trimmed = InputImpl.VideoFromFile(str(path), start_time=part["start"], duration=part["length"])
        ways["trimmed"] = seen(video=trimmed)
    converted = torch.from_numpy(np.stack(pictures(path, "gbrpf32le")[first:last]))
    ways["in_float"] = in_float = seen(images=converted)
    ways["elsewhere"] = seen(video=video, start=1.2, length=1.4)
    results = {f"seen_{name}": difference(features, by_widgets) for name, features in ways.items()}
    for name in ("images", "made"):
        results[f"{name}_beside_float"] = difference(ways[name], in_float)
    return results | long_video(seen)


def difference(one, another):
    """How far what is seen is apart, the larger of both encoders' answers; infinity for another length."""
    if one.sync_frames != another.sync_frames:
        return float("inf")
    return max(far(one.sync, another.sync), far(one.visual, another.visual))


def long_video(seen):
    """Watches the end of a long video that must not be turned into images."""
    path = folder / "long.mp4"
    write(path, seconds=60 * MINUTES)

    class Streamed(InputImpl.VideoFromFile):
        def get_stream_source(self):
            return super().get_stream_source()

        def get_components(self):
            raise AssertionError("all frames of the video were loaded at once")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    features = seen(video=Streamed(str(path)), start=60.0 * MINUTES - 4, length=3.0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"long_frames": features.sync_frames, "long_mebibytes": grown / 1024}


def write(path, seconds):
    """A white square that wanders over a dark ground."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 128, 96, "yuv420p", 200_000
        for i in range(RATE * seconds):
            picture = np.full((96, 128, 3), 40, np.uint8)
            top, left = 40 + round(30 * np.sin(i / 3)), 50 + round(40 * np.sin(i / 11))
            picture[top : top + 16, left : left + 16] = (250, 200 - i % 150, 90)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def pictures(path, pixels):
    """All frames, (h, w, 3) each, as FFmpeg converts their colours to a format."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=pixels) for frame in container.decode(video=0)]
