from __future__ import annotations

from pathlib import Path

import pytest

from tests.heap import frees


@pytest.fixture(scope="session")
def hook_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the C part of the tests."""
    built = frees.build(tmp_path_factory.mktemp("frees"))
    if built is None:
        pytest.skip("no C compiler")
    return built
