"""Hypothesis profiles: `ci` repeats itself exactly, `dev` explores, `deep` is for nights (`--hypothesis-profile=deep`)."""

import os

from hypothesis import HealthCheck, settings

from chainback.environment import start_jax

start_jax()  # what one test has compiled, others find

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci", derandomize=True, max_examples=60, deadline=None, print_blob=True, suppress_health_check=_SLOW
)
settings.register_profile("dev", max_examples=60, deadline=None, print_blob=True, suppress_health_check=_SLOW)
settings.register_profile("deep", max_examples=5000, deadline=None, print_blob=True, suppress_health_check=_SLOW)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
