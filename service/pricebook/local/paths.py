"""The paths of the checkout, and the command lines of its programs."""

import sys
from pathlib import Path

SERVICE = Path(__file__).resolve().parents[2]
CHECKOUT = SERVICE.parent
PYTHON = [sys.executable, "-P"]  # -P: nothing is imported from the caller's directory
MANAGE = [sys.executable, str(SERVICE / "manage.py")]
