"""What a backend is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..circuit import Circuit
from ..predictions import Expectations, FloatArray

__all__ = ["Backend"]


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
