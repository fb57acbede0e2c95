"""What the desk tells the service manager that started it: ready, alive, stopping. The protocol of sd_notify(3), nothing else."""

import os
import socket

READY, ALIVE, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"


def notify(*states: str) -> bool:
    """Send these states to $NOTIFY_SOCKET. False if no manager listens, or it could not be told: it never waits and never raises.

    One datagram, a state a line, to a socket named by its path or, after ``@``, in the abstract namespace (sd_notify(3), systemd 257).
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            line.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            line.send("\n".join(states).encode())
    except OSError:  # also a manager whose buffer is full: the next pass tells it again
        return False
    return True
