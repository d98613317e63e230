"""``python -m qdinfer`` is the ``qdinfer`` command."""

import sys

from .cli import main

sys.exit(main())
