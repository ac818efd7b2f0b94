"""A small file system of its own, mounted by a loop device, that a test can fill, break, take away and make read-only.

All mounts are made in a mount namespace of this process and its children: when they have ended, however that was, the kernel
unmounts everything and frees the loop devices. Needs root.
"""

import ctypes
import errno
import fcntl
import glob
import os
import struct
import subprocess
import time

MIB = 1 << 20
CLONE_NEWNS = 0x00020000
BLOCK = 4096
EXT4_IOC_SHUTDOWN, WITHOUT_FLUSHING = 0x8004587D, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def require_mounts():
    """Once, before any mount. Without the right to mount the test fails: what it tests would go untested."""
    if LIBC.unshare(CLONE_NEWNS) != 0:
        raise SystemExit(f"this test needs root and a mount namespace of its own: {os.strerror(ctypes.get_errno())}")
    make_private()


def make_private():
    """What is mounted from now on is not seen by others. Where the root is no mount point, as in a chroot, only what is mounted below it
    can be made so; what is mounted elsewhere has to be unmounted at the end."""
    if subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False).returncode == 0:
        return
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        points = [line.split()[4].encode().decode("unicode_escape") for line in table]
    for point in points:
        tool("mount", "--make-private", point)


def tool(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise SystemExit(f"this test needs root, loop devices and ext4: {' '.join(argv)}: {done.stderr.strip()}")


def backing_files():
    """Of all loop devices."""
    found = []
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        try:
            with open(path, encoding="utf-8") as file:
                found.append(file.read().rstrip("\n"))
        except OSError:  # freed since
            pass
    return found


class LoopFs:
    """`where` is made; the file system is mounted at `root` until close()."""

    def __init__(self, where, size):
        os.makedirs(where)
        self.image, self.root = os.path.join(where, "image"), os.path.join(where, "mount")
        self.filler = os.path.join(self.root, "filler")
        os.mkdir(self.root)
        with open(self.image, "wb") as file:
            file.truncate(size)
        tool("mkfs.ext4", "-q", "-F", "-m", "0", "-b", str(BLOCK), self.image)
        self.mount()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def mount(self):
        """Waits for the end of an earlier mount: two at once would destroy the file system."""
        deadline = time.monotonic() + 30
        while self.image in backing_files():
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.image} is still in use")
            time.sleep(0.01)
        tool("mount", "-o", "loop", self.image, self.root)

    def remount(self, option):
        tool("mount", "-o", f"remount,{option}", self.root)

    def break_down(self):
        """As if the device was gone, and what was not flushed with it: every access fails until the next mount."""
        fd = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING))
        finally:
            os.close(fd)

    def unmount(self, *, lazy=False):
        tool("umount", *(["-l"] if lazy else []), self.root)

    def close(self):
        if os.path.ismount(self.root):
            self.unmount(lazy=True)

    def free(self):
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def fill(self):
        """Takes every block that is left."""
        self.sync()  # what is delayed takes its blocks first
        with open(self.filler, "wb") as file:
            size, piece = 0, 8 * MIB
            while piece >= BLOCK:
                try:
                    os.posix_fallocate(file.fileno(), size, piece)
                    size += piece
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2
        if self.free():
            raise AssertionError(f"{self.free()} bytes are left on a full file system")

    def make_room(self):
        os.unlink(self.filler)
        self.sync()

    def sync(self):
        """This file system alone: others on the host may be busy."""
        fd = os.open(self.root, os.O_RDONLY)
        try:
            if LIBC.syncfs(fd) != 0:
                raise OSError(ctypes.get_errno(), "syncfs", self.root)
        finally:
            os.close(fd)
