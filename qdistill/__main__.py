"""``python -m qdistill`` is the ``qdistill`` command."""

import sys

from .cli import main

sys.exit(main())
