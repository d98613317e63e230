"""A Hugging Face Hub on this machine, for the unpatched client of huggingface_hub.

It knows of the Hub what the client asks for and how it reads the answers. Large files are stored and fetched at a
second port, as the Hub has them at another host. Xet, the newer protocol for large files, is not there.
"""

from hub_endpoint.client import Client
from hub_endpoint.faults import Fault
from hub_endpoint.server import Endpoint
from hub_endpoint.store import Repository

__all__ = ["Client", "Endpoint", "Fault", "Repository"]
