"""Random SRs: several snapshot trees of mixed formats in one directory, named and linked as the storage manager does."""

import os
import uuid

from image_maker import KIB, MIB, Image, Maker, random_size

ABSOLUTE = "/var/run/sr-mount"


class SrMaker:
    """`directory` becomes the SR; its base name is the SR's UUID."""

    def __init__(self, directory, rng, *, most_images=14, deepest=8, limit=8 * MIB, snapshots=True):
        self.directory, self.rng = directory, rng
        self.most_images, self.deepest, self.limit, self.snapshots = most_images, deepest, limit, snapshots
        self.images = []
        os.makedirs(directory, exist_ok=True)

    def uuid(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def image(self, kind, size, parent=None, hidden=False):
        stored = None
        if parent and self.rng.random() < 0.4 and kind == "qcow2":
            stored = f"{ABSOLUTE}/{os.path.basename(self.directory)}/{parent.name}"
        image = Image(f"{self.uuid()}.{kind}", kind, size, parent=parent, hidden=hidden, stored_parent=stored)
        self.images.append(image)
        return image

    def grown(self, size):
        draw = self.rng.random()
        if draw < 0.65:
            return size
        if draw < 0.9:
            return size + self.rng.randrange(1, 4096) * 512
        return max(512, self.rng.randrange(1, size // 512 + 1) * 512)

    def raw_size(self, size):
        return size

    def random_tree(self):
        rng = self.rng
        family = rng.choice(["vhd", "vhd", "qcow2", "qcow2", "qcow2", "qcow2 over vhd"])
        kind = family.split()[-1]
        size = random_size(rng, self.limit)
        root = None
        if rng.random() < 0.2:
            size = self.raw_size(size)
            root = self.image("raw", size)
        first_kind = kind if not root or rng.random() < 0.8 else family.split()[0]
        self._grow(first_kind, family.split()[0], self.grown(size) if root else size, root, 2 if root else 1)

    def _grow(self, kind, upper_kind, size, parent, depth):
        rng = self.rng
        room = self.most_images - len(self.images)
        children = 0 if depth >= self.deepest or room <= 1 else rng.choices([0, 1, 2, 3], [3, 8, 3, 1])[0]
        if depth == 1:
            children = max(1, children)
        hidden = rng.random() < (0.85 if children else 0.15)
        image = self.image(kind, size, parent, hidden)
        for _ in range(children):
            if len(self.images) >= self.most_images:
                break
            child_kind = upper_kind if rng.random() < 0.5 else kind
            self._grow(child_kind, upper_kind, self.grown(size), image, depth + 1)

    def chain(self, *layers):
        """A fixed shape, root first: (format, hidden) or (format, hidden, size)."""
        parent = None
        for kind, hidden, *size in layers:
            parent = self.image(kind, size[0] if size else (parent.size if parent else 2 * MIB), parent, hidden)
        return parent

    def image_maker(self):
        maker = Maker(self.directory, self.rng)
        maker.snapshots = self.snapshots
        return maker

    def build(self):
        maker = self.image_maker()
        for image in self.images:
            maker.make(image)
        maker.finish()
        return self.images

    def random(self):
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            self.random_tree()
        return self.build()

    def stray_files(self):
        """What else lies in an SR directory and is nobody's business; {path: content}, None for a directory."""
        rng, result = self.rng, {}
        names = ["filelog.txt", "sm-hardlink.conf", f"{self.uuid()}.cbtlog", f"{self.uuid()}.vhdcache", f"{self.uuid()}.qcow2.new",
                 f"{self.uuid()}.iso", "lost+found/", f"{self.uuid()}.vhd.bak", ".hidden", "notes"]
        for name in rng.sample(names, rng.randrange(len(names))):
            path = os.path.join(self.directory, name)
            if name.endswith("/"):
                os.makedirs(path, exist_ok=True)
                continue
            content = rng.randbytes(rng.randrange(4 * KIB))
            with open(path, "wb") as file:
                file.write(content)
            result[path] = content
        return result
