"""How one knob is put into a domain and read back, and the few ways in which most are."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
"""libvirt's name space for what it has no word for. A domain with it is marked by libvirt as started with arguments of ours."""
CPU_TYPE = "x86_64-cpu"
"""QEMU's type of every x86 CPU: a global of it holds whatever model the guest has."""

ET.register_namespace("qemu", QEMU)

Put = Callable[[DomainContext, Element, str], None]
Seen = Callable[[Element], str]


@dataclass(frozen=True, slots=True)
class Fitting:
    put: Put
    """Change the <domain> so that it has this value, which is not the default."""
    seen: Seen
    """The value that a <domain> has; empty: the default."""


def at(parent: Element, path: str) -> Element:
    """The first element at `path` ('a/b'), made as far as it is not there."""
    for tag in path.split("/"):
        found = parent.find(tag)
        parent = child(parent, tag) if found is None else found
    return parent


def attribute(path: str, name: str, *, on: str = "on", off: str = "off") -> Fitting:
    """Values 'on' and 'off' as one attribute of one element."""
    words = {"on": on, "off": off}
    back = {word: value for value, word in words.items()}

    def put(_ctx: DomainContext, domain: Element, value: str) -> None:
        at(domain, path).set(name, words[value])

    def seen(domain: Element) -> str:
        found = domain.find(path)
        return "" if found is None else back.get(found.get(name, ""), "")

    return Fitting(put, seen)


def feature(name: str) -> Fitting:
    """A feature of the guest's CPU that libvirt knows: 'on' requires it, 'off' takes it away."""
    policies = {"on": "require", "off": "disable"}
    back = {"require": "on", "force": "on", "disable": "off", "forbid": "off"}

    def put(_ctx: DomainContext, domain: Element, value: str) -> None:
        cpu = at(domain, "cpu")
        for old in _features(cpu, name):
            cpu.remove(old)
        child(cpu, "feature", policy=policies[value], name=name)

    def seen(domain: Element) -> str:
        cpu = domain.find("cpu")
        return next((back.get(one.get("policy", ""), "") for one in _features(cpu, name)), "") if cpu is not None else ""

    return Fitting(put, seen)


def _features(cpu: Element, name: str) -> list[Element]:
    return [one for one in cpu.findall("feature") if one.get("name") == name]


def qemu_global(name: str) -> Fitting:
    """A feature of the guest's CPU that libvirt does not know, as a global of QEMU's."""
    words = {"on": f"{CPU_TYPE}.{name}=on", "off": f"{CPU_TYPE}.{name}=off"}
    return Fitting(lambda _ctx, domain, value: add_arguments(domain, "-global", words[value]), lambda domain: argument_among(domain, "-global", words))


def flag(path: str, *, there: str) -> Fitting:
    """An empty element whose presence is the value `there`."""
    return Fitting(lambda _ctx, domain, _value: put_flag(domain, path), lambda domain: there if domain.find(path) is not None else "")


def put_flag(domain: Element, path: str) -> None:
    at(domain, path)


def add_arguments(domain: Element, *arguments: str) -> None:
    """Options at the end of QEMU's command line."""
    line = domain.find(f"{{{QEMU}}}commandline")
    if line is None:
        line = child(domain, f"{{{QEMU}}}commandline")
    for argument in arguments:
        child(line, f"{{{QEMU}}}arg", value=argument)


def arguments(domain: Element) -> Sequence[str]:
    """Options of our own on QEMU's command line."""
    return [one.get("value", "") for one in domain.findall(f"{{{QEMU}}}commandline/{{{QEMU}}}arg")]


def argument_among(domain: Element, option: str, words: dict[str, str]) -> str:
    """:param words: value -> the argument after `option` that stands for it."""
    pairs = set(_pairs(arguments(domain)))
    return next((value for value, word in words.items() if (option, word) in pairs), "")


def argument_after(domain: Element, option: str, prefix: str) -> str:
    """What follows `prefix` in the first argument of `option` that begins with it; empty: there is none."""
    return next((word.removeprefix(prefix) for name, word in _pairs(arguments(domain)) if name == option and word.startswith(prefix)), "")


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    return pairwise(words)


def without_capability(domain: Element, name: str) -> None:
    """Have libvirt believe that this QEMU lacks something."""
    capabilities = domain.find(f"{{{QEMU}}}capabilities")
    if capabilities is None:
        capabilities = child(domain, f"{{{QEMU}}}capabilities")
    child(capabilities, f"{{{QEMU}}}del", capability=name)
