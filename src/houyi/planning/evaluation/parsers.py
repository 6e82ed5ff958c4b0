"""What benchmark programs print -> what they measured. Each parser takes the whole standard output and raises ValueError when the figure is not in it.

A figure that is not above 0 is a failure, never a result: no program here can measure nothing.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from houyi.model.evaluation import Measured

Parser = Callable[[str], Measured]

NS = 1e9
US = 1e6
MS = 1e3


def _number(pattern: str, text: str, what: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"it printed no {what}")
    return positive(float(found[1]), what)


def positive(value: object, what: str) -> float:
    """:raise ValueError: it is no finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"its {what} is {value!r}, not a number above 0")
    return float(value)


def _json(text: str) -> dict[str, Any]:
    """The first JSON object: programs print banners around it."""
    start = text.find("{")
    if start < 0:
        raise ValueError("it printed no JSON")
    try:
        found = json.JSONDecoder().raw_decode(text, start)[0]
    except ValueError as error:
        raise ValueError(f"its JSON cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}


def _dig(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def sysbench_cpu(text: str) -> Measured:
    """Events a second."""
    value = _number(r"events per second:\s*([\d.]+)", text, "events per second")
    return Measured(value=value, work_s=value)


def sysbench_memory(text: str) -> Measured:
    """MiB a second."""
    value = _number(r"MiB transferred \(([\d.]+) MiB/sec\)", text, "MiB/sec")
    return Measured(value=value, work_s=value)


def sysbench_events(operations: int) -> Parser:
    """Nanoseconds an operation, of a script whose events are `operations` each."""

    def parse(text: str) -> Measured:
        events = _number(r"total number of events:\s*(\d+)", text, "number of events")
        spent_ms = _number(r"^\s*sum:\s*([\d.]+)", text, "sum of latencies")
        return Measured(value=spent_ms / MS * NS / (events * operations), work_s=events * operations / (spent_ms / MS))

    return parse


def stress_ng(stressor: str) -> Parser:
    """Bogo operations a second of wall-clock time: stress-ng's own word for them, comparable only with the same version's."""

    def parse(text: str) -> Measured:
        number = r"([\d.]+)"
        value = _number(rf"\]\s+{re.escape(stressor)}\s+\d+\s+[\d.]+\s+[\d.]+\s+[\d.]+\s+{number}\s", text, f"rate of {stressor}")
        return Measured(value=value, work_s=value)

    return parse


def cyclictest(text: str) -> Measured:
    """Microseconds from when a timer was due until its thread ran, on average; p99 from the histogram."""
    data = _json(text)
    thread = _dig(data, "thread", "0")
    value = positive(_dig(thread, "avg"), "average latency")
    also = {"max_us": positive(_dig(thread, "max"), "greatest latency")}
    cycles = positive(_dig(thread, "cycles"), "number of cycles")
    histogram = _dig(thread, "histogram")
    if isinstance(histogram, dict) and histogram:
        also["p99_us"] = _percentile({int(us): int(count) for us, count in histogram.items()}, 0.99, cycles, also["max_us"])
    return Measured(value=value, work_s=cycles / _duration(data), also=also)


def _percentile(histogram: Mapping[int, int], share: float, total: float, greatest: float) -> float:
    """What lies beyond the histogram is not in it, so `total` is its own figure."""
    seen = 0
    for us in sorted(histogram):
        seen += histogram[us]
        if seen >= share * total:
            return float(us)
    return greatest


def _duration(data: Mapping[str, Any]) -> float:
    """Seconds that a program of rt-tests was asked to run: it repeats its command line, under a name with a colon of its own."""
    found = re.search(r" -D (\d+) ", str(data.get("cmdline:") or data.get("cmdline")) + " ")
    return positive(float(found[1]) if found else None, "duration")


def ptsematest(text: str) -> Measured:
    """Microseconds from the release of a lock by one thread until another, which waited for it, ran; the mean over pairs of threads."""
    data = _json(text)
    threads = _dig(data, "thread")
    means = [positive(_dig(pair, "receiver", "avg"), "average latency") for pair in (threads or {}).values()]
    worst = [positive(_dig(pair, "receiver", "max"), "greatest latency") for pair in (threads or {}).values()]
    if not means:
        raise ValueError("it measured no pair of threads")
    made = math.fsum(positive(_dig(pair, "sender", "samples"), "number of samples") for pair in (threads or {}).values())
    return Measured(value=math.fsum(means) / len(means), work_s=made / _duration(data), also={"max_us": max(worst)})


def fio(direction: str) -> Parser:
    """Microseconds that a request takes, on average, flushes after writes included; p99, and requests a second."""

    def parse(text: str) -> Measured:
        jobs = _dig(_json(text), "jobs")
        job = jobs[0] if isinstance(jobs, list) and jobs else None
        if _dig(job, "error"):
            raise ValueError(f"fio ended with error {_dig(job, 'error')}")
        side = _dig(job, direction)
        rate = positive(_dig(side, "iops"), f"rate of {direction}s")
        also = {"request_us": positive(_dig(side, "lat_ns", "mean"), "latency") / NS * US}
        p99 = _dig(side, "clat_ns", "percentile", "99.000000")
        if p99:
            also["p99_us"] = positive(p99, "p99") / NS * US
        return Measured(value=US / rate, work_s=rate, also=also)

    return parse


def sockperf(text: str) -> Measured:
    """Microseconds of a round trip, on average. Percentiles are of single trips, which sockperf takes as halves of the round."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    half = _number(r"Summary: Latency is ([\d.]+) usec", plain, "latency")
    seconds = _number(r"\[Valid Duration\] RunTime=([\d.]+) sec", plain, "duration")
    received = _number(r"\[Valid Duration\].*ReceivedMessages=(\d+)", plain, "number of messages")
    p99 = _number(r"percentile 99\.000\s*=\s*([\d.]+)", plain, "p99")
    return Measured(value=2 * half, work_s=received / seconds, also={"p99_us": 2 * p99})


def iperf3(text: str) -> Measured:
    """Mbit/s, as they were received."""
    data = _json(text)
    if data.get("error"):
        raise ValueError(str(data["error"]))
    bits = positive(_dig(data, "end", "sum_received", "bits_per_second"), "rate")
    return Measured(value=bits / 1e6, work_s=bits / 8 / (1 << 10), also={"retransmits": float(_dig(data, "end", "sum_sent", "retransmits") or 0)})
