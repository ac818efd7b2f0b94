"""The kinds of VM: which can be used on this machine, and how each is started."""

import os
import re
import shutil
import socket
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))
BACKENDS = ("kvm", "uml", "tcg")  # in the order in which they are preferred
UML, UML_MODULES = "/usr/bin/linux.uml", "/usr/lib/uml/modules"
UML_PACKAGES = ("user-mode-linux", "kmod", "lvm2", "udev", "iproute2")
QEMU_PACKAGES = ("qemu-system-x86", "busybox-static", "kmod", "lvm2", "udev", "iproute2")
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")


class VmFailed(Exception):
    """The VM or the harness failed, not the command that was to run in it."""


def have(*programs):
    return all(map(shutil.which, programs))


def virtiofsd():
    return next(filter(os.path.exists, VIRTIOFSD), None)


def qemu_is_there():
    return bool(have("qemu-system-x86_64", "busybox", "apt-get", "dpkg-deb", "depmod", "insmod") and virtiofsd())


def kvm_runs_any_kernel():
    """A /dev/kvm on a CPU without vmx and svm opens, and makes VMs that cannot boot a stock kernel (nested PVM)."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        return bool(re.search(r"^flags\s*:.*\b(vmx|svm)\b", file.read(), re.M)) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def usable(backend):
    if backend == "uml":
        return os.geteuid() == 0 and os.path.exists(UML) and have("insmod", "unshare")
    return qemu_is_there() and (backend == "tcg" or kvm_runs_any_kernel())


def choose(wanted):
    """`wanted`, or with "auto" the first that can be used here. Throws VmFailed, naming the packages, where there is none."""
    for backend in BACKENDS if wanted == "auto" else (wanted,):
        if usable(backend):
            return backend
    raise VmFailed(f"no VM can be started here ({wanted}): be root and install {' '.join(UML_PACKAGES)}, or {' '.join(QEMU_PACKAGES)}")


class UserModeLinux:
    """A kernel as an ordinary program: serial lines are inherited descriptors, memory is an unlinked file."""

    lines = ("/dev/ttyS0", "/dev/ttyS1", "/dev/ttyS2")
    modules = UML_MODULES

    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.kernel = os.path.join(directory, "uml-kernel")

    @staticmethod
    def disk_name(number):
        return "/dev/ubd" + chr(ord("a") + number)

    def _memory_directory(self):
        shm = os.statvfs("/dev/shm")  # containers often have 64 MiB there, and a page too many is a SIGBUS
        return "/dev/shm" if shm.f_bavail * shm.f_frsize > self.options.mem << 20 else self.directory

    def commands(self, console, lines, disks):
        """What has to be started, as (argument vector, inherited descriptors, CPU or None)."""
        os.symlink(UML, self.kernel)
        # The shell is the first process of a PID namespace: when it goes, all helpers of UML go. UML itself, as that first
        # process, would hang at a panic. The propagation of / cannot be changed in a chroot whose root is no mount point.
        argv = ["env", "TMPDIR=" + self._memory_directory(), "unshare", "--pid", "--fork", "--propagation", "unchanged",
                "--mount-proc", "--kill-child=KILL", "--", "sh", "-c", 'ulimit -c 0; "$0" "$@"; exit $?',
                self.kernel, f"mem={self.options.mem}M", "ro", "quiet", "panic=1", "rootfstype=hostfs", "rootflags=/",
                f"init={self.directory}/init", f"uml_dir={self.directory}/", "umid=uml", "con=null", f"con0=null,fd:{console}"]
        argv += [f"ssl{i}=null,fd:{line}" for i, line in enumerate(lines)]
        argv += [f"ubd{i}c={file}" for i, file in enumerate(disks)]  # c: not locked, because two VMs may share a disk
        cpus = sorted(os.sched_getaffinity(0))
        # On one CPU the hand-overs by ptrace are three times faster. By pid, so that VMs beside each other spread.
        return [(argv, [*lines, console], cpus[os.getpid() % len(cpus)])]

    def is_up(self):
        os.unlink(self.kernel)  # a guest that resets executes its kernel again; without it, it ends

    def close(self):
        if os.path.islink(self.kernel):
            os.unlink(self.kernel)


class Qemu:
    """A full machine: the host's root comes by virtiofs, the lines are virtio ports."""

    lines = ("/dev/vport1p1", "/dev/vport1p2", "/dev/vport1p3")

    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        cache = os.environ.get("RUN_IN_VM_CACHE") or os.path.expanduser("~/.cache/run-in-vm")
        self.kernel = subprocess.run([os.path.join(HERE, "qemu-kernel"), cache], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        self.modules = self.kernel + "/lib/modules"
        self.listener = None

    @staticmethod
    def disk_name(number):
        return "/dev/vd" + chr(ord("a") + number)

    def commands(self, console, lines, disks):
        del console  # qemu opens the log by its name
        path = os.path.join(self.directory, "virtiofs")
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)  # listens before virtiofsd is there, so nothing has to be waited for
        self.listener.bind(path)
        self.listener.listen(1)
        return [([virtiofsd(), f"--fd={self.listener.fileno()}", "-o", "source=/,cache=always,sandbox=chroot"], [self.listener.fileno()], None),
                (self._argv(path, lines, disks), lines, None)]

    def _argv(self, virtiofs, lines, disks):
        options = self.options
        accelerator, cpu = ("kvm", "host") if options.backend == "kvm" else ("tcg,thread=multi,tb-size=512", "max,la57=off")
        argv = ["qemu-system-x86_64", "-machine", "pc,memory-backend=m", "-accel", accelerator, "-cpu", cpu, "-smp", str(options.smp),
                "-m", f"{options.mem}M", "-object", f"memory-backend-memfd,id=m,size={options.mem}M,share=on",
                "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{self.directory}/console.log",
                "-kernel", self.kernel + "/vmlinuz", "-initrd", self.kernel + "/initrd", "-append",
                f"vmdir={self.directory} console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check",
                "-chardev", "socket,id=fs,path=" + virtiofs, "-device", "vhost-user-fs-pci,chardev=fs,tag=root,queue-size=1024",
                "-device", "virtio-serial-pci"]
        for i, line in enumerate(lines):
            argv += ["-add-fd", f"fd={line},set={i + 1}", "-chardev", f"file,id=c{i},path=/dev/fdset/{i + 1},append=on",
                     "-device", f"virtserialport,chardev=c{i},nr={i + 1}"]
        for i, file in enumerate(disks):
            argv += ["-drive", f"file={file},format=raw,if=none,id=d{i},cache=none,aio=threads,discard=unmap,file.locking=off",
                     "-device", f"virtio-blk-pci,drive=d{i}"]
        return argv

    def is_up(self):
        pass

    def close(self):
        if self.listener:
            self.listener.close()


def make(options, directory):
    return (UserModeLinux if options.backend == "uml" else Qemu)(options, directory)
