"""python -m null521: the same command as the installed launcher, only slower to start."""

import sys

from null521.cli import main

sys.exit(main())
