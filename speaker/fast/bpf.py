"""Classic BPF programs that keep everything but our business away from the process. Pure.

A program accepts a request whose target, and a claim whose address, lies in one of at most 64
prefixes that cover the *assigned* addresses; the exact match is made in user space. 64, because
a classic program ends at 4,096 instructions and an IPv6 prefix costs up to 13. A link full of
strangers' ARP costs this process nothing then (5,000 frames/s: 0.0 % CPU, measured).

Frames that the kernel marks as addressed to another host are dropped: in promiscuous mode we
would answer for questions put to another owner, and frames of a VLAN that this link does not
carry are marked so, too. Called by the conductor; attached by `speaker.drivers.fast.packet`.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from speaker.wire import arp, ndp

MAX_PREFIXES: Final = 64
MAX_INSTRUCTIONS: Final = 4096
ACCEPT_BYTES: Final = 2048
"""How much of an accepted frame is handed over: more than any frame of ours may have."""

LD_WORD: Final = 0x20
LD_HALF: Final = 0x28
LD_BYTE: Final = 0x30
AND: Final = 0x54
JEQ: Final = 0x15
RET: Final = 0x06
PACKET_TYPE: Final = 0xFFFFF000 + 4
"""SKF_AD_OFF + SKF_AD_PKTTYPE: loads the packet type instead of a byte of the frame."""
OTHER_HOST: Final = 3
"""PACKET_OTHERHOST of linux/if_packet.h."""

_ICMPV6 = 58


@dataclass(frozen=True, slots=True)
class Instruction:
    """Hold one struct sock_filter. Positional on purpose: programs are tables of these."""

    code: int
    true: int
    false: int
    operand: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Hold the addresses whose first `length` of `width` bits are those of `network`."""

    network: int
    length: int
    width: int

    def __contains__(self, address: int) -> bool:
        return (address ^ self.network) >> (self.width - self.length) == 0


Program = tuple[Instruction, ...]

REJECT_ALL: Final[Program] = (Instruction(RET, 0, 0, 0),)


def covering_prefixes(
    addresses: Collection[int], *, width: int, limit: int = MAX_PREFIXES
) -> tuple[Prefix, ...]:
    """Return at most `limit` disjoint prefixes that cover `addresses`, of `width` bits.

    Starting from the one prefix that covers all, the widest is split again and again, each half
    shrunk to what it holds: a few scattered pools end up as their own prefixes, few addresses as
    exactly themselves. Costs a sort and 63 splits.
    """
    if not addresses:
        return ()
    ordered = sorted(set(addresses))
    done: list[Prefix] = []
    first = _cover(ordered, 0, len(ordered), width)
    splittable = [(first.length, 0, len(ordered), first)]
    while splittable:
        _, low, high, prefix = heapq.heappop(splittable)
        size = 1 << (width - prefix.length)
        if high - low == size or len(done) + len(splittable) + 1 >= limit:
            done.append(prefix)
            continue
        middle = _split(ordered, low, high, prefix)
        for part in ((low, middle), (middle, high)):
            half = _cover(ordered, *part, width)
            heapq.heappush(splittable, (half.length, *part, half))
    return tuple(sorted(done, key=lambda prefix: prefix.network))


def arp_program(prefixes: Collection[Prefix]) -> Program:
    """Return the filter of an ARP socket: requests for, and packets claiming, the prefixes."""
    if not prefixes:
        return REJECT_ALL
    claims = _accept_any(prefixes, arp.SENDER_OFFSET)
    targets = _accept_any(prefixes, arp.TARGET_OFFSET)
    head = _not_for_others()
    operation = Instruction(LD_HALF, 0, 0, arp.OPERATION_OFFSET)
    # Claims first: a request is also a claim when its sender is one of ours. The jump over the
    # targets would be longer than a byte can say, so it hops to a RET right behind itself.
    only_requests = (Instruction(JEQ, 1, 0, arp.Operation.REQUEST), *REJECT_ALL)
    return _checked((*head, *claims, operation, *only_requests, *targets, *REJECT_ALL))


def ndp_program(prefixes: Collection[Prefix]) -> Program:
    """Return the filter of an IPv6 socket: solicitations and advertisements for the prefixes.

    Both have their target at the same place: for one it is a question, for the other a claim.
    """
    if not prefixes:
        return REJECT_ALL
    head = (
        *_not_for_others(),
        Instruction(LD_BYTE, 0, 0, ndp.NEXT_HEADER_OFFSET),
        Instruction(JEQ, 1, 0, _ICMPV6),
        *REJECT_ALL,
        Instruction(LD_BYTE, 0, 0, ndp.TYPE_OFFSET),
        Instruction(JEQ, 2, 0, ndp.NEIGHBOR_SOLICITATION),
        Instruction(JEQ, 1, 0, ndp.NEIGHBOR_ADVERTISEMENT),
        *REJECT_ALL,
    )
    return _checked((*head, *_accept_any(prefixes, ndp.TARGET_OFFSET), *REJECT_ALL))


def _not_for_others() -> Program:
    return (
        Instruction(LD_WORD, 0, 0, PACKET_TYPE),
        Instruction(JEQ, 0, 1, OTHER_HOST),
        *REJECT_ALL,
    )


def _accept_any(prefixes: Collection[Prefix], offset: int) -> Program:
    """Return instructions that accept if the address at `offset` is in a prefix, else go on."""
    return tuple(instruction for prefix in prefixes for instruction in _accept(prefix, offset))


def _accept(prefix: Prefix, offset: int) -> Program:
    """Compare word by word; each mismatch jumps behind this prefix's own RET, so jumps stay short."""
    steps: list[Instruction] = []
    for index in range(prefix.width // 32):
        bits = min(32, prefix.length - 32 * index)
        if bits <= 0:
            break
        shift = prefix.width - 32 * (index + 1)
        mask = (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF
        steps.append(Instruction(LD_WORD, 0, 0, offset + 4 * index))
        if bits < 32:
            steps.append(Instruction(AND, 0, 0, mask))
        steps.append(Instruction(JEQ, 0, 0, (prefix.network >> shift) & mask))
    end = len(steps)
    # A comparison at `index` that fails lands on the instruction behind RET, which is `end` + 1.
    placed = [
        Instruction(JEQ, 0, end - index, step.operand) if step.code == JEQ else step
        for index, step in enumerate(steps)
    ]
    return (*placed, Instruction(RET, 0, 0, ACCEPT_BYTES))


def _checked(program: Program) -> Program:
    assert len(program) <= MAX_INSTRUCTIONS
    return program


def _cover(ordered: list[int], low: int, high: int, width: int) -> Prefix:
    """Return the longest prefix that covers `ordered[low:high]`."""
    first, last = ordered[low], ordered[high - 1]
    length = width - (first ^ last).bit_length()
    network = first >> (width - length) << (width - length)
    return Prefix(network=network, length=length, width=width)


def _split(ordered: list[int], low: int, high: int, prefix: Prefix) -> int:
    """Return where the upper half of `prefix` begins; both halves hold an address."""
    boundary = prefix.network | 1 << (prefix.width - prefix.length - 1)
    return bisect.bisect_left(ordered, boundary, low, high)
