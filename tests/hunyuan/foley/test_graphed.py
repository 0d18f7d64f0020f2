"""Steps from CUDA graphs. Without a GPU, a stand-in plays the graph; see `StandIn` and `Reading`."""

import gc
import logging
import weakref

import pytest
import torch
from pack.hunyuan.foley import graphed as graphed_module
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.graphed import StepGraphs, paced
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from pack.hunyuan.sampling.denoise import denoise, denoise_from
from pack.hunyuan.sampling.guidance import GuidanceScales, guidance_interval
from pack.hunyuan.sampling.schedule import flow_sigmas
from pack.hunyuan.sampling.solvers import SOLVERS
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SCALES = GuidanceScales.all(4.5)
UNSEEN = frozenset({"visual", "sync"})
FIRST_HALF = guidance_interval(0.0, 0.5)
GUIDED, ALONE = 0.9, 0.2  # noise levels on either side of it

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class StandIn:
    """Plays a graph: what it recorded is computed anew from the tensors it reads, into the same answer."""

    def __init__(self) -> None:
        self.captured = self.replayed = 0
        self.graphs = []  # weak references

    def __call__(self, compute):
        self.captured += 1
        answer = compute()

        def replay():
            self.replayed += 1
            with torch.inference_mode():  # a graph writes where it was recorded, whatever the mode is
                return answer.copy_(compute())

        self.graphs.append(weakref.ref(replay))
        return replay


class Reading(TorchDispatchMode):
    """Notes which memory is read that was not made meanwhile: what a graph would find at the same place."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.made = {}, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        own = {tensor.untyped_storage()._cdata for tensor in self.made}
        for storage in storages_in((args, kwargs)):
            if storage._cdata not in own:
                self.read[storage.data_ptr()] = StorageWeakRef(storage)
        self.made += [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        return out


class Recorded:
    """A velocity whose steps are recorded, in graphs of its own if it is given none."""

    def __init__(self, velocity, capture=None, graphs=None) -> None:
        self.graphs = graphs or StepGraphs(velocity.transformer, capture)
        self.step = self.graphs.of(velocity)

    def __call__(self, latents, sigma):
        return self.step(latents, sigma)

    @property
    def captured(self):
        return self.graphs.captured


def storages_in(values):
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


class ReadingInPlace(StandIn):
    """Keeps nothing alive, as a graph does not; a replay demands that all it would read is still there."""

    def __call__(self, compute):
        self.captured += 1
        with Reading() as reading:
            answer = compute()
        places = list(reading.read.values())
        assert len(places) > 20

        def replay():
            assert not any(place.expired() for place in places)
            return answer

        return replay


@pytest.fixture
def velocity(transformer, features):
    def make(
        network=transformer, interval=FIRST_HALF, text=5, device="cpu", seed=0, scales=SCALES, segments=3,
        drop=frozenset(), **options,
    ):  # fmt: skip
        positive, visual, sync = (tensor.to(device) for tensor in features(2 * seed, segments=segments))
        negative = features(2 * seed + 1, text=text)[0].to(device)
        prompt = FoleyPrompt(positive=positive, negative=negative, visual=visual, sync=sync, drop=drop)
        return GuidedVelocity(network, prompt, scales, interval=interval, **options)

    return make


@pytest.mark.parametrize("text", [5, 9], ids=["one batch", "two batches"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_gives_the_bits_of_plain_steps(velocity, latents, solver, text):
    sigmas, run = flow_sigmas(6, shift=1.7), SOLVERS[solver]
    *_, expected = denoise(velocity(text=text), latents(2), sigmas, run)
    capture = StandIn()
    *_, mine = denoise(Recorded(velocity(text=text), capture), latents(2), sigmas, run)
    assert torch.equal(mine, expected)
    assert capture.captured == 2  # with guidance and without
    assert capture.replayed > 0


def test_a_kept_part_gives_the_same_bits_too(velocity, latents):
    mask = torch.zeros(1, 1, 50)
    mask[..., 20:] = 1
    given = latents(seed=3), latents(seed=4), flow_sigmas(4), SOLVERS["heun"], mask
    *_, expected = denoise_from(velocity(), *given)
    *_, mine = denoise_from(Recorded(velocity(), StandIn()), *given)
    assert torch.equal(mine, expected)


def test_one_graph_for_each_shape_with_guidance_and_without(velocity, latents):
    capture = StandIn()
    graphed, plain = Recorded(velocity(), capture), velocity()
    shapes = [latents(), latents(3), latents(3, 40)]
    for repeat in range(3):
        for x in shapes:
            for sigma in (GUIDED - 0.1 * repeat, ALONE):
                assert torch.equal(graphed(x, sigma), plain(x, sigma))
    assert capture.captured == graphed.captured == 2 * len(shapes)
    assert graphed.graphs.seconds > 0


def test_other_numbers_at_another_place_are_read_anew(velocity, latents):
    """Also latents whose channels do not lie one after the other, as a window of long ones."""
    graphed, plain = Recorded(velocity(), StandIn()), velocity()
    graphed(latents(), GUIDED)
    for seed in (1, 2):
        x = latents(length=70, seed=seed)[..., 10:60]
        assert torch.equal(graphed(x, 0.6), plain(x, 0.6))


def test_what_a_graph_reads_stays_where_it_was(velocity, latents):
    graphed = Recorded(velocity(), ReadingInPlace())
    x, longer = latents(), latents(2, 60)
    for _ in range(2):
        for given, sigma in ((x, GUIDED), (longer, ALONE), (x, ALONE), (longer, GUIDED)):
            graphed(given, sigma)
            gc.collect()
    assert graphed.captured == 4


@pytest.mark.parametrize("text", [5, 9], ids=["one batch", "two batches"])
def test_windows_with_conditions_of_their_own_share_graphs(velocity, latents, text):
    capture = StandIn()
    windows = [velocity(seed=seed, text=text) for seed in range(3)]
    graphs = StepGraphs(windows[0].transformer, capture)
    recorded = [Recorded(window, graphs=graphs) for window in windows]
    for step in range(3):
        for number in (2, 0, 1, 1, 0):
            x = latents(2, seed=10 * step + number)
            for sigma in (GUIDED, ALONE):
                assert torch.equal(recorded[number](x, sigma), windows[number](x, sigma))
    assert capture.captured == graphs.captured == 2
    differ = recorded[0](latents(), GUIDED) - recorded[1](latents(), GUIDED)
    assert differ.abs().max() > 1e-3


def test_what_another_window_is_shown_does_not_change_the_first_ones_conditions(velocity, latents):
    first, second = velocity(seed=0), velocity(seed=1)
    expected = first(latents(), GUIDED)
    graphs = StepGraphs(first.transformer, StandIn())
    for window in (first, second):
        graphs(window, latents(), GUIDED)
    assert torch.equal(first(latents(), GUIDED), expected)


def test_what_launches_something_else_has_a_graph_of_its_own(velocity, latents):
    """Longer prompts, another scale of guidance, other blocks: each is numbers or shapes in the recording.

    So is how many segments the sync features have, also where all of them are the same empty one.
    """

    def halved(kind, number, block, *inputs, **options):
        out = block(*inputs, **options)
        return out * 0.5 if kind == "audio" else out

    given = [velocity(), velocity(text=9), velocity(scales=GuidanceScales.all(2.0)), velocity(run=halved)]
    given += [velocity(segments=n, drop=drop) for n, drop in ((4, frozenset()), (3, UNSEEN), (4, UNSEEN))]
    graphs = StepGraphs(given[0].transformer, StandIn())
    for _ in range(2):
        for window in given:
            assert torch.equal(graphs(window, latents(), GUIDED), window(latents(), GUIDED))
    assert graphs.captured == len(given)


def test_graphs_that_were_not_used_for_longest_go_first(velocity, latents, monkeypatch):
    monkeypatch.setattr(graphed_module, "MOST_GRAPHS", 2)
    capture, window = StandIn(), velocity()
    graphs = StepGraphs(window.transformer, capture)
    for length in (50, 40, 50, 30, 50):
        x = latents(length=length)
        assert torch.equal(graphs(window, x, GUIDED), window(x, GUIDED))
    gc.collect()
    assert [graph() is not None for graph in capture.graphs] == [True, False, True]


def test_what_a_graph_reads_stays_when_the_window_that_it_was_recorded_with_is_gone(velocity, latents):
    first, second = velocity(seed=0), velocity(seed=1)
    graphs = StepGraphs(first.transformer, ReadingInPlace())
    graphs(first, latents(), GUIDED)
    del first
    gc.collect()
    for _ in range(2):
        graphs(second, latents(), GUIDED)
        gc.collect()
    assert graphs.captured == 1


def test_every_answer_is_the_recordings_the_first_too(velocity, latents):
    """What goes on after a stop has its first steps where others are in the middle."""

    def nearly(compute):
        answer = compute() * (1 + 1e-5)
        return lambda: answer

    window = velocity()
    graphs, plain = StepGraphs(window.transformer, nearly), window(latents(), GUIDED)
    first, again = (graphs(window, latents(), GUIDED) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, plain)


def test_an_answer_is_the_callers_own(velocity, latents):
    graphed = Recorded(velocity(), StandIn())
    graphed(latents(), GUIDED)
    first = graphed(latents(), GUIDED)
    kept = first.clone()
    graphed(latents(seed=5), 0.7)
    assert torch.equal(first, kept)


def test_the_mode_of_the_first_call_does_not_bind_the_next(velocity, latents):
    graphed, plain = Recorded(velocity(), StandIn()), velocity()
    with torch.inference_mode():
        graphed(latents(), GUIDED)
        inside = latents(seed=1)
    for x in (inside, latents(seed=2)):
        with torch.no_grad():
            assert torch.equal(graphed(x, 0.7), plain(x, 0.7))
    with torch.inference_mode():
        assert torch.equal(graphed(inside, 0.6), plain(inside, 0.6))


def test_graphs_go_with_what_they_were_recorded_in(velocity, latents):
    capture = StandIn()
    graphed = Recorded(velocity(), capture)
    graphed(latents(), GUIDED)
    (graph,) = capture.graphs
    assert graph() is not None
    gc.disable()
    try:
        del graphed
        assert graph() is None
    finally:
        gc.enable()


# --- where it does not work ---------------------------------------------------------------------------------


def refused(_compute):
    raise RuntimeError("operation not permitted when stream is capturing")


def wrong(compute):
    answer = compute() + 1
    return lambda: answer


def no_number(compute):
    answer = compute() * torch.nan
    return lambda: answer


@pytest.mark.parametrize(
    ("capture", "reason"),
    [(refused, "operation not permitted"), (wrong, "differs by"), (no_number, "differs by nan")],
)
def test_a_capture_that_fails_is_said_once_and_steps_go_on(velocity, latents, caplog, capture, reason):
    tried = []
    graphed = Recorded(velocity(), lambda compute: (tried.append(1), capture(compute))[1])
    with caplog.at_level(logging.WARNING):
        *_, mine = denoise(graphed, latents(), flow_sigmas(4))
    *_, expected = denoise(velocity(), latents(), flow_sigmas(4))
    assert torch.equal(mine, expected)
    assert len(tried) == 1
    (said,) = caplog.messages
    assert reason in said
    assert "without CUDA graphs" in said
    assert graphed.captured == 0


def test_the_reason_is_what_went_wrong_first(velocity, latents, caplog):
    """Ending a capture in which something failed fails as well, and says less."""

    def failing(_compute):
        try:
            raise RuntimeError("a copy from host memory")
        finally:
            raise RuntimeError("capture was invalidated")

    Recorded(velocity(), failing)(latents(), GUIDED)
    assert "a copy from host memory" in caplog.text


def test_what_plain_steps_cannot_do_either_is_their_own_error(velocity, caplog):
    with pytest.raises(RuntimeError):
        Recorded(velocity(), StandIn())(torch.zeros(1, 7, 50), GUIDED)
    assert not caplog.messages


def test_a_network_whose_weights_come_and_go_is_refused(velocity, latents, randomised, tiny_config):
    network = randomised(FoleyTransformer(tiny_config))
    network.single_blocks[1].linear_qkv.register_forward_pre_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"single_blocks\.1\.linear_qkv"):
        Recorded(velocity(network), StandIn())


def test_another_device_is_refused(velocity):
    with pytest.raises(ValueError, match="on cpu"):
        Recorded(velocity())


def test_pacing_changes_no_state(velocity, latents):
    states = list(denoise(velocity(), latents(), flow_sigmas(3)))
    assert [id(state) for state in paced(iter(states))] == [id(state) for state in states]


# --- on a GPU -----------------------------------------------------------------------------------------------

WIDE = FoleyConfig(
    hidden_size=768, num_heads=6, joint_depth=3, audio_depth=5,
    latent_channels=6, text_size=10, visual_size=12, sync_size=14,
)  # fmt: skip
ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture
def wide(randomised):
    return randomised(FoleyTransformer(WIDE))


def relative(mine, expected):
    return float((mine - expected).norm() / expected.norm())


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("length", [100, 500])
@pytest.mark.parametrize("dtype", ALLOWED)
def test_on_a_gpu_ten_steps_are_those_of_plain_ones(velocity, latents, wide, caplog, dtype, length):
    network, x = wide.to("cuda", dtype), latents(2, length).cuda()
    for solver in ("euler", "heun"):
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                plain, graphed = (velocity(network, device="cuda", dtype=dtype) for _ in range(2))
                graphed = Recorded(graphed)
                *_, expected = denoise(plain, x, flow_sigmas(10), SOLVERS[solver])
                *_, mine = denoise(graphed, x, flow_sigmas(10), SOLVERS[solver])
            with torch.no_grad():  # whatever the mode was before
                *_, again = denoise(graphed, x, flow_sigmas(10), SOLVERS[solver])
            assert not caplog.messages
            assert relative(again, mine) <= ALLOWED[dtype]
            assert graphed.captured == 2
            print(f"{dtype}, {length}, {solver}: off by {relative(mine, expected):.1e}")
            assert relative(mine, expected) <= ALLOWED[dtype]


@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu_windows_share_graphs(velocity, latents, wide):
    network = wide.cuda()
    with torch.inference_mode():
        windows = [velocity(network, device="cuda", seed=seed) for seed in range(3)]
        graphs = StepGraphs(network)
        for step in range(2):
            for number in (2, 0, 1):
                x = latents(1, 496, seed=10 * step + number).cuda()
                expected = windows[number](x, GUIDED)
                assert relative(graphs(windows[number], x, GUIDED), expected) <= ALLOWED[torch.float32]
    assert graphs.captured == 1


@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu_shapes_take_turns_and_answers_stay(velocity, latents, wide):
    network = wide.cuda()
    with torch.inference_mode():
        graphed, plain = Recorded(velocity(network, device="cuda")), velocity(network, device="cuda")
        given = [
            (latents(rows, length, seed=seed).cuda(), sigma)
            for seed in range(3)
            for rows, length in ((1, 100), (3, 60))
            for sigma in (GUIDED - seed / 10, ALONE)
        ]
        answers = [graphed(x, sigma) for x, sigma in given]
        for answer, (x, sigma) in zip(answers, given, strict=True):
            assert relative(answer, plain(x, sigma)) <= ALLOWED[torch.float32]
    assert graphed.captured == 4


@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu_memory_comes_back(velocity, latents, wide):
    network, x = wide.cuda(), latents(2, 500).cuda()

    def run():
        graphed = Recorded(velocity(network, device="cuda"))
        with torch.inference_mode():
            for sigma in (GUIDED, ALONE, GUIDED):
                graphed(x, sigma)
        during = torch.cuda.memory_reserved()
        del graphed
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return during, torch.cuda.memory_allocated(), torch.cuda.memory_reserved()

    run()  # libraries take memory of their own for the stream, once
    (_, *first), (during, *second) = run(), run()
    assert second == first
    assert during > second[1]


@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu_a_recording_that_fails_leaves_plain_steps_and_the_next_one_unharmed(
    velocity, latents, wide, caplog
):
    def waiting(kind, number, block, *inputs, **options):
        float(inputs[0].sum())  # nothing can be waited for in a graph
        return block(*inputs, **options)

    network, x, stream = wide.cuda(), latents(2, 100).cuda(), torch.cuda.current_stream()
    with torch.inference_mode():
        graphed = Recorded(velocity(network, device="cuda", run=waiting))
        *_, mine = denoise(graphed, x, flow_sigmas(4))
        assert torch.cuda.current_stream() == stream
        *_, expected = denoise(velocity(network, device="cuda"), x, flow_sigmas(4))
        assert relative(mine, expected) <= ALLOWED[torch.float32]
        assert "without CUDA graphs" in caplog.text
        print(caplog.text)

        another = Recorded(velocity(network, device="cuda"))
        *_, mine = denoise(another, x, flow_sigmas(4))
    assert another.captured == 2
    assert relative(mine, expected) <= ALLOWED[torch.float32]


@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu_the_host_is_no_more_than_two_states_ahead(velocity, latents, wide):
    network, x = wide.cuda(), latents(2, 1500).cuda()
    graphed = Recorded(velocity(network, device="cuda", interval=(0.0, 2.0)))
    with torch.inference_mode():
        graphed(x, GUIDED)
        events = []
        for _ in paced(denoise(graphed, x, flow_sigmas(10))):
            if len(events) > 1:
                assert events[-2].query()
            events.append(torch.cuda.Event())
            events[-1].record()
