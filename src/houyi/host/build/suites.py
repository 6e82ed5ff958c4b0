"""This machine's own Debian suite, and the lines of its apt sources that a new system is installed from: its mirrors, no others."""

from pathlib import Path

from houyi.host import shell
from houyi.model.errors import Failed


def own() -> str:
    """'bookworm', 'trixie' ... :raise Failed: `suite_missing`."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise Failed("suite_missing", "this machine's /etc/os-release names no Debian suite: name one")


def backports(suite: str) -> str:
    """What newer versions for `suite` are called."""
    return f"{suite}-backports"


async def sources(suite: str, *, newer: bool = False) -> str:
    """The lines of a sources.list for `suite` with its updates and security; `newer`: and its backports, where this machine has them. :raise Failed: `suite_missing`."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = await shell.run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"], timeout=60)
    lines: dict[str, None] = {}
    releases = (suite, f"{suite}-updates", f"{suite}-security", *((backports(suite),) if newer else ()))
    for line in listed.text.splitlines():
        uri, release, component = line.split()
        if release in releases and component == "main":
            lines[f"deb {uri} {release} {component}\n"] = None
    if not any(f" {suite} " in line for line in lines):
        raise Failed("suite_missing", f"this machine's apt has no source for {suite}: add one, or name a suite that it has")
    return "".join(lines)
