"""Settings: a TOML file, overridden by environment variables (`HOUYI_SERVER__API_PORT=...`), with a default for everything.

The file is `$HOUYI_CONFIG`, else /etc/houyi/houyi.toml if it exists. Every setting has a description; docs/SETTINGS.md lists them
(a test compares). No secret is a setting: secrets live in files with mode 0600 under `state_dir`.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

DEFAULT_FILE = Path("/etc/houyi/houyi.toml")
Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """The control plane."""

    api_host: str = Field("127.0.0.1", description="Address the REST API listens on. Anything but loopback needs api_tls_cert and api_tls_key.")
    api_port: Port = Field(7480, description="TCP port of the REST API; 0 chooses a free one.")
    api_tls_cert: Path | None = Field(None, description="PEM certificate chain of the REST API; unset: plain HTTP, on loopback only.")
    api_tls_key: Path | None = Field(None, description="PEM private key that belongs to api_tls_cert.")
    agents_host: str = Field("127.0.0.1", description="Address the agents' listener (mutual TLS) listens on.")
    agents_port: Port = Field(7481, description="TCP port of the agents' listener; 0 chooses a free one.")
    agents_names: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1"), description="Names and addresses by which agents reach the server; they go into its certificate."
    )
    database_url: str = Field(
        "", description="SQLAlchemy URL: postgresql+asyncpg://... ; empty: the embedded SQLite store in state_dir. Prefer a file-based password (PGPASSFILE)."
    )
    lease_seconds: float = Field(15.0, gt=0, description="A host not heard of for this long is unreachable.")
    reconcile_seconds: float = Field(2.0, gt=0, description="Period of every reconciler; hints only make it sooner.")
    vcpu_overcommit: float = Field(4.0, gt=0, description="vCPUs that may be claimed per CPU of a host.")
    memory_overcommit: float = Field(1.0, gt=0, description="Memory that may be claimed per MiB of a host (after memory_reserved_mib).")
    migration_encryption: str = Field(
        "tls", pattern="^(tls|none)$", description="Whether moves of VMs between hosts are encrypted; 'none' sends guests' memory in the clear."
    )
    disk_overcommit: float = Field(2.0, gt=0, description="Disk that may be claimed per GiB of a host: disks are thin.")
    placement_packing: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Weight of packing VMs onto hosts that are full already, beside spreading them by free memory and vCPUs (1 each): above 2 it packs.",
    )
    memory_reserved_mib: int = Field(512, ge=0, description="Memory of every host that is never given to VMs.")
    max_body_bytes: int = Field(1 << 20, gt=0, description="Largest body of an API request, image uploads excepted.")
    max_image_bytes: int = Field(64 << 30, gt=0, description="Largest image that may be imported, on the wire and as a virtual disk.")
    disk_kept_mib: int = Field(
        1024, ge=0, description="Disk space under state_dir that images never take: the database is there too, and a full disk stops every write."
    )
    image_url_private: bool = Field(False, description="Whether an image URL may point to loopback, link-local or private addresses (a request forgery risk).")
    prometheus_url: str = Field(
        "",
        description="Prometheus that scrapes the agents ('http://prometheus:9090'): longer history of VMs is asked there; empty: only the last hour is kept.",
    )
    changes_kept: int = Field(100_000, gt=0, description="Changes kept for watchers; a watcher older than these has to list again.")
    events_kept_days: float = Field(90.0, gt=0, description="Days that events and ended operations are kept.")
    idempotency_hours: float = Field(24.0, gt=0, description="Hours that an Idempotency-Key is remembered.")


class AgentSettings(_Section):
    """The process on each host."""

    server_host: str = Field("127.0.0.1", description="Where the server's agents' listener is.")
    server_port: Port = Field(7481, description="Its TCP port.")
    host_name: str = Field("", description="Name that the host joins as; empty: its host name.")
    libvirt_uri: str = Field("qemu:///system", description="libvirt connection of this host.")
    heartbeat_seconds: float = Field(5.0, gt=0, description="Period of heartbeats with the host's load.")
    pass_seconds: float = Field(10.0, gt=0, description="Period of full passes over all VMs; events only make it sooner.")
    telemetry_seconds: float = Field(
        10.0, ge=1, le=300, description="How often the VMs of a host are counted (VM exits, CPU, steal, disks, networks); the server keeps 360 such periods."
    )
    probe_seconds: float = Field(5.0, gt=0, description="Wall-clock limit of the KVM probe.")
    accelerator: str = Field("", description="Force 'kvm' or 'qemu' instead of what the probe finds; empty: believe the probe.")
    tcg_tb_size_mib: int = Field(64, ge=8, description="Translation cache of a VM under TCG.")
    metrics_host: str = Field("127.0.0.1", description="Address of the agent's /metrics.")
    metrics_port: Port = Field(7482, description="TCP port of the agent's /metrics; 0 chooses a free one.")
    door_address: str = Field("", description="Address at which other hosts reach this one when VMs move; empty: that of the way to the server.")
    door_host: str = Field("", description="Address that the agent's door listens on, only while a VM is to come; empty: door_address.")
    door_port: Port = Field(7483, description="TCP port of the agent's door (mutual TLS); 0 chooses a free one for each move.")
    memory_mib: int = Field(0, ge=0, description="Memory that this host offers, what the platform reserves of it included; 0: all that the machine has.")
    qemu_user: str = Field("", description="User that owns disk files; empty: whom libvirt runs QEMU as.")
    migration_tls_dir: Path = Field(
        Path("/etc/pki/qemu"), description="Where QEMU finds its credentials for moves: libvirt's own default, unless qemu.conf says otherwise."
    )
    shared_dirs: dict[str, Path] = Field(
        default_factory=dict, description="Folders that other hosts see as well, by the name that VMs' storage has: VMs on them move without their disks."
    )
    nat_cidr: str = Field("10.80.0.0/24", description="IPv4 network of the built-in NAT network when it is first made.")


class LogSettings(_Section):
    level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Lowest level that is logged.")
    format: str = Field("auto", pattern="^(auto|json|text)$", description="'json' for machines, 'text' for people; 'auto': text on a terminal.")


class Settings(BaseSettings):
    """All settings. `Settings()` reads the environment and the file."""

    model_config = SettingsConfigDict(env_prefix="HOUYI_", env_nested_delimiter="__", extra="forbid", frozen=True)

    state_dir: Path = Field(Path("/var/lib/houyi"), description="Everything that must survive: database, keys, images, disks, ledger.")
    run_dir: Path = Field(Path("/run/houyi"), description="Sockets and pid files; may vanish at reboot.")
    log_dir: Path = Field(Path("/var/log/houyi"), description="Logs of processes started in the background.")
    lab_dir: Path = Field(Path("/var/lib/houyi-labs"), description="Labs that `houyi lab up` makes, a folder each.")
    server: ServerSettings = Field(default_factory=ServerSettings, description="The control plane.")
    agent: AgentSettings = Field(default_factory=AgentSettings, description="The process on each host.")
    log: LogSettings = Field(default_factory=LogSettings, description="Logs.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = os.environ.get("HOUYI_CONFIG")
        path = Path(named) if named else DEFAULT_FILE
        file = (TomlConfigSettingsSource(settings_cls, toml_file=path),) if named or path.exists() else ()
        return (init_settings, env_settings, *file)
