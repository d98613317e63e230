"""After a run: what was measured, beside what the device's calibration promised."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.twin import TwinBackend
from ..departure import LEVEL, Departure, departure
from ..errors import InputError, JournalError
from ..evaluation import wilson_interval
from ..inspection import printable
from ..noise.twin import Twin
from ..predictions import Expectations
from .journal import Journal
from .plan import identify_student
from .progress import progress_of
from .results import check_same, measured_texts
from .twin import check_noise

if TYPE_CHECKING:
    from ..classifier import Classifier

__all__ = ["Comparison", "check_run", "compare"]


@dataclass(frozen=True)
class Comparison:
    """A run beside its device's twin, and beside exact values.

    Attributes:
        student: its name.
        device: that measured.
        measured: when the first and the last of its jobs were asked for, ISO 8601; None for jobs of a journal that was
            lost.
        twin: the name of the twin's device.
        calibrated: when that was calibrated, ISO 8601.
        dynamical_decoupling: the sequence that the run had and the twin knows nothing of; None: none.
        observables: M Pauli-Z strings.
        qubits: M, the device's qubits of each.
        departure: the values, observable by observable.
        agreement: of labels of ``"measured and twin"``, ``"measured and exact"`` and ``"twin and exact"`` the share
            that is the same, and Wilson's 95 % interval of it. The twin's are those of infinitely many shots.
    """

    student: str
    device: str
    measured: tuple[str, str] | None
    twin: str
    calibrated: str
    dynamical_decoupling: str | None
    observables: tuple[str, ...]
    qubits: tuple[tuple[int, ...], ...]
    departure: Departure
    agreement: dict[str, tuple[float, float, float]]

    def to_dict(self) -> dict[str, Any]:
        """All of it but the single texts, fit for JSON."""
        found = self.departure
        columns = {
            "mean_measured": found.means[0],
            "mean_twin": found.means[1],
            "mean_exact": found.means[2],
            "slope": found.slope,
            "slope_error": found.slope_error,
            "twin_slope": found.twin_slope,
            "shift": found.shift,
            "shift_error": found.shift_error,
            "rms_z": found.rms_z,
            "line_p": found.line_p,
            "scatter_p": found.scatter_p,
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return {
            "student": self.student,
            "device": self.device,
            "measured": self.measured and list(self.measured),
            "twin": self.twin,
            "calibrated": self.calibrated,
            "dynamical_decoupling": self.dynamical_decoupling,
            "texts": len(found.shots),
            "shots": float(found.shots.mean()),
            "departs": found.departs,
            "level": LEVEL,
            "observables": [
                {"observable": string, "qubits": list(qubits), "verdict": verdict}
                | dict(zip(columns, row, strict=True))
                for string, qubits, verdict, row in zip(
                    self.observables, self.qubits, found.verdicts, rows, strict=True
                )
            ],
            "agreement": {name: list(shares) for name, shares in self.agreement.items()},
        }

    def to_text(self) -> str:
        """All of it but the single texts, for people."""
        found = self.departure
        observable, qubits = max(10, len(self.observables[0])), max(6, *map(len, self._places()))
        when = (
            "at an unknown time" if self.measured is None else " to ".join(dict.fromkeys(map(_minute, self.measured)))
        )
        lines = [
            f"{printable(self.student)} on {self.device}, {when}: {len(found.shots)} texts × "
            f"{found.shots.mean():.0f} shots",
            f"beside the twin of {self.twin}, calibrated {_minute(self.calibrated)}",
            "",
            f"{'':{observable}}  {'':{qubits}}  {'mean over texts':^26}  {'slope over exact':^23}  shift where",
            f"{'observable':{observable}}  {'qubits':>{qubits}}  measured     twin    exact  {'measured':>15}    twin  "
            f"{'exact is 0':>15}  rms z  verdict",
        ]
        for j, (string, place, verdict) in enumerate(
            zip(self.observables, self._places(), found.verdicts, strict=True)
        ):
            measured, twin, exact = found.means[:, j]
            slope, shift = f"{found.slope[j]:.3f} ± {found.slope_error[j]:.3f}", f"{found.shift[j]:+.3f}"
            lines.append(
                f"{string:{observable}}  {place:>{qubits}}  {measured:+8.3f} {twin:+8.3f} {exact:+8.3f}  {slope:>15}  "
                f"{found.twin_slope[j]:6.3f}  {f'{shift} ± {found.shift_error[j]:.3f}':>15}  {found.rms_z[j]:5.2f}  "
                f"{verdict}"
            )
        lines += ["", f"{'same label':<20} share  (95 % interval)"]
        for name, (share, low, high) in self.agreement.items():
            lines.append(f"{name:<20} {share:.4f} ({low:.4f} to {high:.4f})")
        told = (
            "the device departs from its calibration where the verdict says so"
            if found.departs
            else "all is as calibrated"
        )
        lines += ["", f"At a level of {LEVEL:.0%} for all observables together (Holm), {told}."]
        if self.dynamical_decoupling is not None:
            lines.append(f"The run had {self.dynamical_decoupling} on idle qubits, of which the twin knows nothing.")
        return "\n".join(lines)

    def _places(self) -> list[str]:
        return [",".join(map(str, qubits)) for qubits in self.qubits]


def check_run(journal: Journal, classifier: Classifier) -> None:
    """See that a journal is that of a complete run of this student.

    Raises:
        JournalError: it is not.
    """
    if journal.empty:
        raise JournalError(f"{journal.path}: found a journal in which no run was begun; expected one")
    check_same(journal, {**journal.identity, **identify_student(classifier.artifact)}, journal.hashes)
    if not progress_of(journal).complete:
        raise JournalError(
            f"{journal.path}: found a run that is not complete; expected all texts measured: run again what began it"
        )


def compare(journal: Journal, classifier: Classifier, twin: Twin) -> Comparison:
    """Hold the values that a run measured against its device's twin, and against exact ones.

    The angles are the journal's own, so no text is needed.

    Args:
        journal: of the run.
        classifier: its student, on an exact backend.
        twin: see `twin_of`.

    Raises:
        JournalError: the journal is damaged, of another student, or of a run that is not complete.
        InputError: a twin of other qubits, gates or settings; too few texts, or a backend that is not exact.
        BackendError: a twin of another circuit.
    """
    check_run(journal, classifier)
    identity, noise, circuit = journal.identity, twin.spec.noise, classifier.circuit
    check_noise(journal, noise)
    if twin.spec.twirled != identity["twirl gates"]:
        raise InputError(
            f"{twin.name}: found twirled gates {twin.spec.twirled}; expected {identity['twirl gates']}, as in the run"
        )
    angles = journal.angles
    exact = classifier.backend.expectations(circuit, angles)
    if exact.shots.any():
        raise InputError(f"classifier: found the backend {exact.backend}, with shots; expected an exact one")
    backend = TwinBackend(twin, mitigate_readout=bool(identity["mitigate readout"]))
    expected = backend.expectations(circuit, angles)
    _, covariance = backend.moments(circuit, angles)
    jobs = [(chunk.rows, journal.result(chunk.id)) for chunk in journal.chunks("done")]
    found = departure(jobs, exact.values, expected.values, np.diagonal(covariance, axis1=1, axis2=2))
    measured = measured_texts(journal, len(circuit.observables)).expectations(f"ibm:{journal.text('device')}")
    asked = journal.asked().values()
    return Comparison(
        student=str(identity["student"]),
        device=f"ibm:{journal.text('device')}",
        measured=(_iso(min(asked)), _iso(max(asked))) if asked else None,
        twin=noise.device,
        calibrated=noise.calibrated,
        dynamical_decoupling=_text_or_none(identity["dynamical decoupling"]),
        observables=circuit.observables,
        qubits=tuple(
            tuple(noise.measured[qubit] for qubit in np.flatnonzero(mask)) for mask in circuit.observable_masks
        ),
        departure=found,
        agreement=_agreement(classifier, {"measured": measured, "twin": expected, "exact": exact}),
    )


def _agreement(classifier: Classifier, answers: dict[str, Expectations]) -> dict[str, tuple[float, float, float]]:
    labels = {name: classifier.readout.predict(values).labels for name, values in answers.items()}
    same = {f"{one} and {two}": int(np.sum(labels[one] == labels[two])) for one, two in combinations(labels, 2)}
    texts = len(labels["exact"])
    return {name: (count / texts, *wilson_interval(count, texts)) for name, count in same.items()}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _minute(iso: str) -> str:
    """A date as it is shown, in UTC."""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
