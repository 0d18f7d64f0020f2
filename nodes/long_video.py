"""Nodes for sound of any length: windows under any sampler, shots, and whole films."""

from typing import Any

from .. import host
from ..hunyuan.long_form.plan import JOINS as FILM_JOINS
from ..hunyuan.long_form.plan import OVERLAP, TAIL, FilmPlan, Shot, WindowSettings, exact
from ..hunyuan.long_form.shot_list import list_shots
from ..hunyuan.long_form.sliding import JOINS, LENGTH, LONGEST_WINDOW, SHORTEST_WINDOW
from ..hunyuan.long_form.sliding import SlidingWindows as Settings
from ..hunyuan.media.shots import CHANGE
from .conditioning import CLIP, NEGATIVE_TEXT
from .decoders import VAE
from .encoders import VIDEO_ENCODER
from .loaders import CATEGORY
from .samplers import CFG, MODEL, RELATIVE_SCALES, SEED, SOLVER, STEPS, relative_scales

io = host.io

ShotsSocket = io.Custom("HYAV_SHOTS")


class SlidingWindows(io.ComfyNode):
    """MODEL, window, overlap, join -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVSlidingWindows",
            display_name="Sliding Windows",
            category=CATEGORY,
            description="Lets the model make sounds of any length: it hears one window after another, and "
            "after every step neighbouring windows agree on what is heard where they overlap. Works with "
            "every sampler. For films of many minutes, use Foley Long Video.",
            search_aliases=["context windows", "long audio", "multidiffusion"],
            inputs=[
                MODEL,
                io.Float.Input(
                    "window",
                    default=float(LENGTH),
                    min=float(SHORTEST_WINDOW),
                    max=float(LONGEST_WINDOW),
                    step=0.02,
                    tooltip="Seconds that the model hears at once; it was trained on 8. What is not longer "
                    "is made in one go.",
                ),
                io.Float.Input(
                    "overlap",
                    default=float(OVERLAP),
                    min=0.0,
                    max=float(TAIL),
                    step=0.02,
                    tooltip="Seconds that neighbouring windows share. With a video, window minus overlap "
                    "must be 8 seconds.",
                ),
                io.Combo.Input(
                    "join",
                    options=list(JOINS),
                    default="blend",
                    tooltip="blend goes over from one window to the next throughout the overlap, unheard; "
                    "switch does so in its middle, which keeps the detail where windows disagree.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The same model, for sounds of any length.")
            ],
        )

    @classmethod
    def execute(cls, model: Any, window: float, overlap: float, join: str) -> io.NodeOutput:
        settings = Settings(window=exact(window), overlap=exact(overlap), join=join)
        return io.NodeOutput(host.sliding_windows(model, settings))


class FoleyShots(io.ComfyNode):
    """VIDEO, threshold, prompts -> HYAV_SHOTS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyShots",
            display_name="Foley Shots",
            category=CATEGORY,
            description="Finds where a film cuts, so that the sound of one shot does not run into the next, "
            "and gives each shot its prompt.",
            search_aliases=["scene detection", "cut detector", "shot list"],
            inputs=[
                io.Video.Input("video", tooltip="The film, of any length; it is watched frame by frame."),
                io.Float.Input(
                    "threshold",
                    default=CHANGE,
                    min=1.0,
                    max=100.0,
                    step=0.5,
                    tooltip="How much of the picture's colours a cut changes at once, in percent. Lower "
                    "finds cuts between shots that look alike, and takes sudden changes for cuts.",
                ),
                io.String.Input(
                    "prompts",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="One line for the whole film, or one for each shot, of which the last goes on. "
                    "A line may change over time: 0:00 rain | 0:12 rain, thunder. Or the shots themselves, "
                    'in JSON: [{"start": 0, "prompt": "rain"}, {"start": "1:04.2"}]. Empty leaves the '
                    "prompts to Foley Long Video.",
                ),
            ],
            outputs=[
                ShotsSocket.Output(
                    display_name="shots", tooltip="For Foley Long Video, with the same video."
                ),
                io.String.Output(display_name="list", tooltip="Each shot's times and prompt, to read."),
            ],
        )

    @classmethod
    def execute(cls, video: Any, threshold: float, prompts: str) -> io.NodeOutput:
        from .long_film import open_reel, shots_in  # not before it is needed: it brings much along

        with open_reel(video) as reel:
            shots = shots_in(reel, threshold, prompts)
        return io.NodeOutput(shots, list_shots(shots))


class FoleyLongVideo(io.ComfyNode):
    """VIDEO, models, prompt or shots, window settings -> VIDEO, and what its joins are like."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyLongVideo",
            display_name="Foley Long Video",
            category=CATEGORY,
            description="Gives a film of any length its sound. Nothing of it is held in memory as a whole. "
            "What was finished when it was stopped is not made again: queue it once more, and it goes on.",
            search_aliases=["long video", "film", "hour", "foley", "video to audio", "batch video"],
            inputs=[
                io.Video.Input(
                    "video", tooltip="A film of any length. Its picture is copied, not encoded anew."
                ),
                MODEL,
                VAE,
                CLIP,
                VIDEO_ENCODER,
                ShotsSocket.Input(
                    "shots",
                    optional=True,
                    tooltip="From Foley Shots, with the same video. Without, the film is one shot.",
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What is to be heard; it may change over time: 0:00 rain | 0:12 rain, thunder. "
                    "Shots with prompts of their own follow those.",
                ),
                NEGATIVE_TEXT,
                SEED,
                STEPS,
                CFG,
                SOLVER,
                io.Float.Input(
                    "overlap",
                    default=float(OVERLAP),
                    min=0.0,
                    max=float(TAIL),
                    step=0.02,
                    tooltip="Seconds that neighbouring windows share. They start every 8 seconds.",
                ),
                io.Combo.Input(
                    "join",
                    options=list(FILM_JOINS),
                    default="latents",
                    tooltip="latents lets windows agree while they are made; waveform makes each on its own "
                    "and fades from one to the next.",
                ),
                io.Boolean.Input(
                    "high_quality",
                    default=False,
                    advanced=True,
                    tooltip="Put the training data's mark of full-bandwidth sound before every prompt.",
                ),
                *RELATIVE_SCALES,
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The film with its sound, for Save Video."),
                io.String.Output(
                    display_name="joins",
                    tooltip="For each place where windows or shots meet: how much the level jumps there, and "
                    "whether the spectrum moves more than it does elsewhere.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, video: Any, model: Any, vae: Any, clip: Any, video_encoder: Any, prompt: str, negative: str,
        seed: int, steps: int, cfg: float, solver: str, overlap: float, join: str, high_quality: bool,
        text_scale: float, video_scale: float, sync_scale: float, shots: list[Shot] | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from .long_film import FilmMaker, FilmSettings, open_reel  # as above

        settings = FilmSettings(
            prompt=prompt, negative=negative, high_quality=high_quality, seed=seed, steps=steps,
            scales=relative_scales(cfg, text_scale, video_scale, sync_scale), solver=solver,
        )  # fmt: skip
        models = {"model": model, "vae": vae, "clip": clip, "video_encoder": video_encoder}
        windows = WindowSettings(overlap=exact(overlap), join=join)
        with open_reel(video) as reel:
            plan = FilmPlan(reel.checked(shots), windows)
            made, joins = FilmMaker(**models, settings=settings, plan=plan).make(reel.path)
        return io.NodeOutput(host.video_from_file(made), joins.as_text())
