"""A device's noise twin as a backend: what the device would answer, without it."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np

from ..circuit import Circuit
from ..errors import BackendError, InputError, whole_number
from ..noise.twin import Twin
from ..predictions import BoolArray, Expectations, FloatArray
from ..session import OnnxSession
from .base import MAX_SHOTS
from .exact import BATCH
from .sampling import Measured

if TYPE_CHECKING:
    from ..noise import DeviceNoise
    from .runtime import RuntimeBackend
    from .settings import RuntimeSettings

__all__ = ["CALIBRATION_SHOTS", "TwinBackend", "device_noise", "twin_named"]

CALIBRATION_SHOTS = 16_384
"""Of the empty circuit, at least, as on a device."""
_BITS = 2**24  # outcomes that are drawn at once: 64 MB as float32
_PILOT = 4096  # shots that tell how to make up for chances that are cut off
_STEPS = 4  # of Newton's method, which settles in two or three
_LEAST = 0.05  # share of chances within 0 to 1: fewer make no slope to rely on
_ROUNDING = 1e-3  # far above that of float32
_SURE = 1e-9  # variance under which an observable tells nothing about the others


class TwinBackend:
    """Evaluates a circuit as a device with a known noise would.

    Without shots, the values are those of infinitely many. With shots, outcomes are drawn that have the twin's means
    and, where the twin knows them, its covariances: each observable's chance is linear in the outcomes of those before
    it (Qaqish 2003, doi:10.1093/biomet/90.2.455). Where such a chance would lie outside 0 to 1 it is cut off there, and
    all chances of that observable are moved so that its mean stays: the means are right, and the covariances less so.
    On `topic` at FakeFez's noise, products of two outcomes were off by up to 0.03 so, about as much as 1000 shots err,
    in half of the texts not at all.
    """

    def __init__(
        self,
        twin: Twin | str | os.PathLike[str],
        *,
        shots: int | None = None,
        seed: int | None = None,
        mitigate_readout: bool = False,
    ) -> None:
        """Load a twin.

        Args:
            twin: itself, or the path of its file.
            shots: measurements a text; None for infinitely many.
            seed: makes shots repeatable: the same seed and the same angles give the same outcomes. Only with shots.
            mitigate_readout: whether readout error is divided out, as `RuntimeSettings.mitigate_readout` does, with a
                calibration of its own of 16 384 shots.

        Raises:
            InputError: shots or seed out of range.
            ArtifactError: the file is no twin.
            BackendError: readout is mitigated, and so bad that nothing is left of an observable.
        """
        if seed is not None and shots is None:
            raise InputError(f"seed: found {seed!r} without shots; expected shots, or no seed for infinitely many")
        self.twin = twin if isinstance(twin, Twin) else Twin.load(twin)
        self._shots = None if shots is None else whole_number("shots", shots, 1, MAX_SHOTS)
        self._seed = None if seed is None else whole_number("seed", seed, 0, 2**64 - 1)
        self._mitigate = mitigate_readout
        self._session = OnnxSession(f"{self.twin.name} (twin)", self.twin.graph, 1)
        if mitigate_readout and not (self.factors > 0).all():
            raise BackendError(
                f"{self.name}: found a readout that damps an observable by {self.factors.min():.3g}; expected more "
                "than 0: nothing is left to mitigate"
            )

    @property
    def name(self) -> str:
        """``"twin:DEVICE"``."""
        return self.twin.name

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """See `Backend.expectations`.

        Raises:
            BackendError: the twin is that of another circuit.
        """
        if self._shots is not None:
            return self.measure(circuit, angles, self._shots).expectations(self.name)
        means, _ = self.moments(circuit, angles)
        if self._mitigate:
            means = means / self.factors
        return Expectations(means, np.zeros(len(means), np.int64), self.name)

    @property
    def factors(self) -> FloatArray:
        """(M,) what twirled readout damps each observable by."""
        factors: FloatArray = self.twin.measured_twirled.sum(axis=1)
        return factors

    @property
    def factor_covariance(self) -> FloatArray:
        """(M, M) covariance of one shot of the empty circuit, whose mean is `factors`: every string is 1 there."""
        factors = self.factors
        pairs = self.twin.pairs(symmetric=True)
        m = len(factors)
        covariance: FloatArray = np.zeros((m, m)) if pairs is None else pairs.sum(axis=2) - np.outer(factors, factors)
        covariance[range(m), range(m)] = np.maximum(0.0, 1 - factors**2)
        return covariance

    def moments(self, circuit: Circuit, angles: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What one shot gives, on average.

        Where readout is mitigated it is twirled, and its error still in these numbers: `factors` divides it out.

        Returns:
            (N, M) means of the outcomes; (N, M, M) their covariance, 0 between two of which nothing is known.

        Raises:
            InputError: angles of the wrong shape, or not finite.
            BackendError: the twin is that of another circuit.
        """
        values = self._strings(circuit, angles)
        means: FloatArray = values @ (self.twin.measured_twirled if self._mitigate else self.twin.measured).T
        pairs = self.twin.pairs(symmetric=self._mitigate)
        m = means.shape[1]
        if pairs is None:
            covariance = np.zeros((len(means), m, m))
        else:
            covariance = (values @ pairs.reshape(m * m, -1).T).reshape(-1, m, m) - means[:, :, None] * means[:, None]
        covariance[:, range(m), range(m)] = np.maximum(0.0, 1 - means**2)
        return means, covariance

    def measure(self, circuit: Circuit, angles: FloatArray, shots: int, *, offset: int = 0) -> Measured:
        """See `SamplingBackend.measure`. The shots that the backend was made with do not count here."""
        shots = whole_number("shots", shots, 1, MAX_SHOTS)
        offset = whole_number("offset", offset, 0, 2**63 - 1)
        means, covariance = self.moments(circuit, angles)
        random = np.random.default_rng(None if self._seed is None else _mixed(self._seed, offset, angles))
        measured = _drawn(means, covariance, shots, random)
        if not self._mitigate or not len(means):
            return measured
        calibration = _drawn(self.factors[None], self.factor_covariance[None], max(CALIBRATION_SHOTS, shots), random)
        return measured.mitigated(calibration)

    def _strings(self, circuit: Circuit, angles: FloatArray) -> FloatArray:
        """(N, S + 1): the strings before readout, and 1."""
        wanted = self.twin.spec.noise.circuit_sha256
        if circuit.sha256 != wanted:
            raise BackendError(
                f"{self.name}: found the twin of circuit {wanted[:16]}…; expected that of {circuit.sha256[:16]}…: "
                "make it again with `qdinfer forecast`"
            )
        if self.twin.spec.observables != tuple(circuit.observables):
            raise BackendError(
                f"{self.name}: found the observables {list(self.twin.spec.observables)}; expected the circuit's, "
                f"{list(circuit.observables)}: make it again with `qdinfer forecast`"
            )
        rows = circuit.check_angles(angles).astype(np.float32, copy=False)
        values = np.ones((len(rows), len(self.twin.spec.strings) + 1))
        for start in range(0, len(rows), BATCH):
            part = slice(start, start + BATCH)
            values[part, :-1] = self._session.run("expectations", {"angles": rows[part]})
        largest = 1 + self.twin.spec.bound + _ROUNDING
        if not (np.abs(values) <= largest).all():  # nor NaN
            raise BackendError(f"{self.name}: found expectation values outside of ±1; expected a twin as it was made")
        return values


def device_noise(backend: RuntimeBackend, circuit: Circuit) -> DeviceNoise:
    """What a device reports of the noise on a circuit, as the backend runs it there.

    Raises:
        BackendError: the device cannot run the circuit, does not tell how long its gates take, or cannot be reached.
        InputError: the device reports something that cannot be.
    """
    from ..noise import DeviceNoise

    isa = backend.prepare(circuit).isa
    return DeviceNoise.from_backend(backend.device(circuit.num_qubits), circuit, isa)


def twin_named(
    device: str, circuit: Circuit, *, settings: RuntimeSettings | None = None, progress: bool = False
) -> Twin:
    """The twin of a device for a circuit, read from a file or compiled now.

    Args:
        device: ``fake:DEVICE``, ``ibm:DEVICE``, or a file: a noise file (.json) or a twin (.onnx).
        circuit: the trained circuit.
        settings: how the circuit is run; of these count the transpiler's seed, the layout and whether gates are
            twirled.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        InputError: no such device; a file that is no noise file.
        ArtifactError: a file that is no twin.
        BackendError: the device cannot run the circuit, or cannot be reached.
        CompileError: the circuit has no compiled form.
        MissingExtraError: an extra is not installed.
    """
    if device.endswith(".onnx"):
        return Twin.load(device)
    from ..compiler.noisy import compile_twin
    from ..noise import DeviceNoise
    from .runtime import RuntimeBackend, device_of
    from .settings import RuntimeSettings

    settings = settings or RuntimeSettings()
    kind, _, name = device.partition(":")
    if kind in ("fake", "ibm") and name:
        backend = RuntimeBackend(device_of(device), settings=settings)
        noise = device_noise(backend, circuit)
    elif device.endswith(".json"):
        noise = DeviceNoise.load(device)
    else:
        raise InputError(
            f"device: found {device!r}; expected fake:DEVICE, ibm:DEVICE, a noise file (.json) or a twin (.onnx)"
        )
    return compile_twin(circuit, noise, twirled=settings.twirl_gates, progress=progress)


def _drawn(means: FloatArray, covariance: FloatArray, shots: int, random: np.random.Generator) -> Measured:
    """Outcomes with these (N, M) means and (N, M, M) covariances, counted."""
    m = means.shape[1]
    slopes = _slopes(covariance)
    own = np.eye(m, dtype=np.bool_)
    parts = [Measured.from_bits(np.empty((0, shots, m), np.bool_), own)]
    rows = max(1, _BITS // (max(shots, _PILOT) * m))
    for start in range(0, len(means), rows):
        part = slice(start, start + rows)
        within = max(1, _BITS // m)
        _, shifts = _bits(means[part], slopes[part], _PILOT, random)
        counted = [
            Measured.from_bits(_bits(means[part], slopes[part], min(within, shots - done), random, shifts)[0], own)
            for done in range(0, shots, within)
        ]
        whole = counted[0]
        for more in counted[1:]:
            whole = whole + more
        parts.append(whole)
    return Measured.concatenate(parts)


def _slopes(covariance: FloatArray) -> FloatArray:
    """(N, M, M) lower triangular: how each observable's chance depends on the outcomes of those before it."""
    m = covariance.shape[1]
    slopes = np.zeros_like(covariance)
    fixed = np.diagonal(covariance, axis1=1, axis2=2) < _SURE
    safe = covariance + np.eye(m) * fixed[:, None, :]  # what never changes explains nothing
    for j in range(1, m):
        known = np.where(fixed[:, :j], 0.0, covariance[:, :j, j])
        slopes[:, j, :j] = (np.linalg.pinv(safe[:, :j, :j], hermitian=True) @ known[..., None])[..., 0]
    return slopes


def _bits(
    means: FloatArray, slopes: FloatArray, shots: int, random: np.random.Generator, shifts: FloatArray | None = None
) -> tuple[BoolArray, FloatArray]:
    """(N, shots, M) bool: True for the outcome −1; and the (N, M) shifts, found on these shots if none are given."""
    n, m = means.shape
    found = np.zeros((n, m)) if shifts is None else shifts
    residuals = np.zeros((n, shots, m), np.float32)
    bits = np.empty((n, shots, m), np.bool_)
    for j in range(m):
        expected = means[:, j, None] + (residuals[:, :, :j] @ slopes[:, j, :j, None].astype(np.float32))[..., 0]
        if shifts is None:
            found[:, j] = _shift(expected)
        expected += found[:, j, None]
        bits[:, :, j] = random.random((n, shots), np.float32) >= (1 + expected) / 2
        residuals[:, :, j] = np.where(bits[:, :, j], -1, 1) - means[:, j, None]
    return bits, found


def _shift(expected: FloatArray) -> FloatArray:
    """(N,) what (N, shots) expectations have to be moved by, so that cutting them off at ±1 leaves their mean.

    By Newton's method on a function that rises, with a slope of the share that is not cut off.
    """
    shift = np.zeros(len(expected))
    wanted = np.clip(expected.mean(axis=1), -1, 1)
    for _ in range(_STEPS):
        moved = expected + shift[:, None]
        cut = np.abs(moved) > 1
        if not cut.any():
            break
        shift += (wanted - np.clip(moved, -1, 1).mean(axis=1)) / np.maximum(1 - cut.mean(axis=1), _LEAST)
    return shift


def _mixed(seed: int, offset: int, angles: FloatArray) -> list[int]:
    content = seed.to_bytes(8, "little") + offset.to_bytes(8, "little") + np.asarray(angles, np.float64).tobytes()
    return list(hashlib.sha256(content).digest())
