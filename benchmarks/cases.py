"""
The build contexts that are measured. Every one is made from a fixed seed, so all builders see the same bytes.

    a    20 RUN steps on busybox                     c    COPY of 50,000 files, 200 MB
    d    COPY of one file of 2 GiB                   ci   the same as c with 40,000 of them ignored
    e    RUN writes 1 GiB in 30,000 files            f    four stages of two seconds, then COPY --from
"""

import random
import shutil
from pathlib import Path

FILES = 50_000


def half_random(source: random.Random, count: int) -> bytes:
    """Bytes of which every other 4 KiB are random: they compress to about the half."""
    text = (b"0123456789abcdefghijklmnopqrstuvwxyz " * 120)[:4096]
    return b"".join(source.randbytes(4096) + text for _ in range(count // 8192 + 1))[:count]


def write(path: Path, text: str) -> None:
    """Write a file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def case_a(folder: Path, base: str) -> None:
    """Twenty steps that do next to nothing."""
    steps = "".join(f"RUN echo {number} > /step-{number}\n" for number in range(20))
    write(folder / "Dockerfile", f"FROM {base}\n{steps}")


def case_c(folder: Path, base: str, *, ignored: str = "") -> None:
    """Many small files."""
    source = random.Random(1)
    pool = half_random(source, 1 << 20)
    for number in range(FILES):
        top = "src" if number % 5 == 0 else "vendor"
        path = folder / top / f"{number // 500:03d}" / f"{number % 500 // 50}" / f"file{number:05d}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = source.randrange(1000, 7000)
        start = source.randrange(len(pool) - size)
        path.write_bytes(b"// %d\n" % number + pool[start : start + size])
    if ignored:
        write(folder / ".dockerignore", ignored)
    write(folder / "Dockerfile", f"FROM {base}\nCOPY . /app\n")


def case_ci(folder: Path, base: str) -> None:
    """Many small files, most of them ignored."""
    case_c(folder, base, ignored="vendor\n**/*.log\n")


def case_d(folder: Path, base: str) -> None:
    """One large file."""
    folder.mkdir(parents=True, exist_ok=True)
    source = random.Random(2)
    with (folder / "large.bin").open("wb") as out:
        for _ in range(2048):
            out.write(half_random(source, 1 << 20))
    write(folder / "Dockerfile", f"FROM {base}\nCOPY large.bin /large.bin\n")


def case_e(folder: Path, base: str) -> None:
    """A step that writes a large layer; needs nothing but a shell with dd and split."""
    script = (
        "set -e; mkdir -p /data; dd if=/dev/urandom of=/tmp/pool bs=1M count=4 2>/dev/null; "
        "i=0; while [ $i -lt 300 ]; do mkdir /data/$i; cd /data/$i; "
        "split -b 35791 -a 3 /tmp/pool f; rm -f fae?; i=$((i+1)); done; rm /tmp/pool"
    )
    write(folder / "Dockerfile", f"FROM {base}\nRUN {script}\n")


def case_f(folder: Path, base: str) -> None:
    """Four independent stages."""
    text = ""
    for number in range(4):
        text += f"FROM {base} AS s{number}\nRUN sleep 2 && echo {number} > /out{number}\n"
    text += f"FROM {base}\n" + "".join(f"COPY --from=s{n} /out{n} /out{n}\n" for n in range(4))
    write(folder / "Dockerfile", text)


CASES = {"a": case_a, "c": case_c, "ci": case_ci, "d": case_d, "e": case_e, "f": case_f}


def make(folder: Path, names: list[str], base: str) -> None:
    """Make the contexts that are not there yet."""
    for name in names:
        target = folder / name
        if (target / "Dockerfile").exists():
            continue
        shutil.rmtree(target, ignore_errors=True)
        CASES[name](target, base)
