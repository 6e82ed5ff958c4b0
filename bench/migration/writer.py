"""A guest of 512 bytes that writes to its memory at a fixed pace and beats a thousand times a second: what a move costs is seen in both.

One vCPU does nothing else than: change every word of the noise of a page, count, spin `DELAY` times, next page of the working set, over and over. So what it writes
follows how much CPU it gets, as a program's would. The noise is a share of each page (half) that does not compress; the rest is zero.

The timer ticks 1000 times a second of the guest's clock, and with each tick the guest says one byte on its serial port: 0x80 | the tick's number; with every 64th
also the number of pages written so far ('<' and eight nibbles as 0x40 | nibble). A guest's own clock stands still while the guest does, so that no program in it can
see its own stop: therefore the beats are stamped outside, by a clock that goes on. `DELAY` is set through the same port: nibbles as 0x40 | nibble, then '!'.

Its source (GNU as, linked at 0x7c00):

        .code16
        .set BASE, 0x1000000
        .set ITER, 0x610
        .set TICKS, 0x614
        .set DELAY, 0x618
        .set NEXT, 0x61c
        .set TOP, 0x620
    _start:
        cli
        cld
        xor %ax, %ax
        mov %ax, %ds
        mov %ax, %es
        mov %ax, %ss
        mov $0x7c00, %sp
        mov $0x600, %di
        mov $0x20, %cx
        rep stosw
        movl $1, ITER
        movl $0x1000, DELAY
        lgdt gdtr
        mov %cr0, %eax
        or $1, %al
        mov %eax, %cr0
        mov $8, %bx
        mov %bx, %fs
        and $0xfe, %al
        mov %eax, %cr0
        xor %bx, %bx
        mov %bx, %fs
        mov pages, %ecx
        mov $BASE, %esi
        mov $0x2545f491, %eax
    1:  mov words, %edx
    2:  mov %eax, %ebx
        shl $13, %ebx
        xor %ebx, %eax
        mov %eax, %ebx
        shr $17, %ebx
        xor %ebx, %eax
        mov %eax, %ebx
        shl $5, %ebx
        xor %ebx, %eax
        mov %eax, %fs:(%esi)
        add $4, %esi
        dec %edx
        jnz 2b
        add $0xfff, %esi
        and $0xfffff000, %esi
        addr32 loop 1b
        mov %esi, TOP
        movw $tick, 0x20
        movw $0, 0x22
        mov $0x34, %al
        out %al, $0x43
        mov $0xa9, %al
        out %al, $0x40
        mov $0x04, %al
        out %al, $0x40
        sti
    again:
        mov $BASE, %esi
    3:  mov ITER, %eax
        imul $0x9e3779b1, %eax, %eax
        mov words, %edx
        mov %esi, %edi
    9:  add %eax, %fs:(%edi)
        add $4, %edi
        dec %edx
        jnz 9b
        incl ITER
        mov DELAY, %ecx
    4:  dec %ecx
        jnz 4b
        add $0x1000, %esi
        cmp TOP, %esi
        jb 3b
        jmp again
    tick:
        push %eax
        push %cx
        push %dx
        incl TICKS
        mov TICKS, %al
        or $0x80, %al
        mov $0x3f8, %dx
        out %al, %dx
        testb $63, TICKS
        jnz 6f
        mov $'<', %al
        out %al, %dx
        mov $8, %cx
        mov ITER, %eax
    5:  rol $4, %eax
        push %ax
        and $15, %al
        add $'@', %al
        out %al, %dx
        pop %ax
        loop 5b
    6:  mov $0x3fd, %dx
        in %dx, %al
        test $1, %al
        jz 8f
        mov $0x3f8, %dx
        in %dx, %al
        test $0x40, %al
        jz 7f
        and $15, %al
        shll $4, NEXT
        or %al, NEXT
        jmp 8f
    7:  mov NEXT, %eax
        mov %eax, DELAY
        movl $0, NEXT
    8:  mov $0x20, %al
        out %al, $0x20
        pop %dx
        pop %cx
        pop %eax
        iret
    gdtr:
        .word 15
        .long gdt
    gdt:
        .quad 0
        .quad 0x00cf92000000ffff
        .org 0x1f6
    words:
        .long 512
    pages:
        .long 0x2000
        .word 0xaa55
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

BASE_MIB = 16
"""Where its pages begin."""
_WORDS_AT = 0x1F6
"""How many of each page's 1024 words are noise, then how many pages."""
_MASK = (1 << 32) - 1

_CODE = bytes.fromhex(
    "fafc31c08ed88ec08ed0bc007cbf0006b92000f3ab66c70610060100000066c7061806001000000f01165e7d0f20c00c010f22c0bb08008ee324fe0f"
    "22c031db8ee3668b0efa7d66be0000000166b891f44525668b16f67d6689c366c1e30d6631d86689c366c1eb116631d86689c366c1e3056631d86467"
    "6689066683c604664a75d56681c6ff0f00006681e600f0ffff67e2bf6689362006c7062000f67cc70622000000b034e643b0a9e640b004e640fb66be"
    "0000000166a110066669c0b179379e668b16f67d6689f764676601076683c704664a75f366ff061006668b0e1806664975fc6681c600100000663b36"
    "200672c4ebbc6650515266ff061406a014060c80baf803eef60614063f7517b03ceeb9080066a1100666c1c00450240f0440ee58e2f3bafd03eca801"
    "7427baf803eca840740e240f66c1261c060408061c06eb1166a11c0666a3180666c7061c0600000000b020e6205a596658cf0f00647d000000000000"
    "00000000ffff00000092cf"
)


def disk(mib: int, noise: float = 0.5) -> bytes:
    """A raw disk image that boots it, to write over `mib` of memory. :param noise: the share of each page that does not compress, above 0 to 1."""
    sector = _CODE.ljust(_WORDS_AT, b"\0") + max(1, round(1024 * noise)).to_bytes(4, "little") + (mib << 8).to_bytes(4, "little") + b"\x55\xaa"
    return sector.ljust(1 << 20, b"\0")


def delay(spins: int) -> bytes:
    """What to send it, so that it spins so often after each page. :param spins: 1 and more."""
    return bytes(0x40 | spins >> shift & 15 for shift in range(28, -1, -4)) + b"!"


@dataclass(frozen=True, slots=True)
class Heard:
    """What one guest has said, by the time of arrival in seconds."""

    beats: Sequence[float]
    counts: Sequence[tuple[float, int]]
    """(when, pages written so far); grows."""


def heard(pieces: Sequence[tuple[float, int, bytes]]) -> Heard:
    """:param pieces: (when, which serial port, bytes), in any order. A count that a switch of hosts tears apart is dropped."""
    beats: list[float] = []
    counts: list[tuple[float, int]] = []
    torn: dict[int, str | None] = {}
    lap = last = 0
    for when, port, data in sorted(pieces, key=lambda piece: piece[0]):
        for byte in data:
            nibbles = torn.get(port)
            if byte & 0x80:
                beats.append(when)
            elif byte == ord("<"):
                torn[port] = ""
            elif byte & 0x40 and nibbles is not None:
                torn[port] = nibbles = nibbles + f"{byte & 15:x}"
                if len(nibbles) == 8:
                    torn[port], count = None, int(nibbles, 16)
                    lap += (1 << 32) if count < last and last - count > _MASK // 2 else 0
                    last = count
                    counts.append((when, lap + count))
    return Heard(tuple(beats), tuple(counts))


def longest_gap(beats: Sequence[float], begin: float, end: float) -> float:
    """Seconds between two beats, of which the later is in [begin, end]."""
    inside = [at for at in beats if begin <= at <= end]
    before = [at for at in beats if at < begin]
    inside = before[-1:] + inside
    return max((later - earlier for earlier, later in itertools.pairwise(inside)), default=0.0)


def pace(counts: Sequence[tuple[float, int]], begin: float, end: float) -> float:
    """Pages a second between these times, between the last count before and the first after; 0: not known."""
    before = [one for one in counts if one[0] <= begin] or counts[:1]
    after = [one for one in counts if one[0] >= end] or counts[-1:]
    if not before or not after or after[0][0] <= before[-1][0]:
        return 0.0
    return (after[0][1] - before[-1][1]) / (after[0][0] - before[-1][0])
