"""Reads every frame of ipc-proto/vectors by the description in docs/ipc.md alone and compares it with its JSON.

It shares no code with the product. Usage: check_frames.py DOCS_DIRECTORY VECTORS_DIRECTORY
"""

import ipaddress
import json
import pathlib
import re
import struct
import sys


class Refused(Exception):
    pass


class Layout:
    """The block `layout` of the document: types by name."""

    def __init__(self, text):
        block = re.search(r"^```layout\n(.*?)^```", text, re.S | re.M).group(1)
        self.types, name = {}, None
        for line in block.splitlines():
            if match := re.match(r"(\w+)(?: by (\w+))?(?:: (.*))?$", line):
                name, tag, fields = match.groups()
                self.types[name] = {"tag": tag, "cases": {}, "fields": self.fields(fields)}
            elif match := re.match(r" +(\d+) (\w+)\s*(.*)$", line):
                number, case, fields = match.groups()
                self.types[name]["cases"][int(number)] = (case, self.fields(fields))
            else:
                self.types[name]["fields"] += self.fields(line)

    @staticmethod
    def fields(text):
        """[(name or None for fields of another type in place, type)]"""
        found = []
        for field in filter(None, (part.strip() for part in (text or "").split(","))):
            found.append((None, field[1:]) if field.startswith("+") else tuple(field.split(" ", 1)))
        return found


class Reader:
    """One body."""

    def __init__(self, layout, body):
        self.layout, self.body, self.at = layout, body, 0

    def take(self, length):
        if length > len(self.body) - self.at:
            raise Refused("truncated")
        self.at += length
        return self.body[self.at - length : self.at]

    def number(self, width):
        return int.from_bytes(self.take(width), "little")

    def length(self):
        length = self.number(8)
        # No length beyond what memory can hold is looked at twice.
        if length >= 1 << 20:
            raise Refused("malformed")
        return length

    def choice(self, bits, allowed):
        value = self.number(bits)
        if value not in allowed:
            raise Refused("malformed")
        return value

    def packet(self):
        length = self.number(8)
        if not 1 <= length <= 65535:
            raise Refused("packet_length")
        return self.take(length).hex()

    def value(self, kind):
        if kind.endswith("?"):
            return self.value(kind[:-1]) if self.choice(1, (0, 1)) else ABSENT
        if kind.endswith("|null"):
            return self.value(kind[:-5]) if self.choice(1, (0, 1)) else None
        if kind == "[packet]":
            return [self.packet() for _ in range(self.number(8))]
        if kind.startswith("["):
            return [self.value(kind[1:-1]) for _ in range(self.length())]
        if kind.startswith("{"):
            pairs = [(self.value("text"), self.value(kind[1:-1])) for _ in range(self.length())]
            keys = [key.encode() for key, _ in pairs]
            if any(a >= b for a, b in zip(keys, keys[1:])):
                raise Refused("not_canonical")
            return dict(pairs)
        if kind in ("u8", "u16", "u32", "u64"):
            return self.number(int(kind[1:]) // 8)
        if kind == "f64":
            return struct.unpack("<d", self.take(8))[0]
        if kind == "bool":
            return bool(self.choice(1, (0, 1)))
        if kind == "text":
            try:
                return self.take(self.length()).decode()
            except UnicodeDecodeError:
                raise Refused("malformed") from None
        if kind in ("ip4", "ip6"):
            return str(ipaddress.ip_address(self.take(4 if kind == "ip4" else 16)))
        if kind == "ip":
            return self.value(("ip4", "ip6")[self.choice(4, (0, 1))])
        if kind == "prefix":
            address = self.value("ip")
            return f"{address}/{self.choice(1, range(129 if ':' in address else 33))}"
        return self.named(kind)

    def named(self, kind):
        of = self.layout.types[kind]
        if not of["cases"]:
            return self.object(of["fields"])
        name, fields = of["cases"][self.choice(4, of["cases"])]
        return {of["tag"]: name, **self.object(fields)} if of["tag"] else name

    def object(self, fields):
        made = {}
        for name, kind in fields:
            value = self.value(kind)
            if name is None:
                made.update(value)
            elif value is not ABSENT:
                made[name] = value
        return made


ABSENT = object()


def read(layout, frame):
    if len(frame) < 16:
        raise Refused("truncated")
    magic, version, kind, flags, reserved, length, request = struct.unpack("<2sBBHHII", frame[:16])
    if magic != b"\xc9\x52":
        raise Refused("magic")
    if version != 1:
        raise Refused("version")
    if flags or reserved:
        raise Refused("reserved")
    if kind not in layout.types["frame"]["cases"]:
        raise Refused("kind")
    name, fields = layout.types["frame"]["cases"][kind]
    if length > (256 if name == "packets" else 64) * 1024:
        raise Refused("too_long")
    body = frame[16:]
    if len(body) != length:
        raise Refused("truncated" if len(body) < length else "trailing")
    reader = Reader(layout, body)
    meaning = reader.object(fields)
    if reader.at != len(body):
        raise Refused("trailing")
    return {"kind": name, "id": request, "body": meaning}


def same(ours, published):
    """Whether they are equal; a list that is empty may be left out of the JSON."""
    if isinstance(ours, dict) and isinstance(published, dict):
        left_out = [key for key, value in ours.items() if key not in published and value == []]
        return len(ours) == len(published) + len(left_out) and all(
            key in left_out or (key in published and same(value, published[key])) for key, value in ours.items()
        )
    if isinstance(ours, list) and isinstance(published, list):
        return len(ours) == len(published) and all(map(same, ours, published))
    return type(ours) is type(published) and ours == published


def main():
    docs, vectors = map(pathlib.Path, sys.argv[1:])
    layout = Layout((docs / "ipc.md").read_text())
    checked = 0
    for file in sorted(vectors.glob("*.bin")):
        published = json.loads(file.with_suffix(".json").read_text())
        try:
            ours = read(layout, file.read_bytes())
        except Refused as refused:
            ours = {"refused": str(refused)}
        if not same(ours, published):
            sys.exit(f"{file.name}: read {ours}, published {published}")
        checked += 1
    print(f"{checked} frames agree")


main()
