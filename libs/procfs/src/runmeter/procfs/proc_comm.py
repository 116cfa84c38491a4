"""/proc/<pid>/comm."""

from runmeter.procfs.names import decode_name


def parse_proc_comm(raw: bytes) -> str:
    """Parse ``/proc/<pid>/comm``: the kernel's name of the process and a newline.

    The name itself may hold newlines: only the last one is the kernel's. Any bytes are a
    name, possibly an empty one.

    Source: proc_pid_comm(5); kernel fs/proc/base.c, comm_show().
    """
    return decode_name(raw.removesuffix(b"\n"))
