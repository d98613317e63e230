"""The real client works against the stand-in as it would against the service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from ibm_standin import Limits, StandIn
from ibm_standin.devices import Device, readout_errors
from ibm_standin.layers import QUBITS, Layers, expectations, finish, submit, transpiled
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import (
    Batch,
    IBMBackend,
    IBMInputValueError,
    QiskitRuntimeService,
    RuntimeInvalidStateError,
    RuntimeJobV2,
    Session,
)
from qiskit_ibm_runtime.accounts import InvalidAccountError
from qiskit_ibm_runtime.exceptions import (
    IBMRuntimeError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobNotFound,
)
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.options_models import SamplerOptions

TESTS = Path(__file__).parents[1]
VALUES = np.random.default_rng(7).uniform(-2, 2, (12, QUBITS))


def ids(jobs: list[RuntimeJobV2]) -> list[str]:
    return [job.job_id() for job in jobs]


def test_environment_is_all_that_the_client_needs(service: QiskitRuntimeService) -> None:
    backend = service.backend("fake_fez")
    assert [each.name for each in service.backends()] == ["fake_fez"]
    assert service.least_busy().name == "fake_fez"
    assert backend.num_qubits == 156
    assert backend.target.build_coupling_map() == Device.named("FakeFez").backend.target.build_coupling_map()
    assert backend.status().status_msg == "active"
    assert service.usage()["usage_consumed_seconds"] == 0


def test_rows_of_values_give_their_exact_expectations(backend: IBMBackend, layers: Layers) -> None:
    shots = 4096
    bits = finish(submit(backend, [(layers.isa, VALUES)], shots=shots))[0].data.meas
    assert (bits.shape, bits.num_shots, bits.num_bits) == ((12,), shots, QUBITS)
    assert np.abs(expectations(bits) - layers.exact(VALUES)).max() < 5 / np.sqrt(shots)


def test_equal_rows_are_sampled_independently(backend: IBMBackend, layers: Layers) -> None:
    rows = np.repeat(VALUES[:1], 60, axis=0)
    pubs = [(layers.isa, rows), (layers.isa, rows)]
    result = finish(submit(backend, pubs, shots=256))
    found = np.concatenate([expectations(pub.data.meas) for pub in result])
    exact = layers.exact(rows[:1])[0]
    pulls = (found - exact) / np.sqrt((1 - exact**2) / 256)
    assert len(np.unique(result[0].data.meas.array.reshape(60, -1), axis=0)) == 60
    assert 0.8 < pulls.std() < 1.2
    assert np.abs(pulls.mean(axis=0)).max() < 4 / np.sqrt(120)


@pytest.mark.parametrize("gates", [False, True])
def test_twirling_is_undone(backend: IBMBackend, layers: Layers, gates: bool) -> None:
    sampler = Sampler(mode=backend)
    sampler.options.twirling.enable_measure = True
    sampler.options.twirling.enable_gates = gates
    sampler.options.dynamical_decoupling.enable = not gates
    result = finish(sampler.run([(layers.isa, VALUES[:3]), layers.empty], shots=2048))
    assert np.abs(expectations(result[0].data.meas) - layers.exact(VALUES[:3])).max() < 5 / np.sqrt(2048)
    assert np.all(expectations(result[1].data.meas) == 1)


def test_readout_noise_is_what_it_says(serve: Any) -> None:
    serve(["FakeFez:readout"])
    backend = QiskitRuntimeService().backend("fake_fez")
    circuit = QuantumCircuit(4)
    circuit.x([1, 3])
    circuit.measure_all()
    found = expectations(finish(submit(backend, [transpiled(circuit, backend, first=5)], shots=20000))[0].data.meas)
    errors = readout_errors("fake_fez", 156)
    expected = [1 - 2 * errors[5][0], 2 * errors[6][1] - 1, 1 - 2 * errors[7][0], 2 * errors[8][1] - 1]
    assert np.abs(found - expected).max() < 0.02


def test_full_noise_is_the_fake_backends_own(serve: Any) -> None:
    serve(["FakeManilaV2:full"])
    backend = QiskitRuntimeService().backend("fake_manila")
    circuit = QuantumCircuit(2)
    circuit.x([0, 1])
    circuit.measure_all()
    found = expectations(finish(submit(backend, [transpiled(circuit, backend)], shots=2000))[0].data.meas)
    assert np.all((found > -0.99) & (found < -0.7))


def test_cost_is_the_documented_formula(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    job = submit(backend, [(layers.isa, VALUES), layers.empty], shots=100)
    finish(job)
    rep_delay = backend.configuration().default_rep_delay
    each = [rep_delay + circuit.estimate_duration(backend.target) for circuit in (layers.isa, layers.empty)]
    seconds = 2 + 100 * (12 * each[0] + each[1])
    (record,) = standin.jobs()
    assert (record.executions, record.executed, record.runs) == (1300, 1300, 1)
    assert job.usage() == pytest.approx(seconds)
    assert job.usage_estimation["quantum_seconds"] == pytest.approx(seconds)
    stamps = job.metrics()["timestamps"]
    assert stamps["created"] <= stamps["running"] <= stamps["finished"]


def test_usage_is_pending_for_a_while(serve: Any) -> None:
    serve(usage_delay=1.0)
    service = QiskitRuntimeService()
    backend = service.backend("fake_fez")
    job = submit(backend, [Layers.on(backend).empty])
    finish(job)
    assert job.metrics()["usage"] == {"status": "pending", "qpu_charge_time_seconds": 0}
    time.sleep(1.1)
    assert job.usage() > 2
    assert service.usage()["usage_consumed_seconds"] == job.usage()


def test_jobs_are_found_by_all_their_tags(
    standin: StandIn, service: QiskitRuntimeService, backend: IBMBackend, layers: Layers
) -> None:
    standin.set_device("fake_fez", "maintenance")
    before = datetime.now(UTC)
    jobs = [submit(backend, [layers.empty], tags=["run", f"chunk {number % 5}"]) for number in range(25)]
    after = datetime.now(UTC)
    newest_first = ids(jobs)[::-1]
    assert ids(service.jobs(job_tags=["run"], limit=None)) == newest_first
    assert ids(service.jobs(job_tags=["run", "chunk 3"], limit=None)) == newest_first[1::5]
    assert service.jobs(job_tags=["run", "none"], limit=None) == []
    assert ids(service.jobs()) == newest_first[:10]
    assert ids(service.jobs(limit=7, skip=20)) == newest_first[20:]
    assert ids(service.jobs(limit=None, descending=False)) == ids(jobs)
    assert len(service.jobs(created_after=before, created_before=after, limit=None)) == 25
    assert service.jobs(created_after=after + timedelta(seconds=1), limit=None) == []
    jobs[0].cancel()
    assert ids(service.jobs(pending=False, limit=None)) == ids(jobs[:1])
    assert len(service.jobs(pending=True, limit=None)) == 24
    assert jobs[1].update_tags(["other"]) == ["other"]
    assert ids(service.jobs(job_tags=["other"])) == ids(jobs[1:2])


def test_job_is_fetched_by_its_id(service: QiskitRuntimeService, backend: IBMBackend, layers: Layers) -> None:
    job = submit(backend, [layers.empty], tags=["mine"])
    finish(job)
    again = service.job(job.job_id())
    assert (again.tags, again.status(), again.backend().name) == (["mine"], "DONE", "fake_fez")
    assert np.all(finish(again)[0].data.meas.array == 0)
    with pytest.raises(RuntimeInvalidStateError):
        again.cancel()
    service.delete_job(job.job_id())
    with pytest.raises(RuntimeJobNotFound):
        service.job(job.job_id())


@pytest.mark.parametrize("mode", [Batch, Session])
def test_session_runs_what_it_took_before_it_closed(
    service: QiskitRuntimeService, backend: IBMBackend, layers: Layers, mode: type[Session]
) -> None:
    with mode(backend, max_time="1h") as session:
        job = submit(session, [layers.empty])
        again = mode.from_id(session.session_id, service)
        second = submit(again, [layers.empty])
        assert session.details()["max_time"] == 3600
    finish(job), finish(second)
    assert len(service.jobs(session_id=session.session_id)) == 2
    assert session.status() == "Closed"
    assert session.usage() > 0
    with pytest.raises(IBMRuntimeError, match="closed"):
        submit(again, [layers.empty])
    with pytest.raises(IBMInputValueError, match="mode"):
        (Session if mode is Batch else Batch).from_id(session.session_id, service)


def test_cancelled_session_cancels_its_jobs(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("slow_queue", seconds=60)
    batch = Batch(backend)
    job, other = submit(batch, [layers.empty]), submit(backend, [layers.empty])
    batch.cancel()
    finish(other)
    assert job.status() == "CANCELLED"


def test_cancelled_job_is_charged_for_what_it_ran(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("slow_run", seconds=60)
    job = submit(backend, [(layers.isa, np.repeat(VALUES, 10, axis=0))])
    while job.status() != "RUNNING":
        time.sleep(0.02)
    time.sleep(0.3)
    job.cancel()
    while not standin.jobs()[0].final:
        time.sleep(0.02)
    (record,) = standin.jobs()
    assert record.status == "Cancelled"
    assert 0 < record.executed < record.executions
    assert 2 < job.usage() < record.estimated_seconds


def test_wrong_key_is_refused(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "another")
    with pytest.raises(InvalidAccountError):
        QiskitRuntimeService()
    assert {request["status"] for request in standin.requests} == {400}


def test_expired_and_forged_tokens_are_refused(standin: StandIn, serve: Any) -> None:
    with requests.Session() as client:

        def status(bearer: str) -> int:
            return client.get(f"{standin.url}/backends", headers={"Authorization": f"Bearer {bearer}"}).status_code

        key = {"apikey": "stand-in-token"}
        good = client.post(f"{standin.url}/identity/token", data=key).json()["access_token"]
        old = serve(token_seconds=0)
        late = client.post(f"{old.url}/identity/token", data=key).json()["access_token"]
        assert [status(bearer) for bearer in (good, late, good[:-2], "")] == [200, 401, 401, 401]


def test_limits_are_enforced(
    standin: StandIn, service: QiskitRuntimeService, backend: IBMBackend, layers: Layers
) -> None:
    standin.limits = Limits(executions_a_job=100)
    with pytest.raises(IBMRuntimeError, match="400"):
        submit(backend, [layers.empty], shots=101)
    standin.limits = Limits(creations_a_minute=1)
    finish(submit(backend, [layers.empty]))
    with pytest.raises(IBMRuntimeError, match="429"):
        submit(backend, [layers.empty])
    standin.limits = Limits(pending_jobs=1)
    standin.set_device("fake_fez", "maintenance")
    job = submit(backend, [layers.empty])
    with pytest.raises(IBMRuntimeError, match="429"):
        submit(backend, [layers.empty])
    job.cancel()
    standin.limits = Limits(usage_seconds=1)
    assert service.usage()["usage_remaining_seconds"] == 0
    with pytest.raises(IBMRuntimeError, match="403"), pytest.warns(UserWarning, match="usage limit"):
        submit(backend, [layers.empty])
    assert len(standin.jobs()) == 2


def test_circuit_for_another_device_is_refused(backend: IBMBackend, layers: Layers) -> None:
    with pytest.raises(IBMRuntimeError, match="Duration not found for ry"):
        submit(backend, [(layers.logical, VALUES)])


def test_program_that_the_simulator_cannot_run_fails(backend: IBMBackend) -> None:
    circuit = QuantumCircuit(50)
    for _ in range(2):
        circuit.ry(0.3, range(50))
        circuit.cz(range(49), range(1, 50))
    circuit.measure_all()
    with pytest.raises(RuntimeJobFailureError, match="memory|broadcast"):
        finish(submit(backend, [transpiled(circuit, backend)]))


def test_time_limit_of_a_job_ends_it(backend: IBMBackend, layers: Layers) -> None:
    sampler = Sampler(mode=backend, options=SamplerOptions(max_execution_time=3))
    job = sampler.run([layers.empty], shots=10000)
    with pytest.raises(RuntimeJobMaxTimeoutError):
        finish(job)
    assert job.usage() == 3


def test_restart_goes_on(standin: StandIn, service: QiskitRuntimeService, backend: IBMBackend, layers: Layers) -> None:
    done = submit(backend, [(layers.isa, VALUES)])
    bits = finish(done)[0].data.meas
    standin.fault("slow_run", seconds=0.5)
    running, queued = submit(backend, [layers.empty]), submit(backend, [layers.empty])
    while running.status() != "RUNNING":
        time.sleep(0.02)
    standin.restart()
    assert finish(service.job(done.job_id()))[0].data.meas == bits
    for job in (running, queued):
        assert finish(job)[0].data.meas.num_shots == 16
    assert [record.runs for record in standin.jobs()] == [1, 1, 1]


def test_killed_client_leaves_its_job(standin: StandIn, service: QiskitRuntimeService) -> None:
    script = (
        "from ibm_standin.layers import Layers, submit\n"
        "from qiskit_ibm_runtime import QiskitRuntimeService\n"
        "backend = QiskitRuntimeService().backend('fake_fez')\n"
        "submit(backend, [Layers.on(backend).empty], tags=['orphan'])\n"
    )
    standin.fault("stall", method="POST", path="^/jobs$", when="after", seconds=60)
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(TESTS)}) as client:
        while not standin.jobs():
            assert client.poll() is None
            time.sleep(0.05)
        client.kill()
    (job,) = service.jobs(job_tags=["orphan"], limit=None)
    assert np.all(expectations(finish(job)[0].data.meas) == 1)


@pytest.mark.slow
def test_killed_process_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(port: int) -> tuple[subprocess.Popen[str], dict[str, str]]:
        arguments = ["-m", "ibm_standin", "--folder", str(tmp_path), "--device", "FakeFez", "--port", str(port)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(12)]
        return process, dict(line.removeprefix("export ").strip().split("=", 1) for line in lines[1:])

    def ask(method: str, path: str, content: Any = None) -> Any:
        with requests.Session() as client:
            reply = client.request(method, variables["IAM_URL"] + path, json=content)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    process, variables = serve(0)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        ask("POST", "/standin/faults", [{"kind": "slow_run", "seconds": 2}, {"kind": "status", "path": "status$"}])
        assert len(ask("GET", "/standin/faults")) == 2
        service = QiskitRuntimeService()
        backend = service.backend("fake_fez")
        job = submit(backend, [Layers.on(backend).empty], tags=["kept"])
        while job.status() != "RUNNING":
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    process, _ = serve(int(variables["IAM_URL"].rpartition(":")[2]))
    try:
        assert np.all(finish(service.jobs(job_tags=["kept"])[0])[0].data.meas.array == 0)
        (record,) = ask("GET", "/standin/jobs")
        assert (record["status"], record["runs"]) == ("Completed", 1)
        ask("POST", "/standin/reset")
        assert ask("GET", "/standin/jobs") == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
