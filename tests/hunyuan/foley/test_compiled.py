import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from pack.hunyuan.foley.compiled import compiled_blocks
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from pack.hunyuan.layers.compiling import CompileError, check_compiling
from pack.hunyuan.sampling.guidance import GuidanceScales
from torch._dynamo.backends.debugging import aot_eager
from torch_versions import needs_compiling

TINY = FoleyConfig(
    hidden_size=32, num_heads=2, joint_depth=3, audio_depth=4,
    latent_channels=6, text_size=10, visual_size=12, sync_size=14,
)  # fmt: skip
SCALES = GuidanceScales.all(4.5)


class Noting:
    """A backend that runs what it is given as it is, and notes how many graphs that were."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return aot_eager(graph, inputs)


@pytest.fixture
def deep(randomised):
    """Enough blocks of each kind that compiling every one of them would show."""
    return randomised(FoleyTransformer(TINY))


@needs_compiling
def test_blocks_of_a_kind_share_one_graph_for_all_lengths(deep, features, latents):
    torch._dynamo.reset()
    backend = Noting()
    graphs = Counter()
    run = compiled_blocks(backend)
    for length, text, visual, segments in ((50, 5, 8, 3), (77, 6, 12, 4), (120, 9, 19, 6)):
        given = features(0, text=text, visual=visual, segments=segments), features(1, text=text)[0]
        assert difference(deep, run, given, latents(length=length)) < 1e-5
        graphs[length] = backend.graphs
    # Joint blocks, the last of them, audio blocks: each at most twice.
    assert 3 <= graphs[50] <= 6
    assert graphs[120] <= 6
    assert graphs[120] == graphs[77]


@needs_compiling
def test_what_is_rounded_to_bfloat16_is_compiled_too(randomised, features, latents):
    torch._dynamo.reset()
    network = randomised(FoleyTransformer(replace(TINY, joint_depth=1, audio_depth=1))).bfloat16()
    backend, given = Noting(), (features(0), features(1)[0])
    assert difference(network, compiled_blocks(backend), given, latents(), torch.bfloat16) < 2e-2
    assert 2 <= backend.graphs <= 4


def difference(network, run, given, x, dtype=torch.float32):
    """How far the guided velocity is from that of plain blocks, relative L2. run: calls compiled blocks."""
    (positive, visual, sync), negative = given
    prompt = FoleyPrompt(positive=positive, negative=negative, visual=visual, sync=sync)
    with torch.inference_mode():
        compiled, plain = (
            GuidedVelocity(network, prompt, SCALES, dtype=dtype, **options)(x, 0.5)
            for options in ({"run": run}, {})
        )
    return (compiled - plain).norm() / plain.norm()


def test_a_torch_that_shares_no_graphs_is_named(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.4.1")
    with pytest.raises(RuntimeError, match=r"torch 2\.4\.1 would compile every block by itself"):
        compiled_blocks()


@needs_compiling
def test_each_graph_is_told_of_once(deep, features, latents):
    torch._dynamo.reset()
    said = []
    positive, frames, sync = features(0)
    prompt = FoleyPrompt(positive=positive, negative=positive, visual=frames, sync=sync)
    velocity = GuidedVelocity(deep, prompt, SCALES, run=compiled_blocks("eager", said.append))
    with torch.inference_mode():
        velocity(latents(), 0.5)
        first = list(said)
        velocity(latents(), 0.4)
    assert said == first
    told = Counter(re.fullmatch(r"Compiled (joint|audio) blocks in \d+\.\d s", line)[1] for line in said)
    assert told == {"joint": 2, "audio": 1}  # a joint block has two forms


def broken(graph, inputs):
    raise RuntimeError("No working C++ compiler found in cpp.cxx: (None, 'g++')\nand more")


@needs_compiling
def test_a_machine_that_cannot_compile_is_told_what_is_missing(deep, features, latents):
    torch._dynamo.reset()
    check_compiling("cpu", "eager")
    says = r"does not work here: No working C\+\+ compiler found in cpp.cxx: \(None, 'g\+\+'\)\. It needs"
    with pytest.raises(CompileError, match=says):
        check_compiling("cpu", broken)
    x, conditions = latents(), deep.prepare(*features())
    with pytest.raises(CompileError, match=says):
        deep(x, torch.tensor([500.0]), conditions, run=compiled_blocks(broken))


@needs_compiling
def test_full_memory_is_no_matter_of_compiling():
    def full(graph, inputs):
        def compute(*_tensors):
            raise torch.OutOfMemoryError("CUDA out of memory")

        return compute

    torch._dynamo.reset()
    with pytest.raises(torch.OutOfMemoryError):
        check_compiling("cpu", full)
