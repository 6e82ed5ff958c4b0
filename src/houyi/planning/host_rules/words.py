"""What the rules have in common to say."""

from houyi.model.host_report import Has, HostTraits

WORDS = {Has.ON: "on", Has.OFF: "there, but switched off", Has.ABSENT: "not there"}


def unknown(traits: HostTraits, *names: str) -> str:
    """'unknown: /sys/...: Permission denied', for the first of these traits that has a reason."""
    reason = next((traits.unknown[name] for name in names if name in traits.unknown), traits.unknown.get("everything", "the machine does not say"))
    return f"unknown: {reason}"


def in_words(traits: HostTraits, name: str, has: Has | None) -> str:
    return unknown(traits, name, name.partition(".")[0]) if has is None else WORDS[has]


def mib(amount: int) -> str:
    """'512 MiB', '64 GiB'."""
    return f"{amount / 1024:.0f} GiB" if amount >= 10 * 1024 else f"{amount} MiB"


def many(count: int, noun: str) -> str:
    """'1 node', '2 nodes'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
