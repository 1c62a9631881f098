"""`python -m streaming_dd.cli`."""

import sys

from . import main

sys.exit(main())
