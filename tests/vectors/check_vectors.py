"""Recomputes Appendix B of docs/protocol.md and every value of docs/vectors/cryprq-v1.json; prints how many agreed.

It shares no code with the product. Usage: check_vectors.py DOCS_DIRECTORY
"""

import ipaddress
import json
import pathlib
import sys

import pairing
from handshake import Fault, H, Run, chain_id, check_tlvs

BYTES = (
    "initiator_seed responder_seed sign_seed_i sign_seed_r psk chain_in ei er kem_seed kem_m params_i params_r "
    "tlv_i tlv_r ek_prefix"
).split()

checked = 0


def same(what, ours, published):
    global checked
    if ours != published:
        sys.exit(f"{what}: computed {ours}, published {published}")
    checked += 1


def pat(start):
    return bytes((start + at) % 256 for at in range(32))


def fault_of(run, name, message):
    try:
        run.read(name, message)
    except Fault as fault:
        return str(fault)
    return None


def values(run):
    keys = run.schedule.keys
    return {
        "m1": run.m1, "m2": run.m2, "m3": run.m3, "m4": run.m4, "ss_kem": run.ss, "th": run.th,
        "noise_psk": run.psk, "h": run.schedule.h, "prk": run.schedule.prk, "hs_i2r": keys["hs i2r"],
        "hs_r2i": keys["hs r2i"], "data_i2r": keys["data i2r"], "data_r2i": keys["data r2i"],
        "exporter": keys["exporter"], "chain_out": keys["chain"], "chain_id": chain_id(keys["chain"]),
    }  # fmt: skip


def appendix_b(text):
    """Every value of the appendix must be one of ours, and stand in its text."""

    def stands(what, value):
        same(f"Appendix B: {what}", value in text, True)

    fresh = {
        "initiator_seed": pat(0x10), "responder_seed": pat(0x40), "sign_seed_i": pat(0x10), "sign_seed_r": pat(0x40),
        "psk": pat(0x77), "chain_in": None, "ei": pat(1), "er": pat(2), "kem_seed": pat(0x80) + pat(0xA0),
        "kem_m": pat(3), "idx_i": 0x11223344, "idx_r": 0x55667788, "params_i": bytes.fromhex("8c052c0100000000"),
        "params_r": bytes.fromhex("8c052c0100000000"), "tlv_i": b"", "tlv_r": b"", "ek_prefix": b"", "max_version_i": 1,
    }  # fmt: skip
    first = Run(fresh)
    seed = bytes([fresh["kem_seed"][0] ^ 0xFF]) + fresh["kem_seed"][1:]
    later = {"ei": pat(5), "er": pat(6), "kem_seed": seed, "kem_m": pat(7), "idx_i": 0x01020304, "idx_r": 0x05060708}
    second = Run({**fresh, **later, "chain_in": first.schedule.keys["chain"]})
    for name, run in (("fresh", first), ("chained", second)):
        made = values(run)
        stands(f"{name} H(M1)", H(run.m1).hex())
        stands(f"{name} H(M2)", H(run.m2).hex())
        inner = ["ss_kem", "th", "m3", "m4"] if name == "fresh" else []
        for key in [*inner, "noise_psk", "h", "prk", "data_i2r", "data_r2i", "chain_out", "chain_id"]:
            stands(f"{name} {key}", made[key].hex())
    packet = bytes.fromhex("45000028") + bytes(36)
    stands("frame", first.frame("i2r", 7, packet, False).hex())
    fresh["params_i"] = fresh["params_r"] = bytes.fromhex("8c052c0100010000")
    with_aes = Run(fresh)
    with_aes.schedule = first.schedule
    stands("frame under AES-256-GCM", with_aes.frame("i2r", 7, packet, False).hex())
    pair = pairing.run({
        "inviter_seed": pat(0x40), "joiner_seed": pat(0x10), "ticket_id": bytes(range(0xE0, 0xE8)),
        "secret": bytes(range(0xC0, 0xD0)), "addresses": [{"ip": "203.0.113.10", "port": 41820}], "nA": pat(0xA0),
        "nB": pat(0x60), "offer": {"name": "laptop", "ipv4": None, "ipv4_self": None},
        "grant": {"name": "gateway", "ipv4": "10.86.0.2", "ipv4_self": "10.86.0.1"},
    })  # fmt: skip
    for key, value in pair.items():
        if key != "body":
            stands(f"pairing {key}", value)


def handshake_case(case):
    name = case["name"]
    inputs = {**case, **{key: bytes.fromhex(case[key]) if case[key] is not None else None for key in BYTES}}
    run = Run(inputs)
    made = values(run)
    for key, value in made.items():
        if key in case:
            same(f"{name} {key}", value.hex(), case[key])
    if "expect" in case:
        last = "m2" if "m2" in case else "m1"
        same(f"{name} fault", fault_of(run, last, made[last]), case["expect"])
        return
    for message in ("m1", "m2", "m3", "m4"):
        same(f"{name} {message} is accepted", fault_of(run, message, made[message]), None)
    for at, frame in enumerate(case["frames"]):
        packet = bytes.fromhex(frame["packet"])
        wire = run.frame(frame["dir"], frame["counter"], packet, frame["csum_partial"])
        same(f"{name} frame {at}", wire.hex(), frame["wire"])
    for bad in case["negative"]:
        changed = bytearray(made[bad["message"]])
        for at, mask in enumerate(bytes.fromhex(bad["mask"])):
            changed[bad["offset"] + at] ^= mask
        found = fault_of(run, bad["message"], bytes(changed))
        same(f"{name} {bad['message']} {bad['offset']} {bad['mask']}", found, bad["expect"])


def pairing_case(case):
    names = ("inviter_seed", "joiner_seed", "ticket_id", "secret", "nA", "nB")
    for key, value in pairing.run({**case, **{name: bytes.fromhex(case[name]) for name in names}}).items():
        same(f"pairing {key}", value, case[key])


def candidates_of(message):
    """What a message of 7.7 says: addresses and where the receiver is seen; neither if it is malformed."""
    try:
        check_tlvs(message)
    except Fault:
        return None, None
    addresses, observed = [], None
    while message:
        kind, length = message[:2]
        value, message = message[2 : 2 + length], message[2 + length :]
        if kind in (0x80, 0x82):
            port = int.from_bytes(value[1:3], "little")
            ip = ipaddress.ip_address(value[3:])
            address = f"{ip}:{port}" if ip.version == 4 else f"[{ip}]:{port}"
            if kind == 0x80:
                addresses.append(address)
            else:
                observed = address
    return addresses, observed


def main():
    docs = pathlib.Path(sys.argv[1])
    appendix_b((docs / "protocol.md").read_text())
    for case in json.loads((docs / "vectors" / "cryprq-v1.json").read_text()):
        if "pairing" in case:
            for pair in case["pairing"]:
                pairing_case(pair)
        elif "candidates" in case:
            for entry in case["candidates"]:
                said = candidates_of(bytes.fromhex(entry["message"]))
                same("candidates", said, (entry["addresses"], entry["observed"]))
        else:
            handshake_case(case)
    print(f"{checked} values agree")


main()
