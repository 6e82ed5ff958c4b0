"""Every command: what it asks of the API, that -o json is the API's answer and nothing else, that people get something to read."""

import json
from pathlib import Path

import pytest
import yaml

from houyi.cli.app import build_app
from houyi.cli.migration import show_result
from unit.cli.conftest import Houyi
from unit.cli.fake_api import (
    ADVICE,
    DONE,
    DRAIN_PLAN,
    EVENT,
    EXITS,
    EXPERIMENT,
    HISTORY,
    HOST,
    IMAGE,
    KNOB,
    LATENCY,
    MIGRATION,
    NOUNS,
    OPERATION,
    PERIOD,
    PLACEMENT,
    PLAN,
    PROFILE,
    REPORT,
    TUNING,
    VM,
    WHO,
    FakeApi,
    numbered,
)

VM_ID = numbered(3)
OP = f"/v1/operations/{numbered(1)}"

# command line; method and path of what is asked; the body; what -o json prints
CASES = [
    ("vm list", "GET /v1/vms", None, [VM]),
    ("vm show hello", "GET /v1/vms/hello", None, VM),
    ("vm create web --image tiny --type c1.small", "POST /v1/vms", ..., DONE),
    ("vm start hello", "POST /v1/vms/hello/start", None, DONE),
    ("vm stop hello", "POST /v1/vms/hello/stop", {"mode": "graceful", "grace_seconds": 60}, DONE),
    ("vm stop hello --grace 2m", "POST /v1/vms/hello/stop", {"mode": "graceful", "grace_seconds": 120}, DONE),
    ("vm stop hello --force", "POST /v1/vms/hello/stop", {"mode": "force"}, DONE),
    ("vm reboot hello", "POST /v1/vms/hello/reboot", None, DONE),
    ("vm reset hello", "POST /v1/vms/hello/reset", None, DONE),
    ("vm pause hello", "POST /v1/vms/hello/pause", None, DONE),
    ("vm resume hello", "POST /v1/vms/hello/resume", None, DONE),
    ("vm migrate hello", "POST /v1/vms/hello/migrate", {}, DONE),
    (
        "vm migrate hello --to node2 --policy fast --downtime-ms 50 --postcopy --bandwidth-mib-s 10 --priority 2",
        "POST /v1/vms/hello/migrate",
        {"to": "node2", "policy": "fast", "downtime_ms_max": 50, "postcopy": True, "bandwidth_mib_s_max": 10.0, "priority": 2},
        DONE,
    ),
    (
        "vm set hello --migration-policy gentle --downtime-ms 100 --no-postcopy",
        "PATCH /v1/vms/hello",
        {"migration_policy": "gentle", "downtime_ms_max": 100, "postcopy": False},
        VM,
    ),
    ("migration list", "GET /v1/migrations", None, [MIGRATION]),
    ("migration list --open --vm hello --host node1", "GET /v1/migrations", None, [MIGRATION]),
    (f"migration show {numbered(12)}", f"GET /v1/migrations/{numbered(12)}", None, MIGRATION),
    (f"migration cancel {numbered(12)}", f"POST /v1/migrations/{numbered(12)}/cancel", None, ...),
    ("migration plan hello --to node2", "POST /v1/vms/hello/migrate", {"to": "node2"}, PLAN),
    ("vm top", "GET /v1/telemetry", None, [PERIOD]),
    ("vm top --host node1 --sort exits --once", "GET /v1/telemetry", None, [PERIOD]),
    ("vm exits hello", "GET /v1/vms/hello/telemetry", None, HISTORY),
    (
        "tune try hello --profile latency --knob x2apic=on --workload sysbench --at-most 2m --runs 22 --keep --restart --measure cpu --settle 10s",
        "POST /v1/vms/hello/experiments",
        {
            "profile": "latency",
            "knobs": {"x2apic": "on"},
            "command": ["sysbench"],
            "seconds": 120.0,
            "runs": 22,
            "measure": "cpu",
            "keep": True,
            "restart": True,
            "settle_seconds": 10.0,
        },
        EXPERIMENT,
    ),
    (
        "tune try hello --knob io_poll_ns=50000 --observe 30s",
        "POST /v1/vms/hello/experiments",
        {"knobs": {"io_poll_ns": "50000"}, "seconds": 30.0, "settle_seconds": 5.0},
        EXPERIMENT,
    ),
    ("tune experiments --open --vm hello", "GET /v1/experiments", None, [EXPERIMENT]),
    (f"tune show {numbered(21)}", f"GET /v1/experiments/{numbered(21)}", None, EXPERIMENT),
    (f"tune cancel {numbered(21)}", f"POST /v1/experiments/{numbered(21)}/cancel", None, ...),
    ("vm exits hello --by-reason --seconds 5", "POST /v1/vms/hello/exits", {"seconds": 5.0}, EXITS),
    ("vm latency hello --seconds 5", "POST /v1/vms/hello/latency", {"seconds": 5.0}, LATENCY),
    ("vm rename hello bye", "PATCH /v1/vms/hello", {"name": "bye"}, VM),
    ("vm protect hello", "PATCH /v1/vms/hello", {"protected": True}, VM),
    ("vm unprotect hello", "PATCH /v1/vms/hello", {"protected": False}, VM),
    ("vm set hello --vcpus 2 --memory 1GiB --no-video", "PATCH /v1/vms/hello", {"vcpus": 2, "memory_mib": 1024, "video": False}, VM),
    ("vm set hello --cpu-model= --restart-policy always", "PATCH /v1/vms/hello", {"cpu_model": "", "restart_policy": "always"}, VM),
    ("vm set hello --label a=1 --remove-label tier", "PATCH /v1/vms/hello", {"labels": {"a": "1"}}, VM),
    ("vm delete hello --yes", "DELETE /v1/vms/hello", None, DONE),
    ("vm events hello", "GET /v1/events", None, [EVENT]),
    ("image list", "GET /v1/images", None, [IMAGE]),
    ("image show tiny", "GET /v1/images/tiny", None, IMAGE),
    ("image import deb --url https://e.org/d.qcow2 --format qcow2 --os debian --public", "POST /v1/images", ..., DONE),
    ("image delete tiny -y", "DELETE /v1/images/tiny", None, DONE),
    ("network list", "GET /v1/networks", None, [NOUNS["networks"]]),
    ("network show default", "GET /v1/networks/default", None, NOUNS["networks"]),
    (
        "network create lan --cidr 10.9.0.0/24 --dns 1.1.1.1",
        "POST /v1/networks",
        {"name": "lan", "kind": "nat", "cidr": "10.9.0.0/24", "dns": ["1.1.1.1"]},
        ...,
    ),
    ("network create br --bridge br0 --shared", "POST /v1/networks", {"name": "br", "kind": "bridge", "bridge": "br0", "shared": True}, ...),
    ("network delete lan -y", "DELETE /v1/networks/lan", None, {}),
    ("pool list", "GET /v1/pools", None, [NOUNS["pools"]]),
    ("pool show new", "GET /v1/pools/new", None, NOUNS["pools"]),
    ("pool create new", "POST /v1/pools", {"name": "new"}, NOUNS["pools"]),
    ("pool delete new -y", "DELETE /v1/pools/new", None, {}),
    ("host set node1 --pool new", "PATCH /v1/hosts/node1", {"pool": "new"}, HOST),
    ("host set node1 --no-pool", "PATCH /v1/hosts/node1", {"pool": ""}, HOST),
    ("vm-type list", "GET /v1/vm-types", None, [NOUNS["vm-types"]]),
    ("vm-type show c1.small", "GET /v1/vm-types/c1.small", None, NOUNS["vm-types"]),
    (
        "vm-type create x --vcpus 1 --memory 1GiB --disk 2GiB",
        "POST /v1/vm-types",
        {"name": "x", "vcpus": 1, "memory_mib": 1024, "disk_gib": 2},
        NOUNS["vm-types"],
    ),
    ("vm-type set x --name y --disk 3", "PATCH /v1/vm-types/x", {"name": "y", "disk_gib": 3}, NOUNS["vm-types"]),
    ("vm-type delete x -y", "DELETE /v1/vm-types/x", None, {}),
    ("ssh-key list", "GET /v1/ssh-keys", None, [NOUNS["ssh-keys"]]),
    ("ssh-key delete mine -y", "DELETE /v1/ssh-keys/mine", None, {}),
    ("placement explain hello", "GET /v1/vms/hello/placement", None, PLACEMENT),
    ("placement-group list", "GET /v1/placement-groups", None, [NOUNS["placement-groups"]]),
    ("placement-group show web", "GET /v1/placement-groups/web", None, NOUNS["placement-groups"]),
    (
        "placement-group create web anti-affinity --strength soft --scope rack",
        "POST /v1/placement-groups",
        {"name": "web", "policy": "anti-affinity", "strength": "soft", "scope": "rack"},
        NOUNS["placement-groups"],
    ),
    ("placement-group delete web -y", "DELETE /v1/placement-groups/web", None, {}),
    ("host list", "GET /v1/hosts", None, [HOST]),
    ("host show node1", "GET /v1/hosts/node1", None, HOST),
    ("host report node1", "GET /v1/hosts/node1/report", None, REPORT),
    ("host cordon node1", "PATCH /v1/hosts/node1", {"cordoned": True}, HOST),
    ("host uncordon node1", "PATCH /v1/hosts/node1", {"cordoned": False}, HOST),
    ("host drain node1", "POST /v1/hosts/node1/drain", None, DONE),
    ("host drain node1 --dry-run", "POST /v1/hosts/node1/drain", None, DRAIN_PLAN),
    ("host label node1 disk=ssd rack-", "PATCH /v1/hosts/node1", {"labels": {"disk": "ssd"}}, HOST),
    ("host remove node1 -y", "DELETE /v1/hosts/node1", None, {}),
    ("host remove node1 --lost -y", "DELETE /v1/hosts/node1", None, {}),
    ("host set node1 --profile latency --knob ksm=off", "PATCH /v1/hosts/node1", {"profile": "latency", "knobs": {"ksm": "off"}}, HOST),
    ("tune list --subject net --scope vm", "GET /v1/knobs", None, [KNOB]),
    ("tune show net_poll_us", "GET /v1/knobs/net_poll_us", None, KNOB),
    ("tune profiles", "GET /v1/profiles", None, [PROFILE]),
    ("tune advise hello --seconds 5", "POST /v1/vms/hello/advice", {"seconds": 5.0}, ADVICE),
    ("tune advise hello", "GET /v1/vms/hello/advice", None, ADVICE),
    ("tune vm hello", "GET /v1/vms/hello/tuning", None, TUNING),
    ("vm set hello --profile latency", "PATCH /v1/vms/hello", {"profile": "latency"}, VM),
    (
        "vm set hello --on-trouble io_error=report --on-trouble panic-",
        "PATCH /v1/vms/hello",
        {"on_trouble": {"io_error": "report"}},
        VM,
    ),
    ("vm set hello --knob hpet=on", "PATCH /v1/vms/hello", {"knobs": {"hpet": "on"}}, VM),
    (
        "vm-type create x --vcpus 1 --memory 1GiB --disk 2GiB --profile dense",
        "POST /v1/vm-types",
        {"name": "x", "vcpus": 1, "memory_mib": 1024, "disk_gib": 2, "profile": "dense"},
        NOUNS["vm-types"],
    ),
    ("host join-token", "POST /v1/join-tokens", {"lifetime_seconds": 3600.0}, ...),
    ("host join-token create --lifetime 2h", "POST /v1/join-tokens", {"lifetime_seconds": 7200.0}, ...),
    ("host join-token list", "GET /v1/join-tokens", None, [NOUNS["join-tokens"]]),
    ("host join-token revoke x", "DELETE /v1/join-tokens/x", None, {}),
    ("operation list", "GET /v1/operations", None, [DONE]),
    (f"operation show {numbered(1)}", f"GET {OP}", None, DONE),
    (f"operation wait {numbered(1)}", f"GET {OP}", None, DONE),
    (f"operation cancel {numbered(1)}", f"POST {OP}/cancel", None, OPERATION),
    ("event list", "GET /v1/events", None, [EVENT]),
    ("project list", "GET /v1/projects", None, [NOUNS["projects"]]),
    ("project create p", "POST /v1/projects", {"name": "p"}, NOUNS["projects"]),
    ("project delete p -y", "DELETE /v1/projects/p", None, {}),
    ("token list", "GET /v1/tokens", None, [NOUNS["tokens"]]),
    (
        "token create t --role admin --project p --lifetime 1d",
        "POST /v1/tokens",
        {"name": "t", "role": "admin", "lifetime_seconds": 86400.0},
        ...,
    ),
    ("token revoke t", "DELETE /v1/tokens/t", None, {}),
    ("whoami", "GET /v1/whoami", None, WHO),
    ("version", "GET /v1", None, {"client": "0.1.0", "server": "9.9"}),
]

ELSEWHERE = {
    "image build",  # is added to the same noun when the front door was opened in this process before
    "vm console",
    "vm log",
    "vm vnc",
    "event watch",
    "ssh-key add",
    "ssh-key generate",
    "login",
    "completion show",
    "completion install",
    "tune report",
}
"""Commands with tests of their own."""


@pytest.mark.parametrize(("line", "asked", "body", "printed"), CASES, ids=[case[0] for case in CASES])
def test_json_is_what_the_api_answered(houyi: Houyi, api: FakeApi, line: str, asked: str, body: object, printed: object) -> None:
    ran = houyi(*line.split(), "-o", "json")
    assert ran.code == 0, ran.err
    method, path = asked.split()
    one = [one for one in api.asked if one.method == method and one.path == path][-1]
    if body is not ...:
        assert one.body == (b"" if body is None else body)
    if printed is not ...:
        assert ran.json == printed
    assert ran.out == json.dumps(ran.json, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("line", [case[0] for case in CASES])
def test_people_get_something_to_read(houyi: Houyi, line: str) -> None:
    ran = houyi(*line.split())
    assert ran.code == 0, ran.err
    assert ran.out.strip() or ran.err.strip()
    assert "\x1b" not in ran.out + ran.err, "no colours where there is no terminal"
    assert not ran.out.startswith("{")


def test_every_command_is_tried() -> None:
    def leaves(app: object, before: str = "") -> list[str]:
        found = []
        for name in app:  # type: ignore[attr-defined]
            if not name.startswith("-"):
                inner = leaves(app[name], f"{before}{name} ")  # type: ignore[index]
                found += inner or [f"{before}{name}"]
        return found

    tried = {case[0] for case in CASES} | ELSEWHERE
    assert [words for words in leaves(build_app()) if not any(line.startswith(words) for line in tried)] == []


def test_every_option_has_a_word_of_help() -> None:
    wordless = []

    def walk(app: object, before: str) -> None:
        for name in app:  # type: ignore[attr-defined]
            if not name.startswith("-"):
                child = app[name]  # type: ignore[index]
                if child.default_command is not None:
                    arguments = child.assemble_argument_collection(parse_docstring=True)
                    wordless.extend(f"{before} {name} {one.name}" for one in arguments if one.parse and one.show and not one.parameter.help)
                walk(child, f"{before} {name}")

    walk(build_app(), "houyi")
    assert wordless == []


def test_yaml(houyi: Houyi) -> None:
    assert yaml.safe_load(houyi("vm", "show", "hello", "-o", "yaml").out) == VM


def test_a_table_is_for_people(houyi: Houyi) -> None:
    heading, row = houyi("vm", "list").out.splitlines()
    assert heading.split() == ["NAME", "STATE", "ADDRESS", "HOST", "VCPUS", "MEMORY", "DISK", "AGE"]
    assert row.split()[:8] == ["hello", "running", "10.80.0.2", "node1", "1", "512", "MiB", "4"]


def test_host_show_says_which_accelerator_and_why(houyi: Houyi, api: FakeApi) -> None:
    out = houyi("host", "show", "node1").out
    assert "kvm" in out
    assert "guest code ran natively" in out
    assert "cpuid 1200 ns, out 3400 ns" in out
    emulated = {"accelerator": "qemu", "verdict": "emulated", "reason": "KVM here interprets", "exit_ns": {}, "loop_ns": 0.0}
    api.answer("GET", "/v1/hosts/node1", (200, {**HOST, "facts": {**HOST["facts"], "accelerator": emulated}}))
    out = houyi("host", "show", "node1").out
    assert "KVM here interprets" in out
    assert "VM exit" not in out


def test_host_show_has_the_most_useful_advice(houyi: Houyi, api: FakeApi) -> None:
    out = houyi("host", "show", "node1").out
    assert "transparent huge pages 2: never -> echo madvise" in out
    assert "transparent huge pages 3" not in out
    assert "and 1 more: houyi host report node1" in out
    assert [one.path for one in api.asked] == ["/v1/hosts/node1", "/v1/hosts/node1/report"]
    api.refuse("GET", "/v1/hosts/node1/report", 404, "host_report_not_found")
    ran = houyi("host", "show", "node1")
    assert ran.code == 0
    assert "to do" not in ran.out


def test_a_report_says_what_it_means_and_what_to_do(houyi: Houyi) -> None:
    ran = houyi("host", "report", "node1")
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[0].split("  ")[0] == "transparent huge pages 0"
    assert lines[1:3] == ["guests are backed by small pages", "-> echo madvise"]
    assert "4 things to do" in ran.err


def test_a_clock_that_is_off_is_warned_of(houyi: Houyi, api: FakeApi) -> None:
    assert "0.0 s behind the server's " in houyi("host", "show", "node1").out
    assert "clock" not in houyi("host", "list").err
    off = {**HOST, "load": {**HOST["load"], "clock_skew_seconds": 3.14}}
    api.answer("GET", "/v1/hosts/node1", (200, off))
    api.answer("GET", "/v1/hosts", (200, {"items": [off], "next": None, "revision": 1}))
    assert "3.1 s ahead of the server's: set it right" in " ".join(houyi("host", "show", "node1").out.split())
    assert "warning: the clock of host node1 is 3.1 s ahead of the server's" in houyi("host", "list").err


def test_how_long_tasks_of_a_host_had_to_wait(houyi: Houyi, api: FakeApi) -> None:
    said = houyi("host", "show", "node1").out
    assert "stalled" in said
    assert "cpu some 25%" in said
    assert "cpu full" not in said


def test_a_host_that_is_still_joining_can_be_shown(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", "/v1/hosts/new", (200, {**HOST, "name": "new", "state": "joining", "facts": None, "load": None, "last_seen_at": None, "capacity": {}}))
    ran = houyi("host", "show", "new")
    assert ran.code == 0, ran.err
    assert "joining" in ran.out


def test_text_of_others_cannot_move_the_cursor(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", "/v1/vms/hello", (200, {**VM, "error": {"code": "x", "detail": "bad\x1b[2J\x07"}}))
    assert "bad?[2J?" in houyi("vm", "show", "hello").out


def test_filters_are_the_servers(houyi: Houyi, api: FakeApi) -> None:
    assert houyi("vm", "list", "--state", "running", "--host", "node1", "--label", "tier=web", "--label", "db", "-o", "json").json == [VM]
    assert api.last("GET").query == [("state", "running"), ("host", "node1"), ("label", "tier=web"), ("label", "db")]


def test_another_project(houyi: Houyi, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    assert houyi("token", "create", "t", "--project", "p").code == 0
    assert api.last("POST").params == {"project": "p"}
    monkeypatch.setenv("HOUYI_PROJECT", "q")
    assert houyi("operation", "list", "--open").code == 0
    assert api.last("GET").params == {"project": "q", "open": "true"}


def test_nothing_says_what_to_do(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", "/v1/vms", (200, {"items": [], "revision": 1, "next": None}))
    ran = houyi("vm", "list")
    assert ran.out == ""
    assert "houyi vm create" in ran.err
    assert houyi("vm", "list", "-o", "json").json == []


def test_all_pages(houyi: Houyi, api: FakeApi) -> None:
    second = {**VM, "name": "second"}
    api.answer("GET", "/v1/vms", (200, {"items": [VM], "revision": 1, "next": "abc"}), (200, {"items": [second], "revision": 1, "next": None}))
    assert houyi("vm", "list", "-o", "json").json == [VM, second]
    assert api.last("GET").params == {"page_token": "abc"}


def test_create_with_everything(houyi: Houyi, api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "ud").write_text("#cloud-config\n")
    (tmp_path / "k.pub").write_text("ssh-ed25519 AAAA me\n")
    ran = houyi(
        *[
            "vm",
            "create",
            "web",
            "--image",
            "tiny",
            "--vcpus",
            "2",
            "--memory",
            "1.5GiB",
            "--disk",
            "10GiB",
            "--network",
            "default",
            "--network",
            "lan,address=10.9.0.7",
            "--ssh-key",
            "mine",
        ],
        *("--ssh-key", str(tmp_path / "k.pub"), "--user-data", str(tmp_path / "ud"), "--restart-policy", "never", "--firmware", "uefi", "--no-video"),
        *["--cpu-model", "Skylake-Server", "--label", "a=1", "--label", "b=", "--protect", "--no-start"],
        *["--group", "apart", "--host-label", "disk=ssd", "--storage", "nfs", "--pool", "new", "--cpu-feature", "avx2", "--cpu-feature", "aes"],
    )
    assert ran.code == 0, ran.err
    assert api.last("POST").body == {
        "name": "web",
        "image": "tiny",
        "vcpus": 2,
        "memory_mib": 1536,
        "disk_gib": 10,
        "nics": [{"network": "default"}, {"network": "lan", "address": "10.9.0.7"}],
        "ssh_keys": ["mine", "ssh-ed25519 AAAA me"],
        "user_data": "#cloud-config\n",
        "restart_policy": "never",
        "firmware": "uefi",
        "video": False,
        "cpu_model": "Skylake-Server",
        "labels": {"a": "1", "b": ""},
        "placement_group": "apart",
        "pool": "new",
        "cpu_features": ["avx2", "aes"],
        "host_labels": {"disk": "ssd"},
        "storage": "nfs",
        "protected": True,
        "start": False,
    }
    assert api.last("POST").headers["idempotency-key"]


def test_create_without_a_network(houyi: Houyi, api: FakeApi) -> None:
    assert houyi("vm", "create", "web", "--image", "tiny", "--type", "c1.small", "--no-network").code == 0
    assert api.last("POST").body["nics"] == []


def test_create_is_only_rehearsed(houyi: Houyi, api: FakeApi) -> None:
    rehearsal = {"host_id": None, "host_name": None, "why_not": "not enough memory", "vcpus": 1, "memory_mib": 512, "disk_gib": 4, "removed": {}, "asked": {}}
    api.answer("POST", "/v1/vms", (200, rehearsal))
    ran = houyi("vm", "create", "web", "--image", "tiny", "--type", "c1.small", "--dry-run")
    assert api.last("POST").params == {"dry_run": "true"}
    assert "not enough memory" in ran.out


def test_a_placement_is_explained_host_by_host(houyi: Houyi, api: FakeApi) -> None:
    lines = [" ".join(line.split()) for line in houyi("placement", "explain", "hello").out.splitlines()]
    assert lines[:6] == [
        "name hello",
        "is on node1",
        "would go to node2",
        "asks for vcpu 1, memory_mib 576",
        "left at most vcpu 7, memory_mib 9000",
        "taken out by room: 1",
    ]
    assert lines[-2:] == ["node2 chosen 8.50 hardware 8.00 + free_memory 0.50", "node1 room - vcpu: asked 1, left 0"]
    api.answer("GET", "/v1/vms/hello/placement", (200, {**PLACEMENT, "hosts": None}))
    assert "node2 chosen" not in houyi("placement", "explain", "hello").out


def test_labels_are_changed_only_as_they_were_read(houyi: Houyi, api: FakeApi) -> None:
    houyi("vm", "set", "hello", "--label", "new=1")
    assert api.last("PATCH").body == {"labels": {"tier": "web", "new": "1"}}
    assert api.last("PATCH").headers["if-match"] == '"9"'


def test_secrets_are_alone_on_stdout(houyi: Houyi) -> None:
    for line in ("token create t", "host join-token"):
        ran = houyi(*line.split())
        assert ran.out == "the-secret\n"
        assert "the-secret" not in ran.err


def test_the_log_is_printed_as_it_is(houyi: Houyi) -> None:
    assert houyi("vm", "log", "hello").out == "booting\r\nlogin: "
    assert houyi("vm", "log", "hello", "-o", "json").json == {"log": "booting\r\nlogin: "}


def test_an_ssh_key_from_a_file(houyi: Houyi, api: FakeApi, home: Path) -> None:
    (home / "id.pub").write_text("ssh-ed25519 AAAA me\n")
    assert houyi("ssh-key", "add", "mine", str(home / "id.pub"), "-o", "json").json == NOUNS["ssh-keys"]
    assert api.last("POST").body == {"name": "mine", "public_key": "ssh-ed25519 AAAA me"}


def test_a_private_key_is_never_sent(houyi: Houyi, api: FakeApi, home: Path) -> None:
    (home / "id").write_text("-----BEGIN OPENSSH " + "PRIVATE KEY-----\nsecret\n")
    ran = houyi("ssh-key", "add", "mine", str(home / "id"))
    assert ran.code == 2
    assert "not_a_public_key" in ran.err
    assert api.asked == []


def test_a_key_pair_is_generated(houyi: Houyi, api: FakeApi, home: Path) -> None:
    assert houyi("ssh-key", "generate", "work").code == 0
    private = home / ".ssh" / "houyi_work"
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.read_text().startswith("-----BEGIN OPENSSH " + "PRIVATE KEY-----")
    public = private.with_name("houyi_work.pub").read_text().strip()
    assert api.last("POST").body == {"name": "work", "public_key": public}
    again = houyi("ssh-key", "generate", "work")
    assert again.code == 4
    assert "file_exists" in again.err


def test_a_key_that_was_refused_leaves_no_file(houyi: Houyi, api: FakeApi, home: Path) -> None:
    api.refuse("POST", "/v1/ssh-keys", 409, "name_taken")
    assert houyi("ssh-key", "generate", "work").code == 4
    assert list((home / ".ssh").iterdir()) == []


def test_deleting_asks_first(houyi: Houyi, api: FakeApi) -> None:
    ran = houyi("vm", "delete", "hello")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert api.asked == []


@pytest.mark.parametrize(("shell", "sign"), [("bash", "complete "), ("zsh", "#compdef houyi"), ("fish", "complete -c houyi")])
def test_completion(houyi: Houyi, home: Path, shell: str, sign: str) -> None:
    script = houyi("completion", "show", shell).out
    assert sign in script
    assert "reboot" in script
    file = home / "script"
    assert houyi("completion", "install", shell, "--file", str(file)).code == 0
    assert sign in file.read_text()
    assert houyi("completion", "show", shell, "-o", "json").json["shell"] == shell


def test_what_was_expected_of_a_move_stands_beside_what_it_took(houyi: Houyi, api: FakeApi) -> None:
    ran = houyi("migration", "list")
    assert ("12.3s, 61ms still" in ran.out, "11.0s, 50ms still" in ran.out) == (True, True)
    shown = houyi("migration", "show", numbered(12)).out
    for text in ("node2: live, take; not heard of since", "61ms", "it is idle", "700 MiB"):
        assert text in shown
    api.answer("GET", "/v1/migrations", (200, {"items": [{**MIGRATION, "forecast": None, "outcome": None}], "revision": 1, "next": None}))
    assert "still" not in houyi("migration", "list").out


def test_what_stands_against_a_move_is_said(houyi: Houyi, api: FakeApi) -> None:
    blockers = [{"code": "same_host", "detail": "the VM is there already"}, {"code": "host_not_ready", "detail": "host node2 is cordoned"}]
    api.answer("POST", "/v1/vms/hello/migrate", (200, {**PLAN, "blockers": blockers, "forecast": None}))
    told = houyi("migration", "plan", "hello").out
    for text in ("it cannot be moved", "the VM is there already (same_host)", "host node2 is cordoned (host_not_ready)"):
        assert text in told
    assert "still" in houyi("migration", "plan", "hello").out, "what it may take is told in any case"
    for converges, text in ((True, "yes"), (False, "no: it would be given up")):
        api.answer("POST", "/v1/vms/hello/migrate", (200, {**PLAN, "forecast": {**PLAN["forecast"], "converges": converges}}))
        told = houyi("migration", "plan", "hello").out
        assert f"converges  {text}" in told
        assert "11.0s, 50ms still" in told


def test_a_drain_shows_its_plan_first(houyi: Houyi, api: FakeApi) -> None:
    for line in (("host", "drain", "node1", "--dry-run"), ("host", "drain", "node1")):
        ran = houyi(*line)
        for text in ("hello", "node2", "stays", "the VM's migration policy is 'never' (migration_forbidden)"):
            assert text in ran.out
        assert "1 of 2 VMs can move" in ran.err
        assert api.last("POST").params == ({"dry_run": "true"} if "--dry-run" in line else {})


def test_a_vm_on_a_move_says_how_far_it_is(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", "/v1/vms/hello", (200, {**VM, "migration_id": numbered(12), "migration_policy": "auto", "downtime_ms_max": 300, "postcopy": True}))
    api.answer("GET", f"/v1/migrations/{numbered(12)}", (200, {**MIGRATION, "state": "moving", "progress": 0.42}))
    told = houyi("vm", "show", "hello").out
    assert f"to node2, moving, 42%: `houyi migration show {numbered(12)}`" in told
    assert "auto, at most 300ms still, post-copy allowed" in told
    assert houyi("vm", "show", "hello", "-o", "json").json["migration_id"] == numbered(12)


def test_what_a_vm_runs_with_says_why_not(houyi: Houyi, api: FakeApi) -> None:
    done = houyi("tune", "vm", "hello")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "cpu_pm on its profile off left out: this host has no KVM" in lines
    assert "hpet on the VM off takes effect: next start" in lines
    assert "io_poll_ns 0 its host's profile 0 in force" in lines
    assert "x2apic=on" in done.err


def test_knobs_are_set_and_taken_back_beside_those_that_are_there(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", "/v1/vms/hello", (200, {**VM, "knobs": {"hpet": "on", "pit": "off"}}))
    houyi("vm", "set", "hello", "--knob", "pv_ipi=on", "--knob", "hpet-")
    asked = api.last("PATCH")
    assert asked.body == {"knobs": {"pit": "off", "pv_ipi": "on"}}
    assert asked.headers["if-match"] == '"9"'


def test_a_vm_is_made_with_a_profile_and_knobs(houyi: Houyi, api: FakeApi) -> None:
    houyi("vm", "create", "web", "--image", "tiny", "--type", "c1.small", "--profile", "latency", "--knob", "cpu_pm=off")
    body = api.last("POST").body
    assert (body["profile"], body["knobs"]) == ("latency", {"cpu_pm": "off"})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"exits_s": 0.0, "symptoms": {}, "seconds": 0.0, "advice": []}, "nothing has been counted of hello yet"),
        ({"exits_s": 0.0, "symptoms": {}, "seconds": 10.0, "advice": []}, "it is emulated"),
        ({"exits_s": 9.0, "symptoms": {}, "seconds": 10.0, "advice": []}, "9 exits a second, and no knob"),
    ],
)
def test_no_advice_says_why(houyi: Houyi, api: FakeApi, answer: dict[str, object], said: str) -> None:
    api.answer("GET", "/v1/vms/hello/advice", (200, answer))
    assert said in houyi("tune", "advise", "hello").err


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"total_seconds": 3.0, "gap_ms": 61.0, "downtime_ms": 50.0, "mode": "plain"}, "3.0s, 61ms still"),
        ({"total_seconds": 3.0, "gap_ms": 0.0, "downtime_ms": 0.0, "mode": "plain"}, "3.0s, paused"),
        ({"total_seconds": 3.0, "gap_ms": 0.0, "downtime_ms": 0.0, "mode": "cold"}, "3.0s, stopped"),
        (None, "-"),
    ],
)
def test_who_did_not_run_did_not_stand_still(result: dict[str, object] | None, shown: str) -> None:
    assert show_result(result) == shown
