#!/usr/bin/env python3
"""Checks an add-on's folder by the schema that Home Assistant documents for add-ons (developers.home-assistant.io/docs/apps/configuration):
lint.py FOLDER. More strictly than the Supervisor, which drops keys that it does not know. Needs python3-voluptuous and python3-yaml."""
import pathlib, re, struct, sys

import voluptuous as vol
import yaml

ELEMENT = re.compile(
    r"(bool|email|url|port|device(\(subsystem=[a-z]+\))?|(str|password|int|float)(\((-?[\d.]+)?,(-?[\d.]+)?\))?|match\(.*\)|list\(.+\))\??")
PORT = re.compile(r"\d{1,5}(/(tcp|udp))?")
ICON = (128, 128)


def matches(pattern):
    def check(value):
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise vol.Invalid(f"{value!r} does not match {getattr(pattern, 'pattern', pattern)}")
        return value
    return check


ONE = vol.Any(matches(ELEMENT), {str: vol.Any(matches(ELEMENT), [matches(ELEMENT)], {str: matches(ELEMENT)})})
# A list has one kind of entries, and no list in a list.
OPTION = vol.Any(ONE, vol.All([ONE], vol.Length(min=1, max=1)))
TRUTH = {key: bool for key in (
    "init", "advanced", "ingress", "ingress_stream", "panel_admin", "host_network", "host_pid", "host_ipc", "host_uts", "host_dbus", "udev",
    "tmpfs", "apparmor", "full_access", "audio", "video", "gpio", "usb", "uart", "devicetree", "kernel_modules", "realtime", "hassio_api",
    "homeassistant_api", "stdin", "legacy", "docker_api", "auth_api", "journald")}
MAPS = ["data", "addon_config", "homeassistant_config", "all_addon_configs", "ssl", "addons", "backup", "share", "media"]
CONFIG = vol.Schema({
    vol.Required("name"): str,
    vol.Required("version"): matches(r"\d+(\.\d+)*([-.]?[a-z]+\d*)?"),
    vol.Required("slug"): matches(r"[-_.A-Za-z0-9]+"),
    vol.Required("description"): vol.All(str, vol.Length(min=10, max=200)),
    # The 32-bit architectures are no longer supported.
    vol.Required("arch"): vol.All([vol.In(["aarch64", "amd64"])], vol.Length(min=1), vol.Unique()),
    "url": vol.Url(),
    "startup": vol.In(["initialize", "system", "services", "application", "once"]),
    "boot": vol.In(["auto", "manual", "manual_only"]),
    "stage": vol.In(["stable", "experimental", "deprecated"]),
    "ports": {matches(PORT): vol.Any(None, vol.All(int, vol.Range(1, 65535)))},
    "ports_description": {matches(PORT): str},
    "watchdog": matches(r"(https?|\[PROTO:\w+\]|tcp)://\[HOST\]:(\[PORT:\d+\]|\d+).*"),
    "webui": matches(r"(https?|\[PROTO:\w+\])://\[HOST\]:\[PORT:\d+\].*"),
    "ingress_port": vol.All(int, vol.Range(0, 65535)),
    "ingress_entry": str,
    "panel_icon": matches(r"mdi:[a-z0-9-]+"),
    "panel_title": str,
    "homeassistant": str,
    "devices": [matches(r"/dev/.+")],
    "map": [vol.Schema({vol.Required("type"): vol.In(MAPS), "read_only": bool, "path": matches("/.+")})],
    "environment": {matches(r"\w+"): str},
    "privileged": [str],
    "hassio_role": vol.In(["default", "homeassistant", "backup", "manager", "admin"]),
    "services": [matches(r"(mqtt|mysql):(provide|want|need)")],
    "discovery": [str],
    "backup": vol.In(["hot", "cold"]),
    "backup_exclude": [str], "backup_pre": str, "backup_post": str, "restore_pre": str, "restore_post": str,
    "options": dict,
    "schema": vol.Any(False, {str: OPTION}),
    "image": matches(r"([\w.:{}-]+/)*[\w{}-]+(:[\w.{}-]+)?"),
    "timeout": vol.All(int, vol.Range(10, 300)),
    "ulimits": {str: int}, "breaking_versions": [str], "machine": [str],
    **TRUTH})
TRANSLATION = vol.Schema({"configuration": {str: {vol.Required("name"): str, "description": str}}, "network": {matches(PORT): str}})


def fits(element, value):
    """Whether an option's value is of the kind that its schema names."""
    if isinstance(element, list):
        return isinstance(value, list) and all(fits(element[0], v) for v in value)
    if isinstance(element, dict):
        return isinstance(value, dict) and set(value) <= set(element) and all(
            fits(e, value[k]) if k in value else isinstance(e, str) and e.endswith("?") for k, e in element.items())
    kind, _, rest = element.rstrip("?").partition("(")
    rest = rest[:-1]
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("int", "float", "port"):
        low, high = (float(x) if x else None for x in (rest.split(",") if rest else ("", "")))
        number = isinstance(value, int if kind != "float" else (int, float)) and not isinstance(value, bool)
        return number and (low is None or value >= low) and (high is None or value <= high)
    if not isinstance(value, str):
        return False
    return {"list": lambda: value in rest.split("|"), "match": lambda: re.match(rest, value) is not None}.get(kind, lambda: True)()


def lint(folder):
    wrong = []
    load = lambda path: yaml.safe_load(path.read_text(encoding="utf-8"))
    config = load(folder / "config.yaml")
    try:
        CONFIG(config)
    except vol.MultipleInvalid as error:
        wrong += [f"config.yaml: {e}" for e in error.errors]
    schema, options = config.get("schema") or {}, config.get("options", {})
    for key in sorted(set(schema) | set(options)):
        if key not in schema:
            wrong.append(f"config.yaml: options has {key}, and schema has not")
        elif key in options:
            if not fits(schema[key], options[key]):
                wrong.append(f"config.yaml: the default of {key}, {options[key]!r}, is not {schema[key]!r}")
        elif not (isinstance(schema[key], str) and schema[key].endswith("?")):
            wrong.append(f"config.yaml: {key} has no default and is not optional: the add-on would not start before somebody sets it")
    if config.get("full_access") and any(config.get(key) for key in ("devices", "uart", "usb", "gpio")):
        wrong.append("config.yaml: full_access makes single devices pointless")
    if set(config.get("ports", {})) != set(config.get("ports_description", {})):
        wrong.append("config.yaml: each port needs a description")
    for language in sorted((folder / "translations").glob("*.yaml")):
        try:
            translation = TRANSLATION(load(language))
        except vol.MultipleInvalid as error:
            wrong += [f"{language.name}: {e}" for e in error.errors]
            continue
        for part, keys in (("configuration", set(schema)), ("network", set(config.get("ports", {})))):
            differ = keys ^ set(translation.get(part, {}))
            if differ:
                wrong.append(f"{language.name}: {part} and config.yaml differ in {sorted(differ)}")
    for name in ("Dockerfile", "README.md", "DOCS.md", "CHANGELOG.md", "translations/en.yaml"):
        if not (folder / name).is_file():
            wrong.append(f"{name} is missing")
    icon = (folder / "icon.png").read_bytes() if (folder / "icon.png").is_file() else b""
    if icon[:8] != b"\x89PNG\r\n\x1a\n" or struct.unpack(">II", icon[16:24]) != ICON:
        wrong.append(f"icon.png is no PNG of {ICON[0]} by {ICON[1]} pixels")
    # build.yaml is deprecated: the Dockerfile says from what it is built.
    if list(folder.glob("build.*")):
        wrong.append("build.yaml is deprecated: the Dockerfile names its base image and arguments")
    return wrong


if __name__ == "__main__":
    found = lint(pathlib.Path(sys.argv[1]))
    print("\n".join(found) or f"{sys.argv[1]}: nothing is wrong")
    sys.exit(1 if found else 0)
