"""A recording stand-in for `comfy_api.latest.io`: the names and fields by which nodes describe themselves.

The fields are those of ComfyUI 0.12, the oldest this pack supports, so a keyword that it does not know raises
here too. They are kept, and nothing is done with them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Any, TypeAlias


@dataclass
class Input:
    """A socket on the left of a node."""

    id: str
    _: KW_ONLY
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None
    lazy: bool | None = None
    extra_dict: dict[str, Any] | None = None
    raw_link: bool | None = None
    advanced: bool | None = None

    io_type = ""


@dataclass(kw_only=True)
class WidgetInput(Input):
    """An input whose value is set on the node unless a link brings one."""

    default: Any = None
    socketless: bool | None = None


@dataclass(kw_only=True)
class ValueInput(WidgetInput):
    """A widget that can be turned into a socket for good."""

    force_input: bool | None = None


@dataclass
class Output:
    """A socket on the right of a node."""

    id: str | None = None
    _: KW_ONLY
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False

    io_type = ""


_Input: TypeAlias = Input
_Output: TypeAlias = Output


class ComfyTypeIO:
    """What may travel along a link. A subclass names its type, and its sockets know it."""

    io_type = ""

    Input: type[_Input] = _Input
    Output: type[_Output] = _Output

    def __init_subclass__(cls, io_type: str) -> None:
        cls.io_type = io_type
        for name, socket in {"Input": cls.Input, "Output": cls.Output}.items():
            setattr(cls, name, type(name, (socket,), {"io_type": io_type}))


def Custom(io_type: str) -> type[ComfyTypeIO]:  # noqa: N802 - the original's name
    """A type of one's own."""

    class CustomType(ComfyTypeIO, io_type=io_type):
        pass

    return CustomType


class Boolean(ComfyTypeIO, io_type="BOOLEAN"):
    @dataclass(kw_only=True)
    class Input(ValueInput):
        label_on: str | None = None
        label_off: str | None = None


class Int(ComfyTypeIO, io_type="INT"):
    @dataclass(kw_only=True)
    class Input(ValueInput):
        min: int | None = None
        max: int | None = None
        step: int | None = None
        control_after_generate: bool | None = None
        display_mode: Enum | None = None


class Float(ComfyTypeIO, io_type="FLOAT"):
    @dataclass(kw_only=True)
    class Input(ValueInput):
        min: float | None = None
        max: float | None = None
        step: float | None = None
        round: float | None = None
        display_mode: Enum | None = None


class String(ComfyTypeIO, io_type="STRING"):
    @dataclass(kw_only=True)
    class Input(ValueInput):
        multiline: bool = False
        placeholder: str | None = None
        dynamic_prompts: bool | None = None


class Combo(ComfyTypeIO, io_type="COMBO"):
    @dataclass
    class Input(WidgetInput):
        options: Sequence[str] | None = None
        _: KW_ONLY
        control_after_generate: bool | None = None
        upload: Enum | None = None
        image_folder: Enum | None = None
        remote: Any = None


class Image(ComfyTypeIO, io_type="IMAGE"):
    """(frames, h, w, c), float32 in [0, 1]."""


class Mask(ComfyTypeIO, io_type="MASK"):
    """(frames, h, w), float32 in [0, 1], 1 where selected."""


class Audio(ComfyTypeIO, io_type="AUDIO"):
    """A mapping with `waveform`, (b, channels, samples), and `sample_rate` in Hz."""


class Video(ComfyTypeIO, io_type="VIDEO"):
    """An object with `get_stream_source()`, a path or a binary file."""


class Latent(ComfyTypeIO, io_type="LATENT"):
    """A dictionary with `samples`, and `noise_mask` where only a part shall change."""


class Conditioning(ComfyTypeIO, io_type="CONDITIONING"):
    """A list of [text states (1, n, d), dictionary]."""


class Model(ComfyTypeIO, io_type="MODEL"):
    pass


class Vae(ComfyTypeIO, io_type="VAE"):
    pass


class Clip(ComfyTypeIO, io_type="CLIP"):
    pass


class Sigmas(ComfyTypeIO, io_type="SIGMAS"):
    """(steps + 1,), noise levels from high to low."""


class Guider(ComfyTypeIO, io_type="GUIDER"):
    pass


class Sampler(ComfyTypeIO, io_type="SAMPLER"):
    pass


class Noise(ComfyTypeIO, io_type="NOISE"):
    pass


class Hidden(str, Enum):
    """What a node may ask to know about the run it is part of."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"


@dataclass
class Schema:
    """All that a node says about itself."""

    node_id: str
    _: KW_ONLY
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_dev_only: bool = False
    is_api_node: bool = False
    price_badge: Any = None
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False


class NodeOutput:
    """What a node gives: one value per output, in order."""

    def __init__(
        self, *args: Any, ui: Any = None, expand: dict | None = None, block_execution: str | None = None
    ) -> None:
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class ComfyNode(ABC):
    """A node: a class that describes itself and whose `execute` takes the inputs by their ids."""

    @classmethod
    @abstractmethod
    def define_schema(cls) -> Schema:
        """The node's sockets, widgets and texts."""

    @classmethod
    @abstractmethod
    def execute(cls, *args: Any, **kwargs: Any) -> NodeOutput:
        """The node's outputs."""


class ComfyExtension(ABC):
    """A pack of nodes. In ComfyUI it stands beside `io`, not in it."""

    async def on_load(self) -> None:  # noqa: B027 - as in the original, a pack need not have it
        """Called once, before the nodes are asked for."""

    @abstractmethod
    async def get_node_list(self) -> list[type[ComfyNode]]:
        """The pack's node classes."""
