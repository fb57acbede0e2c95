"""``python -m qtkit``."""

import sys

from qtkit.cli import main

sys.exit(main())
