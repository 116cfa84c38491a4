"""/proc/<pid>/cmdline: its first word, and never more.

Command lines hold secrets. The reader asks the kernel for at most READ_BYTES_MAX, this
module keeps what stands before the first NUL, and nothing here returns the rest.
"""

from runmeter.procfs.names import decode_name

READ_BYTES_MAX = 4096


def parse_argv0(raw: bytes) -> str:
    """Return ``argv[0]`` of ``/proc/<pid>/cmdline``, decoded.

    Empty for kernel threads and zombies, and where the process emptied it. A process that
    rewrites its title may put anything here, so callers keep the base name at most.

    Source: proc_pid_cmdline(5).
    """
    return decode_name(raw[:READ_BYTES_MAX].partition(b"\0")[0])
