"""Build and read the request paths of the Kubernetes API.

One place, because a path that is put together by hand somewhere forgets the core
group's `/api/v1` or the namespace sooner or later. Pure text; everything in
`lbctl.api` uses it, and so may its callers.
"""


def collection_path(*, group: str, version: str, plural: str, namespace: str | None = None) -> str:
    """Return the path of a collection; `group` is "" for the core group."""
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{plural}"


def object_path(
    *, group: str, version: str, plural: str, name: str, namespace: str | None = None
) -> str:
    """Return the path of one object; append "/status" for the subresource."""
    root = collection_path(group=group, version=version, plural=plural, namespace=namespace)
    return f"{root}/{name}"


def resource_name(path: str) -> str:
    """Return what RBAC and CRDs call the resource: "services", "ipaddresspools.lbctl.io".

    Accepts the path of a collection, an object or a subresource. A path that is none
    of them comes back as it is, since the result is only ever shown.
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return path
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    plural = "/".join([rest[0], *rest[2:3]])
    return f"{plural}.{group}" if group else plural
