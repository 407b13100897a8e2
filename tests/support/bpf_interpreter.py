"""A classic BPF interpreter, small enough to be checked by reading: the oracle of the filters."""

from __future__ import annotations

from speaker.fast.bpf import Program

HOST, OTHER_HOST = 0, 3
_ANCILLARY = 0xFFFFF000
_WORD = 0xFFFFFFFF


def run_program(program: Program, frame: bytes, *, packet_type: int = HOST) -> int:
    """Return how many bytes the kernel would hand over; reading beyond the frame rejects it."""
    accumulator, counter = 0, 0
    while True:
        step = program[counter]
        counter += 1
        match step.code:
            case 0x20 | 0x28 | 0x30:
                size = {0x20: 4, 0x28: 2, 0x30: 1}[step.code]
                if step.operand == _ANCILLARY + 4:
                    accumulator = packet_type
                elif step.operand + size > len(frame):
                    return 0
                else:
                    accumulator = int.from_bytes(frame[step.operand : step.operand + size], "big")
            case 0x54:
                accumulator &= step.operand & _WORD
            case 0x15:
                assert 0 <= step.true <= 255, "a jump is one byte"
                assert 0 <= step.false <= 255, "a jump is one byte"
                counter += step.true if accumulator == step.operand else step.false
            case 0x06:
                return step.operand
            case _:
                raise AssertionError(f"unknown instruction {step}")
