"""The stand-in of IBM Quantum, and the real client that talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ibm_standin import StandIn
from ibm_standin.layers import Layers
from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService
from qiskit_ibm_runtime.fake_provider import FakeFez

Serve = Callable[..., StandIn]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Start a server with an empty folder, and set the environment to it: `serve(["FakeFez:readout"], seed=1)`.

    Unless told otherwise it has the devices that the test's module names as `DEVICES`, or else FakeFez.
    """
    usual: Sequence[str] = getattr(request.module, "DEVICES", ("FakeFez",))

    def start(devices: Sequence[str] = usual, **options: Any) -> StandIn:
        folder = tmp_path / f"stand-in {len(list(tmp_path.iterdir()))}"
        server = running.enter_context(StandIn(folder, devices, **options))
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        return server

    with ExitStack() as running:
        yield start


@pytest.fixture
def standin(serve: Serve) -> StandIn:
    """A server with the module's devices, without noise."""
    return serve()


@pytest.fixture
def service(standin: StandIn) -> QiskitRuntimeService:
    """The client, as a user makes it: all that it knows is in the environment."""
    return QiskitRuntimeService()


@pytest.fixture
def backend(service: QiskitRuntimeService) -> IBMBackend:
    """The device, as the client sees it."""
    return service.backend("fake_fez")


@pytest.fixture(scope="session")
def layers() -> Layers:
    """A circuit on its first qubits."""
    return Layers.on(FakeFez())
