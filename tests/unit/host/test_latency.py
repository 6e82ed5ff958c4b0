"""QEMU's histograms of latencies, in its own words (10.0), as ours."""

from typing import Any

from houyi.host.libvirt.latency import disk_names, latencies
from houyi.model.latency import BOUNDS_NS

XML = """<domain><devices>
<disk type='file' device='disk'><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><alias name='sata0-0-0'/></disk>
</devices></domain>"""
QDEV = "/machine/peripheral/virtio-disk0/virtio-backend"


def histograms(**more: Any) -> dict[str, Any]:
    none = {"boundaries": list(BOUNDS_NS), "bins": [0] * (len(BOUNDS_NS) + 1)}
    return {f"{kind}_latency_histogram": none for kind in ("rd", "wr", "flush")} | more


def test_disks_by_their_names_in_the_guest() -> None:
    names = disk_names(XML)
    assert names == {"virtio-disk0": "vda"}
    reads = {"boundaries": list(BOUNDS_NS), "bins": [3, *[0] * len(BOUNDS_NS)]}
    told = [
        {"device": "", "qdev": QDEV, "stats": histograms(rd_latency_histogram=reads)},
        {"device": "", "qdev": "/machine/peripheral/sata0-0-0", "stats": {}},
        {"device": "pflash0", "stats": {}},
    ]
    found = latencies(told, names)[QDEV]
    assert found is not None
    assert (found.name, found.reads[0], sum(found.writes), list(latencies(told, names))) == ("vda", 3, 0, [QDEV])


def test_what_is_not_counted_or_in_other_bins() -> None:
    other = {"boundaries": [10, 100], "bins": [1, 2, 3]}
    for stats in ({}, histograms(wr_latency_histogram=other)):
        assert latencies([{"qdev": QDEV, "stats": stats}], {"virtio-disk0": "vda"}) == {QDEV: None}
