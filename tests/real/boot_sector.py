"""A guest of 512 bytes: enough of an operating system to boot, speak, shut down, reboot and panic, in about a second under TCG.

It says GREETING on the serial port, echoes what it reads there, and obeys three characters: OFF (ACPI soft-off), REBOOT (reset by port
0xcf9), PANIC (pvpanic). It powers off when the ACPI power button is pressed. Its source, 16-bit code at 0x7c00:

    cli; xor ax,ax; mov ds,ax
    mov dx,0x602; mov ax,0x100; out dx,ax            PM1a enable: power button (SeaBIOS puts the PM block at 0x600)
    mov si,0x7c00+msg                                 print msg to 0x3f8
 1: lodsb; test al,al; jz 2; mov dx,0x3f8; out dx,al; jmp 1
 2: sti; hlt                                          18 times a second
    mov dx,0x600; in ax,dx; test ah,1; jnz off        PM1a status: pressed?
 3: mov dx,0x3fd; in al,dx; test al,1; jz 2           a byte?
    mov dx,0x3f8; in al,dx
    cmp al,'!'; je panic; cmp al,'#'; je off; cmp al,'~'; je reboot
    out dx,al; jmp 3
 panic:  mov dx,0x505; mov al,1; out dx,al
 4: hlt; jmp 4
 off:    mov dx,0x604; mov ax,0x2000; out dx,ax; jmp 4
 reboot: mov dx,0xcf9; mov al,6; out dx,al; jmp 4
 msg:    "houyi guest is up\\r\\n", 0
"""

GREETING = b"houyi guest is up\r\n"
OFF, REBOOT, PANIC = b"#", b"~", b"!"

_CODE = bytes.fromhex(
    "fa31c08ed8ba0206b80001efbe5a7cac84c07406baf803eeebf5fbf4ba00"
    "06edf6c4017524bafd03eca80174edbaf803ec3c21740b3c2374103c7e74"
    "15eeebe5ba0505b001eef4ebfdba0406b80020efebf4baf90cb006eeebec"
)


def disk(size_bytes: int = 1 << 20) -> bytes:
    """A raw disk image that boots it."""
    sector = _CODE + GREETING + b"\0"
    return sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(size_bytes - 512)
