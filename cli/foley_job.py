"""What `hunyuan_av foley` may be asked for, checked before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path

from ..host.standalone.memory import Placement
from ..hunyuan.foley.text_encoder import NEGATIVE_PROMPT
from ..hunyuan.foley.timed_prompts import PromptTrack
from ..hunyuan.long_form.job import check_place
from ..hunyuan.long_form.plan import OVERLAP, WindowSettings, exact
from ..hunyuan.media.files import SOUND_FORMATS, check_writable
from ..hunyuan.media.source import check_readable
from ..hunyuan.sampling.guidance import guidance_interval
from ..hunyuan.sampling.schedule import shifted
from ..hunyuan.sampling.solvers import SOLVERS
from .shared_options import check_numbers

AUTO = "auto"  # shots that are found, not written
TRACKS = ("replace", "keep", "mix")
SHORTEST = 0.1  # seconds
LEAST = {"steps": 1, "takes": 1, "batch": 1, "start": 0, "duck": 0, "denoise": 0, "fade": 0}


@dataclass(frozen=True, kw_only=True)
class FoleyJob:
    """One job from files to files; what the fields mean stands in `hunyuan_av foley --help`."""

    out: Path
    video: Path | None = None
    prompt: str = ""
    negative_prompt: str = NEGATIVE_PROMPT
    high_quality: bool = False
    steps: int = 50
    cfg: float = 4.5
    text_scale: float = 1.0  # in multiples of cfg, like the next two
    video_scale: float = 1.0
    sync_scale: float = 1.0
    guide_from: float = 0.0  # share of the sampling at which guidance begins to act,
    guide_to: float = 1.0  # and stops
    solver: str = "euler"
    shift: float = 1.0
    seed: int = 0
    takes: int = 1
    batch: int | None = None
    start: float = 0.0
    seconds: float | None = None
    sound: Path | None = None
    denoise: float | None = None  # None is 1, all of it
    regenerate: tuple[float, float] | None = None
    fade: float = 0.0
    shots: str | None = None  # "auto", or a file with shots or prompts
    overlap: float = float(OVERLAP)  # seconds, of the windows of what is longer than one generation
    join: str = "latents"
    job: Path | None = None  # None is beside `out`
    keep_job: bool = False
    restart: bool = False
    track: str = "replace"
    gain: float = 0.0
    duck: float = 0.0
    loudness: float | None = None
    true_peak: float = -1.0
    dtype: str | None = None
    vae_dtype: str = "float32"
    device: str | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        if self.solver not in SOLVERS:
            raise ValueError(f"--solver {self.solver} is not known. Choose one of {', '.join(SOLVERS)}.")
        if self.video is None:
            self._check_text_only()
        self._check_sound()
        self._check_track()
        self._check_shots()
        WindowSettings(overlap=exact(self.overlap), join=self.join)
        for path in self.outputs:
            check_writable(path)
        check_place(self.job_folder)

    def _check_numbers(self) -> None:
        check_numbers(self, LEAST)
        if self.seconds is not None and self.seconds < SHORTEST:
            raise ValueError(f"--seconds {self.seconds:g} is too short: it must be at least {SHORTEST:g}.")
        if not 0 <= self.guide_from <= self.guide_to <= 1:
            raise ValueError(
                f"--guide-from {self.guide_from:g} --guide-to {self.guide_to:g}: give two shares of the"
                " sampling in 0..1, the earlier first."
            )
        if self.shift <= 0:
            raise ValueError(f"--shift {self.shift:g} is too small: it must be above 0.")

    def _check_text_only(self) -> None:
        if self.seconds is None:
            raise ValueError(
                "Nothing says how long the sound shall be: give --video, or --seconds for text alone."
            )
        if not self.is_sound:
            raise ValueError(
                f"{self.out.name}: sound without a video goes into .wav or .flac. Use one, or give --video."
            )

    def _check_sound(self) -> None:
        changes = self.denoise is not None or self.regenerate is not None
        if self.sound is None and changes:
            raise ValueError("--denoise and --regenerate change a given sound: name it with --sound.")
        if self.sound is not None:
            check_readable(self.sound)
            if not changes:
                raise ValueError(
                    "--sound alone would be made all anew: add --denoise, or --regenerate FROM TO."
                )
        if self.denoise is not None and self.denoise > 1:
            raise ValueError(f"--denoise {self.denoise:g} is too large: it must be at most 1.")
        if self.regenerate is not None and not self.regenerate[0] < self.regenerate[1]:
            raise ValueError("--regenerate ends before it begins: give the earlier time first.")

    def _check_shots(self) -> None:
        PromptTrack.parse(self.prompt)
        if self.shots is not None and self.video is None:
            raise ValueError("--shots are those of a video: give --video.")
        if self.shots not in (None, AUTO):
            check_readable(Path(self.shots))

    def _check_track(self) -> None:
        if self.track not in TRACKS:
            raise ValueError(f"--track {self.track} is not known. Choose one of {', '.join(TRACKS)}.")
        if self.track != "replace" and self.video is None:
            raise ValueError(f"--track {self.track} needs the sound of a video: give --video.")
        if self.track == "keep" and self.is_sound:
            raise ValueError(f"{self.out.name} holds one sound only. Use a video, or --track mix.")

    @property
    def guidance_interval(self) -> tuple[float, float]:
        """Noise levels at which guidance acts."""
        return guidance_interval(
            self.guide_from, self.guide_to, level_at=lambda share: shifted(1 - share, self.shift)
        )

    @property
    def is_sound(self) -> bool:
        """Whether the sound alone is written."""
        return self.out.suffix.lower() in SOUND_FORMATS

    @property
    def job_folder(self) -> Path:
        """Where a long job keeps what it has finished."""
        return self.job or self.out.with_name(f"{self.out.name}.job")

    @property
    def placement(self) -> Placement:
        return Placement.choose(self.device, self.dtype)

    @property
    def outputs(self) -> list[Path]:
        """One file for each take."""
        if self.takes == 1:
            return [self.out]
        return [self.out.with_stem(f"{self.out.stem}_{take}") for take in range(1, self.takes + 1)]
