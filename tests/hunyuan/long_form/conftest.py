"""Long films on stand-ins for the networks, see `marker_film`, and processes to be killed."""

import multiprocessing
import time
from pathlib import Path

import marker_film
import pytest
from marker_film import marker_parts, mixing_velocity
from pack.hunyuan.long_form.job import Job
from pack.hunyuan.long_form.pipeline import LongFilm
from pack.hunyuan.sampling.schedule import flow_sigmas


@pytest.fixture
def film(tmp_path):
    """film(plan, velocity, ...): a `LongFilm` whose job lies in the test's folder."""

    def make(plan, velocity=mixing_velocity, *, steps=3, name="job", **settings):
        job = Job.open(tmp_path / name, {"settings": {"steps": steps}})
        return LongFilm(job, plan, marker_parts(velocity), sigmas=flow_sigmas(steps), seed=5, **settings)

    return make


@pytest.fixture(scope="module")
def start():
    """Starts a function in a process forked from one that has imported everything and done nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("processes cannot be forked here")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["marker_film"])

    def start(target, *arguments):
        process = context.Process(target=target, args=arguments)
        process.start()
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(marker_film.__file__).parent))
        server_is_up = start(time.time)
    server_is_up.join()
    assert server_is_up.exitcode == 0
    return start
