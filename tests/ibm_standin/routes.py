"""Which request asks for what."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ibm_standin.faults import Fault, Faults
from ibm_standin.limits import Limits, RefusalError
from ibm_standin.service import CRN, PLAN, Service
from ibm_standin.store import Store

PREFIX = "/experimental/api/v1"


@dataclass(frozen=True)
class Request:
    """What was asked, with the API's prefix taken off the path."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, method: str, target: str, headers: dict[str, str], body: bytes) -> Request:
        """The request as it came."""
        parts = urlsplit(target)
        lower = {name.lower(): value for name, value in headers.items()}
        return cls(method, parts.path.removeprefix(PREFIX), parse_qs(parts.query), lower, body)

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Reply:
    """What is answered: JSON, or a text that is sent as it is."""

    status: int = 200
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def error(cls, status: int, code: int, message: str, retry_after: int | None = None) -> Reply:
        """An error in the service's own form."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return cls(status, {"errors": [{"code": code, "message": message}]}, headers)

    @property
    def body(self) -> bytes:
        """The bytes to send."""
        if self.content is None:
            return b""
        return (self.content if isinstance(self.content, str) else json.dumps(self.content)).encode()


Answer = Callable[[Request, str], Reply]


class Routes:
    """The table of what can be asked, over the service."""

    def __init__(self, service: Service, store: Store, faults: Faults, token: str, token_seconds: int) -> None:
        self._service, self._store, self._faults = service, store, faults
        self._token, self._token_seconds = token, token_seconds
        self.requests: list[dict[str, Any]] = []
        get, done = self._get, self._done
        self._open: list[tuple[str, str, Answer]] = [
            ("POST", "/identity/token", self._issue),
            ("GET", "/standin/jobs", get(lambda _: [asdict(job) for job in store.jobs()])),
            ("GET", "/standin/requests", get(lambda _: self.requests)),
            ("GET", "/standin/faults", get(lambda _: [asdict(fault) for fault in faults.outstanding()])),
            ("POST", "/standin/faults", done(lambda _, given: self._add_faults(given))),
            ("DELETE", "/standin/faults", done(lambda *_: faults.clear())),
            ("POST", "/standin/limits", done(lambda _, given: setattr(service, "limits", Limits(**given)))),
            ("POST", "/standin/devices/([^/]+)", done(lambda name, given: service.set_device(name, given["status"]))),
            ("POST", "/standin/sessions/([^/]+)/close", done(lambda name, _: service.sessions.close(name))),
            ("POST", "/standin/reset", done(lambda *_: self.reset())),
        ]
        self._closed: list[tuple[str, str, Answer]] = [
            ("POST", "/v3/resources/search", get(lambda _: _INSTANCES)),
            ("GET", f"/api/v1/{PLAN}", get(lambda _: _PLAN)),
            ("GET", "/backends", get(lambda _: service.devices())),
            ("GET", "/backends/([^/]+)/configuration", get(lambda name: service.device(name).configuration)),
            ("GET", "/backends/([^/]+)/properties", get(lambda name: service.device(name).properties)),
            ("GET", "/backends/([^/]+)/status", get(service.status)),
            ("GET", "/instances/usage", get(lambda _: service.usage())),
            ("POST", "/jobs", lambda request, _: Reply(200, service.create_job(request.json()))),
            ("GET", "/jobs", lambda request, _: Reply(200, service.jobs(request.query))),
            ("GET", "/jobs/([^/]+)", self._job),
            ("GET", "/jobs/([^/]+)/results", self._result),
            ("GET", "/jobs/([^/]+)/metrics", get(service.metrics)),
            ("GET", "/jobs/([^/]+)/logs", get(lambda name: f"The stand-in's job {service.job(name).id}\n")),
            ("POST", "/jobs/([^/]+)/cancel", done(lambda name, _: service.cancel(name))),
            ("PUT", "/jobs/([^/]+)/tags", done(lambda name, given: service.set_tags(name, given["tags"]))),
            ("DELETE", "/jobs/([^/]+)", done(lambda name, _: service.delete(name))),
            ("POST", "/sessions", lambda request, _: Reply(200, service.create_session(request.json()))),
            ("GET", "/sessions/([^/]+)", get(service.session)),
            ("PATCH", "/sessions/([^/]+)", done(lambda name, _: service.sessions.close(service.session(name)["id"]))),
            ("DELETE", "/sessions/([^/]+)/close", done(lambda name, _: service.cancel_session(name))),
        ]

    def answer(self, request: Request) -> Reply:
        """Do what is asked."""
        try:
            for routes, guarded in ((self._open, False), (self._closed, True)):
                for method, path, act in routes:
                    if method == request.method and (found := re.fullmatch(path, request.path)):
                        if guarded:
                            self._check(request.headers.get("authorization", ""))
                        return act(request, "".join(found.groups()))
        except RefusalError as refusal:
            return Reply.error(refusal.status, refusal.code, str(refusal), refusal.retry_after)
        except (KeyError, TypeError, ValueError) as error:
            return Reply.error(400, 1208, f"The request is not understood: {type(error).__name__}: {error}")
        return Reply.error(404, 1291, f"The stand-in has no {request.method} {request.path}.")

    def reset(self) -> None:
        """Forget jobs, sessions, the devices' states, faults and requests."""
        self._store.clear()
        self._faults.clear()
        self.requests.clear()

    @staticmethod
    def _get(find: Callable[[str], Any]) -> Answer:
        return lambda _, name: Reply(200, find(name))

    @staticmethod
    def _done(act: Callable[[str, Any], None]) -> Answer:
        def answer(request: Request, name: str) -> Reply:
            act(name, request.json())
            return Reply(204)

        return answer

    def _add_faults(self, given: Any) -> None:
        """One rule, or a list of them; all or none."""
        rules = [Fault.of(each) for each in (given if isinstance(given, list) else [given])]
        for rule in rules:
            self._faults.add(rule)

    def _job(self, request: Request, name: str) -> Reply:
        with_params = request.query.get("exclude_params") != ["true"]
        return Reply(200, self._service.job_view(self._service.job(name), with_params=with_params))

    def _result(self, _: Request, name: str) -> Reply:
        result = self._service.result(name)
        return Reply(204) if result is None else Reply(200, result)

    def _issue(self, request: Request, _: str) -> Reply:
        """A bearer token for the right API key, as IAM answers. It is signed, so that it outlives the server."""
        if parse_qs(request.body.decode()).get("apikey") != [self._token]:
            message = "Provided API key could not be found."
            return Reply(400, {"errorCode": "BXNIM0415E", "errorMessage": message, "context": {}})
        issued = int(time.time())
        expires = issued + self._token_seconds
        payload = json.dumps({"iat": issued, "exp": expires}).encode()
        content = f"{_encode(_JWT_HEADER)}.{_encode(payload)}"
        bearer = f"{content}.{self._sign(content)}"
        times = {"expires_in": self._token_seconds, "expiration": expires}
        return Reply(200, {"access_token": bearer, "refresh_token": "none", "token_type": "Bearer", **times})

    def _check(self, authorization: str) -> None:
        content, _, signature = authorization.removeprefix("Bearer ").rpartition(".")
        if not hmac.compare_digest(signature, self._sign(content)):
            raise RefusalError(401, 1201, "Invalid credentials.")
        payload = content.partition(".")[2]
        if json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"] <= time.time():
            raise RefusalError(401, 1201, "The token has expired.")

    def _sign(self, content: str) -> str:
        return _encode(hmac.digest(self._token.encode(), content.encode(), hashlib.sha256))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


_JWT_HEADER = b'{"alg":"HS256","typ":"JWT"}'
_INSTANCES = {
    "items": [
        {
            "crn": CRN,
            "name": "stand-in",
            "service_plan_unique_id": PLAN,
            "tags": [],
            "doc": {"extensions": {"backends": "all"}},
        }
    ]
}
_PLAN = {"overview_ui": {"en": {"display_name": "Stand-in"}}, "metadata": {"pricing": {"type": "free"}}}
