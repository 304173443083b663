"""
The build contexts that are measured. Every one is made from a fixed seed, so all builders see the same bytes.

    a    20 RUN steps on busybox                     c    COPY of 50,000 files, 200 MB
    d    COPY of one file of 2 GiB                   ci   the same as c with 40,000 of them ignored
    e    RUN writes 1 GiB in 30,000 files            f    four stages of two seconds, then COPY --from
    t    four COPY layers of 250 MB, to be pushed

All counts and sizes are multiplied by a scale, so that a small run checks the scripts themselves.
"""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
FILES = 50_000
LARGE_MIB = 2048
WRITTEN_FOLDERS = 300
LAYER_MIB = 240


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    scale: float = 1.0

    def of(self, count: int) -> int:
        """A count, scaled."""
        return max(1, round(count * self.scale))


def half_random(source: random.Random, count: int) -> bytes:
    """Bytes of which every other 4 KiB are random: they compress to about the half."""
    text = (b"0123456789abcdefghijklmnopqrstuvwxyz " * 120)[:4096]
    return b"".join(source.randbytes(4096) + text for _ in range(count // 8192 + 1))[:count]


def write(path: Path, text: str) -> None:
    """Write a file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def case_a(folder: Path, base: str, sizes: Sizes) -> None:
    """Twenty steps that do next to nothing."""
    steps = "".join(f"RUN echo {number} > /step-{number}\n" for number in range(sizes.of(20)))
    write(folder / "Dockerfile", f"FROM {base}\n{steps}")


def case_c(folder: Path, base: str, sizes: Sizes) -> None:
    """Many small files."""
    source = random.Random(1)
    pool = half_random(source, MIB)
    for number in range(sizes.of(FILES)):
        top = "src" if number % 5 == 0 else "vendor"
        path = folder / top / f"{number // 500:03d}" / f"{number % 500 // 50}" / f"file{number:05d}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = source.randrange(1000, 7000)
        start = source.randrange(len(pool) - size)
        path.write_bytes(b"// %d\n" % number + pool[start : start + size])
    write(folder / "Dockerfile", f"FROM {base}\nCOPY . /app\n")


def case_ci(folder: Path, base: str, sizes: Sizes) -> None:
    """Many small files, most of them ignored."""
    case_c(folder, base, sizes)
    write(folder / ".dockerignore", "vendor\n**/*.log\n")


def case_d(folder: Path, base: str, sizes: Sizes) -> None:
    """One large file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_large(folder / "large.bin", sizes.of(LARGE_MIB), seed=2)
    write(folder / "Dockerfile", f"FROM {base}\nCOPY large.bin /large.bin\n")


def write_large(path: Path, mib: int, *, seed: int) -> None:
    """Write a file of so many MiB that compresses to about the half."""
    source = random.Random(seed)
    with path.open("wb") as out:
        for _ in range(mib):
            out.write(half_random(source, MIB))


def case_e(folder: Path, base: str, sizes: Sizes) -> None:
    """A step that writes a large layer; needs nothing but a shell with dd and cp."""
    script = (
        "set -e; mkdir -p /data /tmp/pool; "
        "i=0; while [ $i -lt 100 ]; do dd if=/dev/urandom of=/tmp/pool/$i bs=35791 count=1 2>/dev/null; "
        f"i=$((i+1)); done; i=0; while [ $i -lt {sizes.of(WRITTEN_FOLDERS)} ]; do "
        "cp -r /tmp/pool /data/$i; i=$((i+1)); done; rm -r /tmp/pool"
    )
    write(folder / "Dockerfile", f"FROM {base}\nRUN {script}\n")


def case_f(folder: Path, base: str, sizes: Sizes) -> None:
    """Four independent stages."""
    del sizes
    text = ""
    for number in range(4):
        text += f"FROM {base} AS s{number}\nRUN sleep 2 && echo {number} > /out{number}\n"
    text += f"FROM {base}\n" + "".join(f"COPY --from=s{n} /out{n} /out{n}\n" for n in range(4))
    write(folder / "Dockerfile", text)


def case_t(folder: Path, base: str, sizes: Sizes) -> None:
    """Four layers, each of files of 1 MiB: what is pushed and pulled."""
    text = f"FROM {base}\n"
    for layer in range(4):
        for number in range(sizes.of(LAYER_MIB)):
            path = folder / f"layer{layer}" / f"{number:03d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_large(path, 1, seed=layer * LAYER_MIB + number)
        text += f"COPY layer{layer} /layer{layer}\n"
    write(folder / "Dockerfile", text)


CASES: dict[str, Callable[[Path, str, Sizes], None]] = {
    "a": case_a,
    "c": case_c,
    "ci": case_ci,
    "d": case_d,
    "e": case_e,
    "f": case_f,
    "t": case_t,
}


def make(folder: Path, names: list[str], base: str, sizes: Sizes) -> None:
    """Make the contexts that are not there yet."""
    for name in names:
        target = folder / name
        if (target / "Dockerfile").exists():
            continue
        shutil.rmtree(target, ignore_errors=True)
        CASES[name](target, base, sizes)
