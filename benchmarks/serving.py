"""Measure `qdinfer serve` from other processes on this machine.

    python -m benchmarks.serving exported_models/topic-folded topic_test.csv
    python -m benchmarks.serving exported_models/topic topic_test.csv --size 4

First what 64 clients get, each of which sends its next request when the last one is answered (wrk): with `--size`
texts a request, held against `Classifier.predict` in one process; and with one text, held against routes that do
nothing. Then twice what the server can do, for a minute, from clients that do not wait. Needs wrk
(`apt-get install wrk`).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from qdinfer import Classifier, TruncationWarning
from qdinfer.tabular import column, read_table

from .results import BenchmarkError
from .workers import child_environment

CLIENTS = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student")
    parser.add_argument("texts", help="csv or jsonl with a column `text`")
    parser.add_argument("--size", type=int, default=32, help="texts of a large request (default: 32)")
    parser.add_argument("--rounds", type=int, default=5, help="of the closed loop; medians are printed (default: 5)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the open loop (default: 60)")
    parser.add_argument("--deadline", type=float, default=10.0, help="the server's, in seconds (default: 10)")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("found no wrk; expected it on the path (apt-get install wrk)")
    texts = column(read_table(arguments.texts, columns=["text"]), "text")
    with tempfile.TemporaryDirectory() as folder, _server(arguments.student, arguments.deadline, folder) as server:
        _closed_loop(server, arguments, texts, Path(folder))
        _open_loop(server, arguments, texts, Path(folder))


class _Served:
    """A server's process and address."""

    def __init__(self, process: psutil.Process, address: str) -> None:
        self.process = process
        self.address = address


@contextmanager
def _server(student: str, deadline: float, folder: str) -> Iterator[_Served]:
    command = [sys.executable, "-m", "qdinfer", "serve", student, "--port", "0", "--deadline", str(deadline)]
    log = Path(folder) / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stderr=sink, env=child_environment())
    try:
        for _ in range(600):
            if found := re.search(r"on http://(\S+)", log.read_text()):
                break
            if process.poll() is not None:
                raise BenchmarkError(f"qdinfer serve: its process ended; it said:\n{log.read_text()}")
            time.sleep(0.1)
        else:
            raise BenchmarkError("qdinfer serve: found no address after a minute; expected one")
        yield _Served(psutil.Process(process.pid), found[1])
    finally:
        process.terminate()
        process.wait()


def _body(texts: list[str]) -> str:
    return json.dumps({"texts": texts}, ensure_ascii=False)


def _closed_loop(server: _Served, arguments: argparse.Namespace, texts: list[str], folder: Path) -> None:
    classifier = Classifier.load(arguments.student)
    warnings.simplefilter("ignore", TruncationWarning)
    size = arguments.size
    batches = [texts[i : i + size] for i in range(0, len(texts) - size + 1, size)]
    loads = {
        "GET /v2/health/live": (_script(folder / "get.lua", []), "/v2/health/live"),
        "POST, no text": (_script(folder / "none.lua", [_body([])]), "/v1/classify"),
        "POST, 1 text": (_script(folder / "one.lua", [_body([text]) for text in texts]), "/v1/classify"),
        f"POST, {size} texts": (_script(folder / "many.lua", [_body(batch) for batch in batches]), "/v1/classify"),
    }
    rates: dict[str, list[float]] = {name: [] for name in [*loads, "in process"]}
    for _ in range(arguments.rounds):
        for name, (script, path) in loads.items():
            rates[name].append(_wrk(server, script, path))
        start = time.perf_counter()
        done = 0
        while time.perf_counter() < start + 2:
            classifier.predict(texts)
            done += len(texts)
        rates["in process"].append(done / (time.perf_counter() - start))
    print(f"{arguments.student}, {CLIENTS} clients, medians of {arguments.rounds} rounds")
    for name in loads:
        print(f"  {name:<22} {statistics.median(rates[name]):>9.0f} requests a second")
    print(f"  {'Classifier.predict':<22} {statistics.median(rates['in process']):>9.0f} texts a second in one process")
    many = [size * rate for rate in rates[f"POST, {size} texts"]]
    _ratio(f"texts a second, {size} a request / in process", many, rates["in process"])
    _ratio("requests a second, 1 text / none", rates["POST, 1 text"], rates["POST, no text"])
    _ratio("requests a second, 1 text / GET", rates["POST, 1 text"], rates["GET /v2/health/live"])


def _script(path: Path, bodies: list[str]) -> Path:
    """What wrk sends: the bodies in turn, formatted once; or a GET, by a script too, since that slows wrk down."""
    quoted = ",\n".join(json.dumps(json.dumps(json.loads(body))) for body in bodies)  # ASCII: Lua knows JSON's escapes
    path.write_text(
        f"""local bodies, requests, number = {{{quoted}}}, {{}}, 0
init = function()
  requests[1] = wrk.format("GET")
  for i, body in ipairs(bodies) do
    requests[i] = wrk.format("POST", nil, {{["Content-Type"] = "application/json"}}, body)
  end
end
request = function()
  number = number % #requests + 1
  return requests[number]
end
"""
    )
    return path


def _wrk(server: _Served, script: Path, path: str) -> float:
    command = ["wrk", "-t1", f"-c{CLIENTS}", "-d2s", "-s", str(script)]
    done = subprocess.run([*command, f"http://{server.address}{path}"], capture_output=True, text=True, check=False)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise BenchmarkError(f"wrk on {path}: found\n{done.stdout}{done.stderr}\nexpected answers of 200 alone")
    return float(found[1])


def _ratio(name: str, ours: list[float], theirs: list[float]) -> None:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"  {name:<50} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def _open_loop(server: _Served, arguments: argparse.Namespace, texts: list[str], folder: Path) -> None:
    size = arguments.size
    batches = [texts[i : i + size] for i in range(0, len(texts) - size + 1, size)]
    capacity = _wrk(server, _script(folder / "capacity.lua", [_body(batch) for batch in batches]), "/v1/classify")
    bodies = folder / "bodies"
    bodies.write_text("\n".join(_body(batch) for batch in batches))
    rate = 2 * capacity
    seconds = arguments.seconds
    command = [sys.executable, "-m", "benchmarks.load", server.address, str(bodies), str(rate), str(seconds)]
    memory: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            memory.append(server.process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    ended.set()
    watcher.join()
    if done.returncode != 0:
        raise BenchmarkError(f"load: its process ended with code {done.returncode}; it said:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{seconds:.0f} s of {rate:.0f} requests of {size} texts a second, twice what it can do")
    print(f"  answers {found['statuses']}")
    for name, key in (("answered", "latencies"), ("refused", "refused")):
        if found[key]:
            median, high, worst = np.quantile(found[key], [0.5, 0.99, 1.0])
            print(f"  {name} in {median:.3f} s (median), {high:.3f} s (99 %), {worst:.3f} s (all)")
    print(f"  deadline {arguments.deadline:g} s")
    sixth = max(1, len(memory) // 6)
    early, late = np.mean(memory[sixth : 2 * sixth]) / 1e6, np.mean(memory[-sixth:]) / 1e6
    print(f"  memory {early:.0f} MB in the second sixth of the time, {late:.0f} MB in the last")


if __name__ == "__main__":
    main()
