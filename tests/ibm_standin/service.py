"""What the service does when it is asked: jobs, sessions and devices. HTTP is elsewhere."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from qiskit.exceptions import QiskitError

from ibm_standin.devices import Device
from ibm_standin.faults import Faults
from ibm_standin.limits import Limits, RefusalError
from ibm_standin.program import Program
from ibm_standin.sessions import Sessions
from ibm_standin.store import JobRecord, Query, Store, now, stamp

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/00000000000000000000000000000000:stand-in::"
PLAN = "00000000-0000-0000-0000-000000000000"

# What a device's status is called in the list of devices, and whether it counts as operational.
DEVICE_STATES = {"active": ("online", True), "paused": ("paused", True), "maintenance": ("offline", False)}


class Service:
    """The service, over its store."""

    def __init__(
        self, store: Store, devices: Mapping[str, Device], faults: Faults, limits: Limits, usage_delay: float
    ) -> None:
        self._store, self._devices, self._faults = store, devices, faults
        self.sessions = Sessions(store)
        self.limits = limits
        self._usage_delay = usage_delay

    def device(self, name: str) -> Device:
        """The device of this name."""
        if name not in self._devices:
            raise RefusalError(404, 1007, f"Backend {name} not found.")
        return self._devices[name]

    def devices(self) -> dict[str, Any]:
        """GET /backends."""
        listed = []
        for device in self._devices.values():
            online, _ = DEVICE_STATES[self.device_state(device.name)]
            pending = self._store.count(Query(["status IN ('Queued', 'Running')", "device = ?"], [device.name]))
            listed.append(
                {"name": device.name, "status": {"name": online}, "qubits": device.qubits, "queue_length": pending}
            )
        return {"devices": listed}

    def device_state(self, name: str) -> str:
        """What `set_device` said."""
        return str(self._store.setting(f"device {name}", "active"))

    def set_device(self, name: str, state: str) -> None:
        """Make a device `active`, `paused` or in `maintenance`; it runs jobs in the first state alone."""
        self.device(name)
        if state not in DEVICE_STATES:
            raise RefusalError(400, 1221, f"found the state {state!r}, expected one of {', '.join(DEVICE_STATES)}")
        self._store.keep(f"device {name}", state)

    def status(self, name: str) -> dict[str, Any]:
        """GET /backends/{name}/status."""
        device, state = self.device(name), self.device_state(name)
        pending = self._store.count(Query(["status IN ('Queued', 'Running')", "device = ?"], [name]))
        version = device.configuration["backend_version"]
        _, operational = DEVICE_STATES[state]
        return {"state": operational, "status": state, "length_queue": pending, "backend_version": version}

    def usage(self) -> dict[str, Any]:
        """GET /instances/usage: what has been charged so far."""
        consumed = sum(job.usage_seconds for job in self._store.jobs() if self._charged(job))
        limit = self.limits.usage_seconds
        known: dict[str, Any] = {"instance_id": CRN, "plan_id": PLAN, "usage_consumed_seconds": consumed}
        if limit is not None:
            known["usage_limit_seconds"] = limit
        return {**known, "usage_limit_reached": limit is not None and consumed >= limit}

    def create_job(self, given: dict[str, Any]) -> dict[str, Any]:
        """POST /jobs."""
        if given.get("program_id") != "executor":
            raise RefusalError(
                404, 1207, f"Program {given.get('program_id')} not found: the stand-in has 'executor' alone."
            )
        device = self.device(given["backend"])
        params = json.dumps(given["params"])
        try:
            program = Program(params, device)
        except (QiskitError, ValueError) as error:
            raise RefusalError(400, 1211, f"The job's params are not valid: {error}") from error
        with self._store.transaction():
            if (refusal := self.limits.refusal(self._store, program.shots * program.circuits)) is not None:
                raise refusal
            if self.usage()["usage_limit_reached"]:
                raise RefusalError(403, 1253, "The instance has reached its usage limit.")
            session = given.get("session_id")
            if session is not None and not self.sessions.take_job(session):
                raise RefusalError(400, 1217, "Session has been closed.")
            job = self._store.add_job(
                params,
                id=uuid.uuid4().hex[:20],
                tags=json.dumps(given.get("tags", [])),
                program=given["program_id"],
                device=device.name,
                session=session,
                private=bool(given.get("private")),
                max_seconds=given.get("cost"),
                shots=program.shots,
                circuits=program.circuits,
                estimated_seconds=program.seconds,
                faults=json.dumps({fault.kind: asdict(fault) for fault in self._faults.of_job()}),
            )
        return {"id": job.id, "backend": job.device, "session_id": job.session, "private": job.private}

    def create_session(self, given: dict[str, Any]) -> dict[str, Any]:
        """POST /sessions."""
        fault = self._faults.of_session()
        jobs = None if fault is None else fault.jobs
        identifier = self.sessions.create(self.device(given["backend"]).name, given["mode"], given.get("max_ttl"), jobs)
        return {"id": identifier}

    def session(self, identifier: str) -> dict[str, Any]:
        """GET /sessions/{id}."""
        details = self.sessions.details(identifier)
        if details is None:
            raise RefusalError(404, 1291, f"Session {identifier} not found.")
        return details

    def job(self, identifier: str) -> JobRecord:
        """The job of this id."""
        found = self._store.job(identifier)
        if found is None:
            raise RefusalError(404, 1291, f"Job {identifier} not found.")
        return found

    def job_view(self, job: JobRecord, *, with_params: bool = False) -> dict[str, Any]:
        """GET /jobs/{id}, and one of GET /jobs."""
        state: dict[str, Any] = {"status": job.status}
        if job.reason is not None:
            state.update(reason=job.reason, reason_code=job.reason_code)
        view = {
            "id": job.id,
            "backend": job.device,
            "program": {"id": job.program},
            "state": state,
            "status": job.status,
            "created": job.created,
            "session_id": job.session,
            "tags": list(job.tags),
            "private": job.private,
            "cost": job.max_seconds,
            "estimated_running_time_seconds": job.estimated_seconds,
        }
        if with_params and not job.private:
            view["params"] = json.loads(self._store.params(job.id))
        return view

    def jobs(self, asked: dict[str, list[str]]) -> dict[str, Any]:
        """GET /jobs, one page."""
        query = Query()
        for name, column in (("backend", "device"), ("program", "program"), ("session_id", "session")):
            for value in asked.get(name, ()):
                query.add(f"{column} = ?", value)
        for tag in asked.get("tags", ()):
            query.add("EXISTS (SELECT 1 FROM json_each(tags) WHERE json_each.value = ?)", tag)
        for name, sign in (("created_after", ">="), ("created_before", "<=")):
            for value in asked.get(name, ()):
                query.add(f"created {sign} ?", stamp(datetime.fromisoformat(value)))
        for value in asked.get("pending", ()):
            query.add(f"status {'IN' if value == 'true' else 'NOT IN'} ('Queued', 'Running')")
        limit, offset = int(asked.get("limit", ["200"])[0]), int(asked.get("offset", ["0"])[0])
        ascending = asked.get("sort") == ["ASC"]
        with self._store.transaction():
            page = self._store.jobs(query, ascending=ascending, limit=limit, offset=offset)
            count = self._store.count(query)
        return {"jobs": [self.job_view(job) for job in page], "count": count, "limit": limit, "offset": offset}

    def result(self, identifier: str) -> str | None:
        """GET /jobs/{id}/results: of a private job once."""
        with self._store.transaction():
            job = self.job(identifier)
            result = self._store.result(identifier)
            if job.private and job.final:
                self._store.keep_result(identifier, None)
        if result is None or "missing" in job.faults:
            return None
        return result[: len(result) // 2] if "unreadable" in job.faults else result

    def metrics(self, identifier: str) -> dict[str, Any]:
        """GET /jobs/{id}/metrics."""
        job = self.job(identifier)
        charged = self._charged(job)
        return {
            "timestamps": {"created": job.created, "running": job.running, "finished": job.finished},
            "usage": {
                "status": "complete" if charged else "pending",
                "qpu_charge_time_seconds": job.usage_seconds if charged else 0,
            },
            "executions": job.executed,
        }

    def _charged(self, job: JobRecord) -> bool:
        """Whether the service has worked out what the job costs, which it does a little after the job's end."""
        if job.finished is None:
            return False
        return datetime.fromisoformat(job.finished) + timedelta(seconds=self._usage_delay) <= datetime.now(UTC)

    def cancel(self, identifier: str) -> None:
        """POST /jobs/{id}/cancel: a queued job at once; a running one when the engine sees it."""
        with self._store.transaction():
            job = self.job(identifier)
            if job.final:
                raise RefusalError(409, 1293, f"Job {identifier} is in the final state {job.status}.")
            if job.status == "Running":
                self._store.change_job(identifier, cancelling=True)
            else:
                reason = "Job was cancelled by the user."
                self._store.change_job(identifier, status="Cancelled", reason=reason, finished=now())

    def cancel_session(self, identifier: str) -> None:
        """DELETE /sessions/{id}/close: its jobs too."""
        with self._store.transaction():
            self.session(identifier)
            self.sessions.close(identifier)
            for job in self._store.jobs(Query(["session = ?", "status IN ('Queued', 'Running')"], [identifier])):
                self.cancel(job.id)

    def set_tags(self, identifier: str, tags: list[str]) -> None:
        """PUT /jobs/{id}/tags."""
        self._store.change_job(self.job(identifier).id, tags=json.dumps(tags))

    def delete(self, identifier: str) -> None:
        """DELETE /jobs/{id}."""
        self._store.delete_job(self.job(identifier).id)
