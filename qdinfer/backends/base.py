"""What a backend is, and one that measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..circuit import Circuit
from ..predictions import Expectations, FloatArray

if TYPE_CHECKING:
    from .sampling import Measured  # an exact prediction has no use for it

__all__ = ["MAX_SHOTS", "Backend", "SamplingBackend"]

MAX_SHOTS = 2**24
"""What one row may be measured in one call."""


@runtime_checkable
class Backend(Protocol):
    """Anything that can tell the expectation values of a circuit's observables, from any thread."""

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """Evaluate the circuit's M observables at each row of angles.

        Args:
            circuit: the trained circuit.
            angles: (N, P), radians, columns in the order of `circuit.inputs`. N may be 0.

        Returns:
            (N, M) values with their uncertainty.

        Raises:
            InputError: angles of the wrong shape, or not finite.
            CircuitError: the circuit cannot be read.
            BackendError: it cannot run this circuit, or failed while running it.
        """
        ...


@runtime_checkable
class SamplingBackend(Backend, Protocol):
    """A backend that measures bits, and can measure on where it left off."""

    @property
    def name(self) -> str:
        """What predictions name as their backend."""
        ...

    def measure(self, circuit: Circuit, angles: FloatArray, shots: int, *, offset: int = 0) -> Measured:
        """Measure the circuit's M observables at each row of angles.

        Calls for the same rows with different offsets are independent, also on a backend with a seed, where the same
        rows, shots and offset give the same bits. Rounds of one experiment, which shall be added up, therefore name
        the shots that were taken before.

        Args:
            circuit: the trained circuit.
            angles: (N, P), as for `expectations`.
            shots: measurements of each row, 1 to `MAX_SHOTS`.
            offset: how many shots of these rows were taken before.

        Returns:
            N rows of M observables, measured `shots` times.

        Raises:
            InputError: angles, shots or offset that cannot be used.
            CircuitError: the circuit cannot be read.
            BackendError: it cannot run this circuit, or failed while running it.
        """
        ...
