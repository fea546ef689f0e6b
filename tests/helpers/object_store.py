"""An emulator of Google Cloud Storage in a process of its own, reached by loopback."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from etils import epath

from gcad_jax.core import paths

BUCKET = "gs://bucket"
HERE = pathlib.Path(__file__).parent


@contextlib.contextmanager
def emulator() -> Iterator[dict[str, str]]:
    """Runs it with one empty bucket; yields the environment that leads to it.

    gcsfs (by which epath reads and writes), and TensorStore (checkpoints), take its
    address from there.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, HERE / "gcs_emulator.py", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(port, server)
        yield {
            "STORAGE_EMULATOR_HOST": address,
            "TENSORSTORE_GCS_HTTP_URL": address,
            # Kinds of buckets that the emulator does not have.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        assert server.poll() is None, "the emulator ended"
        assert time.monotonic() < end, "the emulator did not start in time"
        time.sleep(0.02)


def download(folder: epath.Path, to: pathlib.Path) -> pathlib.Path:
    """Copies every file of a folder of the store below `to`; returns that."""
    for name in paths.walk_files(folder):
        target = to / epath.Path(name).relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(epath.Path(name).read_bytes())
    return to


def upload(folder: pathlib.Path, to: str) -> epath.Path:
    """Copies every file of a folder below the path `to`; returns that."""
    for place, _, names in os.walk(folder):
        for name in names:
            file = pathlib.Path(place, name)
            target = epath.Path(to) / file.relative_to(folder)
            target.write_bytes(file.read_bytes())
    return epath.Path(to)
