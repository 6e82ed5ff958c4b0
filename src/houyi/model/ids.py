"""Typed identifiers. Every id is a lower-case UUID string; the type says of what.

A VM's id is also its libvirt domain UUID, so that a domain found on a host can always be traced to its record.
"""

from typing import NewType

EventId = NewType("EventId", str)
ExperimentId = NewType("ExperimentId", str)
HostId = NewType("HostId", str)
ImageId = NewType("ImageId", str)
JoinTokenId = NewType("JoinTokenId", str)
MigrationId = NewType("MigrationId", str)
NetworkId = NewType("NetworkId", str)
OperationId = NewType("OperationId", str)
PlacementGroupId = NewType("PlacementGroupId", str)
PoolId = NewType("PoolId", str)
ProjectId = NewType("ProjectId", str)
SshKeyId = NewType("SshKeyId", str)
TokenId = NewType("TokenId", str)
VmId = NewType("VmId", str)
VmTypeId = NewType("VmTypeId", str)
