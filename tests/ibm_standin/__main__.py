"""The stand-in as its own process: `python -m ibm_standin --folder F --device FakeFez`."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading

from ibm_standin.limits import Limits
from ibm_standin.server import StandIn


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C. What is printed is for `eval`: the URL as a comment, exports, an empty line."""
    parser = argparse.ArgumentParser(prog="ibm_standin", description=__doc__)
    parser.add_argument("--folder", required=True, help="for the state; the same folder goes on with it")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--device", action="append", help="FakeFez, FakeFez:readout or FakeFez:full; may be repeated")
    parser.add_argument("--token", default="stand-in-token", help="the API key that is accepted")
    parser.add_argument("--usage-delay", type=float, default=0.0, help="seconds until a job's usage is known")
    parser.add_argument("--usage-limit", type=float, help="seconds of the instance")
    parser.add_argument("--creations-a-minute", type=int)
    parser.add_argument("--pending-jobs", type=int)
    parser.add_argument("--executions-a-job", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the simulator")
    given = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    limits = Limits(given.creations_a_minute, given.pending_jobs, given.executions_a_job, given.usage_limit)
    devices = given.device or ["FakeFez"]
    options = {"token": given.token, "usage_delay": given.usage_delay, "limits": limits, "seed": given.seed}
    with StandIn(given.folder, devices, port=given.port, **options) as server:
        exports = [f"export {name}={shlex.quote(value)}" for name, value in server.environment().items()]
        sys.stdout.write("\n".join([f"# stand-in at {server.url}", *exports, "", ""]))
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
