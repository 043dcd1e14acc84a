"""What /proc says about the processes of a network: who is whose child, what runs, what is in memory."""

import os
import signal
import time


def _stat(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = text.partition(b"(")[2].rpartition(b") ")
    fields = rest.split()
    return name.decode(), fields[0].decode(), int(fields[1]), int(fields[19])


def parents():
    """Every living process and its parent."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))) and stat[1] != "Z":
            found[int(entry)] = stat[2]
    return found


def tree(root):
    """The process and all that descend from it, parents first."""
    known = parents()
    found = [root] if root in known else []
    for pid in found:
        found.extend(child for child, parent in known.items() if parent == pid)
    return found


def argv(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return [""]


def image(pid):
    """Name of what the process runs, such as coco-manager."""
    return os.path.basename(argv(pid)[0])


def uid(pid):
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("Uid:"))
    return int(line.split()[1])


def started(pid):
    """Start time in clock ticks: tells a process from a later one of the same number."""
    stat = _stat(pid)
    return stat and stat[3]


def is_alive(pid):
    stat = _stat(pid)
    return bool(stat) and stat[1] != "Z"


def kill(*pids):
    """kill -9, all at once."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait_until(what, condition, seconds=20.0):
    """Looks until the condition gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def memory_holds(pid, markers):
    """Which of the markers stand somewhere in the process's memory, and how many bytes were read."""
    found, read = set(), 0
    longest = max(map(len, markers))
    with open(f"/proc/{pid}/maps") as maps:
        regions = [line.split() for line in maps]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for region in regions:
            if not region[1].startswith("r") or region[-1] in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            first, last = (int(part, 16) for part in region[0].split("-"))
            tail = b""
            while first < last:
                try:
                    memory.seek(first)
                    block = memory.read(min(4 << 20, last - first))
                except (OSError, ValueError, OverflowError):
                    break
                if not block:
                    break
                read += len(block)
                window = tail + block
                found.update(marker for marker in markers if marker in window)
                tail = window[-longest:]
                first += len(block)
    return found, read


def private_scalars(pid, publics):
    """P-256 private keys of these public points (SEC1, uncompressed) in a process's own memory, by public point.

    Every 32 bytes that may be a scalar are tried, in both byte orders: at addresses that 8 divides, written by the
    process and not mapped from a file, and as mixed as random bytes are.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    found, tried = {}, set()
    with open(f"/proc/{pid}/maps") as maps:
        regions = [line.split() for line in maps]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for region in regions:
            if not region[1].startswith("rw") or (len(region) > 5 and region[5].startswith("/")):
                continue
            first, last = (int(part, 16) for part in region[0].split("-"))
            try:
                memory.seek(first)
                block = memory.read(last - first)
            except (OSError, ValueError, OverflowError):
                continue
            for at in range(0, len(block) - 31, 8):
                window = block[at : at + 32]
                if len(set(window)) < 22 or window in tried:
                    continue
                tried.add(window)
                for order in ("little", "big"):
                    try:
                        key = ec.derive_private_key(int.from_bytes(window, order), ec.SECP256R1())
                    except ValueError:
                        continue
                    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
                    if point in publics:
                        found[point] = window
                if len(found) == len(publics):
                    return found
    return found


def files_holding(directory, markers):
    """Files under a directory that hold a marker, and how many bytes were read."""
    found, read = [], 0
    for above, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(above, name)
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                content = file.read()
            read += len(content)
            found.extend((path, marker) for marker in markers if marker in content)
    return found, read
