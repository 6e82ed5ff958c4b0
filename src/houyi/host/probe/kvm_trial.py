"""The program that tries KVM: run as `python -I kvm_trial.py SECONDS`, standard library only. It prints one JSON object and always ends in time.

It puts one virtual CPU straight into 64-bit mode and has it run five tiny programs:

    loop    DEC / JNZ, no exit at all    tells silicon from software: real KVM takes the CPU's own time, an emulated one hundreds of ns
    cpuid   CPUID                        a VM exit that the kernel handles
    out     OUT 0x80, AL                 a VM exit that ends in user space
    mmio    MOV [hole], EAX              a nested page fault, an instruction emulated, an exit to user space
    touch   MOV [fresh], EAX; next page  a page fault on memory that nobody has touched yet: the kernel finds a page, clears it and maps it

The virtual CPU runs in a child: a KVM that accepts KVM_RUN and never comes back then hangs the child only. The layouts are those of
Linux' include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h.
"""

import ctypes
import fcntl
import json
import mmap
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable

KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_CHECK_EXTENSION = 0xAE03
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_SET_TSS_ADDR = 0xAE47
KVM_RUN = 0xAE80
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_GET_SUPPORTED_CPUID = 0xC008AE05
KVM_SET_CPUID2 = 0x4008AE90
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84

EXIT_IO, EXIT_HLT, EXIT_MMIO = 2, 5, 6
API_VERSION = 12
MEMORY_BYTES = 2 << 20
CODE_AT = 0x8000
HOLE_AT = 1 << 30
FRESH_AT = MEMORY_BYTES
FRESH_BYTES = 16 << 20
PAGE_BYTES = 4096
TSS_AT = 0xFFFBD000
SREGS_BYTES = 312
CPUID_ENTRIES = 100

CAPABILITIES = {
    "irqfd": 32,
    "ioeventfd": 36,
    "tsc_control": 60,
    "vcpus_max": 66,
    "tsc_deadline_timer": 72,
    "split_irqchip": 121,
    "x2apic_api": 129,
    "disable_exits": 143,
    "manual_dirty_log": 168,
    "halt_poll": 182,
    "dirty_ring": 192,
}
"""What KVM is asked by KVM_CHECK_EXTENSION; 0: no. `disable_exits` is a set of bits: MWAIT 1, HLT 2, PAUSE 4, C-states 8."""

# mov r12, rcx ; again: <body> ; dec r12 ; jnz again ; hlt      (CPUID overwrites RCX, so the count lives in R12)
BODIES = {
    "loop": b"",
    "cpuid": b"\x31\xc0\x0f\xa2",
    "out": b"\xe6\x80",
    "mmio": b"\x89\x07",
    "touch": b"\x89\x07\x48\x81\xc7" + struct.pack("<I", PAGE_BYTES),
}
IN_USER_SPACE = {"out": EXIT_IO, "mmio": EXIT_MMIO}
WARM_TURNS = 10
FIRST_TURNS = 20_000
EXIT_TURNS = 5_000
LOOP_SECONDS = 0.02


def program(body: bytes) -> bytes:
    again = len(body) + 5
    return b"\x49\x89\xcc" + body + b"\x49\xff\xcc" + b"\x75" + struct.pack("b", -again) + b"\xf4"


def long_mode(sregs: bytearray) -> bytearray:
    """Segments and control registers of flat 64-bit code, page tables at 0x1000."""

    def segment(index: int, selector: int, kind: int, *, limit: int = 0xFFFFFFFF, code64: int = 0, big: int = 0, system: int = 1) -> None:
        struct.pack_into("<QIHBBBBBBBBBB", sregs, 24 * index, 0, limit, selector, kind, 1, 0, big, system, code64, system, 0, 0, 0)

    segment(0, 0x08, 11, code64=1)
    for data in range(1, 6):
        segment(data, 0x10, 3, big=1)
    segment(6, 0x18, 11, limit=0x67, system=0)
    control = 24 * 8 + 16 * 2
    cr0 = 1 << 31 | 1 << 18 | 1 << 16 | 1 << 5 | 1 << 4 | 1 << 1 | 1  # PG AM WP NE ET MP PE
    struct.pack_into("<QQQQ", sregs, control, cr0, 0, 0x1000, 1 << 5)  # cr0, cr2, cr3, cr4 with PAE
    struct.pack_into("<Q", sregs, control + 40, 1 << 8 | 1 << 10)  # EFER with LME, LMA
    return sregs


class Guest:
    """A VM with 2 MiB of memory for its programs, 16 MiB that nobody has touched, one virtual CPU, and nothing else."""

    def __init__(self) -> None:
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        version = fcntl.ioctl(kvm, KVM_GET_API_VERSION)
        if version != API_VERSION:
            raise RuntimeError(f"KVM speaks API {version}, not {API_VERSION}")
        vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
        ctypes.CDLL(None).ioctl(vm, ctypes.c_ulong(KVM_SET_TSS_ADDR), ctypes.c_ulong(TSS_AT))  # old Intel CPUs need it; others ignore it
        self.memory = mmap.mmap(-1, MEMORY_BYTES)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, struct.pack("<IIQQQ", 0, 0, 0, MEMORY_BYTES, address))
        self.fresh = mmap.mmap(-1, FRESH_BYTES)
        self.fresh.madvise(mmap.MADV_NOHUGEPAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.fresh))
        fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, struct.pack("<IIQQQ", 1, 0, FRESH_AT, FRESH_BYTES, address))
        self.capabilities = {name: fcntl.ioctl(kvm, KVM_CHECK_EXTENSION, number) for name, number in CAPABILITIES.items()}
        self.vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
        cpuid = bytearray(struct.pack("<II", CPUID_ENTRIES, 0) + bytes(40 * CPUID_ENTRIES))
        fcntl.ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid)
        fcntl.ioctl(self.vcpu, KVM_SET_CPUID2, cpuid)
        self.run = mmap.mmap(self.vcpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE))
        # PML4 -> PDPT -> two page directories of 2 MiB pages: our memory at 0, and a hole without memory behind it at 1 GiB.
        for at, entry in ((0x1000, 0x2003), (0x2000, 0x3003), (0x2008, 0x4003), (0x3000, 0x83), (0x4000, HOLE_AT | 0x83)):
            self.memory[at : at + 8] = struct.pack("<Q", entry)
        for at in range(FRESH_AT, FRESH_AT + FRESH_BYTES, 2 << 20):
            self.memory[0x3000 + (at >> 18) : 0x3008 + (at >> 18)] = struct.pack("<Q", at | 0x83)
        sregs = bytearray(fcntl.ioctl(self.vcpu, KVM_GET_SREGS, bytes(SREGS_BYTES)))
        fcntl.ioctl(self.vcpu, KVM_SET_SREGS, bytes(long_mode(sregs)))

    def seconds(self, name: str, turns: int, at: int = HOLE_AT) -> float:
        """Run a program to its HLT. :param at: where it writes, if it does. :raise RuntimeError: it did anything else than it should."""
        code = program(BODIES[name])
        self.memory[CODE_AT : CODE_AT + len(code)] = code
        registers = [0] * 18
        registers[2], registers[5], registers[6], registers[16], registers[17] = turns, at, 0x7000, CODE_AT, 2  # rcx, rdi, rsp, rip, rflags
        fcntl.ioctl(self.vcpu, KVM_SET_REGS, struct.pack("<18Q", *registers))
        exits, expected = 0, IN_USER_SPACE.get(name)
        begin = time.perf_counter()
        while True:
            try:
                fcntl.ioctl(self.vcpu, KVM_RUN, 0)
            except InterruptedError:
                continue
            reason = self.run[8]
            if reason == EXIT_HLT:
                break
            if reason != expected:
                raise RuntimeError(f"{name}: KVM_RUN ended with exit reason {reason}")
            exits += 1
        taken = time.perf_counter() - begin
        if exits != (turns if expected else 0):
            raise RuntimeError(f"{name}: {exits} exits reached user space")
        return taken


def trial(say: int) -> None:
    """The child: what was found goes down the pipe, line by line, so that a hang still leaves what came before it."""

    def tell(**found: object) -> None:
        os.write(say, json.dumps(found).encode() + b"\n")

    try:
        tell(stage="setting up")
        guest = Guest()
        tell(stage="first instructions", capabilities=guest.capabilities)
        guest.seconds("loop", WARM_TURNS)
        loop_ns = guest.seconds("loop", FIRST_TURNS) / FIRST_TURNS * 1e9
        tell(loop_ns=round(loop_ns, 3), stage="exits")
        exit_ns = {}
        for name in ("cpuid", "out", "mmio"):
            guest.seconds(name, WARM_TURNS)
            exit_ns[name] = round(guest.seconds(name, EXIT_TURNS) / EXIT_TURNS * 1e9)
            tell(exit_ns=exit_ns)
        tell(stage="page faults")
        pages = FRESH_BYTES // PAGE_BYTES
        exit_ns["page_fault"] = round(guest.seconds("touch", pages, FRESH_AT) / pages * 1e9)
        tell(exit_ns=exit_ns)
        turns = max(FIRST_TURNS, int(LOOP_SECONDS * 1e9 / max(loop_ns, 0.1)))
        tell(loop_ns=round(guest.seconds("loop", turns) / turns * 1e9, 3), stage="done")
    except PermissionError as error:
        tell(denied=str(error))
    except (OSError, RuntimeError) as error:
        tell(error=f"{type(error).__name__}: {error}")


def watch(limit: float, act: Callable[[int], None]) -> dict[str, object]:
    """Run `act(descriptor)` in a child and gather the JSON lines that it writes there; 'hang' if it has not ended within `limit` seconds."""
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        # Stuck in the kernel it would keep our output open, and who reads that would wait for its end.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        try:
            act(say)
        finally:
            os._exit(0)
    os.close(say)
    data, deadline, ended = b"", time.monotonic() + limit, False
    while not ended and (left := deadline - time.monotonic()) > 0:
        if select.select([hear], [], [], left)[0]:
            piece = os.read(hear, 65536)
            data, ended = data + piece, not piece
    found: dict[str, object] = {}
    for line in data.splitlines():
        found.update(json.loads(line))
    if not ended:
        os.kill(child, signal.SIGKILL)  # not waited for: it may be stuck in the kernel
        found["hang"] = limit
    return found


def main() -> None:
    found: dict[str, object] = {"present": os.path.exists("/dev/kvm")}  # noqa: PTH110 - standard library, few imports
    if found["present"]:
        found |= watch(float(sys.argv[1]), trial)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
