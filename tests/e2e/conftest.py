"""Fixtures: one network that the peaceful tests share; tests that break something start their own."""

import confidential as private
import network as networks
import pytest


def pytest_configure():
    if not networks.COCO.exists():
        pytest.exit(f"{networks.COCO} is not built: run `cargo build --release --workspace`", 2)


@pytest.fixture(scope="session")
def shared():
    with networks.running() as network:
        yield network


@pytest.fixture(scope="session")
def confidential():
    """A network whose members, users and contracts see what concerns them."""
    with private.running() as network:
        yield network
