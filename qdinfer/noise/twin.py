"""A noise twin: a circuit compiled with a device's noise, as one file beside the student."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path

import msgspec
import numpy as np

from ..atomic import replacing
from ..audit.graph import Port, audit_onnx, onnx_metadata
from ..errors import ArtifactError, InputError
from ..predictions import BoolArray, FloatArray
from .device import DeviceNoise

__all__ = ["FORMAT", "KEY", "Twin", "TwinSpec", "readout_map", "strings_of"]

FORMAT = 1
"""Of the file. 1: the first."""
KEY = "qdinfer_twin"
"""Under which the graph's metadata has the twin's description."""
_MAX_STRINGS = 4096
_MAX_BYTES = 2**29


class TwinSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a twin is of.

    Attributes:
        format: of the file.
        noise: the device's, with the circuit that it runs.
        observables: the circuit's M Pauli-Z strings.
        strings: those that the graph gives, before readout: the observables, where `pairs` the products of two of
            them, and the parts of these.
        pairs: whether the covariance of two observables is known; else they are taken to be independent.
        twirled: whether relaxation is Pauli-twirled, as randomized gates make it.
        error: the largest error of the graph that was seen.
        checked: at so many random rows of angles.
        bound: upper bound of the error by terms that were left out.
        damping: (M,) what is left of each observable, before readout: the slope of the twin's values over the ideal
            ones at random angles.
    """

    format: int
    noise: DeviceNoise
    observables: tuple[str, ...]
    strings: tuple[str, ...]
    pairs: bool
    twirled: bool
    error: float
    checked: int
    bound: float
    damping: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise InputError(
                f"twin: found format {self.format}; expected {FORMAT}: upgrade qdinfer to read a newer one"
            )
        wide = {len(string) for string in (*self.observables, *self.strings)}
        if len(wide) != 1 or any(string.strip("IZ") for string in (*self.observables, *self.strings)):
            raise InputError("twin: found observables that are no Pauli-Z strings of one length")
        if wide != {len(self.noise.measured)}:
            raise InputError(
                f"twin: found noise of {len(self.noise.measured)} qubits; expected {wide.pop()}, as observables have"
            )
        needed = [label_of(mask) for mask in strings_of(masks_of(self.observables), pairs=self.pairs)]
        if (
            list(self.strings) != needed
            or len(self.damping) != len(self.observables)
            or not np.isfinite(self.damping).all()
        ):
            raise InputError("twin: found strings or dampings that are not those of its observables; expected those")


@dataclass(frozen=True)
class Twin:
    """A compiled circuit with noise.

    Attributes:
        graph: the bytes of an ONNX model, ``angles`` (N, P) float32 → ``expectations`` (N, strings) float32, before
            readout.
        spec: what it is of.
    """

    graph: bytes
    spec: TwinSpec

    @property
    def name(self) -> str:
        """``"twin:DEVICE"``."""
        return f"twin:{self.spec.noise.device}"

    @classmethod
    def from_bytes(cls, content: bytes, file: str) -> Twin:
        """Take over what `save` wrote.

        Raises:
            ArtifactError: it is no twin, or not a sound one.
        """
        angles = (Port("angles", "float32", (None, None)),)
        audit_onnx(file, content, angles, (Port("expectations", "float32", (None, None)),))  # before it is read on
        described = onnx_metadata(content).get(KEY)
        if described is None:
            raise ArtifactError(file, "an ONNX model that is no twin", "one that `qdinfer forecast --save` made")
        try:
            spec = msgspec.json.decode(described, type=TwinSpec)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ArtifactError(file, f"a description that cannot be read ({error})", "that of a twin") from error
        audit_onnx(file, content, angles, (Port("expectations", "float32", (None, len(spec.strings))),))
        return cls(content, spec)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Twin:
        """Read a twin's file.

        Raises:
            ArtifactError: it is none, or not a sound one.
            OSError: it cannot be read.
        """
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        name = Path(path).name
        if len(content) > _MAX_BYTES:
            raise ArtifactError(name, f"over {_MAX_BYTES} bytes", "a twin")
        return cls.from_bytes(content, name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        with replacing(Path(path)) as file:
            file.write(self.graph)

    @cached_property
    def measured(self) -> FloatArray:
        """(M, S + 1): the observables as readout sees them, of the strings and the constant 1."""
        return self._map(masks_of(self.spec.observables), symmetric=False)

    @cached_property
    def measured_twirled(self) -> FloatArray:
        """The same, where readout is twirled: it damps then, and adds nothing."""
        return self._map(masks_of(self.spec.observables), symmetric=True)

    def pairs(self, *, symmetric: bool) -> FloatArray | None:
        """(M, M, S + 1): the products of two observables likewise; None where they are not known."""
        if not self.spec.pairs:
            return None
        masks = masks_of(self.spec.observables)
        m = len(masks)
        flat = self._map((masks[:, None] ^ masks).reshape(m * m, -1), symmetric=symmetric)
        return flat.reshape(m, m, -1)

    def _map(self, masks: BoolArray, *, symmetric: bool) -> FloatArray:
        noise = self.spec.noise
        reading = np.array([noise.reading(place)[[0, 3], 3] for place in noise.measured])
        if symmetric:
            reading[:, 0] = 0.0
        return readout_map(masks, masks_of(self.spec.strings), reading)


def masks_of(labels: Sequence[str]) -> BoolArray:
    """(S, n) bool: which qubits each string has a Z on; the last letter is qubit 0."""
    return np.array([[letter == "Z" for letter in reversed(label)] for label in labels], np.bool_)


def label_of(mask: BoolArray) -> str:
    """The string of a mask."""
    return "".join("IZ"[int(z)] for z in reversed(mask))


def strings_of(observables: BoolArray, *, pairs: bool) -> list[BoolArray]:
    """What has to be known to read the observables with bit flips that differ for 0 and 1.

    Reading a qubit wrongly makes an I of its Z, in part: so all parts of a string count.

    Args:
        observables: (M, n).
        pairs: their products as well.

    Raises:
        InputError: too many.
    """
    wanted = list(observables)
    if pairs:
        wanted += [one ^ other for one, other in combinations(observables, 2)]
    found: dict[bytes, BoolArray] = {}
    for mask in wanted:
        places = np.flatnonzero(mask)
        if 2 ** len(places) > _MAX_STRINGS:
            raise InputError(f"twin: found an observable on {len(places)} qubits, whose parts are too many to know")
        for chosen in product((True, False), repeat=len(places)):
            part = np.zeros_like(mask)
            part[places] = chosen
            if part.any():
                found.setdefault(part.tobytes(), part)
        if len(found) > _MAX_STRINGS:
            raise InputError(f"twin: found over {_MAX_STRINGS} strings to be known; expected observables of few qubits")
    return list(found.values())


def readout_map(masks: BoolArray, strings: BoolArray, reading: FloatArray) -> FloatArray:
    """What readout makes of Pauli-Z strings: Π (a_q + f_q·Z_q), written out over the strings.

    Args:
        masks: (K, n) the strings that are read; none, all False, reads 1.
        strings: (S, n) those that are known; with each mask all its parts.
        reading: (n, 2): a_q and f_q of each qubit, see `qdinfer.noise.channels.readout`.

    Returns:
        (K, S + 1) coefficients, the last that of the constant 1.
    """
    known = np.vstack([strings, np.zeros((1, strings.shape[1]), np.bool_)])
    inside = ~(known[None] & ~masks[:, None]).any(axis=2)  # (K, S + 1)
    chosen = np.where(known[:, :, None], reading[None, :, [1]], reading[None, :, [0]])[..., 0]  # (S + 1, n)
    factors = np.where(masks[:, None], chosen[None], 1.0)
    return np.where(inside, factors.prod(axis=2), 0.0)
