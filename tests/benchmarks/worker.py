"""A process of the herd: makes the client that it is told to make, and calls with many
threads at once."""

from __future__ import annotations

import json
import sys
import threading
import time

import requests

from tests.benchmarks.peers import PEERS, Peer, Site


def _call(peer: Peer, gate: threading.Barrier, results: list[int]) -> None:
    gate.wait()
    try:
        results.append(peer.get())
    except Exception as error:  # noqa: BLE001 - a failed call is a result
        results.append(0 if isinstance(error, requests.RequestException) else -1)


def main() -> None:
    """Lines of JSON in, one line of JSON out for each."""
    peer: Peer | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if "make" in order:
            peer = PEERS[order["make"]](Site(*order["site"]))
            print("{}", flush=True)
            continue
        assert peer is not None
        results: list[int] = []
        gate = threading.Barrier(order["threads"] + 1)
        threads = [
            threading.Thread(target=_call, args=(peer, gate, results))
            for _ in range(order["threads"])
        ]
        for thread in threads:
            thread.start()
        print("{}", flush=True)
        sys.stdin.readline()  # go
        gate.wait()
        for thread in threads:
            thread.join()
        good = results.count(200)
        print(
            json.dumps({"failed": len(results) - good, "end": time.monotonic()}),
            flush=True,
        )


if __name__ == "__main__":
    main()
