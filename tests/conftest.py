"""What every test may use."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The hub runs on asyncio (uvloop where there is one); trio is not supported."""
    return "asyncio"
