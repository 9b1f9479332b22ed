"""What the stories of the engine begin with."""

import pytest

from tests.client.session.calls import Driven


@pytest.fixture
def driven() -> Driven:
    return Driven()
