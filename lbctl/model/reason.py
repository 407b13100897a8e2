"""The closed set of reasons: every no, and every notable yes, that the product can say. Pure.

A reason's value is the string in conditions, Events, metric labels and docs. Each carries a
title, the usual cause, a command that checks it and the cure: docs/reference/reasons.md, the
condition's message and `lbctl explain` are generated from this table, so that a text cannot
drift from the code. Where MetalLB has an Event reason for the same thing, the Event keeps it
(reference: allocation decisions); see `Explanation.event`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Reason(enum.StrEnum):
    """Name why. The groups are allocation, configuration, and announcing."""

    # Condition lbctl.io/Allocated, True
    ALLOCATED = "Allocated"
    PARTIALLY_ALLOCATED = "PartiallyAllocated"
    # Condition lbctl.io/Allocated, False
    POOL_EXHAUSTED = "PoolExhausted"
    NO_POOL_MATCHES = "NoPoolMatches"
    UNKNOWN_POOL = "UnknownPool"
    POOL_NOT_ALLOWED = "PoolNotAllowed"
    ADDRESS_IN_USE = "AddressInUse"
    ADDRESS_NOT_IN_ANY_POOL = "AddressNotInAnyPool"
    ADDRESS_NOT_IN_REQUESTED_POOL = "AddressNotInRequestedPool"
    SHARING_KEY_DIFFERS = "SharingKeyDiffers"
    PORT_IN_USE = "PortInUse"
    FAMILY_MISMATCH = "FamilyMismatch"
    INVALID_REQUEST = "InvalidRequest"
    REQUEST_CHANGED = "RequestChanged"
    NO_CLUSTER_IP = "NoClusterIP"
    # The Service is none of our business
    NOT_LOAD_BALANCER = "NotLoadBalancer"
    FOREIGN_CLASS = "ForeignClass"
    FOREIGN_ADDRESS = "ForeignAddress"
    # Why one pool did not serve one Service (the trace)
    AUTO_ASSIGN_OFF = "AutoAssignOff"
    NO_SUCH_FAMILY = "NoSuchFamily"
    # Condition Accepted on configuration objects
    ACCEPTED = "Accepted"
    INVALID = "Invalid"
    OVERLAPS = "Overlaps"
    MISSING_POOL = "MissingPool"
    MISSING_PEER = "MissingPeer"
    MISSING_COMMUNITY = "MissingCommunity"
    DUPLICATE_COMMUNITY = "DuplicateCommunity"
    DUPLICATE_PEER = "DuplicatePeer"
    VRF_UNSUPPORTED = "VrfUnsupported"
    BFD_UNSUPPORTED = "BfdUnsupported"
    # Why a node does or does not announce an address
    ANNOUNCED = "Announced"
    NOT_ALLOCATED = "NotAllocated"
    NO_ADVERTISEMENT = "NoAdvertisement"
    NODE_NOT_SELECTED = "NodeNotSelected"
    NODE_EXCLUDED = "NodeExcluded"
    NODE_NETWORK_UNAVAILABLE = "NodeNetworkUnavailable"
    NODE_NOT_READY = "NodeNotReady"
    NODE_OUT_OF_SERVICE = "NodeOutOfService"
    NO_SPEAKER = "NoSpeaker"
    NODE_DRAINING = "NodeDraining"
    INTERFACE_MISSING = "InterfaceMissing"
    INTERFACE_DOWN = "InterfaceDown"
    NO_CARRIER = "NoCarrier"
    FAMILY_MISSING_ON_INTERFACE = "FamilyMissingOnInterface"
    INTERFACE_UNUSABLE = "InterfaceUnusable"
    FASTPATH_DOWN = "FastPathDown"
    NO_ENDPOINTS = "NoEndpoints"
    NO_LOCAL_ENDPOINTS = "NoLocalEndpoints"
    AGGREGATE_TOO_WIDE = "AggregateTooWide"
    CONFLICTING_ADVERTISEMENTS = "ConflictingAdvertisements"
    NO_PEER = "NoPeer"
    PEER_NOT_SELECTED = "PeerNotSelected"
    FAMILY_NOT_ON_SESSION = "FamilyNotOnSession"
    SESSION_DOWN = "SessionDown"
    NOT_REPORTED = "NotReported"
    NOT_ELECTED = "NotElected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Explain a reason to an operator: what it means, why it happens, how to check and cure it.

    `check` is one shell command with placeholders, which `lbctl.plan.places` fills: {namespace},
    {name} (the Service), {pool}, {node}, {lbctl_namespace}, {api_group} of MetalLB's kinds, and
    {elsewhere}, the option that an `lbctl` command needs if its namespace is not the default.
    """

    title: str
    cause: str
    check: str
    cure: str


_GET_SERVICE = "kubectl -n {namespace} get service {name} -o yaml"
_GET_POOLS = "lbctl get pools{elsewhere}"
_EXPLAIN = "lbctl explain -n {namespace} {name}{elsewhere}"
_GET_NODE = "kubectl get node {node} -o yaml"
_GET_PEERS = "kubectl -n {lbctl_namespace} get bgppeers.{api_group} -o yaml"

EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.ALLOCATED: Explanation(
        title="The Service has every address it needs",
        cause="A pool had a free address of each wanted family, or the present address is still lawful.",
        check="lbctl get services -n {namespace}{elsewhere}",
        cure="Nothing to do.",
    ),
    Reason.PARTIALLY_ALLOCATED: Explanation(
        title="A dual-stack Service has an address of one family only",
        cause="The address of the other family is refused, for the reason that the message tells: "
        "with PreferDualStack one is enough, and with RequireDualStack an address that the Service "
        "has already is not taken away.",
        check=_EXPLAIN,
        cure="Do what the message asks for; the second address follows by itself.",
    ),
    Reason.POOL_EXHAUSTED: Explanation(
        title="Every pool that could serve the Service is full",
        cause="All addresses of the matching pools are in use.",
        check=_GET_POOLS,
        cure="Add a range to a pool, or delete a Service that no longer needs its address.",
    ),
    Reason.NO_POOL_MATCHES: Explanation(
        title="No pool may serve this Service",
        cause="There is no accepted pool, or each has autoAssign: false, the wrong family, or a "
        "serviceAllocation that does not match the Service.",
        check=_EXPLAIN,
        cure="Create an IPAddressPool, or change what keeps one from the Service: its ranges, "
        "autoAssign or serviceAllocation.",
    ),
    Reason.UNKNOWN_POOL: Explanation(
        title="The requested pool does not exist",
        cause="The annotation lbctl.io/address-pool names a pool that is missing or not accepted.",
        check=_GET_POOLS,
        cure="Correct the annotation or create the pool.",
    ),
    Reason.POOL_NOT_ALLOWED: Explanation(
        title="The requested pool does not serve this Service",
        cause="The pool's serviceAllocation (namespaces or selectors) does not match the Service.",
        check="kubectl -n {lbctl_namespace} get ipaddresspools.{api_group} {pool} -o yaml",
        cure="Request another pool or widen the pool's serviceAllocation.",
    ),
    Reason.ADDRESS_IN_USE: Explanation(
        title="The requested address belongs to another Service",
        cause="Two Services ask for one address and do not share it.",
        check="kubectl get services -A",
        cure="Ask for another address, or give both Services the same lbctl.io/allow-shared-ip key.",
    ),
    Reason.ADDRESS_NOT_IN_ANY_POOL: Explanation(
        title="No pool gives the requested address",
        cause="lbctl gives only addresses that an accepted IPAddressPool holds, and with "
        "avoidBuggyIPs none of .0 and .255.",
        check=_GET_POOLS,
        cure="Ask for an address that a pool gives. Or correct the pool that the message names; if "
        "it names none, add the address to a pool.",
    ),
    Reason.ADDRESS_NOT_IN_REQUESTED_POOL: Explanation(
        title="The requested address is not in the requested pool",
        cause="The annotations ask for a pool and for an address outside it.",
        check=_GET_SERVICE,
        cure="Drop one of the two annotations or make them agree.",
    ),
    Reason.SHARING_KEY_DIFFERS: Explanation(
        title="The address is shared under another key",
        cause="Services share an address only with equal lbctl.io/allow-shared-ip keys, and with "
        "externalTrafficPolicy Local only with equal selectors.",
        check=_GET_SERVICE,
        cure="Give the Services the same key, or let this one have an address of its own.",
    ),
    Reason.PORT_IN_USE: Explanation(
        title="Another Service on the shared address has this port",
        cause="Two Services that share an address cannot both have the same protocol and port.",
        check=_GET_SERVICE,
        cure="Change the port or give the Service an address of its own.",
    ),
    Reason.FAMILY_MISMATCH: Explanation(
        title="The requested addresses are not of the Service's families",
        cause="The request has an address of a family that spec.ipFamilies lacks, or lacks one.",
        check=_GET_SERVICE,
        cure="Ask for one address of each family in spec.ipFamilies.",
    ),
    Reason.INVALID_REQUEST: Explanation(
        title="The request on the Service cannot be read",
        cause="An annotation or spec.loadBalancerIP holds something that is not an address, more than "
        "one address of a family, or the two contradict each other.",
        check=_GET_SERVICE,
        cure="Correct the field that the message names.",
    ),
    Reason.REQUEST_CHANGED: Explanation(
        title="The Service asks for another address than it had",
        cause="An annotation or spec.loadBalancerIP was edited; the old address was given up.",
        check=_GET_SERVICE,
        cure="Nothing to do, or ask for the old address again.",
    ),
    Reason.NO_CLUSTER_IP: Explanation(
        title="The Service has no cluster IP",
        cause="A headless Service (clusterIP: None) has nothing that kube-proxy could carry traffic to.",
        check=_GET_SERVICE,
        cure="Create the Service without clusterIP: None.",
    ),
    Reason.NOT_LOAD_BALANCER: Explanation(
        title="The Service does not ask for a load balancer",
        cause="spec.type is not LoadBalancer.",
        check=_GET_SERVICE,
        cure="Set spec.type to LoadBalancer if the Service should have an external IP.",
    ),
    Reason.FOREIGN_CLASS: Explanation(
        title="The Service belongs to another load balancer",
        cause="spec.loadBalancerClass differs from this installation's --load-balancer-class.",
        check=_GET_SERVICE,
        cure="Create the Service with the class that this installation serves.",
    ),
    Reason.FOREIGN_ADDRESS: Explanation(
        title="The Service already has an address from somebody else",
        cause="Its status holds an address or host name that is in none of our pools and lacks our mark.",
        check=_GET_SERVICE,
        cure="Let the other load balancer release the Service, or empty its status.loadBalancer.",
    ),
    Reason.AUTO_ASSIGN_OFF: Explanation(
        title="The pool serves only Services that ask for it",
        cause="The pool has autoAssign: false.",
        check=_GET_POOLS,
        cure="Annotate the Service with lbctl.io/address-pool, or set autoAssign: true.",
    ),
    Reason.NO_SUCH_FAMILY: Explanation(
        title="The pool has no range of the wanted family",
        cause="The Service wants IPv4 or IPv6 and the pool holds only the other.",
        check=_GET_POOLS,
        cure="Add a range of that family to the pool.",
    ),
    Reason.ACCEPTED: Explanation(
        title="The object is in effect",
        cause="It is valid by itself and beside the others.",
        check=_GET_POOLS,
        cure="Nothing to do.",
    ),
    Reason.INVALID: Explanation(
        title="The object is wrong and not in effect",
        cause="A field holds something that cannot be used; the message names it.",
        check=_GET_POOLS,
        cure="Correct the field. Other objects are not affected.",
    ),
    Reason.OVERLAPS: Explanation(
        title="The pool overlaps an older one and is not in effect",
        cause="Two pools hold the same address; the older object works.",
        check=_GET_POOLS,
        cure="Remove the common addresses from one of the two.",
    ),
    Reason.MISSING_POOL: Explanation(
        title="The advertisement names a pool that does not exist",
        cause="spec.ipAddressPools of the advertisement has a name that no IPAddressPool has. What "
        "it says of other pools is in effect.",
        check=_GET_POOLS,
        cure="Create the pool or correct the name; the order in which you create them is free.",
    ),
    Reason.MISSING_PEER: Explanation(
        title="The advertisement names a peer that does not exist",
        cause="spec.peers of the BGPAdvertisement has a name that no BGPPeer has. The peers that "
        "exist are told.",
        check=_GET_PEERS,
        cure="Create the peer or correct the name; the order in which you create them is free.",
    ),
    Reason.MISSING_COMMUNITY: Explanation(
        title="The advertisement names a community that nobody defines, and is not in effect",
        cause="spec.communities of the BGPAdvertisement has a name that no Community object "
        "defines. Without its communities a route could go where it must not.",
        check="kubectl -n {lbctl_namespace} get communities.{api_group} -o yaml",
        cure="Define the name in a Community object, or correct it.",
    ),
    Reason.DUPLICATE_COMMUNITY: Explanation(
        title="Two objects define a community of this name",
        cause="An older Community object defines the name, and its value counts. The other names of "
        "the object are in effect.",
        check="kubectl -n {lbctl_namespace} get communities.{api_group} -o yaml",
        cure="Remove the name from one of the two.",
    ),
    Reason.DUPLICATE_PEER: Explanation(
        title="Two peers mean the same session",
        cause="An older BGPPeer with the same address, port and source, or the same interface, "
        "selects the same nodes: it has the session there.",
        check=_GET_PEERS,
        cure="Delete one of the two, or let their nodeSelectors select different nodes.",
    ),
    Reason.VRF_UNSUPPORTED: Explanation(
        title="The peer is to be reached through a VRF, which is not there yet",
        cause="spec.vrf of the BGPPeer is set; sessions run in the node's main routing table only.",
        check=_GET_PEERS,
        cure="Drop spec.vrf if the peer can be reached without it. Other peers are not affected.",
    ),
    Reason.BFD_UNSUPPORTED: Explanation(
        title="The peer is to be watched by BFD, which is not there yet",
        cause="spec.bfdProfile of the BGPPeer is set. A session without it would be slower to "
        "notice a dead path than you ask for.",
        check=_GET_PEERS,
        cure="Drop spec.bfdProfile and set a short spec.holdTime, such as 3s to 9s, in its place.",
    ),
    Reason.ANNOUNCED: Explanation(
        title="A node announces the address",
        cause="The node is eligible and was elected, and its speaker reports that it announces.",
        check=_EXPLAIN,
        cure="Nothing to do.",
    ),
    Reason.NOT_ALLOCATED: Explanation(
        title="There is no address to announce",
        cause="The Service has none yet.",
        check=_EXPLAIN,
        cure="See the reason of the condition lbctl.io/Allocated.",
    ),
    Reason.NO_ADVERTISEMENT: Explanation(
        title="No advertisement covers the pool of the address",
        cause="There is no L2Advertisement (ARP and NDP) or BGPAdvertisement (BGP) that selects this "
        "pool and this Service.",
        check="kubectl -n {lbctl_namespace} get l2advertisements.{api_group} -o yaml",
        cure="Create an L2Advertisement or a BGPAdvertisement whose spec.ipAddressPools names the "
        "pool (or is empty).",
    ),
    Reason.NODE_NOT_SELECTED: Explanation(
        title="No advertisement selects the node",
        cause="The nodeSelectors of the matching advertisements, or those of the BGPPeer, leave the "
        "node out.",
        check=_GET_NODE,
        cure="Label the node or widen the nodeSelectors.",
    ),
    Reason.NODE_EXCLUDED: Explanation(
        title="The node is excluded by label",
        cause="It has the label node.kubernetes.io/exclude-from-external-load-balancers.",
        check=_GET_NODE,
        cure="Remove the label if the node should announce.",
    ),
    Reason.NODE_NETWORK_UNAVAILABLE: Explanation(
        title="The node's network is not set up",
        cause="Its condition NetworkUnavailable is True.",
        check=_GET_NODE,
        cure="Repair the network plugin on the node.",
    ),
    Reason.NODE_NOT_READY: Explanation(
        title="The node is not ready",
        cause="Its kubelet no longer reports: it lost power, network, or the kubelet for a while.",
        check="kubectl get nodes",
        cure="Bring the node back.",
    ),
    Reason.NODE_OUT_OF_SERVICE: Explanation(
        title="The node is tainted out-of-service",
        cause="An operator declared it dead with node.kubernetes.io/out-of-service.",
        check=_GET_NODE,
        cure="Remove the taint when the node is back.",
    ),
    Reason.NO_SPEAKER: Explanation(
        title="No speaker runs on the node",
        cause="The node has published no SpeakerStatus: its speaker pod is missing or cannot start.",
        check="kubectl -n {lbctl_namespace} get pods -o wide",
        cure="See the speaker pod's Events and logs.",
    ),
    Reason.NODE_DRAINING: Explanation(
        title="The node's speaker is giving its addresses away",
        cause="Its speaker is being stopped, or the node is annotated lbctl.io/drain.",
        check="lbctl get nodes{elsewhere}",
        cure="Nothing, or remove the annotation.",
    ),
    Reason.INTERFACE_MISSING: Explanation(
        title="The node lacks the advertisement's interface",
        cause="None of spec.interfaces of the L2Advertisement exists on the node.",
        check="lbctl get nodes -o json{elsewhere}",
        cure="Correct spec.interfaces or the node's network configuration.",
    ),
    Reason.INTERFACE_DOWN: Explanation(
        title="The interface is down",
        cause="Somebody set the interface down on the node.",
        check="lbctl get nodes -o json{elsewhere}",
        cure="Set the interface up.",
    ),
    Reason.NO_CARRIER: Explanation(
        title="The interface has no carrier",
        cause="The cable, the switch port or the bond below it is down.",
        check="lbctl get nodes -o json{elsewhere}",
        cure="Repair the link.",
    ),
    Reason.FAMILY_MISSING_ON_INTERFACE: Explanation(
        title="The interface does not speak the address's family",
        cause="An IPv6 address needs an interface with an IPv6 link-local address.",
        check="lbctl get nodes -o json{elsewhere}",
        cure="Enable IPv6 on the interface (sysctl net.ipv6.conf.<name>.disable_ipv6=0).",
    ),
    Reason.INTERFACE_UNUSABLE: Explanation(
        title="The speaker cannot use the interface",
        cause="lb-fastpath could not open its packet socket there, most often without CAP_NET_RAW.",
        check="lbctl get nodes -o json{elsewhere}",
        cure="Give the fastpath container NET_RAW, or repair what the message names.",
    ),
    Reason.FASTPATH_DOWN: Explanation(
        title="The node's fast path is not running",
        cause="lb-speaker has no connection to lb-fastpath, so nothing would answer ARP or NDP there.",
        check="kubectl -n {lbctl_namespace} get pods -o wide",
        cure="See the logs of the fastpath container of the node's speaker pod.",
    ),
    Reason.NO_ENDPOINTS: Explanation(
        title="The Service has no usable endpoint anywhere",
        cause="No pod matches the selector, or none is ready or draining.",
        check="kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}",
        cure="Make the pods ready; the address is announced as soon as one is.",
    ),
    Reason.NO_LOCAL_ENDPOINTS: Explanation(
        title="The Service has no ready endpoint on the node",
        cause="externalTrafficPolicy is Local: only nodes with a ready endpoint may announce.",
        check="kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}",
        cure="Run a pod on the node, or use externalTrafficPolicy: Cluster.",
    ),
    Reason.AGGREGATE_TOO_WIDE: Explanation(
        title="The aggregate reaches beyond the pool",
        cause="aggregationLength or aggregationLengthV6 of the BGPAdvertisement is shorter than the "
        "prefix of the pool's entry that holds the address, so the route would draw the traffic of "
        "foreign addresses. Entries that are wide enough are announced.",
        check=_GET_POOLS,
        cure="Raise the aggregation length to that of the pool's entry, or widen the entry.",
    ),
    Reason.CONFLICTING_ADVERTISEMENTS: Explanation(
        title="Two advertisements announce one prefix to one peer with different attributes",
        cause="A route has one local preference, and the BGPAdvertisements that match set two; or "
        "their communities together are too many.",
        check="kubectl -n {lbctl_namespace} get bgpadvertisements.{api_group} -o yaml",
        cure="Give them the same localPref, or let their peers, nodes, Services or aggregation "
        "lengths differ.",
    ),
    Reason.NO_PEER: Explanation(
        title="The node keeps no BGP session",
        cause="There is no BGPPeer, or none that is in effect selects the node.",
        check=_GET_PEERS,
        cure="Create a BGPPeer, or repair what the message names.",
    ),
    Reason.PEER_NOT_SELECTED: Explanation(
        title="No advertisement is for this peer",
        cause="spec.peers of the BGPAdvertisements that match lists other peers.",
        check="kubectl -n {lbctl_namespace} get bgpadvertisements.{api_group} -o yaml",
        cure="Add the peer to spec.peers, or leave the list empty for all of them.",
    ),
    Reason.FAMILY_NOT_ON_SESSION: Explanation(
        title="The session does not carry the address's family",
        cause="A session carries the routes of its own family, IPv4 or IPv6, unless the BGPPeer "
        "says otherwise.",
        check=_GET_PEERS,
        cure="Set spec.dualStackAddressFamily: true on the BGPPeer, or add a peer of that family.",
    ),
    Reason.SESSION_DOWN: Explanation(
        title="No BGP session that is to carry the address is established",
        cause="The nodes that are to announce it call their BGP peers, and none answers as it should: "
        "it cannot be reached, or the two ends disagree in AS number, password or address.",
        check="lbctl get sessions{elsewhere}",
        cure="Do what the message of the session asks for, on the router or in the BGPPeer.",
    ),
    Reason.NOT_REPORTED: Explanation(
        title="The node that is to announce the address has not reported that it does",
        cause="A node is to announce, and its speaker does not say that it does: no ServiceL2Status "
        "names the address, or no BGPSessionStatus says that the peer has confirmed every route. The "
        "speaker is starting, has lost the API server, or may not write the object.",
        check="lbctl get addresses{elsewhere}",
        cure="If it lasts, see the logs of the speaker pod on the node that the message names.",
    ),
    Reason.NOT_ELECTED: Explanation(
        title="Another node announces the address",
        cause="Exactly one eligible node announces; rendezvous order chose another.",
        check=_EXPLAIN,
        cure="Nothing to do.",
    ),
}
