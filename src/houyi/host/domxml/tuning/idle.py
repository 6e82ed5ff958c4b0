"""What an idle vCPU does."""

from houyi.host.domxml.tuning.fitting import Fitting, add_arguments, argument_among, attribute

_CPU_PM = {"on": "cpu-pm=on"}

FITTINGS = {
    "cpu_pm": Fitting(
        lambda _ctx, domain, value: add_arguments(domain, "-overcommit", _CPU_PM[value]), lambda domain: argument_among(domain, "-overcommit", _CPU_PM)
    ),
    "poll_control": attribute("features/kvm/poll-control", "state"),
    "dedicated_hint": attribute("features/kvm/hint-dedicated", "state"),
}
