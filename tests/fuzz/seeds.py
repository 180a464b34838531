#!/usr/bin/env python3
"""Writes the first inputs of the fuzz targets' corpora out of the published vectors."""

import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent.parent / "docs" / "vectors" / "cryprq-v1.json"


def write(target, name, content):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name.replace(" ", "-").replace(":", "")).write_bytes(content)


def spoilt(message, case):
    """A message with the mask of a negative case at its offset."""
    out = bytearray(message)
    for at, byte in enumerate(bytes.fromhex(case["mask"])):
        out[case["offset"] + at] ^= byte
    return bytes(out)


def udp(source, destination, ports, text, version):
    """A UDP packet without a checksum."""
    segment = bytes.fromhex(ports) + (len(text) + 8).to_bytes(2, "big") + b"\0\0" + text
    if version == 4:
        head = bytes([0x45, 0]) + (20 + len(segment)).to_bytes(2, "big") + bytes.fromhex("0000000040110000")
    else:
        head = bytes.fromhex("60000000") + len(segment).to_bytes(2, "big") + bytes.fromhex("1140")
    return head + source + destination + segment


def partial(packet):
    """The packet with the pseudo-header's sum in its checksum, as a kernel leaves it."""
    version = packet[0] >> 4
    start, addresses = (20, packet[12:20]) if version == 4 else (40, packet[8:40])
    segment = packet[start:]
    total = 17 + len(segment) + sum(int.from_bytes(addresses[i : i + 2], "big") for i in range(0, len(addresses), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[: start + 6] + total.to_bytes(2, "big") + packet[start + 8 :]


def runs(frames):
    """Runs as the kernel merges them: the stride, then datagrams of that length, the last one shorter."""
    sealed = [bytes.fromhex(frame["wire"]) for frame in frames if frame["dir"] == "i2r"]
    length = len(sealed[0])
    alike = [frame for frame in sealed if len(frame) == length]
    initial = bytes.fromhex("c00000000108") + bytes(length - 6)
    short_header = b"\x40" + bytes(length - 1)
    for name, datagrams in [
        ("frames", alike),
        ("both-kinds", [short_header, alike[0], initial, alike[0]]),
        ("shorter-last", [alike[0], short_header, alike[0][:-5]]),
        ("punch-and-frame", [b"\x13" + bytes(length - 1), alike[0]]),
        ("other-versions", [bytes.fromhex(f"c0{version}08") + bytes(length - 6) for version in ["6b3343cf", "00000000"]]),
        ("no-kind", [b"\x3f" + bytes(length - 1), b"\x0f"]),
    ]:
        write("demux", name, length.to_bytes(2, "little") + b"".join(datagrams))
    write("demux", "empty", bytes.fromhex("4000"))
    write("demux", "one-by-one", bytes.fromhex("0100") + bytes(range(256)))


def conversations():
    """What either side of the packet socket sends, and the same with one frame that is none in it."""
    folder = HERE.parent.parent / "ipc-proto" / "vectors"
    frame = {path.stem: path.read_bytes() for path in folder.glob("*.bin")}
    packets = frame["packets__three"] + frame["packets__none"]
    for name, sent in [
        ("extension", ["hello__extension", "ready", "packets__three", "pause", "resume", "ready", "stop__system"]),
        ("daemon", ["hello_ack", "tunnel_settings__full", "packets__three", "tunnel_settings__empty", "packets__none"]),
        ("daemon-ends", ["hello_ack", "tunnel_settings__full", "packets__three", "stop__daemon_stopping"]),
        ("daemon-cuts-off", ["hello_ack", "tunnel_settings__full", "packets__three", "error__bad_request"]),
    ]:
        whole = b"".join(frame[part] for part in sent)
        write("ipc_frame", f"{name}-says", whole)
        write("ipc_frame", f"{name}-cut", whole[:-1])
    for name in ["bad_magic", "fewer_packets_than_bytes", "packet_of_0", "last_packet_too_long", "body_trailing"]:
        write("ipc_frame", f"amid-packets-{name}", packets + frame[f"refuse__{name}"] + packets)


def main():
    vectors = json.loads(VECTORS.read_text())
    cases = {case["name"]: case for case in vectors}
    fresh = cases["fresh+psk"]
    for at, target in enumerate(["m1", "m2", "m3", "m4"], start=1):
        genuine = bytes.fromhex(fresh[f"m{at}"])
        write(target, "genuine", genuine)
        write(target, "cut", genuine[:-1])
        spoil = [case for case in fresh["negative"] if case["message"] == f"m{at}"][:6]
        for number, case in enumerate(spoil):
            write(target, f"negative-{number}", spoilt(genuine, case))
    write("m2", "reject", bytes.fromhex("0f01040001000000"))
    write("m1", "chained", bytes.fromhex(cases["chained+psk"]["m1"]))
    for name, case in cases.items():
        if name.startswith("malformed m1") or name in ("two tlvs", "unknown optional tlv", "fresh"):
            write("tlv", name, bytes.fromhex(case["params_i"]) + bytes.fromhex(case["tlv_i"]))
    for frame in fresh["frames"]:
        if frame["dir"] == "i2r" and len(frame["wire"]) < 400:
            for way in range(4):
                write("frame", f"counter-{frame['counter']}-way-{way}", bytes([way]) + bytes.fromhex(frame["wire"]))
    runs(fresh["frames"])
    write("frame", "probe", bytes.fromhex("0011000000887766550000000000000000") + bytes(24))

    for number, pairing in enumerate(cases["pairing"]["pairing"]):
        write("ticket", f"text-{number}", b"\0" + pairing["ticket"].encode())
        write("ticket", f"lower-{number}", b"\0" + pairing["ticket"].lower().encode())
        write("ticket", f"body-{number}", b"\1" + bytes.fromhex(pairing["body"]))
        write("ticket", f"cut-{number}", b"\1" + bytes.fromhex(pairing["body"])[:-3])
        p1, p2 = bytes.fromhex(pairing["p1"]), bytes.fromhex(pairing["p2"])
        for form, message in [(0, p1), (1, p1[:-32]), (2, p2), (3, p2[:-32])]:
            write("pair", f"form-{form}-{number}", bytes([form]) + message)
    for number in range(1, 7):
        write("pair", f"refused-{number}", bytes([2, 0x0F, 1, number, 0]))
    for path in sorted((HERE.parent.parent / "ipc-proto" / "vectors").glob("*.bin")):
        if path.stat().st_size <= 2048:
            write("ipc_frame", path.stem, path.read_bytes())
    conversations()

    v4 = udp(bytes([10, 86, 0, 2]), bytes([10, 86, 0, 1]), "30390035", b"question", 4)
    prefix = bytes.fromhex("fd6372797072") + bytes(9)
    v6 = udp(prefix + b"\2", prefix + b"\1", "30390035", b"question", 6)
    for name, packet in [("udp4", v4), ("udp6", v6)]:
        write("inner_ip", name, b"\0" + packet)
        write("inner_ip", name + "-partial", b"\1" + partial(packet))
        write("inner_ip", name + "-partial-wrong", b"\1" + packet)
    write("inner_ip", "spoofed", b"\0" + v4[:12] + bytes([10, 86, 0, 9]) + v4[16:])
    write("inner_ip", "empty", b"\0" + bytes(16))

    for number, line in enumerate(
        [
            '{"v":1,"id":7,"cmd":"status"}',
            '{"cmd":"up","peer":"gateway"}',
            '{"cmd":"peer_add","peer":"12D3KooW"}',
            '{"v":2,"cmd":"status"}',
            '{"cmd":"statsu"}',
            '{"cmd":"status","id":{"a":[1,"\\u00e9"]}}',
            '{"schema":1,"error":{"code":"permission_denied","message":"no","hint":"sudo"}}',
        ]
    ):
        write("json_line", f"line-{number}", line.encode())
    write("config", "empty", b"")
    write(
        "config",
        "whole",
        b"""[node]
name = "a"
[network]
mtu = 1400
address = "none"
[listen]
port = 0
addresses = ["0.0.0.0"]
[rotation]
seconds = 60
padding = "full"
[ipc.access]
admin = ["root", "user:eve"]
[[peer]]
id = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
name = "gateway"
addresses = ["/dns4/gw.example.org/udp/41820/quic-v1"]
allowed_ips = ["10.86.0.1/32"]
""",
    )
    write("config", "unknown-key", b"[network]\nmtuu = 1\n")
    write("config", "broken", b"[[peer]]\nid = 5\n[network")


if __name__ == "__main__":
    main()
