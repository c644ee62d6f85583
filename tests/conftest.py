"""What every test may use."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A machine that is busy with something else must not turn a property red.
settings.register_profile("hub", deadline=None)
settings.load_profile("hub")


@pytest.fixture
def anyio_backend() -> str:
    """The hub runs on asyncio (uvloop where there is one); trio is not supported."""
    return "asyncio"
