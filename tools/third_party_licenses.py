#!/usr/bin/env python3
"""Writes the licenses of everything that is compiled into hearth: third_party_licenses.py FILE

Reads the crates that `cargo tree` lists for the program, and the license files in their sources. Fails when a crate declares no license.
"""
import json, pathlib, subprocess, sys

# Parts of the program that no crate's own license file covers.
MORE = """\
## Bundled by crates

- whisper.cpp and ggml (in whisper-rs-sys): MIT, Copyright (c) 2023-2026 The ggml authors
- SQLite (in libsqlite3-sys): public domain
- zstd (in zstd-sys): BSD-3-Clause, Copyright (c) Meta Platforms, Inc. and affiliates
- The bundled models: see models/README.md
"""


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


listed = run("cargo", "tree", "--locked", "-p", "hearth", "-e", "normal", "--prefix", "none", "--format", "{p}")
used = {tuple(line.split()[:2]) for line in listed.splitlines() if line.strip()}
packages = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))["packages"]
crates, texts, missing = [], {}, []
for package in sorted(packages, key=lambda p: (p["name"], p["version"])):
    if (package["name"], "v" + package["version"]) not in used or package["source"] is None:
        continue
    if not (package["license"] or package["license_file"]):
        missing.append(package["name"])
    crate = f"{package['name']} {package['version']}"
    authors = f", by {', '.join(package['authors'])}" if package["authors"] else ""
    crates.append(f"- {crate}: {package['license'] or package['license_file']}{authors}")
    for file in sorted(pathlib.Path(package["manifest_path"]).parent.iterdir()):
        if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")):
            # Many crates have the same text but for its line breaks: each is printed once.
            text = file.read_text(errors="replace").strip()
            texts.setdefault(" ".join(text.split()), (text, []))[1].append(crate)
if missing:
    sys.exit(f"no license is declared by: {', '.join(missing)}")
target = pathlib.Path(sys.argv[1])
target.parent.mkdir(parents=True, exist_ok=True)
parts = [f"## {', '.join(dict.fromkeys(names))}\n\n```\n{text}\n```" for text, names in texts.values()]
target.write_text("\n\n".join(["# Third-party licenses", "\n".join(crates), MORE, *parts]) + "\n")
print(f"{target}: {len(crates)} crates, {len(texts)} texts")
