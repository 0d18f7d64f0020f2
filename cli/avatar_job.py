"""What `hunyuan_av avatar` may be asked for, checked before anything is loaded."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..host.standalone.memory import Placement
from ..hunyuan.avatar.conditions import EXPRESSION_MOTION, POSE_MOTION
from ..hunyuan.avatar.face_mask import ENLARGE
from ..hunyuan.avatar.prompt_text import NEGATIVE_PROMPT
from ..hunyuan.avatar.reference_image import DEFAULT_SIZE, MULTIPLE
from ..hunyuan.avatar.settings import CFG, FLOW_SHIFT, STEPS, AvatarSettings
from ..hunyuan.avatar.step_cache import TOLERANCE
from ..hunyuan.avatar.timing import FPS
from ..hunyuan.media.encode import check_encodable
from ..hunyuan.media.source import check_readable
from .shared_options import check_memory, check_numbers, option

POINT = re.compile(r"@(\d+(?:\.\d+)?|\.\d+),(\d+(?:\.\d+)?|\.\d+)$")  # at the end of a voice
FRAME_RATES = (5.0, 60.0)  # frames per second
LEAST = {"steps": 1, "face": 0, "strength": 0, "cache_tolerance": 0, "size": MULTIPLE}
ABOVE_ZERO = ("enlarge", "flow_shift", "cfg")


@dataclass(frozen=True, kw_only=True)
class SpokenBy:
    """A recording, and where the face is that speaks it.

    point: x and y in the picture, both as fractions of it up to 1, or else in pixels of the file; None where
        nothing is said.
    """

    path: Path
    point: tuple[float, float] | None = None

    @classmethod
    def parse(cls, text: str) -> "SpokenBy":
        """`voice.wav`, or `voice.wav@0.3,0.4`."""
        found = POINT.search(text)
        if found is None or Path(text).exists():
            return cls(path=Path(text))
        return cls(path=Path(text[: found.start()]), point=(float(found[1]), float(found[2])))

    def fractions(self, height: int, width: int) -> tuple[float, float]:
        """The point as fractions of a picture of this size. Raises ValueError for one beside it."""
        assert self.point is not None
        x, y = self.point
        if x > 1 or y > 1:
            x, y = x / width, y / height
        if x > 1 or y > 1:
            raise ValueError(
                f"The point {self.point[0]:g},{self.point[1]:g} of {self.path.name} lies beside the image of"
                f" {width} x {height} pixels. Give pixels in it, or fractions of it up to 1."
            )
        return x, y


@dataclass(frozen=True, kw_only=True)
class AvatarJob:
    """One job from files to a file; what the fields mean stands in `hunyuan_av avatar --help`."""

    image: Path
    voices: tuple[SpokenBy, ...]
    out: Path
    prompt: str = ""
    negative_prompt: str = NEGATIVE_PROMPT
    quality: bool = True  # whether the prompt asks for quality first, as released
    masks: tuple[Path, ...] = ()
    face: int | None = None
    enlarge: float = ENLARGE
    strength: float = 1.0
    size: int = DEFAULT_SIZE
    fps: float = FPS
    steps: int = STEPS
    cfg: float = CFG
    seed: int = 0
    schedule: str = "scaled"
    step_cache: str = "scaled"
    cache_tolerance: float = TOLERANCE
    flow_shift: float = FLOW_SHIFT
    shift: int = field(default_factory=lambda: AvatarSettings().shift)
    overlap: int = 0
    head_motion: float = POSE_MOTION
    expression: float = EXPRESSION_MOTION
    job: Path | None = None
    keep_job: bool = False
    restart: bool = False
    dtype: str | None = None
    vae_dtype: str = "float32"
    device: str | None = None
    memory: float | None = None  # GB of the device

    def __post_init__(self) -> None:
        if not self.voices:
            raise ValueError("Nobody speaks: give a recording with --voice.")
        self._check_numbers()
        self._check_faces()
        _ = self.settings  # which checks its own
        for path in (self.image, *self.masks, *(voice.path for voice in self.voices)):
            check_readable(path)
        check_encodable(self.out)

    def _check_numbers(self) -> None:
        if self.memory is not None:
            check_memory(self.memory)
        check_numbers(self, LEAST)
        for name in ABOVE_ZERO:
            if getattr(self, name) <= 0:
                raise ValueError(f"{option(name)} {getattr(self, name):g} is too small: it must be above 0.")
        slowest, fastest = FRAME_RATES
        if not slowest <= self.fps <= fastest:
            raise ValueError(
                f"--fps {self.fps:g} is not possible: give {slowest:g} to {fastest:g}, at best {FPS}."
            )

    def _check_faces(self) -> None:
        if len(self.masks) > len(self.voices):
            raise ValueError(
                f"There are {len(self.masks)} masks for {len(self.voices)} voices: give one --mask for each"
                " --voice, in the same order."
            )
        placed = any(voice.point for voice in self.voices)
        if self.face is not None and (len(self.voices) > 1 or self.masks or placed):
            raise ValueError(
                "--face chooses for a single voice that has neither a mask nor a point. Leave it out."
            )

    @property
    def settings(self) -> AvatarSettings:
        return AvatarSettings(
            cfg=self.cfg, schedule=self.schedule, step_cache=self.step_cache, tolerance=self.cache_tolerance,
            mask_strength=self.strength, shift=self.shift, overlap=self.overlap,
        )  # fmt: skip

    @property
    def placement(self) -> Placement:
        return Placement.choose(self.device, self.dtype)
