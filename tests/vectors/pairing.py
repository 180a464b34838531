"""Pairing by ticket and inner addresses, docs/protocol.md section 10, from its text."""

import base64
import ipaddress

from handshake import H, ed25519_public, exp, extract, mac


def multiaddr_quic(ip, port):
    """`/ip4/IP/udp/PORT/quic-v1` or with `/ip6`: codes 4 or 41, 273 and 461 as varints."""
    packed = ipaddress.ip_address(ip).packed
    return (b"\4" if len(packed) == 4 else b"\x29") + packed + b"\x91\2" + port.to_bytes(2, "big") + b"\xcd\3"


def person(name, ipv4, ipv4_self):
    out = bytes([len(name.encode())]) + name.encode()
    for address in (ipv4, ipv4_self):
        out += bytes([address is not None]) + (ipaddress.ip_address(address).packed if address else bytes(4))
    return out


def inner_ipv6(public):
    site = ipaddress.ip_address("fd63:7279:7072::").packed[:6]
    return str(ipaddress.ip_address(site + H(b"CrypRQ v1 inner address" + public)[:10]))


def inner_ipv4(public, network):
    net = ipaddress.ip_network(network)
    offset = 1 + int.from_bytes(H(b"CrypRQ v1 inner ipv4" + public)[:8], "big") % (net.num_addresses - 2)
    return str(net[offset])


def run(case):
    """Every value of one pairing from its inputs."""
    a, b = ed25519_public(case["inviter_seed"]), ed25519_public(case["joiner_seed"])
    addresses = [multiaddr_quic(entry["ip"], entry["port"]) for entry in case["addresses"]]
    body = b"\1" + a + case["ticket_id"] + case["secret"] + bytes([len(addresses)])
    body += b"".join(bytes([len(address)]) + address for address in addresses)
    ticket = "cryprq:" + base64.b32encode(body + H(body)[:4]).decode().rstrip("=")
    key = extract(b"CrypRQ v1 pairing", case["secret"])

    def tag(label, data):
        return mac(key, b"CrypRQ v1 pair " + label + b"\0" + data)

    offer, grant = (person(**case[which]) for which in ("offer", "grant"))
    p1 = b"\1\1" + case["ticket_id"] + case["nB"] + offer
    p1 += tag(b"join", a + b + p1)
    p2 = b"\2\1" + case["nA"] + grant
    p2 += tag(b"accept", a + b + H(p1) + p2)
    return {
        "pkA": a.hex(),
        "pkB": b.hex(),
        "body": body.hex(),
        "ticket": ticket,
        "K": key.hex(),
        "p1": p1.hex(),
        "p2": p2.hex(),
        "psk": exp(key, "pair psk", a + b + case["nA"] + case["nB"], 32).hex(),
        "inner_a": inner_ipv6(a),
        "inner_b": inner_ipv6(b),
        "ipv4_a": inner_ipv4(a, "10.86.0.0/16"),
        "ipv4_b": inner_ipv4(b, "10.86.0.0/16"),
    }
