import jax
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    platforms = {device.platform for device in jax.devices()}
    if "gpu" not in platforms:
        reason = f"needs a GPU: JAX {jax.__version__} sees {', '.join(sorted(platforms))} only"
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))
