"""Steps and Pauli-Z strings to a graph: what the compiled circuit and its noisy twin share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CompileError, InputError, require
from ..predictions import BoolArray
from .factor import factor
from .propagate import expand
from .steps import Step
from .timeline import train_in_time
from .train import train_of

__all__ = ["Assembled", "assemble", "checked_error", "require_compiler"]

_MAX_ERROR = 1e-4  # far above what float32 costs, far below what would change a label
_MAX_MULTIPLY_ADDS = 50_000_000
"""Of a row of angles: 200 MB of constants."""


@dataclass(frozen=True)
class Assembled:
    """A compiled graph.

    Attributes:
        graph: the bytes of an ONNX model, angles (N, P) → expectations (N, strings).
        multiply_adds: work for one row of angles.
        bound: upper bound of the error, at any angles, by terms that were left out.
    """

    graph: bytes
    multiply_adds: int
    bound: float


def require_compiler(feature: str) -> None:
    """See that the compiler's extra is installed.

    Raises:
        MissingExtraError: onnx or qiskit is not installed.
    """
    for module in ("qiskit", "onnx", "threadpoolctl"):
        require(module, feature=feature, extra="compile")


def assemble(
    steps: Sequence[Step],
    strings: Sequence[tuple[str, BoolArray]],
    num_inputs: int,
    *,
    in_time: bool,
    max_error: float,
    progress: bool,
) -> Assembled:
    """Expand every string backwards through the steps, and put all into one graph.

    Args:
        steps: the circuit.
        strings: label and (n,) mask of each; the label is for messages.
        num_inputs: P.
        in_time: how the sites of the steps are cut.
        max_error: see `compile_circuit`.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        CompileError: there is no such form of a reasonable size.
        InputError: max_error is no number from 0 to 1.
    """
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm

    from .graph import build_graph

    if not 0 <= max_error <= 1:
        raise InputError(f"max_error: found {max_error}; expected a number from 0 to 1")
    if not strings or not num_inputs:
        raise CompileError(
            f"circuit: found {num_inputs} inputs, and {len(strings)} observables that are not constant; expected one "
            "or more of each"
        )
    trains, bound = [], 0.0
    # Many small decompositions: more threads would only get into each other's way, and badly so on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        for label, mask in tqdm(strings, unit=" observables", disable=None if progress else True):
            if in_time:
                trains.append(train_in_time(steps, mask, label))
            else:
                polynomial = expand(steps, mask, label, max_error)
                trains.append(train_of(polynomial))
                bound = max(bound, polynomial.bound)
        blocks = factor(trains)
    work = sum(block.multiply_adds for block in blocks)
    if work > _MAX_MULTIPLY_ADDS:
        raise CompileError(
            f"circuit: found a compiled form of {work} multiply-adds; expected at most {_MAX_MULTIPLY_ADDS}. "
            "Allow a larger error, or run this circuit on backend='aer'"
        )
    return Assembled(build_graph(blocks, num_inputs, len(strings)), work, bound)


def checked_error(error: float, bound: float) -> float:
    """The measured error of a graph, if it is not beyond what it may be.

    Raises:
        CompileError: it is.
    """
    if not error <= bound + _MAX_ERROR:
        raise CompileError(
            f"circuit: found an error of {error:.1e} in its compiled form; expected at most {bound + _MAX_ERROR:.1e}"
        )
    return error
