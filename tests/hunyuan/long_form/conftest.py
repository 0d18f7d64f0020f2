"""The fixture `film`: long films on stand-ins for the networks, see `marker_film`."""

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
