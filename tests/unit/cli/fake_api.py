"""A small API of its own on loopback, with one of everything: it remembers what it was asked, and answers in the shapes of wire/v1."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

TOKEN = "hy_test_secret"
AT = "2026-11-23T07:45:00.000Z"


def numbered(n: int) -> str:
    return f"{n:08d}-0000-4000-8000-000000000000"


PROJECT = {"project_id": numbered(2), "project_name": "default"}
OPERATION: dict[str, Any] = {
    "id": numbered(1),
    "project_id": numbered(2),
    "verb": "vm.create",
    "target_kind": "vm",
    "target_id": numbered(3),
    "state": "queued",
    "progress": 0.0,
    "stage": "",
    "blocked_on": "",
    "cancellable": False,
    "error": None,
    "created_at": AT,
    "ended_at": None,
    "request_id": "r1",
    "revision": 5,
}
DONE = OPERATION | {"state": "done", "progress": 1.0, "ended_at": AT}
VM: dict[str, Any] = dict(
    id=numbered(3),
    name="hello",
    **PROJECT,
    state="running",
    reason="requested",
    stage="",
    progress=0.0,
    error=None,
    power="running",
    host_id=numbered(4),
    host_name="node1",
    accelerator="qemu",
    image_id=numbered(5),
    image_name="tiny",
    vcpus=1,
    memory_mib=512,
    disk_gib=4,
    nics=[{"network_id": numbered(6), "network_name": "default", "mac": "52:54:00:00:00:01", "address": "10.80.0.2"}],
    guest_agent="connected",
    guest_addresses=["10.80.0.2"],
    ssh_keys=[],
    user_data_bytes=0,
    restart_policy="on-failure",
    on_trouble={"panic": "keep"},
    restarts=0,
    firmware="bios",
    video=True,
    cpu_model="",
    labels={"tier": "web"},
    host_labels={"disk": "ssd"},
    storage="local",
    placement_group_id=numbered(12),
    placement_group_name="web",
    pool_id=numbered(15),
    pool_name="new",
    cpu_features=["avx2"],
    profile="latency",
    knobs={},
    tuned={"pv_eoi": "on"},
    protected=False,
    generation=1,
    observed_generation=1,
    created_at=AT,
    started_at=AT,
    changed_at=AT,
    revision=9,
    a_field_of_tomorrow={"kept": True},
)
HOST: dict[str, Any] = {
    "id": numbered(4),
    "name": "node1",
    "state": "ready",
    "cordoned": False,
    "labels": {"rack": "a"},
    "created_at": AT,
    "last_seen_at": AT,
    "revision": 4,
    "facts": {
        "hostname": "node1",
        "boot_id": "b",
        "agent_version": "0.1.0",
        "qemu_version": "10.0.2",
        "libvirt_version": "11.3.0",
        "kernel": "6.1",
        "cpu_model": "A CPU",
        "cpus": 2,
        "memory_mib": 24576,
        "disk_gib": 100,
        "numa_nodes": 1,
        "hugepages": {"2048": 8},
        "cpu_features": [],
        "machine_types": [],
        "firmwares": ["bios", "uefi"],
        "numa": [{"number": 0, "cpus": [0, 1], "memory_mib": 24576}],
        "cpu_models": ["Westmere"],
        "storages": {},
        "accelerator": {
            "accelerator": "kvm",
            "verdict": "native",
            "reason": "guest code ran natively",
            "exit_ns": {"cpuid": 1200, "out": 3400},
            "loop_ns": 1.0,
        },
    },
    "load": {
        "vms_running": 1,
        "memory_free_mib": 1000,
        "disk_free_gib": 50,
        "load1": 0.5,
        "libvirt_connected": True,
        "clock_skew_seconds": -0.004,
        "stalled": {"cpu_some": 0.25, "cpu_full": 0.0},
    },
    "capacity": {"vcpu": 8, "memory_mib": 24064, "disk_gib": 200},
    "claimed": {"vcpu": 1, "memory_mib": 512, "disk_gib": 4},
}
REPORT: dict[str, Any] = {
    "host_id": numbered(4),
    "host_name": "node1",
    "at": AT,
    "kernel": "6.12.0",
    "items": [
        {
            "name": f"transparent huge pages {n}",
            "area": "memory",
            "value": "never",
            "meaning": "guests are backed by small pages",
            "advice": "echo madvise",
            "weight": 65,
        }
        for n in range(4)
    ]
    + [{"name": "clock source", "area": "power", "value": "tsc", "meaning": "by what time is read", "advice": None, "weight": 0}],
}
IMAGE: dict[str, Any] = dict(
    id=numbered(5),
    name="tiny",
    **PROJECT,
    state="available",
    error=None,
    format="qcow2",
    size_bytes=12 << 20,
    virtual_size_bytes=1 << 30,
    sha256="ab" * 32,
    expected_sha256="",
    received_bytes=12 << 20,
    url="",
    os="tiny",
    public=True,
    min_memory_mib=0,
    min_disk_gib=0,
    created_at=AT,
    revision=2,
)
EVENT: dict[str, Any] = {
    "id": numbered(8),
    "project_id": numbered(2),
    "kind": "vm.create",
    "target_kind": "vm",
    "target_id": numbered(3),
    "target_name": "hello",
    "detail": "creation asked",
    "data": {},
    "actor": "token:x",
    "request_id": "r1",
    "at": AT,
    "revision": 3,
}
MIGRATION: dict[str, Any] = {
    "id": numbered(12),
    "project_id": numbered(2),
    "vm_id": numbered(3),
    "vm_name": "hello",
    "kind": "live",
    "state": "done",
    "progress": 1.0,
    "stage": "done",
    "why": "",
    "error": None,
    "source_id": numbered(4),
    "source_name": "node1",
    "destination_id": numbered(13),
    "destination_name": "node2",
    "reason": "asked",
    "priority": 0,
    "cancelled": False,
    "terms": {
        "policy": "auto",
        "downtime_ms_max": 300.0,
        "postcopy": False,
        "bandwidth_mib_s_max": 0.0,
        "seconds_max": 1800.0,
        "channels": 1,
        "compressed": False,
        "encrypted": True,
    },
    "figures": {"memory_remaining_mib": 32.0, "memory_sent_mib": 96.0, "bandwidth_mib_s": 99.6, "rounds": 3},
    "forecast": {"converges": True, "mode": "plain", "total_seconds": 11.0, "downtime_ms": 50.0, "sent_mib": 600.0, "why": "it is idle", "inputs": {}},
    "outcome": {"total_seconds": 12.34, "downtime_ms": 45.0, "gap_ms": 61.0, "sent_mib": 700.0, "rounds": 4, "mode": "plain", "throttle_percent": 0},
    "source": {"presence": "none", "order": "clean", "busy": False, "over": True, "went": False, "clean": True, "heard": True, "error": None},
    "destination": {"presence": "live", "order": "take", "busy": False, "over": False, "went": True, "clean": False, "heard": False, "error": None},
    "operation_id": numbered(1),
    "created_at": AT,
    "began_at": AT,
    "moved_at": AT,
    "ended_at": AT,
    "revision": 20,
}
PLAN: dict[str, Any] = {
    "vm_id": numbered(3),
    "vm_name": "hello",
    "kind": "live",
    "source_id": numbered(4),
    "source_name": "node1",
    "destination_id": numbered(13),
    "destination_name": "node2",
    "terms": MIGRATION["terms"],
    "claims": {"vcpu": 1},
    "blockers": [],
    "forecast": MIGRATION["forecast"],
}
EXPERIMENT: dict[str, Any] = {
    "id": numbered(21),
    **PROJECT,
    "vm_id": numbered(3),
    "vm_name": "hello",
    "state": "done",
    "progress": 1.0,
    "why": "better: exits_per_work -41.0 % (-45.0 % to -37.0 %); nothing worse; in 12 runs",
    "error": None,
    "before": {"profile": "", "knobs": {}},
    "change": {"profile": "latency", "knobs": {"x2apic": "on"}},
    "command": ["sysbench", "cpu", "run"],
    "seconds": 60.0,
    "measure": "",
    "keep": True,
    "kept": True,
    "restart": True,
    "cancelled": False,
    "runs_made": 14,
    "runs_max": 34,
    "runs_void": 1,
    "measures": [{"name": "exits_per_work", "unit": "VM exits per unit of work", "less_is_better": True, "matters": 0.05}],
    "verdict": {
        "verdict": "better",
        "blocks": 3,
        "enough": True,
        "keeps": True,
        "why": "better: exits_per_work -41.0 %",
        "effects": [
            {"name": "exits_per_work", "blocks": 3, "before": 100.0, "after": 59.0, "ratio": 0.59, "low": 0.55, "high": 0.63, "p": 0.001, "verdict": "better"},
            {"name": "steal", "blocks": 0, "before": 0.0, "after": 0.0, "ratio": 1.0, "low": 0.0, "high": None, "p": 1.0, "verdict": "no_difference"},
        ],
    },
    "runs": [
        {"arm": arm, "values": {"exits_per_work": 100.0 + number if arm == "before" else 59.0 + number, "reason:hlt_per_work": 10.0}}
        for number, arm in enumerate(("before", "after", *("before", "after", "after", "before") * 3))
    ],
    "operation_id": numbered(1),
    "created_at": AT,
    "ended_at": AT,
    "revision": 7,
}
NOUNS: dict[str, dict[str, Any]] = {
    "experiments": EXPERIMENT,
    "vms": VM,
    "hosts": HOST,
    "migrations": MIGRATION,
    "images": IMAGE,
    "networks": {
        "id": numbered(6),
        "name": "default",
        "project_id": None,
        "project_name": None,
        "kind": "nat",
        "cidr": "10.80.0.0/24",
        "bridge": "",
        "gateway": "10.80.0.1",
        "dns": [],
        "domain": "houyi.internal",
        "created_at": AT,
        "revision": 1,
    },
    "operations": DONE,
    "events": EVENT,
    "vm-types": {"id": numbered(9), "name": "c1.small", "vcpus": 1, "memory_mib": 512, "disk_gib": 4, "created_at": AT, "revision": 1},
    "ssh-keys": dict(id=numbered(10), name="mine", **PROJECT, public_key="ssh-ed25519 AAAA", fingerprint="SHA256:abc", created_at=AT, revision=1),
    "placement-groups": dict(id=numbered(12), name="web", **PROJECT, policy="anti-affinity", strength="hard", scope="host", created_at=AT, revision=1),
    "pools": {
        "id": numbered(15),
        "name": "new",
        "cpu_model": "EPYC",
        "cpu_features": ["aes", "avx", "sse2"],
        "cpu_required": ["aes"],
        "cpu_disabled": ["avx2"],
        "trouble": "",
        "hosts": [{"id": numbered(4), "name": "node1"}],
        "apart": [{"vm_id": numbered(3), "vm_name": "hello", "host_id": numbered(4), "more": ["avx2"], "less": []}],
        "created_at": AT,
        "revision": 1,
    },
    "projects": {"id": numbered(2), "name": "default", "created_at": AT, "revision": 1},
    "tokens": dict(id=numbered(7), name="admin", **PROJECT, role="admin", created_at=AT, expires_at=None, revision=1),
    "join-tokens": {"id": numbered(11), "used_by": "", "created_at": AT, "expires_at": "2026-11-23T08:45:00.000Z", "revision": 1},
}
PLACEMENT: dict[str, Any] = {
    "vm_id": numbered(3),
    "vm_name": "hello",
    "at_host_id": numbered(4),
    "at_host_name": "node1",
    "host_id": numbered(14),
    "host_name": "node2",
    "why_not": "",
    "asked": {"vcpu": 1, "memory_mib": 576},
    "left": {"vcpu": 7, "memory_mib": 9000},
    "removed": {"state": 0, "room": 1},
    "hosts": [
        {
            "host_id": numbered(14),
            "host_name": "node2",
            "removed_by": "",
            "why": "",
            "scores": {"hardware": 8.0, "free_memory": 0.5, "group": 0.0},
            "total": 8.5,
            "chosen": True,
        },
        {"host_id": numbered(4), "host_name": "node1", "removed_by": "room", "why": "vcpu: asked 1, left 0", "scores": {}, "total": 0.0, "chosen": False},
    ],
}
DRAIN_PLAN = {
    "host_id": numbered(4),
    "host_name": "node1",
    "summary": "1 of 2 VMs can move, in about 11 s; 1 cannot; left on the other hosts then: vcpu 3",
    "seconds": 11.0,
    "vms": [
        {
            "vm_id": numbered(1),
            "vm_name": "hello",
            "kind": "live",
            "destination_id": numbered(14),
            "destination_name": "node2",
            "begins_after_seconds": 0.0,
            "forecast": PLAN["forecast"],
            "blockers": [],
        },
        {
            "vm_id": numbered(2),
            "vm_name": "pinned",
            "kind": "live",
            "destination_id": None,
            "destination_name": None,
            "begins_after_seconds": 0.0,
            "forecast": None,
            "blockers": [{"code": "migration_forbidden", "detail": "the VM's migration policy is 'never'"}],
        },
    ],
    "left": {"vcpu": 3},
}
PERIOD = {
    "vm_id": numbered(3),
    "vm_name": "hello",
    "project_id": numbered(2),
    "host_id": numbered(4),
    "host_name": "node1",
    "began_at": "2026-11-23T07:44:50.000Z",
    "ended_at": AT,
    "seconds": 10.0,
    "kvm": True,
    "cpu": 0.5,
    "delay": 0.0125,
    "exits_s": 4321.0,
    "exits": {"exits": 4321.0, "halt_exits": 1234.0, "io_exits": 12.5, "halt_poll_success_ns": 250_000.0},
    "vcpus": [{"number": 0, "cpu": 0.5, "delay": 0.0125, "wait": 0.0, "exits_s": 4321.0}],
    "disks": [
        {
            "name": "vda",
            "reads_s": 1.0,
            "read_mib_s": 2.0,
            "read_ms": 0.5,
            "writes_s": 0.0,
            "write_mib_s": 0.0,
            "write_ms": 0.0,
            "flushes_s": 0.0,
            "flush_ms": 0.0,
        }
    ],
    "nics": [
        {
            "name": "nic0",
            "received_mib_s": 1.0,
            "received_packets_s": 700.0,
            "received_errors_s": 0.0,
            "received_drops_s": 3.0,
            "sent_mib_s": 0.0,
            "sent_packets_s": 0.0,
            "sent_errors_s": 0.0,
            "sent_drops_s": 0.0,
        }
    ],
    "memory": {"current_mib": 512.0, "rss_mib": 300.0, "used_mib": 0.0},
}
HISTORY = {
    "vm_id": numbered(3),
    "vm_name": "hello",
    "source": "ring",
    "items": [{**PERIOD, "exits_s": 1.0, "exits": {"exits": 1.0}, "ended_at": "2026-11-23T07:44:50.000Z"}, PERIOD],
}
EXITS = {
    "vm_id": numbered(3),
    "vm_name": "hello",
    "began_at": AT,
    "seconds": 5.0,
    "virtualization": "svm",
    "count": 1500,
    "count_s": 300.0,
    "reasons": [
        {"reason": "hlt", "count": 1000, "count_s": 200.0, "outside_ns": 3_000_000_000, "mean_ns": 3_000_000.0},
        {"reason": "msr", "count": 500, "count_s": 100.0, "outside_ns": 425_000, "mean_ns": 850.0},
    ],
    "registers": [{"register_use": "write tsc_deadline", "count": 400, "count_s": 80.0}],
    "symptoms": {"halt": 200.0, "timer": 80.0, "msr": 20.0},
    "dropped": 0,
}
LATENCY = {
    "vm_id": numbered(3),
    "vm_name": "hello",
    "began_at": AT,
    "seconds": 5.0,
    "requests": [
        {
            "disk": "vda",
            "kind": "writes",
            "count": 100,
            "count_s": 20.0,
            "p50_ms": 0.0625,
            "p90_ms": 0.9,
            "p99_ms": 6000.0,
            "most_ms": None,
            "histogram": [{"to_ms": 0.1, "count": 80}, {"to_ms": 1.0, "count": 18}, {"to_ms": None, "count": 2}],
        }
    ],
}
KNOB: dict[str, Any] = {
    "name": "net_poll_us",
    "subject": "net",
    "scope": "vm",
    "what": "how long the kernel's thread looks for more packets",
    "changes": ["kick", "wake"],
    "takes": "next_start",
    "means": "qemu",
    "choices": [{"value": "off", "what": "it sleeps at once", "needs": []}],
    "numbers": {"least": 1, "most": 10000, "unit": "us", "needs": ["kvm"]},
    "default": "off",
    "risk": "burns CPU time",
    "guest": "",
    "measured": "",
}
PROFILE: dict[str, Any] = {"name": "dense", "what": "for many VMs", "vm": {"pv_eoi": "on"}, "host": {"ksm": "on"}, "risk": ""}
NOUNS |= {"knobs": KNOB, "profiles": PROFILE}
ADVICE: dict[str, Any] = {
    "exits_s": 1000.0,
    "symptoms": {"halt": 600.0},
    "seconds": 10.0,
    "advice": [
        {
            "knob": "cpu_pm",
            "value": "on",
            "scope": "vm",
            "takes": "next_start",
            "symptom": "halt",
            "share": 0.6,
            "gain": 0.57,
            "why": "60% of its exits are about halt",
            "risk": "it keeps its CPUs",
            "measured": "",
        }
    ],
}
TUNING: dict[str, Any] = {
    "profile": "latency",
    "host_profile": "dense",
    "settings": [
        {"knob": "cpu_pm", "value": "on", "source": "profile", "why_not": "this host has no KVM", "running": "off", "in_force": False, "takes": "next_start"},
        {"knob": "hpet", "value": "on", "source": "own", "why_not": "", "running": "off", "in_force": False, "takes": "next_start"},
        {"knob": "io_poll_ns", "value": "0", "source": "host_profile", "why_not": "", "running": "0", "in_force": True, "takes": "live"},
    ],
    "tuned": {"io_poll_ns": "0", "x2apic": "on"},
}
WHO = {"token_id": numbered(7), "token_name": "admin", "role": "admin", **PROJECT, "expires_at": None}


@dataclass
class Asked:
    method: str
    path: str
    params: dict[str, str]
    body: Any
    headers: dict[str, str]
    query: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class FakeApi:
    """What it was asked, and what it shall answer instead of the usual: (method, path) -> answers in turn, the last one for ever."""

    asked: list[Asked] = field(default_factory=list)
    instead: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=dict)
    talk: Callable[[WebSocket], Any] | None = None
    denied: tuple[int, Any] | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, *answers: tuple[int, Any]) -> None:
        self.instead[method, path] = list(answers)

    def refuse(self, method: str, path: str, status: int, code: str, detail: str = "it is so: do this", **more: Any) -> None:
        self.answer(method, path, (status, {"type": "about:blank", "title": "t", "status": status, "code": code, "detail": detail, "request_id": "r", **more}))

    def last(self, method: str) -> Asked:
        return [one for one in self.asked if one.method == method][-1]

    async def http(self, request: Request) -> Response:
        raw = await request.body()
        body = json.loads(raw) if raw and request.headers.get("content-type") == "application/json" else raw
        path = request.url.path
        self.asked.append(Asked(request.method, path, dict(request.query_params), body, dict(request.headers), request.query_params.multi_items()))
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _json(401, {"code": "token_invalid", "detail": "the token is not known", "status": 401})
        planned = self.instead.get((request.method, path))
        if planned:
            status, content = planned.pop(0) if len(planned) > 1 else planned[0]
            return content if isinstance(content, Response) else _json(status, content)
        return self._usual(request.method, path, request)

    def _usual(self, method: str, path: str, request: Request) -> Response:
        if path == "/v1/telemetry":
            return _json(200, {"items": [PERIOD]})
        if path.endswith("/exits"):
            return _json(200, EXITS)
        if path.endswith("/latency"):
            return _json(200, LATENCY)
        if path.startswith("/v1/hosts/") and path.endswith("/report"):
            return _json(200, REPORT)
        if path.endswith("/telemetry"):
            return _json(200, HISTORY)
        special: dict[str, tuple[int, Any]] = {"/v1/whoami": (200, WHO), "/v1": (200, {"name": "houyi", "version": "9.9", "revision": 1, "links": {}})}
        if path in special:
            return _json(*special[path])
        if path.endswith("/log"):
            return Response(b"booting\r\nlogin: ", media_type="application/octet-stream")
        if path.endswith("/migrate") and request.query_params.get("dry_run"):
            return _json(200, PLAN)
        if path.endswith("/drain"):
            return _json(200, DRAIN_PLAN) if request.query_params.get("dry_run") else _json(202, OPERATION)
        if path.endswith("/placement"):
            return _json(200, PLACEMENT)
        if path.endswith("/advice"):
            return _json(200, ADVICE)
        if path.endswith("/tuning"):
            return _json(200, TUNING)
        if path.endswith("/tickets"):
            return _json(201, {"ticket": "t1", "expires_at": AT})
        _, _, noun, *rest = path.split("/")
        item = NOUNS[noun]
        if method == "GET" and not rest:
            if request.query_params.get("watch"):
                put = {"op": "put", "revision": 12, "object": {**item, "state": "stopped"}, "id": None}
                gone = {"op": "delete", "revision": 13, "object": None, "id": item["id"]}
                return StreamingResponse(iter([json.dumps(one).encode() + b"\n" for one in (put, gone)]), media_type="application/x-ndjson")
            return _json(200, {"items": [item], "revision": 11, "next": None})
        if method in ("GET", "PATCH"):
            return _json(200, item)
        if noun in ("vms", "images", "operations"):
            return _json(202, OPERATION)
        if method == "DELETE":
            return Response(status_code=204)
        return _json(201, {**item, "token": "the-secret"} if noun.endswith("tokens") else item)

    async def websocket(self, websocket: WebSocket) -> None:
        self.asked.append(Asked("WS", websocket.url.path, dict(websocket.query_params), None, dict(websocket.headers)))
        if self.denied is not None:
            await websocket.send_denial_response(_json(*self.denied))
            return
        await websocket.accept()
        if self.talk is not None:
            await self.talk(websocket)


def _json(status: int, content: Any) -> Response:
    return JSONResponse(content, status, media_type="application/problem+json" if status >= 400 else None)


@contextmanager
def serving() -> Iterator[FakeApi]:
    api = FakeApi()
    routes = [WebSocketRoute("/{path:path}", api.websocket), Route("/{path:path}", api.http, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])]
    listener = socket.create_server(("127.0.0.1", 0))
    api.port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off", ws="websockets-sansio"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield api
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        listener.close()
