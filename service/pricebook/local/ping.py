"""`python -m pricebook.local.ping WORKER SECONDS`: exit 0 once that Celery worker answers."""

import sys
import time

from celery_app import app


def main(worker: str, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while True:
        if app.control.ping(destination=[worker], timeout=0.3):
            return 0
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], float(sys.argv[2])))
