"""The Hub's REST API, as far as the client needs it to load and to push."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from hub_endpoint.store import Commit, Repository, etag, git_sha, is_large, pointer

TOKEN = "hf_tokenOfTheTests"


@dataclass(frozen=True)
class Request:
    """One request; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, content: Any, status: int = 200) -> Reply:
        """JSON."""
        return cls(status, {"Content-Type": "application/json"}, json.dumps(content).encode())

    @classmethod
    def error(cls, status: int, message: str, code: str | None = None) -> Reply:
        """As the Hub tells errors: in headers and in the body."""
        told = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        return cls(status, {"Content-Type": "application/json", **told}, json.dumps({"error": message}).encode())


Route = tuple[str, re.Pattern[str], Callable[..., Reply]]
_NAME = r"(?P<name>[^/]+/[^/]+)"


class Routes:
    """What is asked, and what is answered. `url` and `storage` are where the two ports are."""

    def __init__(self) -> None:
        self.url = self.storage = ""
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()
        api = rf"/api/models/{_NAME}"
        self._routes: list[Route] = [
            (method, re.compile(path), answer)
            for method, path, answer in (
                ("POST", "/api/repos/create", self._create),
                ("POST", "/api/validate-yaml", self._validate),
                ("GET", api, self._info),
                ("GET", rf"{api}/revision/(?P<revision>[^/]+)", self._info),
                ("GET", rf"{api}/refs", self._refs),
                ("POST", rf"{api}/branch/(?P<branch>[^/]+)", self._branch),
                ("POST", rf"{api}/tag/(?P<revision>[^/]+)", self._tag),
                ("POST", rf"{api}/preupload/(?P<revision>[^/]+)", self._preupload),
                ("POST", rf"{api}/commit/(?P<branch>[^/]+)", self._commit),
                ("GET|HEAD", rf"/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self._resolve),
                ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", self._batch),
                ("GET|HEAD", r"/storage/(?P<oid>[0-9a-f]{64})", self._stored),
                ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})", self._store),
                ("POST", r"/verify", self._verify),
            )
        ]

    def answer(self, request: Request) -> Reply:
        """The answer, whatever is asked."""
        given = request.headers.get("authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            return Reply.error(401, "Invalid credentials in Authorization header")
        for method, path, answer in self._routes:
            match = path.fullmatch(request.path)
            if match and re.fullmatch(method, request.method):
                found = {name: unquote(value) for name, value in match.groupdict().items()}
                with self._lock:
                    return self._checked(request, answer, found)
        return Reply.error(404, "Sorry, we can't find the page you are looking for.")

    def _checked(self, request: Request, answer: Callable[..., Reply], found: dict[str, str]) -> Reply:
        known = "authorization" in request.headers
        if "name" in found:
            repository = self.repositories.get(found.pop("name"))
            if repository is None or (repository.private and not known):
                return Reply.error(404 if known else 401, "Repository not found", "RepoNotFound")
            if request.method == "POST" and not known:
                return Reply.error(401, "Invalid username or password.")
            return answer(request, repository, **found)
        return answer(request, **found)

    def _create(self, request: Request) -> Reply:
        if "authorization" not in request.headers:
            return Reply.error(401, "Invalid username or password.")
        given = request.json
        name = f"{given['organization']}/{given['name']}"
        if given["organization"] == "forbidden":
            return Reply.error(403, "You don't have the rights to create a model under the namespace")
        if name in self.repositories:
            return Reply.of({"error": "You already created this model repo", "url": f"{self.url}/{name}"}, 409)
        private = given.get("private", False) or given.get("visibility") == "private"
        self.repositories[name] = Repository(name, private=private)
        return Reply.of({"url": f"{self.url}/{name}", "name": name, "id": "0" * 24})

    def _validate(self, request: Request) -> Reply:
        content = request.json["content"]
        front = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        if front is None:
            return Reply.of({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
        if re.search(r"^license: [^a-z]", front[1], re.MULTILINE):
            return Reply.of({"errors": [{"message": '"license" must be one of a list'}], "warnings": []}, 400)
        return Reply.of({"errors": [], "warnings": []})

    def _info(self, request: Request, repository: Repository, revision: str = "main") -> Reply:
        commit = repository.resolve(revision)
        if commit is None:
            return Reply.error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return Reply.of(repository.about(commit, blobs="blobs=" in request.query))

    def _refs(self, _: Request, repository: Repository) -> Reply:
        def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": sha} for n, sha in names.items()]

        return Reply.of(
            {"branches": listed("heads", repository.branches), "tags": listed("tags", repository.tags), "converts": []}
        )

    def _branch(self, request: Request, repository: Repository, branch: str) -> Reply:
        if branch in repository.branches:
            return Reply.error(409, f"Reference already exists: refs/heads/{branch}")
        start = repository.resolve(request.json.get("startingPoint", "main"))
        if start is None:
            return Reply.error(404, "Invalid rev id", "RevisionNotFound")
        repository.branches[branch] = start.sha
        return Reply.of({})

    def _tag(self, request: Request, repository: Repository, revision: str) -> Reply:
        name, commit = request.json["tag"], repository.resolve(revision)
        if commit is None:
            return Reply.error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if name in repository.tags:
            return Reply.error(409, f"Tag reference exists already: {name}")
        repository.tags[name] = commit.sha
        return Reply.of({})

    def _preupload(self, request: Request, repository: Repository, revision: str) -> Reply:
        commit = repository.resolve(revision)
        if commit is None:
            return Reply.error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        ignored = commit.files.get(".gitignore", b"").decode().split()
        files = []
        for given in request.json["files"]:
            path, there = given["path"], commit.files.get(given["path"])
            mode = "lfs" if is_large(path, b"\0" * given["size"]) else "regular"
            oid = None if there is None else git_sha(pointer(there) if mode == "lfs" else there)
            about = {"path": path, "uploadMode": mode, "shouldIgnore": path in ignored}
            files.append(about if oid is None else {**about, "oid": oid})
        return Reply.of({"files": files})

    def _batch(self, request: Request, repository: Repository) -> Reply:
        objects = []
        for given in request.json["objects"]:
            oid, size = given["oid"], given["size"]
            if oid in self.objects:
                objects.append({"oid": oid, "size": size})
                continue
            upload = {"href": f"{self.storage}/storage/{oid}?signature=1", "header": {}}
            verify = {"href": f"{self.url}/verify"}
            objects.append({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
        return Reply.of({"transfer": "basic", "objects": objects})

    def _store(self, request: Request, oid: str) -> Reply:
        if hashlib.sha256(request.body).hexdigest() != oid:
            return Reply.error(400, "The content is not that of its hash")
        self.objects[oid] = request.body
        return Reply(headers={"ETag": f'"{oid[:32]}"'})

    def _verify(self, request: Request) -> Reply:
        data = self.objects.get(request.json["oid"])
        return Reply.of({}) if data is not None and len(data) == request.json["size"] else Reply.error(404, "No object")

    def _commit(self, request: Request, repository: Repository, branch: str) -> Reply:
        head = repository.branches.get(branch)
        if head is None:
            return Reply.error(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        files, message = dict(repository.commits[head].files), ""
        for line in request.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    message = value["summary"]
                    if value.get("parentCommit", head) != head:
                        return Reply.error(412, "A commit has happened since. Please refresh and try again.")
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.objects:
                        return Reply.error(400, "Your push was rejected because an LFS pointer pointed to no file")
                    files[value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        sha = repository.commit(files, message, branch=branch, keep=False)
        return Reply.of(
            {
                "success": True,
                "commitOid": sha,
                "commitUrl": f"{self.url}/{repository.name}/commit/{sha}",
                "hookOutput": "",
            }
        )

    def _resolve(self, request: Request, repository: Repository, revision: str, path: str) -> Reply:
        if repository.gated:
            return Reply.error(403, f"Access to model {repository.name} is restricted", "GatedRepo")
        commit: Commit | None = repository.resolve(revision)
        if commit is None:
            return Reply.error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        data = commit.files.get(path)
        if data is None:
            return Reply.error(404, "Entry not found", "EntryNotFound")
        name = etag(path, data)
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{name}"', "Accept-Ranges": "bytes"}
        if not is_large(path, data):
            return Reply(200, headers, data)
        self.objects[name] = data
        headers |= {
            "X-Linked-Size": str(len(data)),
            "X-Linked-ETag": f'"{name}"',
            "ETag": f'"{git_sha(pointer(data))}"',
        }
        return Reply(302, {**headers, "Location": f"{self.storage}/storage/{name}?signature=1"})

    def _stored(self, _: Request, oid: str) -> Reply:
        data = self.objects.get(oid)
        return Reply.error(404, "No object") if data is None else Reply(200, {"ETag": f'"{oid[:32]}"'}, data)
