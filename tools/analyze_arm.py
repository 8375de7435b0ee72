#!/usr/bin/env python3
"""What the NEON kernels would cost on a Raspberry Pi 5 and 4, without one: `make analyze-arm`.

    tools/analyze_arm.py BINARY     BINARY is the tool one_group (crates/one_group), built for aarch64

qemu follows one product of 16 rows instruction by instruction. LLVM's model of the processor (llvm-mca) says how many cycles these
take; what 512 columns take more than 256 is a block of 256 columns for all vectors. Caches, memory and mispredicted branches are not
in it. Two tables in Markdown come out: the kernels, and what they and the memory leave a model of 2B size (its roofline).
docs/performance.md says how far to trust them.

Needs, of Debian: llvm-22 (LLVM_MCA names another llvm-mca, 19 or later), binutils-aarch64-linux-gnu, qemu-user, libc6-arm64-cross.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# The kernel, the processor qemu plays, LLVM's model. LLVM gives a Cortex-A76 the schedule of a Cortex-A57, which is wrong for it; its
# Neoverse N1 is the same core for servers.
PROCESSORS = [
    ("Pi 5 (A76)", "neon-dot", "cortex-a76", "neoverse-n1"),
    ("Pi 4 (A72)", "neon", "cortex-a72", "cortex-a72"),
]
VECTORS = [1, 4, 16, 64]
# GHz; cores; how much slower it is than LLVM's model, by llama.cpp's published figures; GB/s of weights that engines are published to
# read while they write text, all cores together.
MACHINES = {"Pi 5 (A76)": (2.4, 4, 1.09, 10.5), "Pi 4 (A72)": (1.8, 4, 2.0, 3.3)}
# RecurrentGemma 2B as Q4K: products and bytes of a token that is written, which takes the head; and of one that is read.
WRITTEN = (2681e6, 1.53e9)
READ = (1954e6, 1.16e9)
ROWS = 16
BLOCK = 256
# Where qemu-user puts a position-independent program.
BASE = 0x5500000000
LIBRARIES = "/usr/aarch64-linux-gnu"


def tool(names):
    for name in names:
        if name and shutil.which(name):
            return name
    sys.exit(f"analyze_arm.py: none of {', '.join(filter(None, names))} is here; make analyze-arm installs it")


def disassembled(binary):
    """Address to instruction, of the kernels' functions."""
    objdump = tool(["aarch64-linux-gnu-objdump", "llvm-objdump"])
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", "-C", binary], check=True, capture_output=True, text=True).stdout
    instructions = {}
    inside = False
    for line in text.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            inside = start[1].startswith("griffin::kernels::neon::")
        elif inside and (found := re.match(r"\s*([0-9a-f]+):\s+(.*)", line)):
            instructions[int(found[1], 16)] = found[2]
    if not instructions:
        sys.exit(f"analyze_arm.py: {binary} has no functions griffin::kernels::neon: is it one_group, built for aarch64?")
    return instructions


def executed(binary, cpu, instructions, arguments):
    """The instructions that ran, in order."""
    qemu = tool(["qemu-aarch64", "qemu-aarch64-static"])
    first, last = min(instructions), max(instructions)
    with tempfile.NamedTemporaryFile() as log:
        command = [qemu, "-L", LIBRARIES, "-cpu", cpu, "-singlestep", "-d", "exec,nochain", "-D", log.name,
                   "-dfilter", f"{BASE + first:#x}..{BASE + last:#x}", binary, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "RAYON_NUM_THREADS": "1"})
        addresses = [int(address, 16) - BASE for address in re.findall(r"\[\w+/(\w+)/", open(log.name).read())]
    ran = [instructions[address] for address in addresses if address in instructions]
    if not ran:
        sys.exit("analyze_arm.py: qemu did not come by the kernel")
    return ran


def assembly(instruction):
    """As the assembler takes it; calls, returns and constants' addresses are left out."""
    text = re.sub(r"\s*(//|<).*", "", instruction).strip()
    name, _, operands = text.partition("\t")
    if name in ("bl", "blr", "ret", "br", "b", "udf", "adrp"):
        return None
    if name.startswith("b."):
        return f"{name} next"
    if name in ("cbz", "cbnz", "tbz", "tbnz"):
        return f"{name} {re.sub(r'[^,]+$', ' next', operands)}"
    # The model knows no cost of multiplying with a lane: it is that of multiplying with a register.
    by_lane = re.fullmatch(r"(v\d+\.4s, v\d+\.4s, v\d+)\.s\[\d\]", operands)
    if name in ("mla", "mls", "mul") and by_lane:
        return f"{name} {by_lane[1]}.4s"
    return f"{name} {operands}"


def cycles(instructions, model, dispatch):
    lines = ["next:"] + [line for line in map(assembly, instructions) if line]
    mca = tool([os.environ.get("LLVM_MCA"), "llvm-mca-22", "llvm-mca-21", "llvm-mca-20", "llvm-mca-19"])
    command = [mca, "-mtriple=aarch64-linux-gnu", "-mattr=+dotprod,+fullfp16", f"-mcpu={model}", "-iterations=1",
               "-skip-unsupported-instructions=any", "-instruction-info=false", "-resource-pressure=false", *dispatch]
    done = subprocess.run(command, input="\n".join(lines) + "\n", check=True, capture_output=True, text=True)
    return int(re.search(r"Total Cycles:\s+(\d+)", done.stdout)[1])


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    binary = sys.argv[1]
    instructions = disassembled(binary)
    print("| processor | weights, vectors | instructions a block | cycles | products a cycle | … with a wide front end |")
    print("|---|---|---|---|---|---|")
    of_q4k = {}
    for processor, kernel, cpu, model in PROCESSORS:
        for weights in ["q4k", "q8_0"]:
            for vectors in VECTORS:
                runs = [executed(binary, cpu, instructions, [kernel, weights, str(vectors), str(columns)])
                        for columns in (BLOCK, 2 * BLOCK)]
                products = ROWS * BLOCK * vectors
                count = len(runs[1]) - len(runs[0])
                [core, wide] = [cycles(runs[1], model, dispatch) - cycles(runs[0], model, dispatch)
                                for dispatch in ([], ["-dispatch=8"])]
                print(f"| {processor} | {weights}, {vectors} | {count:,} | {core:,} | {products / core:.1f} | {products / wide:.1f} |",
                      flush=True)
                if weights == "q4k":
                    of_q4k[processor, vectors] = products / core
    print_roofline(of_q4k)


def print_roofline(products_a_cycle):
    """For each processor: how long the products of a token and the bytes of its weights take."""
    print("\n| processor | tokens at once | arithmetic on 1, 2, 4 cores | memory | tokens/s at most, bound by |")
    print("|---|---|---|---|---|")
    for processor, (ghz, cores, slower, memory) in MACHINES.items():
        for what, vectors, (products, size) in [("1, written", 1, WRITTEN), ("1, read", 1, READ), ("4, read", 4, READ),
                                                ("16, read", 16, READ), ("64, read", 64, READ)]:
            one_core = products / (products_a_cycle[processor, vectors] / slower * ghz * 1e9)
            arithmetic = one_core / cores
            reading = size / vectors / (memory * 1e9)
            bound = "memory" if reading > arithmetic else "arithmetic"
            on_cores = ", ".join(f"{1e3 * one_core / count:.0f}" for count in (1, 2, cores))
            print(f"| {processor} | {what} | {on_cores} ms | {1e3 * reading:.0f} ms | {1 / max(reading, arithmetic):.1f}, {bound} |")


main()
