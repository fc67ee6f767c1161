#!/usr/bin/env python3
"""Recipients a second, from a numpy array of phones.

    bench.py --target 127.0.0.1:50051 --seconds 5 [--loadtest PATH]

Half of the phones are permitted ones that the server exports, the other half
strangers, in random order. With --loadtest it takes turns with the load
generator `loadtest filter` on the same server, whose population must be there
already, and says the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sendgate import Client, Scope
from sendgate.v1 import consent_pb2, types_pb2

BRAND = "main"
SCOPE = Scope("sms", "marketing")

Phones = NDArray[np.uint64]


def exported(client: Client) -> Phones:
    """All permitted phones."""
    method: Any = client.channel.unary_stream(
        "/sendgate.v1.ConsentService/Export",
        request_serializer=consent_pb2.ExportRequest.SerializeToString,
        response_deserializer=consent_pb2.ExportResponse.FromString,
    )
    request = consent_pb2.ExportRequest(
        brand=BRAND,
        scope=SCOPE.to_wire(),
        contact_kind=types_pb2.CONTACT_KIND_PHONE,
        selection=consent_pb2.EXPORT_SELECTION_PERMITTED,
    )
    found: list[int] = []
    for part in method(request, metadata=client.metadata):
        found += [int(one.address) for one in part.contacts]
    return np.array(found, dtype=np.uint64)


def recipients(known: Phones, count: int) -> tuple[Phones, int]:
    """A list in random order, and how many of it are permitted."""
    random = np.random.default_rng(1)
    # From among the numbers of those who are known, so that they cost the server
    # the same: those that share no page with anybody would be cheap.
    strangers = random.integers(known.min(), known.max(), count // 2, dtype=np.uint64)
    strangers = strangers[~np.isin(strangers, known)]
    phones = np.concatenate([random.choice(known, count - len(strangers)), strangers])
    random.shuffle(phones)
    return phones, count - len(strangers)


def one_stream(target: str, phones: Phones, permitted: int, seconds: float, args: Any) -> int:
    """Filters the list again and again; returns the recipients answered."""
    answered = 0
    until = time.monotonic() + seconds
    with Client(target) as client:
        while time.monotonic() < until:
            found = 0
            stream = client.filter(
                phones,
                brand=BRAND,
                scope=SCOPE,
                reasons=args.reasons,
                batch=args.batch,
                in_flight=args.in_flight,
            )
            for answer in stream:
                # What a caller would do with it.
                found += len(answer.permitted)
            if found != permitted:
                raise SystemExit(f"{found} were permitted, {permitted} are: a wrong answer")
            answered += len(phones)
    return answered


def measure(phones: Phones, permitted: int, args: Any) -> float:
    """Recipients a second, of all streams together."""
    answered: list[int] = []

    def run() -> None:
        answered.append(one_stream(args.target, phones, permitted, args.seconds, args))

    begin = time.monotonic()
    threads = [threading.Thread(target=run) for _ in range(args.streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answered) != args.streams:
        raise SystemExit("a stream failed")
    return sum(answered) / (time.monotonic() - begin)


def rust(args: Any) -> float:
    """Recipients a second of the load generator, with its own defaults."""
    command = [args.loadtest, "filter", "--endpoint", f"http://{args.target}", "--json"]
    command += ["--population", str(args.population), "--seconds", str(max(1, int(args.seconds)))]
    command += ["--reasons"] if args.reasons else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    rows = [row for table in json.loads(done.stdout)["tables"] for row in table["rows"]]
    return float(next(row["value"] for row in rows if row.get("what") == "recipients/s"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", default="127.0.0.1:50051")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--phones", type=int, default=4_000_000, help="in the list")
    parser.add_argument("--batch", type=int, help="recipients; by default the client's choice")
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--streams", type=int, default=1, help="each with a connection of its own")
    parser.add_argument("--reasons", action="store_true")
    parser.add_argument("--loadtest", help="the load generator to take turns with")
    parser.add_argument("--population", type=int, default=1_000_000, help="of the load generator")
    args = parser.parse_args()
    with Client(args.target) as client:
        known = exported(client)
    if not len(known):
        raise SystemExit("nobody is permitted: run `loadtest filter` once, which imports people")
    phones, permitted = recipients(known, args.phones)
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(args.turns):
        ours.append(measure(phones, permitted, args))
        line = f"turn {turn + 1}: client {ours[-1] / 1e6:.1f} M/s"
        if args.loadtest:
            theirs.append(rust(args))
            line += f", loadtest {theirs[-1] / 1e6:.1f} M/s, ratio {ours[-1] / theirs[-1]:.2f}"
        print(f"{line}, load {os.getloadavg()[0]:.1f}", flush=True)
    if theirs:
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"ratio of the medians: {ratio:.2f}")


if __name__ == "__main__":
    main()
