"""Randomness from the host, so that a fresh guest does not wait for entropy."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices


def configure(ctx: DomainContext, domain: Element) -> None:
    rng = child(devices(domain), "rng", model="virtio")
    child(rng, "rate", bytes="65536", period="1000")  # 64 KiB/s: no guest can use up the host's randomness
    child(rng, "backend", "/dev/urandom", model="random")
