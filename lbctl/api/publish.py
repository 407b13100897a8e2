"""Put a status object of ours into the cluster: create it if need be, then its status.

A kind with a status subresource ignores `status` on creation, so the first publication
takes two writes and every later one takes one. SpeakerStatus, ServiceL2Status and
ConfigurationState are published with this; nothing here knows their fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lbctl.api.writer import WriteOutcome, Writer, Written, create, patch_status


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusObject:
    """An object that exists for the sake of its status.

    `metadata` holds the name, and namespace, labels or ownerReferences where wanted.
    """

    collection: str
    api_version: str
    kind: str
    metadata: Mapping[str, Any]
    status: Mapping[str, Any]
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Return the object's own path."""
        return f"{self.collection}/{self.metadata['name']}"

    def body(self) -> dict[str, Any]:
        """Return what is sent to create it."""
        body: dict[str, Any] = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": dict(self.metadata),
        }
        if self.spec:
            body["spec"] = dict(self.spec)
        return body


async def publish(
    writer: Writer, wanted: StatusObject, *, resource_version: str | None, urgent: bool = False
) -> WriteOutcome:
    """Write `wanted` and return the outcome of its last write.

    `resource_version` is that of the object as last seen, None if there is none. Metadata
    is written by the creation only. Every outcome but `Written` means: look again, then
    publish what is true by then.
    """
    version = resource_version
    if version is None:
        created = await writer.submit(create(wanted.collection, wanted.body()), urgent=urgent)
        if not isinstance(created, Written):
            return created
        version = str(created.body["metadata"]["resourceVersion"])
    return await writer.submit(
        patch_status(wanted.path, resource_version=version, patch={"status": dict(wanted.status)}),
        urgent=urgent,
    )
