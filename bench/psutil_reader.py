"""Read every process with psutil, on a grid: ``python psutil_reader.py SECONDS``."""

import sys
import time

import psutil  # type: ignore[import-untyped]

FIELDS = ["pid", "cpu_times", "memory_info", "name"]


def main() -> None:
    """Scan until killed; what is read is kept until the next scan, as a monitor would."""
    step = float(sys.argv[1])
    start = time.monotonic()
    found: list[dict[str, object]] = []
    while True:
        elapsed = time.monotonic() - start
        time.sleep(step - elapsed % step)
        found = [process.info for process in psutil.process_iter(FIELDS)]
        assert found


if __name__ == "__main__":
    main()
