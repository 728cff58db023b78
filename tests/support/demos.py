"""``poller.py --demo`` as a process, on a terminal or into a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import redis

from tests.support.programs import EXAMPLES

LINE = re.compile(r"\d\d:\d\d \S.*")


class Demo:
    """The demo, started without any settings. Its files are in a folder of its own."""

    def __init__(self, folder: Path, *, terminal: bool, **changes: str) -> None:
        folder.mkdir()
        self.folder = folder
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", **changes}
        environ["TMPDIR"] = str(folder)
        environ["HTTP_PROXY"] = "http://127.0.0.1:9"  # must not be used
        self.read_end, write_end = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "poller.py"), "--demo"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
        )
        os.close(write_end)
        self.raw = b""
        self.reader = threading.Thread(target=self._read_all)
        self.reader.start()

    def _read_all(self) -> None:
        with suppress(OSError):  # EIO: the other end of a terminal is closed
            while chunk := os.read(self.read_end, 65536):
                self.raw += chunk
        os.close(self.read_end)

    @property
    def seen(self) -> str:
        """What has been shown, without colours."""
        text = self.raw.decode(errors="replace").replace("\r\n", "\n")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)

    def figures(self) -> dict[str, list[str]]:
        """Return the rows of the table, by their names."""
        lines = [line.strip(" │") for line in self.seen.splitlines()]
        rows = [re.split(r"\s*│\s*|\s{2,}", line) for line in lines]
        return {name: values for name, *values in rows if values}

    def redis_process(self) -> int:
        """Return the process id of its Redis-protocol server."""
        (path,) = self.folder.glob("turvo-demo-*/socket")
        with redis.Redis(unix_socket_path=str(path)) as client:
            return int(client.info("server")["process_id"])  # type: ignore[index]

    def end(self) -> int:
        """Return the exit code; nothing of it is left."""
        code = self.process.wait(60)
        self.reader.join()
        assert list(self.folder.iterdir()) == []
        assert "Traceback" not in self.seen
        return code

    def stop(self) -> None:
        """End it, if it has not ended yet."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.reader.join()
