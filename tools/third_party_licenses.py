#!/usr/bin/env python3
"""Writes the notices of everything from others that a package of hearth holds: third_party_licenses.py FILE [TARGET]

Crates are those that `cargo tree` lists for the program and the processor TARGET (by default this machine's), with the license files in
their sources, also those of C code inside. What is no crate stands in OTHERS. Needs no network once hearth is built. The same sources give
the same bytes. Fails when a crate declares no license, or when there is no text for it.
"""
import os, pathlib, shutil, subprocess, sys, tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LICENSE_FILES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")
# License files of what is not compiled in, or of a license that is offered beside the one that is taken.
NOT_OURS = {("yaml-rust2", "tests/yaml-test-suite/License"), ("zstd-sys", "zstd/COPYING")}
# Files of C and C++ that are compiled in and whose authors are not in the license file of their project.
OTHERS = """\
## Not crates

- **whisper.cpp and ggml** (source in the crate whisper-rs-sys): MIT, Copyright (c) 2023-2026 The ggml authors; in it `sgemm.cpp`, MIT, Copyright 2024
  Mozilla Foundation, and the YaRN functions in `ops.cpp`, MIT, Copyright (c) 2023 Jeffrey Quesnelle and Bowen Peng. The text is below.
- **SQLite** (source in the crate libsqlite3-sys): public domain (https://sqlite.org/copyright.html)
- **zstd** (source in the crate zstd-sys): BSD-3-Clause, Copyright (c) Meta Platforms, Inc. and affiliates. The text is below.
- **The Rust standard library**: MIT or Apache-2.0, The Rust Project contributors (https://www.rust-lang.org). It holds parts under other licenses
  (LLVM's compiler-rt, musl's libm, Unicode's tables), named in COPYRIGHT-library.html of the toolchain.
- **The model whisper-tiny.en-q5_1.bin**: OpenAI Whisper tiny.en, MIT, Copyright (c) 2022 OpenAI. The text is below.
- **The models recurrentgemma-nano, recurrentgemma-events and watcher.safetensors** were trained for hearth and are licensed like it.
  RecurrentGemma names an architecture here: no weights of Google's are part of hearth.
- **The recordings of `hearth demo`** are licensed like hearth. `everyday.flac` was spoken by voices of Kokoro-82M (Apache-2.0), which is
  not part of hearth.
- **The page** (HTML, CSS, scripts, icons) was written for hearth and is licensed like it. It holds nothing from others.

Linked when hearth starts, and not part of the package: the C and C++ libraries of the system (glibc, libgcc, libstdc++) and alsa-lib (LGPL-2.1).
"""


def crates(target):
    """Name, version and declared license of each crate of the program."""
    command = ["cargo", "tree", "--locked", "--package", "hearth", "--edges", "normal", "--prefix", "none", "--format", "{p}\t{l}"]
    command += ["--target", target] if target else []
    listed = subprocess.run([*command, "--offline"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:  # for another processor, crates may have to be fetched
        listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    # " (*)" marks what cargo listed before.
    for line in sorted({line.removesuffix(" (*)").rstrip() for line in listed.stdout.splitlines() if line}):
        package, _, declared = line.partition("\t")
        name, version, *rest = package.split()
        # A path stands behind the crates of this repository.
        if not any(part.startswith("(/") for part in rest):
            yield name, version.removeprefix("v"), declared


def source(name, version):
    """The folder that cargo unpacked a crate into."""
    home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
    found = sorted(home.glob(f"registry/src/*/{name}-{version}"))
    if not found:
        sys.exit(f"the source of {name} {version} is not in {home}/registry/src: build hearth first (make build)")
    return found[-1]


def license_texts(name, folder):
    for file in sorted(folder.rglob("*")):
        path = str(file.relative_to(folder))
        if file.is_file() and file.name.upper().startswith(LICENSE_FILES) and (name, path) not in NOT_OURS:
            yield path, file.read_text(errors="replace").strip()


def general_texts(declared):
    """For a crate without a file: the text of one license that it declares, as this repository has it."""
    for license, file in (("Apache-2.0", "LICENSE-APACHE"), ("MIT", "LICENSE-MIT")):
        if license in declared:
            text = (ROOT / file).read_text()
            # The project's own line of copyright is not theirs.
            lines = [line for line in text.splitlines() if not line.startswith("Copyright (c)")]
            yield f"{license}, declared in Cargo.toml", "\n".join(lines).strip()
            return


def main(target_file, target=None):
    listed, texts, missing = [], {}, []
    for name, version, declared in crates(target):
        folder = source(name, version)
        authors = tomllib.loads((folder / "Cargo.toml").read_text())["package"].get("authors", [])
        crate = f"{name} {version}"
        found = list(license_texts(name, folder)) or list(general_texts(declared))
        if not declared or not found:
            missing.append(crate)
        listed.append(f"- {crate}: {declared}{', by ' if authors else ''}{', '.join(authors)}")
        for path, text in found:
            # Many crates have the same text but for its line breaks: each is printed once.
            label = crate if "/" not in path else f"{crate} ({path})"
            texts.setdefault(" ".join(text.split()), (text, []))[1].append(label)
    if missing:
        sys.exit(f"no license, or no text of it, was found for: {', '.join(missing)}")
    whisper = (ROOT / "models/LICENSE.whisper").read_text().strip()
    parts = [("whisper-tiny.en-q5_1.bin", whisper)] + [(", ".join(dict.fromkeys(names)), text) for text, names in texts.values()]
    head = "# Third-party notices\n\nWhat hearth's program and package hold that others wrote, with their licenses."
    rust = "## Crates\n\n" + "\n".join(listed)
    written = "\n\n".join([head, OTHERS.strip(), rust, "# License texts", *(f"## {names}\n\n```\n{text}\n```" for names, text in parts)])
    target_file = pathlib.Path(target_file)
    target_file.parent.mkdir(parents=True, exist_ok=True)
    target_file.write_text(written + "\n")
    print(f"{target_file}: {len(listed)} crates, {len(parts)} texts")


if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
if not shutil.which("cargo"):
    sys.exit("there is no cargo in PATH, which lists the crates of hearth")
main(*sys.argv[1:])
