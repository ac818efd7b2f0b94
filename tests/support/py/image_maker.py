"""Random images of every format and shape, alone or on top of a parent. What they hold follows from the generator's seed."""

import os
from dataclasses import dataclass, field

import qemu_maker
import vhd_writer
from byte_source import SECTOR

KIB, MIB = 1 << 10, 1 << 20
CLUSTERS = [512, KIB, 2 * KIB, 4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, MIB, 2 * MIB]
CLUSTER_WEIGHTS = [2, 2, 2, 3, 2, 4, 2, 8, 2, 1, 1, 1, 1]
DRIVERS = {"vhd": "vpc", "qcow2": "qcow2", "raw": "raw"}


@dataclass
class Image:
    name: str  # file name
    format: str
    size: int
    parent: "Image | None" = None
    hidden: bool = False
    stored_parent: str | None = None  # as written into the header; None: the bare name
    unit: int = 0  # cluster or block
    traits: set = field(default_factory=set)  # what a tool may not be able to do with it
    vhd_uuid: bytes | None = None
    data_file: str | None = None  # QCOW2: beside the image
    pieces: list | None = None  # (offset, length) of what is written; None: random ones

    @property
    def uuid(self):
        return os.path.splitext(self.name)[0]

    def chain(self):
        """Newest first."""
        node, layers = self, []
        while node:
            layers.append(node)
            node = node.parent
        return layers

    def depth(self):
        return len(self.chain())

    def qemu_can_read(self):
        """Whether qemu-img reads what a guest reads: it knows neither differencing VHDs nor sector bitmaps."""
        return all(layer.format != "vhd" or (not layer.parent and "stray" not in layer.traits) for layer in self.chain())

    def libvhdi_can_read(self):
        layers = self.chain()
        return all(layer.format == "vhd" and layer.unit == 2 * MIB and "fine" not in layer.traits for layer in layers) and len(
            {layer.size for layer in layers}) == 1


def random_size(rng, limit=16 * MIB):
    top = rng.choice([64 * KIB, MIB, 4 * MIB, limit])
    size = rng.randrange(1, max(2, top // SECTOR)) * SECTOR
    return -(-size // (64 * KIB)) * 64 * KIB if rng.random() < 0.4 else size


def random_pieces(rng, size, *, count=6, grain=SECTOR, longest=256 * KIB):
    """(offset, length) inside `size`, aligned to `grain`, some of them next to each other or at the very end."""
    units = size // grain
    if not units:
        return
    last = 0
    for _ in range(rng.randrange(count + 1)):
        length = rng.randrange(1, max(2, min(units, rng.choice([2, 16, longest // grain])) + 1))
        length = min(length, units)
        place = rng.choice([rng.randrange(units - length + 1), rng.randrange(units - length + 1), min(last, units - length),
                            units - length])
        last = place + length
        yield place * grain, length * grain


class Maker:
    """Makes images in one directory. QCOW2 content is queued; finish() writes it and puts the headers right."""

    def __init__(self, directory, rng):
        self.directory, self.rng = directory, rng
        self.batch = qemu_maker.Batch(directory, rng)
        self.snapshots = True  # whether some QCOW2 images get an internal snapshot
        self.data_files = 0.0  # share of QCOW2 images whose data stands in another file
        self.spare_entries = [0, 0, 0, 5, 1000]  # how many more blocks than it has the table of a VHD has room for
        self.pending = []

    def path(self, image):
        return os.path.join(self.directory, image.name)

    def make(self, image):
        {"raw": self._make_raw, "vhd": self._make_vhd, "qcow2": self._make_qcow2}[image.format](image)

    def _make_raw(self, image):
        rng = self.rng
        with open(self.path(image), "wb") as file:
            for offset, length in random_pieces(rng, image.size):
                file.seek(offset)
                file.write(rng.randbytes(length))
            file.truncate(image.size)

    def _make_vhd(self, image, *, fixed=False):
        rng = self.rng
        image.unit = image.unit or (2 * MIB if rng.random() < 0.75 else rng.choice([64 * KIB, 512 * KIB, MIB]))
        foreign = image.unit != 2 * MIB or rng.random() < 0.1
        fixed = fixed or (image.parent is None and rng.random() < 0.1)
        parent = None
        if image.parent:
            parent = vhd_writer.Parent(image.stored_parent or image.parent.name, image.parent.vhd_uuid,
                                       int(os.stat(self.path(image.parent)).st_mtime))
        disk = vhd_writer.VhdWriter(
            image.size, rng=rng, block_size=image.unit, parent=parent, hidden=image.hidden, foreign=foreign,
            kind=vhd_writer.FIXED if fixed else vhd_writer.DYNAMIC,
            batmap=rng.choice([None, "1.1", "1.2", "1.2", "1.2"]), spare_entries=rng.choice(self.spare_entries))
        image.vhd_uuid = disk.uuid
        grain = rng.choice([SECTOR, 4 * KIB])
        if grain < 4 * KIB:
            image.traits.add("fine")
        for offset, length in image.pieces or random_pieces(rng, image.size, grain=grain):
            disk.write(offset, rng.randbytes(length))
        if not fixed and rng.random() < 0.3 and image.size >= image.unit:
            block = rng.randrange(image.size // image.unit)
            disk.write(block * image.unit, rng.randbytes(4 * KIB) * (image.unit // (4 * KIB)))
        if not fixed and rng.random() < 0.2:
            disk.allocate(rng.randrange(-(-image.size // image.unit)))
        stray = rng.random() < 0.15
        if stray:
            image.traits.add("stray")
        disk.save(self.path(image), stray_bytes=stray, align=not foreign or rng.random() < 0.5, shuffle=rng.random() < 0.7,
                  stale_batmap=rng.random() < 0.2)

    def _make_qcow2(self, image):
        rng = self.rng
        image.unit = image.unit or rng.choices(CLUSTERS, CLUSTER_WEIGHTS)[0]
        options = [f"cluster_size={image.unit}"]
        version2 = rng.random() < 0.15
        compressed = rng.random() < 0.25
        narrow = False
        if self.data_files and rng.random() < self.data_files:
            version2 = compressed = False
            options += self._data_file_options(image)
        if version2:
            options.append("compat=0.10")
        else:
            bits = rng.choice([16] * 6 + [1, 2, 4, 8, 32, 64])
            narrow = bits < 8  # a snapshot counts each cluster once more, and compressed ones share clusters already
            options.append(f"refcount_bits={bits}")
            if rng.random() < 0.15:
                options.append("lazy_refcounts=on")
            extended = image.unit >= 16 * KIB and rng.random() < 0.3
            if extended:
                options.append("extended_l2=on")
            if compressed and rng.random() < 0.4:
                options.append("compression_type=zstd")
            if not image.parent and not compressed and not image.data_file and image.size <= 16 * MIB and rng.random() < 0.08:
                options.append("preallocation=" + rng.choice(["metadata", "falloc"]))
        grows = rng.random() < 0.1 and image.size > 2 * SECTOR
        first_size = rng.randrange(1, image.size // SECTOR) * SECTOR if grows and not version2 else image.size
        parent = image.parent
        qemu_maker.create(self.path(image), first_size, options=options, parent=parent.name if parent else None,
                          parent_format=DRIVERS[parent.format] if parent else None)
        self._queue_content(image, first_size, compressed)
        snapshot = self.snapshots and not narrow and not image.data_file and rng.random() < 0.02
        if snapshot:
            image.traits.add("snapshot")
        self.pending.append((image, snapshot))

    def _data_file_options(self, image):
        image.data_file = image.uuid + self.rng.choice([".data", ".img", "-ext"])
        image.traits.add("data file")
        raw = not image.parent and self.rng.random() < 0.4
        return [f"data_file={image.data_file}"] + (["data_file_raw=on"] if raw else [])

    def _queue_content(self, image, size, compressed):
        rng, batch = self.rng, self.batch
        batch.open(self.path(image), image.data_file and os.path.join(self.directory, image.data_file))
        if compressed:
            self._queue_compressed(image, size)
        for step in range(2 if size < image.size else 1):
            if step:
                size = image.size
                batch.truncate(size)
            for offset, length in image.pieces or random_pieces(rng, size, count=8):
                if offset + length > size:
                    continue
                kind = rng.random()
                if kind < 0.7:
                    batch.write(offset, length)
                elif kind < 0.85:
                    batch.write(offset, length, "-z", *(["-u"] if rng.random() < 0.5 else []))
                else:
                    batch.discard(offset, length)
        batch.close()

    def _queue_compressed(self, image, size):
        """QEMU writes compressed only where nothing is allocated yet, so this comes first and touches no cluster twice."""
        used = set()
        for offset, length in random_pieces(self.rng, size, count=4, grain=image.unit, longest=max(64 * KIB, 2 * image.unit)):
            used.update(range(offset, offset + min(length, 12 * image.unit), image.unit))
        for place in sorted(used):
            self.batch.write(place, image.unit, "-c")

    def finish(self):
        self.batch.run()
        for image, snapshot in self.pending:
            if snapshot:
                # A data file below it is looked for in the working directory.
                qemu_maker.run("qemu-img", "snapshot", "-c", "kept", os.path.abspath(self.path(image)), directory=self.directory)
        for image, _ in self.pending:
            if image.stored_parent and image.stored_parent != image.parent.name:
                qemu_maker.rebase(self.path(image), image.stored_parent, DRIVERS[image.parent.format])
        for image, _ in self.pending:
            if image.hidden or self.rng.random() < 0.7:
                qemu_maker.set_hidden(self.path(image), image.hidden)
        self.pending = []
