"""The HTTP server: students behind ``/v1/classify``, the Open Inference Protocol, and a page to try them on.

`create_app` gives the application, for any ASGI server; `run` is the command ``qdinfer serve``. What is taken in is
answered: requests wait in a bounded queue, run in batches, and what would wait for too long is refused at once.
"""

from __future__ import annotations

from ..errors import require

for _module in ("fastapi", "fastapi_offline", "httptools", "prometheus_client", "uvicorn", "uvloop"):
    require(_module, feature="qdinfer serve", extra="serve")

from .app import create_app  # noqa: E402
from .server import run  # noqa: E402
from .settings import ServerSettings  # noqa: E402

__all__ = ["ServerSettings", "create_app", "run"]
