"""A real Ray cluster on this machine for tests, and its processes."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Read while Ray starts: tests tell nobody that they run, and leave no token in the user's home. Ray's workers are nice
# by 15 otherwise, and get next to nothing of a machine that is busy with other tests.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}

import psutil
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Ray's own, of pydantic
    import ray
    import ray.data
    from ray import serve
    from ray.cluster_utils import Cluster

__all__ = ["RAYS_OWN", "ROOT", "cluster", "folder", "page_code", "serve", "student_workers", "two_nodes"]

ROOT = Path(__file__).parents[1]

RAYS_OWN = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),
    # JAX, where another test of this process used it, warns of forks; Ray's are followed by an exec at once.
    pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning"),
]
"""Marks for what Ray warns itself of, in its own code."""

STORE = 200 * 2**20  # bytes of a node's object store


@contextmanager
def cluster(cpus: int) -> Iterator[None]:
    """One node with so many CPUs, as Ray counts them; ended with all its processes."""
    with folder() as place, _quiet():
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=STORE,
            _temp_dir=place,
        )
        yield


@contextmanager
def two_nodes(cpus: int) -> Iterator[Callable[[], None]]:
    """Two nodes with so many CPUs each, and what kills the second, where this process is not."""
    with folder() as place, pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_TMPDIR", place)
        soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
        size = {"num_cpus": cpus, "object_store_memory": STORE}
        nodes = Cluster(
            initialize_head=True, head_node_args={**size, "include_dashboard": False, "_system_config": soon}
        )
        try:
            other = nodes.add_node(**size)
            with _quiet():
                ray.init(address=nodes.address, log_to_driver=False, logging_level="error")
                yield lambda: nodes.remove_node(other, allow_graceful=False)
        finally:
            nodes.shutdown()


@contextmanager
def folder() -> Iterator[str]:
    """For what Ray writes. Paths of sockets must be short, and pytest's are not."""
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = 300  # a test that waits for a CPU that never comes shall fail
    try:
        yield
    finally:
        ray.shutdown()


def page_code(number: int) -> str:
    """That code of docs/ray.md, which test_documents cannot run: Ray warns itself, and needs a cluster."""
    return re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "ray.md").read_text(), re.DOTALL)[number]


def student_workers() -> list[psutil.Process]:
    """The processes below this one that classify datasets."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "StudentWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it ended meanwhile
            continue
    return found
