"""Students on the Hugging Face Hub: ``hf:org/name@revision``.

A reference is all that ever leads to the network. Client, cache, login and their settings (``HF_HOME``, ``HF_TOKEN``,
``HF_ENDPOINT``, ``HF_HUB_OFFLINE``) are huggingface_hub's. What it brings, or has in its cache, is trusted no more than
what lies at any other path.
"""

from .client import Listing, client, hub_errors, listing
from .loading import fetch
from .reference import Reference

__all__ = ["Listing", "Reference", "client", "fetch", "hub_errors", "listing"]
