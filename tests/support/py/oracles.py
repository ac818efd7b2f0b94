"""The program under test, and the readers it is compared with."""

import hashlib
import json
import os
import subprocess

import chain_reader
import libvhdi_reader
import qemu_maker
from image_maker import DRIVERS


def binary():
    path = os.environ.get("COPPICE_BINARY")
    if not path or not os.access(path, os.X_OK):
        raise SystemExit("COPPICE_BINARY does not name the program under test")
    return path


class Failure(Exception):
    """A finding: the program did what it must not do."""


def coppice(*argv, ok=(0,), env=None, timeout=120):
    """Runs one verb. A status outside `ok` is a finding."""
    done = subprocess.run([binary(), *argv], capture_output=True, timeout=timeout, env=env)
    if done.returncode not in ok:
        raise Failure(f"coppice {' '.join(argv)}: status {done.returncode}, expected {ok}\n"
                      f"{done.stderr.decode(errors='replace')[-2000:]}{done.stdout.decode(errors='replace')[-1500:]}")
    return done


def coppice_json(*argv, ok=(0,), env=None):
    done = coppice(*argv, "--json", ok=ok, env=env)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise Failure(f"coppice {' '.join(argv)} --json: no JSON ({error}): {done.stdout[:300]!r}") from error


def coppice_sha256(path):
    return coppice("read", path, "--sha256").stdout.split()[0].decode()


def file_sha256(path):
    """Of a raw file, holes included but not read."""
    return chain_reader.sha256(os.path.dirname(path), os.path.basename(path))


def coppice_output_sha256(path, scratch):
    """By way of `read --output`."""
    output = os.path.join(scratch, "coppice.raw")
    coppice("read", path, "--output", output)
    try:
        return file_sha256(output)
    finally:
        os.unlink(output)


def qemu_sha256(directory, image, scratch):
    output = os.path.join(scratch, "qemu.raw")
    qemu_maker.convert([(os.path.join(directory, layer.name), DRIVERS[layer.format],
                         layer.data_file and os.path.join(directory, layer.data_file)) for layer in image.chain()], output)
    try:
        return file_sha256(output)
    finally:
        os.unlink(output)


def libvhdi_sha256(directory, image):
    digest = hashlib.sha256()
    libvhdi_reader.read_all([os.path.join(directory, layer.name) for layer in image.chain()], digest.update)
    return digest.hexdigest()


def foreign_hashes(directory, image, scratch):
    """(name of the oracle, hash) by every foreign reader that understands this chain."""
    if image.qemu_can_read():
        yield "qemu-img", qemu_sha256(directory, image, scratch)
    if libvhdi_reader.available() and image.libvhdi_can_read():
        yield "libvhdi", libvhdi_sha256(directory, image)
