"""Short clips rendered from a seed: picture, sound, caption, and the truth about what happens when.

    from hunyuan_av.training.scenes import Scene

    scene = Scene.draw(7)                          # the same clip every time; the splits share none
    frames = scene.frames()                        # (t, 128, 128, 3) uint8 at scene.fps, all 8 s
    sound = scene.waveform()                       # (samples,) float32 at 48 kHz, all 8 s
    frames = scene.frames(fps=25, size=112, start=2.0, seconds=3.2)     # a window, rendered alone:
    sound = scene.waveform(start=2.0, seconds=3.2)                      # bit for bit that part of the whole
    for time, frame in scene.stream(fps=25): ...   # one by one, as `encode_video` takes them

    scene.caption, scene.kind, scene.material      # "a rubber ball bouncing", "ball", "rubber"
    scene.events                                   # (Event(time, kind, material, strength, visible), ...)
    scene.density(time)                            # of rain, 0 to 1; 0 where it is dry
    scene.caption_for("metal")                     # the caption had the things been of metal
    scene.dubbed("metal")                          # the same picture with the sound and the caption of metal

    Scene.draw(7, "held-out", kind="ball", material="glass", seconds=4.0)   # what is not left to the seed

`KINDS` are what a scene may show, `MATERIALS[kind]` what it may be made of. In a scene of kind "two" each
event names its own kind and material, and `scene.sources` has both (kind, material). A scene of rain or of
silence has no events; below every sound lies a room's tone at -80 dBFS.
"""

from .events import KINDS, MATERIALS, Event
from .scene import SAMPLE_RATE, Scene

__all__ = ["KINDS", "MATERIALS", "SAMPLE_RATE", "Event", "Scene"]
