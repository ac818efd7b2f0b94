#!/usr/bin/python3
"""Random images and short chains: what `coppice read` gives must be what every other reader gives, and `check` must be content.

    random_images.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program
"""

import os
import random
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import chain_reader  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
from image_maker import MIB, Image, Maker, random_size  # noqa: E402


def name(rng, kind):
    return f"{uuid.UUID(int=rng.getrandbits(128), version=4)}.{kind}"


def random_chain(rng):
    """Root first."""
    family = rng.choices(["qcow2", "vhd", "qcow2 on vhd", "on raw"], [10, 6, 1, 2])[0]
    upper = rng.choice(["qcow2", "vhd"]) if family == "on raw" else family.split()[0]
    kinds = [upper] * rng.choices([1, 2, 3], [6, 3, 2])[0]
    if family == "qcow2 on vhd":
        kinds.insert(0, "vhd")
    if family == "on raw":
        kinds.insert(0, "raw")
    size = rng.randrange(1, 4 << 21) * 512 if rng.random() < 0.03 else random_size(rng, 16 * MIB)
    chain = []
    for kind in kinds:
        image = Image(name(rng, kind), kind, size, parent=chain[-1] if chain else None, hidden=rng.random() < 0.3)
        chain.append(image)
        if rng.random() < 0.25:
            size = random_size(rng)
    return chain


def case(seed, scratch):
    rng = random.Random(seed)
    directory = os.path.join(scratch, "sr")
    os.mkdir(directory)
    maker = Maker(directory, rng)
    maker.data_files = 0.15
    chain = random_chain(rng)
    for image in chain:
        maker.make(image)
    maker.finish()
    counts = {"images": len(chain), "data files": sum(image.data_file is not None for image in chain)}
    for image in chain:
        expected = chain_reader.sha256(directory, image.name)
        for oracle, hash_of_it in oracles.foreign_hashes(directory, image, scratch):
            counts[f"compared with {oracle}"] = counts.get(f"compared with {oracle}", 0) + 1
            if hash_of_it != expected:
                raise oracles.Failure(f"{oracle} and the independent reader disagree on {image}")
        path = os.path.join(directory, image.name)
        if rng.random() < 0.7:
            found = oracles.coppice_sha256(path)
        else:
            found = oracles.coppice_output_sha256(path, scratch)
        if found != expected:
            raise oracles.Failure(f"coppice reads {found}, everybody else {expected}: {image}")
    check_all(directory, chain)
    return counts


def check_all(directory, chain):
    paths = [os.path.join(directory, image.name) for image in chain]
    report = oracles.coppice_json("check", *paths, ok=(0, 3))
    verdicts = {os.path.basename(entry["path"]): entry for entry in report["images"]}
    for image in chain:
        entry = verdicts.get(image.name)
        if not entry or entry["verdict"] != "ok" or not entry["readable"]:
            if entry and "data file" in image.traits and {finding["code"] for finding in entry["findings"]} - {
                    "data-file", "parent-format"}:
                raise oracles.Failure(f"check of a sound image with a data file: {entry}: {image}")
            if entry and image.traits & {"snapshot", "data file"} and entry["readable"] and entry["verdict"] == "unsupported":
                continue
            raise oracles.Failure(f"check of a sound image: {entry}: {image}")


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=1150, before=oracles.binary)
