"""The pocket networks, loaded by the nodes as a user would."""

import pytest
import torch
from pack import nodes


def run(node, **inputs):
    """All outputs of a node: pocket files, and widgets at their defaults, where nothing else is given."""
    values = {}
    for socket in node.define_schema().inputs:
        if socket.id.endswith("_file"):
            pocket = (name for name in socket.options if name.startswith("pocket/"))
            values[socket.id] = next(pocket, socket.default)
        elif hasattr(socket, "default"):
            values[socket.id] = socket.default
    outputs = node.execute(**(values | inputs)).args
    return outputs[0] if len(outputs) == 1 else outputs


@pytest.fixture(scope="session", name="run")
def run_fixture():
    return run


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model():
    return run(nodes.FoleyModelLoader, weight_dtype="fp32")


@pytest.fixture(scope="session")
def vae():
    return run(nodes.FoleyVAELoader, part="both")


@pytest.fixture(scope="session")
def clip():
    return run(nodes.FoleyTextEncoderLoader)


@pytest.fixture(scope="session")
def video_encoder():
    return run(nodes.FoleyVideoEncoderLoader)


@pytest.fixture(scope="session")
def images():
    """1.25 s of noise at 24 fps."""
    return torch.rand(30, 40, 56, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def features(video_encoder, images):
    return run(nodes.FoleyVideoEncode, video_encoder=video_encoder, images=images)


@pytest.fixture(scope="session")
def prompts(clip):
    return run(nodes.FoleyPrompt, clip=clip, positive="steps on gravel")


@pytest.fixture(scope="session")
def conditioning(prompts, features):
    """positive, negative, latent."""
    positive, negative = prompts
    return run(nodes.FoleyConditioning, positive=positive, negative=negative, features=features)
