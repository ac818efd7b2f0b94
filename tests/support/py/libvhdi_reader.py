"""Reads VHD chains with libvhdi (python3-libvhdi), an implementation foreign to all others used here.

Its fault (20210425): in a differencing disk, clear bits that follow set bits in one byte of a sector bitmap read as zeros and
not as the parent; so it is only asked about disks written in aligned pieces of 4 KiB.
"""

try:
    import pyvhdi
except ImportError:
    pyvhdi = None


def available():
    return pyvhdi is not None


def read_all(paths, sink):
    """Feeds the guest's bytes at the first of `paths` (newest first) to sink(bytes)."""
    files = []
    try:
        for path in paths:
            file = pyvhdi.file()
            file.open(path)
            files.append(file)
        for child, parent in zip(files, files[1:]):
            child.set_parent(parent)
        left = files[0].get_media_size()
        while left:
            data = files[0].read_buffer(min(left, 1 << 20))
            if not data:
                raise OSError(f"{paths[0]}: libvhdi stops {left} bytes early")
            sink(data)
            left -= len(data)
    finally:
        for file in files:
            file.close()
