import os

import jax
import pytest

from chainback.environment import start_jax

# A workflow's summary and annotations are for what it runs itself, not for the wrong engines that the tests run.
os.environ.pop("GITHUB_ACTIONS", None)
# Most of the time goes to compilers: what one test has compiled, others find, as the commands do that they run.
start_jax()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    platforms = {device.platform for device in jax.devices()}
    if "gpu" not in platforms:
        reason = f"needs a GPU: JAX {jax.__version__} sees {', '.join(sorted(platforms))} only"
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))
