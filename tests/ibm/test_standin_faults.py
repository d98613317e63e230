"""Each fault that the stand-in can be told to have, as the real client sees it."""

from __future__ import annotations

import json
import time

import pytest
import requests
from ibm_standin import Fault, StandIn
from ibm_standin.layers import Layers, finish, submit
from qiskit_ibm_runtime import Batch, IBMBackend, QiskitRuntimeService, Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import (
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobTimeoutError,
)
from qiskit_ibm_runtime.executor_sampler import Sampler

CREATE = {"method": "POST", "path": "^/jobs$"}
READ = {"method": "GET", "path": "^/jobs/[^/]+$"}


def posts(standin: StandIn) -> int:
    return sum(request["method"] == "POST" and request["path"] == "/jobs" for request in standin.requests)


def test_refusal_before_the_job_exists_is_not_repeated(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("status", status=429, retry_after=7, **CREATE)
    with pytest.raises(IBMRuntimeError) as caught:
        submit(backend, [layers.empty])
    context = caught.value.__context__
    assert isinstance(context, RequestsApiError)
    assert context.status_code == 429
    assert (posts(standin), standin.jobs()) == (1, [])


def test_bad_gateway_after_the_creation_makes_a_second_job(
    standin: StandIn, backend: IBMBackend, layers: Layers
) -> None:
    standin.fault("status", status=502, when="after", **CREATE)
    job = submit(backend, [layers.empty])
    first, second = standin.jobs()
    assert job.job_id() == second.id != first.id


@pytest.mark.slow
def test_persistent_server_error_ends_after_six_posts(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("status", status=503, count=None, **CREATE)
    with pytest.raises(IBMRuntimeError):
        submit(backend, [layers.empty])
    assert (posts(standin), standin.jobs()) == (6, [])


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
def test_dropped_creation_is_not_repeated(
    standin: StandIn, backend: IBMBackend, layers: Layers, when: str, jobs: int
) -> None:
    standin.fault("drop", when=when, **CREATE)
    with pytest.raises(IBMRuntimeError):
        submit(backend, [layers.empty])
    assert (posts(standin), len(standin.jobs())) == (1, jobs)


def test_dropped_question_is_asked_again(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    job = submit(backend, [layers.empty])
    finish(job)
    standin.fault("drop", path="/results$")
    assert finish(job)[0].data.meas.num_shots == 16


@pytest.mark.parametrize("retry_after", [0, None])
def test_too_many_questions_are_repeated_if_told_when(
    standin: StandIn, service: QiskitRuntimeService, backend: IBMBackend, layers: Layers, retry_after: int | None
) -> None:
    job = submit(backend, [layers.empty])
    standin.fault("status", status=429, retry_after=retry_after, **READ)
    if retry_after is None:
        with pytest.raises(RequestsApiError, match="429"):
            job.status()
    else:
        assert job.status() in ("QUEUED", "RUNNING", "DONE")


@pytest.mark.parametrize("when", ["before", "after"])
def test_stalled_answer_is_waited_for(standin: StandIn, backend: IBMBackend, layers: Layers, when: str) -> None:
    standin.fault("slow_run", seconds=20)
    job = submit(backend, [layers.empty])
    standin.fault("stall", seconds=1.5, when=when, **READ)
    start = time.monotonic()
    with pytest.raises(RuntimeJobTimeoutError):
        job.result(timeout=0.2, poll_interval=0.1)
    assert 1.5 < time.monotonic() - start < 5


def test_half_an_answer_is_no_json(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("cut", **CREATE)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        submit(backend, [layers.empty])
    assert len(standin.jobs()) == 1


def test_unauthorized_is_said_so(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("status", status=401, count=1, body='{"errors": []}', path="^/instances/usage$")
    with pytest.raises(IBMNotAuthorizedError):
        submit(backend, [layers.empty])
    finish(submit(backend, [layers.empty]))


def test_rules_let_pass_first_and_are_used_up(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("fail", after=1, count=2, reason="Broken.", code=1234)
    statuses = []
    for _ in range(4):
        job = submit(backend, [layers.empty])
        job.wait_for_final_state(poll_interval=0.1)
        statuses.append(job.status())
    assert statuses == ["DONE", "ERROR", "ERROR", "DONE"]
    with pytest.raises(RuntimeJobFailureError, match="Error code 1234; Broken"):
        finish(next(backend.service.job(record.id) for record in standin.jobs() if record.status == "Failed"))


def test_job_that_ran_too_long(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("too_long")
    with pytest.raises(RuntimeJobMaxTimeoutError):
        finish(submit(backend, [layers.empty]))
    assert standin.jobs()[0].reason_code == 1305


def test_job_that_the_service_cancels(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("cancel")
    with pytest.raises(RuntimeInvalidStateError):
        finish(submit(backend, [layers.empty]))


def test_slow_queue_and_slow_run(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("slow_queue", seconds=0.5)
    standin.fault("slow_run", seconds=0.5)
    job = submit(backend, [layers.empty])
    seen = []
    while not seen or seen[-1] != "DONE":
        seen.append(job.status())
        time.sleep(0.05)
    assert sorted(set(seen), key=seen.index) == ["QUEUED", "RUNNING", "DONE"]


def test_spoilt_results(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    standin.fault("missing")
    assert finish(submit(backend, [layers.empty])) is None
    standin.fault("unreadable")
    with pytest.raises((TypeError, ValueError)):
        finish(submit(backend, [layers.empty]))


def test_private_result_is_read_once(backend: IBMBackend, layers: Layers) -> None:
    sampler = Sampler(mode=backend)
    sampler.options.environment.private = True
    job = sampler.run([layers.empty], shots=16)
    assert finish(job)[0].data.meas.num_shots == 16
    assert finish(job) is None


@pytest.mark.parametrize("mode", [Batch, Session])
def test_session_that_closes_by_itself(
    standin: StandIn, backend: IBMBackend, layers: Layers, mode: type[Session]
) -> None:
    standin.fault("close_session", jobs=2)
    session = mode(backend)
    jobs = [submit(session, [layers.empty]), submit(session, [layers.empty])]
    with pytest.raises(IBMRuntimeError, match="Session has been closed"):
        submit(session, [layers.empty])
    assert [finish(job)[0].data.meas.num_shots for job in jobs] == [16, 16]
    other = mode(backend)
    finish(submit(other, [layers.empty]))
    standin.close_session(str(other.session_id))
    assert other.status() == "Closed"


@pytest.mark.parametrize(("status", "operational"), [("paused", True), ("maintenance", False)])
def test_device_that_is_down_keeps_its_jobs_queued(
    standin: StandIn, service: QiskitRuntimeService, backend: IBMBackend, layers: Layers, status: str, operational: bool
) -> None:
    standin.set_device("fake_fez", status)
    assert (backend.status().status_msg, backend.status().operational) == (status, operational)
    if operational:
        with pytest.warns(UserWarning, match="status of paused"):
            job = submit(backend, [layers.empty])
    else:
        job = submit(backend, [layers.empty])
    time.sleep(0.2)
    assert job.status() == "QUEUED"
    standin.set_device("fake_fez", "active")
    finish(job)


def test_another_process_has_the_same_controls(standin: StandIn, backend: IBMBackend, layers: Layers) -> None:
    with requests.Session() as client:
        rule = {"kind": "status", "status": 400, "method": "POST", "path": "^/jobs$"}
        assert client.post(f"{standin.url}/standin/faults", json=rule).status_code == 204
        assert client.get(f"{standin.url}/standin/faults").json() == [vars(Fault(**rule))]
        assert client.post(f"{standin.url}/standin/faults", json={"kind": "nonsense"}).status_code == 400
        with pytest.raises(IBMRuntimeError, match="400"):
            submit(backend, [layers.empty])
        job = submit(backend, [layers.empty])
        finish(job)
        (record,) = client.get(f"{standin.url}/standin/jobs").json()
        assert (record["id"], record["status"], record["runs"]) == (job.job_id(), "Completed", 1)
        assert len(client.get(f"{standin.url}/standin/requests").json()) == len(standin.requests)
        assert client.post(f"{standin.url}/standin/limits", json={"pending_jobs": 2}).status_code == 204
        device = f"{standin.url}/standin/devices/fake_fez"
        assert client.post(device, data=json.dumps({"status": "paused"})).status_code == 204
        assert backend.status().status_msg == "paused"
        assert client.post(f"{standin.url}/standin/reset").status_code == 204
        assert standin.jobs() == []
