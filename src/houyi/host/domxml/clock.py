"""Clock and timers."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child


def configure(ctx: DomainContext, domain: Element) -> None:
    """UTC. Lost ticks of the RTC are caught up slowly and those of the PIT delayed, so that guests that count ticks keep time; HPET is off: it costs exits for nothing."""
    clock = child(domain, "clock", offset="utc")
    child(clock, "timer", name="rtc", tickpolicy="catchup")
    child(clock, "timer", name="pit", tickpolicy="delay")
    child(clock, "timer", name="hpet", present="no")
