"""A guest of 512 bytes that writes memory and disk, and verifies every page while it writes: whatever a move loses or mixes up, it says.

Each page holds the number of the last pass over it and, in its middle, its own address; compressed it is half as large. 18 times a second it goes on over so many pages (64 << digit: a digit on
the serial port sets how many), looks that each has the last pass's number, and writes the next. Every eighth time it writes a sector with a running
number (in turn in 1024 places from sector 2048) and says: ` g<pass> w<sectors written> b<bad pages>`, in hex. '#' and the power button switch it off.

Its source (GNU as, .code16, linked at 0x7c00):

        .set BASE, 0x1000000
        .set DAP, 0x600
        .set BUF, 0x800
        .set GEN, 0x610
        .set BAD, 0x614
        .set AT, 0x618
        .set WRITES, 0x61c
        .set TICKS, 0x620
        .set DRIVE, 0x624
        .set PER, 0x628
        .set TOP, 0x62c
    _start:
        cli
        cld
        xor %ax, %ax
        mov %ax, %ds
        mov %ax, %es
        mov %ax, %ss
        mov $0x7c00, %sp
        mov $DAP, %di
        mov $0x200, %cx
        rep stosw                       # DAP, variables and the sector to write are zero
        mov %dl, DRIVE
        mov $0x602, %dx                 # PM1a enable: the power button
        mov $0x100, %ax
        out %ax, %dx
        movl $64, PER
        movl $1, GEN
        call unreal
        mov pages, %ecx                 # every page: one half that nothing makes smaller, generation 0, and its own address in the middle
        mov $BASE, %esi
        mov %esi, AT
    1:  mov %esi, %edi
        mov $512, %dx
    7:  imul $1664525, %eax, %eax       # a linear congruential generator (Knuth, and Numerical Recipes)
        inc %eax
        mov %eax, %fs:(%edi)
        add $4, %edi
        dec %dx
        jnz 7b
        movl $0, %fs:(%esi)
        mov %esi, %fs:0x800(%esi)
        add $0x1000, %esi
        addr32 loop 1b
        mov %esi, TOP
    tick:
        sti
        hlt
        cli
        call unreal                     # the BIOS may have been in protected mode
        mov AT, %esi
        mov GEN, %eax
        mov PER, %ecx
    2:  lea -1(%eax), %ebx
        cmp %ebx, %fs:(%esi)
        jne wrong
        cmp %esi, %fs:0x800(%esi)
        jne wrong
    3:  mov %eax, %fs:(%esi)
        add $0x1000, %esi
        cmp TOP, %esi
        jb 4f
        inc %eax
        mov $BASE, %esi
    4:  addr32 loop 2b
        mov %esi, AT
        mov %eax, GEN
        incw TICKS
        testb $7, TICKS
        jnz commands
        incl WRITES                     # a sector with its number, in turn in 1024 places
        mov WRITES, %eax
        mov %eax, BUF
        and $1023, %ax
        movzwl %ax, %eax
        add $2048, %eax
        mov %eax, DAP+8
        movl $0x10010, DAP
        movl $BUF, DAP+4
        mov $DAP, %si
        mov DRIVE, %dl
        mov $0x43, %ah
        xor %al, %al
        int $0x13
        adcw $0, BAD
        mov $'g', %al
        mov $GEN, %bx
        call show
        mov $'w', %al
        mov $WRITES, %bx
        call show
        mov $'b', %al
        mov $BAD, %bx
        call show
        mov $13, %al
        call put
        mov $10, %al
        call put
    commands:
        mov $0x600, %dx                 # PM1a status: the power button?
        in %dx, %ax
        test $1, %ah
        jnz off
        mov $0x3fd, %dx
        in %dx, %al
        test $1, %al
        jz tick
        mov $0x3f8, %dx
        in %dx, %al
        cmp $'#', %al
        je off
        sub $'0', %al                   # a digit: 64 << digit pages a tick
        mov %al, %cl
        mov $64, %eax
        shl %cl, %eax
        mov %eax, PER
        jmp tick
    wrong:
        incl BAD
        jmp 3b
    off:
        mov $0x604, %dx
        mov $0x2000, %ax
        out %ax, %dx
    5:  hlt
        jmp 5b
    show:                               # ' ', the letter in %al, the number at %bx as hex
        push %ax
        mov $' ', %al
        call put
        pop %ax
        call put
        mov (%bx), %ebx
        mov $8, %cx
    6:  rol $4, %ebx
        mov %bl, %al
        and $15, %al
        cmp $10, %al
        sbb $0x69, %al
        das
        call put
        loop 6b
        ret
    put:
        mov $0x3f8, %dx
        out %al, %dx
        ret
    unreal:                             # %fs reaches all memory
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
        ret
    gdtr:
        .word 15
        .long gdt
    gdt:
        .quad 0
        .quad 0x00cf92000000ffff
        .org 0x1fa
    pages:
        .long 0x2000
        .word 0xaa55
"""

import re

OFF = b"#"
SECTORS, FIRST_SECTOR = 1024, 2048
BASE_MIB = 16
"""Where its pages begin."""
_LINE = re.compile(rb" g([0-9A-F]{8}) w([0-9A-F]{8}) b([0-9A-F]{8})\r\n")
_PAGES_AT = 0x1FA

_CODE = bytes.fromhex(
    "fafc31c08ed88ec08ed0bc007cbf0006b90002f3ab88162406ba0206b80001ef66c70628064000000066c706100601000000e87a01668b0efa7d66be"
    "0000000166893618066689f7ba00026669c00d661900664064676689076683c7044a75eb646766c7060000000064676689b6000800006681c6001000"
    "0067e2c96689362c06fbf4fae82801668b36180666a11006668b0e280667668d58ff646766391e0f85d20064676639b6000800000f85c50064676689"
    "066681c600100000663b362c067208664066be0000000167e2c7668936180666a31006ff062006f606200607756466ff061c0666a11c0666a3000825"
    "ff03660fb7c066050008000066a3080666c70600061000010066c706040600080000be00068a162406b44330c0cd138316140600b067bb1006e85b00"
    "b077bb1c06e85300b062bb1406e84b00b00de86900b00ae86400ba0006edf6c401752ebafd03eca8010f8428ffbaf803ec3c23741c2c3088c166b840"
    "00000066d3e066a32806e90cff66ff061406e933ffba0406b80020eff4ebfd50b020e81d0058e81900668b1fb9080066c1c30488d8240f3c0a1c692f"
    "e80300e2eec3baf803eec30f0116cb7d0f20c00c010f22c0bb08008ee324fe0f22c031db8ee3c30f00d17d00000000000000000000ffff00000092cf"
)


def disk(mib: int) -> bytes:
    """A raw disk image that boots it, to write over `mib` of memory."""
    sector = _CODE.ljust(_PAGES_AT, b"\0") + (mib << 8).to_bytes(4, "little") + b"\x55\xaa"
    return sector.ljust((FIRST_SECTOR + SECTORS) << 9, b"\0")


def rate(mib_s: float) -> bytes:
    """What to send it, so that it writes at least so fast."""
    return next(str(digit).encode() for digit in range(10) if (64 << digit) * 18.2 / 256 >= mib_s)


def said(log: bytes) -> list[tuple[int, int, int]]:
    """(passes, sectors written, bad pages) of each line."""
    return [(int(passes, 16), int(written, 16), int(bad, 16)) for passes, written, bad in _LINE.findall(log)]


def expected_sectors(written: int) -> list[int]:
    """The number in each of its sectors after so many were written."""
    newest = [written - (written - place) % SECTORS for place in range(SECTORS)]
    return [max(number, 0) for number in newest]
