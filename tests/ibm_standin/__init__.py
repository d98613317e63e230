"""A stand-in of IBM Quantum's REST API on this machine, for the unpatched client of qiskit-ibm-runtime.

Nothing in it is IBM's; it knows of the service what the client shows and the documentation says.
"""

from ibm_standin.faults import Fault
from ibm_standin.limits import Limits
from ibm_standin.server import StandIn
from ibm_standin.store import JobRecord

__all__ = ["Fault", "JobRecord", "Limits", "StandIn"]
