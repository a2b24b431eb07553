"""What `pip install` costs, without TensorFlow and with it: `python benchmarks/install.py`

The wheel is built, and installed in an empty environment each time, without pip's cache. Packages are those
that pip lists beside itself; seconds are of the download and of the disk as much as of pip.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

EXTRAS = {"plain": "", "train": "[train]"}


def main() -> None:
    """Writes a row for each."""
    with tempfile.TemporaryDirectory() as folder:
        root = common.HERE.parent
        build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder]
        subprocess.run([*build, str(root)], check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        for name, extra in EXTRAS.items():
            measure(name, f"{wheel}{extra}", Path(folder) / name)


def measure(name: str, package: str, environment: Path) -> None:
    """Installs a package in an environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(next(environment.glob("*/python"))), "-m", "pip", "--disable-pip-version-check"]
    before = size(environment)
    begin = time.perf_counter()
    subprocess.run(
        [*pip, "install", "--quiet", "--no-compile", "--no-cache-dir", package], check=True
    )
    seconds = time.perf_counter() - begin
    listed = subprocess.run([*pip, "list", "--format", "json"], check=True, stdout=subprocess.PIPE)
    there = {it["name"] for it in json.loads(listed.stdout)} - {"pip", "setuptools"}
    common.row(
        "install",
        {"install": name},
        packages=len(there),
        megabytes=size(environment) - before,
        seconds=seconds,
    )


def size(folder: Path) -> float:
    """Megabytes of the files in a folder."""
    return sum(it.lstat().st_size for it in folder.rglob("*")) / 1e6


if __name__ == "__main__":
    main()
