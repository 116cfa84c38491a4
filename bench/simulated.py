"""The real sampler on the real /proc, driven as fast as it goes by a clock that is made up.

``python simulated.py SAMPLES``: prints one JSON line per tenth of the run with the memory of
this process. For runs that would take hours; everything but the time between samples is real.
"""

import json
import os
import sys

from runmeter.collector import app, cli  # noqa: F401  what the real program has loaded, too
from runmeter.collector.cgroups.discovery import CGROUP_ROOT, hierarchies
from runmeter.collector.cgroups.usage import CgroupUsage
from runmeter.collector.open_files import keep_below
from runmeter.collector.processes.clock import read_process_clock
from runmeter.collector.processes.containers import Containers
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary
from runmeter.procfs import ProcFS

INTERVAL_NS = 2_000_000_000


def main() -> None:
    """Take that many samples."""
    count = int(sys.argv[1])
    proc = ProcFS("/proc", os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK"))
    containers = Containers({}, proc.proc_mountinfo)
    summary = Summary(INTERVAL_NS, 10, lambda group: True)
    exact = CgroupUsage(
        proc,
        hierarchies(CGROUP_ROOT),
        proc.ticks_nanoseconds(1),
        proc.stat().cpu_count,
        keep_below(),
    )
    sampler = Sampler(
        proc,
        containers,
        summary,
        own_pid=os.getpid(),
        clock=read_process_clock,
        cgroups=exact,
    )
    sampler.start(0)
    for number in range(1, count + 1):
        sampler.tick(number * INTERVAL_NS)
        if number % (count // 10) == 0:
            status = proc.proc_status(os.getpid())
            _report(number, status.vm_hwm_kb or 0)
    sampler.finish((count + 1) * INTERVAL_NS)
    payload = summary.payload(containers.names(summary.groups), lambda group: None)
    _report(count + 1, proc.proc_status(os.getpid()).vm_hwm_kb or 0, payload["percentile_method"])


def _report(number: int, peak_kb: int, method: str = "") -> None:
    rss = proc_rss_bytes()
    line = {"samples": number, "rss_bytes": rss, "peak_bytes": peak_kb * 1024, "method": method}
    print(json.dumps(line), flush=True)


def proc_rss_bytes() -> int:
    """Return the memory of this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
