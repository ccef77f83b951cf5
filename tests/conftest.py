import os

import jax
import pytest

# A workflow's summary and annotations are for what it runs itself, not for the wrong engines that the tests run.
os.environ.pop("GITHUB_ACTIONS", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    platforms = {device.platform for device in jax.devices()}
    if "gpu" not in platforms:
        reason = f"needs a GPU: JAX {jax.__version__} sees {', '.join(sorted(platforms))} only"
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))
