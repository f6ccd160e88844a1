"""`heed serve` under load: against the batch engine, and its memory over many requests.

    python tests/benchmarks/serve.py
    python tests/benchmarks/serve.py --clients 64 --seconds 60 --rounds 1 --requests 100000

Rate: the batch engine (`Translator.translate_lines`, on the same threads) and the server translate the lines of a file,
in turn. The server has so many clients on 127.0.0.1, each of which sends its next request, of `--lines` lines, when it
has the answer to the last one. Tokens are those of the translations. Latencies are what the clients see. The clients
run in this process, on the same cores, so the server cannot have all of these: how much of a core the clients take is
told, and besides the ratio of the rates by the clock (`of_batch`) that of the tokens for each second of processor time
of the server and of the engine (`of_batch_by_processor`).

Memory: so many requests that are quickly answered (one in ten translates a word, the others are refused, or ask for
languages or figures), with the memory of the server's processes in each tenth. The last line is JSON. Needs the extra
`serve`; Linux only.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

HEED = str(Path(sys.executable).with_name("heed"))
TEXT = Path(__file__).parents[1] / "data/tatoeba.test.en"
WINDOW = 256  # lines that the batch engine sorts together, so that it ends soon after its time is over


def batch_rate(model: str, lines: list[str], seconds: float, threads: int) -> tuple[float, float]:
    """Tokens of the batch engine a second, and a second of processor time."""
    from heed.models.bundle.catalog import find
    from heed.models.tasks.translation.translator import Translator

    with Translator.load(find(model), threads=threads) as translator:
        translator.translate(lines[:64])
        windows = itertools.cycle([lines[first : first + WINDOW] for first in range(0, len(lines), WINDOW)])
        n_tokens, began, used = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() < began + seconds:
            n_tokens += sum(len(found.tokens) for found in translator.translate(next(windows)))
        return n_tokens / (time.perf_counter() - began), n_tokens / (time.process_time() - used)


def processes(pid: int) -> list[Path]:
    """A process and those that it has started, as directories of /proc."""
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{pid}"), *(each for other in started for each in processes(int(other)))]


def processor_seconds(pid: int) -> float:
    """Processor time that a server's processes have used."""
    fields = [(each / "stat").read_text().rpartition(")")[2].split() for each in processes(pid)]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Memory of a server's processes, in MiB; what several share counts in parts."""
    found = [re.findall(r"(?m)^Pss:\s+(\d+)", (each / "smaps_rollup").read_text())[0] for each in processes(pid)]
    return sum(map(int, found)) / 1024


@contextlib.contextmanager
def server(model: str, threads: int) -> Iterator[tuple[str, int, subprocess.Popen[str]]]:
    """Host, port and process of a server."""
    command = [HEED, "serve", "-m", model, "--port", "0", "--threads", str(threads)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+(?=;)", line)
        assert found, line
        url = urlsplit(found[0])
        try:
            yield str(url.hostname), int(url.port or 0), process
        finally:
            process.terminate()


def figure(host: str, port: int, name: str) -> float:
    """A figure of the server."""
    with urlopen(f"http://{host}:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


class Connection:
    """A connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, method: str, path: str, body: bytes = b"") -> int:
        """The status of an answer, which is read whole."""
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", answer)
        assert length, answer
        await self._reader.readexactly(int(length[1]))
        return int(answer[9:12])


async def load(host: str, port: int, bodies: list[bytes], n_clients: int, seconds: float) -> tuple[list[float], int]:
    """The latencies of the answers within a time, and the number of errors."""
    latencies, errors, following = list[float](), 0, itertools.cycle(bodies)
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal errors
        connection = Connection(*await asyncio.open_connection(host, port))
        while time.perf_counter() < end:
            began = time.perf_counter()
            errors += await connection.ask("POST", "/translate", next(following)) != 200
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(n_clients)))
    return latencies, errors


def served_rate(arguments: argparse.Namespace, lines: list[str], n_lines: int) -> dict[str, float]:
    """Figures of a server under load."""
    texts = [lines[first : first + n_lines] for first in range(0, len(lines), n_lines)]
    bodies = [json.dumps({"q": text, "source": "en", "target": "de"}).encode() for text in texts]
    with server(arguments.model, arguments.threads) as (host, port, process):
        asyncio.run(load(host, port, bodies, arguments.clients, 2))  # to warm up
        before = figure(host, port, "heed_tokens_total")
        used, of_server, began = time.process_time(), processor_seconds(process.pid), time.perf_counter()
        latencies, errors = asyncio.run(load(host, port, bodies, arguments.clients, arguments.seconds))
        took, used = time.perf_counter() - began, time.process_time() - used
        of_server = processor_seconds(process.pid) - of_server
        n_tokens = figure(host, port, "heed_tokens_total") - before
        batches = figure(host, port, "heed_batch_lines_sum") / figure(host, port, "heed_batch_lines_count")
    parts = statistics.quantiles(latencies, n=100)
    return {
        "tokens_per_second": n_tokens / took,
        "tokens_per_processor_second": n_tokens / of_server,
        "requests_per_second": len(latencies) / took,
        "errors": errors,
        "p50_ms": 1000 * parts[49],
        "p95_ms": 1000 * parts[94],
        "lines_per_batch": batches,
        "cores_of_server": of_server / took,
        "cores_of_clients": used / took,
    }


async def many(host: str, port: int, n_requests: int, pid: int) -> list[float]:
    """The memory, in MiB, after each tenth of so many requests."""
    word = json.dumps({"q": "Hello!", "source": "en", "target": "de"}).encode()
    refused = json.dumps({"q": "x", "source": "x", "target": "de"}).encode()
    kinds = [("POST", "/translate", word), *[("POST", "/translate", refused)] * 6, ("GET", "/languages", b"")]
    kinds += [("GET", "/health", b""), ("POST", "/translate", b"{")]
    found = []

    async def client(n: int) -> None:
        connection = Connection(*await asyncio.open_connection(host, port))
        for number in range(n):
            assert await connection.ask(*kinds[number % len(kinds)]) < 500

    for _ in range(10):
        await asyncio.gather(*(client(n_requests // 160) for _ in range(16)))
        found.append(memory(pid))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="en-de")
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--lines", type=int, nargs="*", default=[1, 8], help="lines of a request")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--requests", type=int, default=100_000, help="for the memory; 0: not measured")
    arguments = parser.parse_args()
    lines = arguments.text.read_text("utf-8").splitlines()
    batch, served = list[tuple[float, float]](), {n: list[dict[str, float]]() for n in arguments.lines}
    for _ in range(arguments.rounds if arguments.lines else 0):
        batch.append(batch_rate(arguments.model, lines, min(arguments.seconds, 20), arguments.threads))
        print("batch engine: {:,.0f} tokens a second, {:,.0f} of processor time".format(*batch[-1]), file=sys.stderr)
        for n, found in served.items():
            found.append(served_rate(arguments, lines, n))
            print(f"{n} lines a request: {found[-1]}", file=sys.stderr)
    sizes = list[float]()
    if arguments.requests:
        with server(arguments.model, arguments.threads) as (host, port, process):
            sizes = asyncio.run(many(host, port, arguments.requests, process.pid))
        print(f"memory after each tenth, MiB: {[round(each, 1) for each in sizes]}", file=sys.stderr)
    print(
        json.dumps(
            {
                "batch_tokens_per_second": batch,
                "served": {
                    str(n): [
                        {name: round(value, 3) for name, value in each.items()}
                        | {
                            "of_batch": round(each["tokens_per_second"] / rate, 3),
                            "of_batch_by_processor": round(each["tokens_per_processor_second"] / by_processor, 3),
                        }
                        for each, (rate, by_processor) in zip(found, batch, strict=True)
                    ]
                    for n, found in served.items()
                },
                "memory_mib": sizes,
            }
        )
    )


if __name__ == "__main__":
    main()
