"""Progress of long work: a bar in a terminal, plain lines elsewhere."""

import sys
import time

WIDTH = 28
LINE_EVERY = 2.0  # seconds between two plain lines


class Bar:
    """A progress bar: `show()` may be called often; it prints when there is something to see."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.terminal = sys.stdout.isatty()
        self.printed = time.monotonic()
        self.line = ""

    def show(self, done: int, total: int, seconds: float) -> None:
        rate = done / seconds if seconds > 0 else 0.0
        left = f"{(total - done) / rate:.0f} s left" if rate else "waiting"
        figures = f"{done:,}/{total:,} rows  {rate:,.0f} rows/s  {left}"
        if self.terminal:
            filled = WIDTH * done // total if total else WIDTH
            self.line = f"  {self.name}  {'█' * filled}{'░' * (WIDTH - filled)}  {figures}"
            print(f"\r\033[K{self.line}", end="", flush=True)
        else:
            self.line = f"  {self.name}  {figures}"
            if time.monotonic() - self.printed >= LINE_EVERY:
                self.printed = time.monotonic()
                print(self.line, flush=True)

    def end(self) -> None:
        print("" if self.terminal else self.line, flush=True)
