"""The handshake of docs/protocol.md section 6, from its text: Noise by hand, primitives by `cryptography` and `kyber-py`."""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from kyber_py.ml_kem import ML_KEM_768

ZERO = bytes(32)
TLV_MAX = 512


class Fault(Exception):
    """A check of the protocol failed; the message is the fault's name."""


def need(fault, holds):
    if not holds:
        raise Fault(fault)


def H(data):
    return hashlib.sha256(data).digest()


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


extract = mac


def exp(prk, label, context, length):
    text = b"CrypRQ v1 " + label.encode()
    info = length.to_bytes(2, "big") + bytes([len(text)]) + text + context
    out, block, count = b"", b"", 1
    while len(out) < length:
        block = mac(prk, block + info + bytes([count]))
        out, count = out + block, count + 1
    return out[:length]


def nonce(counter):
    return bytes(4) + counter.to_bytes(8, "little")


def seal(key, counter, ad, text, cipher=ChaCha20Poly1305):
    return cipher(key).encrypt(nonce(counter), text, ad)


def unseal(key, counter, ad, sealed):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce(counter), sealed, ad)
    except InvalidTag:
        raise Fault("decrypt") from None


def le(number, size):
    return number.to_bytes(size, "little")


def number(data):
    return int.from_bytes(data, "little")


def x25519_public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def x25519(private, public):
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise Fault("decrypt") from None


def ed25519_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def chain_id(chain):
    return exp(chain, "chain id", b"", 16) if chain else bytes(16)


class Noise:
    """Noise_NNpsk2_25519_ChaChaPoly_SHA256, revision 34."""

    def __init__(self, prologue):
        self.ck = self.h = H(b"Noise_NNpsk2_25519_ChaChaPoly_SHA256")
        self.k = None
        self.mix_hash(prologue)

    def hkdf(self, ikm):
        root = mac(self.ck, ikm)
        first = mac(root, b"\1")
        second = mac(root, first + b"\2")
        return first, second, mac(root, second + b"\3")

    def mix_hash(self, data):
        self.h = H(self.h + data)

    def mix_key(self, ikm):
        self.ck, self.k, _ = self.hkdf(ikm)

    def token_e(self, public):
        self.mix_hash(public)
        self.mix_key(public)

    def token_psk(self, psk):
        self.ck, temporary, self.k = self.hkdf(psk)
        self.mix_hash(temporary)

    def write(self, payload):
        sealed = seal(self.k, 0, self.h, payload)
        self.mix_hash(sealed)
        return sealed

    def read(self, sealed):
        text = unseal(self.k, 0, self.h, sealed)
        self.mix_hash(sealed)
        return text

    def split(self):
        return b"".join(self.hkdf(b"")[:2])


class Schedule:
    LABELS = ("hs i2r", "hs r2i", "data i2r", "data r2i", "chain", "exporter")

    def __init__(self, noise, parties):
        self.h, self.parties = noise.h, parties
        self.prk = extract(noise.h, noise.split())
        self.keys = {label: exp(self.prk, label, b"", 32) for label in self.LABELS}

    def text(self, role):
        return b" " * 64 + b"CrypRQ tunnel v1 " + role + b"\0" + self.h + b"".join(self.parties)

    def sign(self, role, seed):
        return Ed25519PrivateKey.from_private_bytes(seed).sign(self.text(role))

    def verify(self, role, public, signature):
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, self.text(role))
        except InvalidSignature:
            raise Fault("signature") from None


def prologue(parties, header):
    return b"CrypRQ tunnel v1" + b"".join(parties) + ZERO + header


def psk_of(case, shared, transcript):
    base = extract(case["chain_in"] or ZERO, case["psk"] or ZERO)
    return exp(extract(base, shared), "psk", H(transcript), 32)


def check_params(params):
    need("params", 576 <= number(params[:2]) <= 9216)
    need("params", 60 <= number(params[2:4]) <= 3600)
    need("params", params[4] <= 2 and params[6:] == bytes(2))


def check_tlvs(data):
    need("tlv", len(data) <= TLV_MAX)
    seen = {}
    while data:
        need("tlv", len(data) >= 2 and len(data) >= 2 + data[1])
        kind, value, data = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
        need("tlv", kind >= 0x80)
        if kind == 0x81:
            need("tlv", len(value) == 1)
        if kind in (0x80, 0x82):
            need("tlv", (value[:1], len(value)) in ((b"\4", 7), (b"\6", 19)))
        seen[kind] = seen.get(kind, 0) + 1
        need("tlv", seen[kind] <= {0x80: 8, 0x81: 1, 0x82: 1}.get(kind, 512))


def check_modulus(ek):
    for at in range(0, 1152, 3):
        a, b, c = ek[at : at + 3]
        need("kem", a | (b & 15) << 8 < 3329 and b >> 4 | c << 4 < 3329)


class Run:
    """Both sides of one handshake, made from the inputs of a published case."""

    def __init__(self, case):
        self.case = case
        self.parties = (ed25519_public(case["initiator_seed"]), ed25519_public(case["responder_seed"]))
        self.m1 = self.make_m1()
        self.m2 = self.make_m2()
        self.m3 = self.signed(b"\3\1\0\0" + le(case["idx_r"], 4), "hs i2r", b"initiator", case["sign_seed_i"])
        header = b"\4\1\0\0" + le(case["idx_i"], 4)
        self.m4 = header + seal(self.schedule.keys["hs r2i"], 1, header, b"")

    def signed(self, header, key, role, seed):
        return header + seal(self.schedule.keys[key], 0, header, self.schedule.sign(role, seed))

    def make_m1(self):
        case = self.case
        self.ek, self.dk = ML_KEM_768.key_derive(case["kem_seed"])
        flags = (case["psk"] is not None) | (case["chain_in"] is not None) << 1
        header = bytes([1, 1, 1, 0]) + le(case["idx_i"], 4) + bytes([flags, case["max_version_i"]]) + bytes(6)
        header += chain_id(case["chain_in"])
        noise = Noise(prologue(self.parties, header))
        public = x25519_public(case["ei"])
        noise.token_e(public)
        sent_ek = case["ek_prefix"] + self.ek[len(case["ek_prefix"]) :]
        message = header + public + noise.write(case["params_i"] + sent_ek + case["tlv_i"])
        self.noise = noise
        return message

    def make_m2(self):
        case, noise = self.case, self.noise
        self.ss, ct = ML_KEM_768._encaps_internal(self.ek, case["kem_m"])
        need("decapsulation", ML_KEM_768.decaps(self.dk, ct) == self.ss)
        message = bytes([2, 1, 1, 0]) + le(case["idx_r"], 4) + le(case["idx_i"], 4) + bytes([1, 0, 0, 0]) + ct
        self.th = H(self.m1 + message)
        self.psk = psk_of(case, self.ss, self.m1 + message)
        public = x25519_public(case["er"])
        noise.token_e(public)
        noise.mix_key(x25519(case["er"], x25519_public(case["ei"])))
        noise.token_psk(self.psk)
        message += public + noise.write(case["params_r"] + case["tlv_r"])
        self.schedule = Schedule(noise, self.parties)
        signature = self.schedule.sign(b"responder", case["sign_seed_r"])
        return message + seal(self.schedule.keys["hs r2i"], 0, noise.h, signature)

    def read(self, name, message):
        getattr(self, "read_" + name)(message)

    def start(self, message, kind, lengths):
        need("length", len(message) >= 2)
        need("type", message[0] == kind)
        need("version", message[1] == 1)
        need("length", lengths[0] <= len(message) <= lengths[1])

    def read_m1(self, m1):
        self.start(m1, 1, (1272, 1272 + TLV_MAX))
        case = self.case
        need("suite", m1[2:4] == b"\1\0")
        need("downgrade", m1[9] >= 1)
        psk, chained = m1[8] & 1, m1[8] >> 1 & 1
        need("reserved", m1[8] < 4 and m1[10:16] == bytes(6) and (m1[16:32] != bytes(16)) == chained)
        need("index", number(m1[4:8]))
        need("psk_mismatch", psk == (case["psk"] is not None))
        need("chain_unknown", not chained or m1[16:32] == chain_id(case["chain_in"]))
        noise = Noise(prologue(self.parties, m1[:32]))
        noise.token_e(m1[32:64])
        payload = noise.read(m1[64:])
        check_params(payload[:8])
        check_tlvs(payload[8 + 1184 :])
        check_modulus(payload[8 : 8 + 1184])

    def read_m2(self, m2):
        case = self.case
        self.start(m2, 2, (1240, 1240 + TLV_MAX))
        need("echo", m2[2:4] == b"\1\0" and m2[8:12] == le(case["idx_i"], 4))
        need("downgrade", m2[12] >= 1)
        need("reserved", m2[13:16] == bytes(3))
        need("index", number(m2[4:8]))
        shared = ML_KEM_768.decaps(self.dk, m2[16:1104])
        noise = Noise(prologue(self.parties, self.m1[:32]))
        noise.token_e(self.m1[32:64])
        noise.read(self.m1[64:])
        noise.token_e(m2[1104:1136])
        noise.mix_key(x25519(case["ei"], m2[1104:1136]))
        noise.token_psk(psk_of(case, shared, self.m1 + m2[:1104]))
        payload = noise.read(m2[1136:-80])
        schedule = Schedule(noise, self.parties)
        signature = unseal(schedule.keys["hs r2i"], 0, noise.h, m2[-80:])
        schedule.verify(b"responder", self.parties[1], signature)
        check_params(payload[:8])
        check_tlvs(payload[8:])

    def read_m3(self, m3):
        self.start(m3, 3, (88, 88))
        need("reserved", m3[2:4] == bytes(2))
        need("echo", m3[4:8] == le(self.case["idx_r"], 4))
        signature = unseal(self.schedule.keys["hs i2r"], 0, m3[:8], m3[8:])
        self.schedule.verify(b"initiator", self.parties[0], signature)

    def read_m4(self, m4):
        self.start(m4, 4, (24, 24))
        need("reserved", m4[2:4] == bytes(2))
        need("echo", m4[4:8] == le(self.case["idx_i"], 4))
        unseal(self.schedule.keys["hs r2i"], 1, m4[:8], m4[8:])

    def frame(self, direction, counter, packet, partial):
        """A data frame of section 7 under this handshake's keys and PARAMS."""
        case = self.case
        own, other = ("i", "r") if direction == "i2r" else ("r", "i")
        params, theirs = case["params_" + own], case["params_" + other]
        mtu = min(number(params[:2]), number(theirs[:2]))
        both = params[5] & theirs[5]
        text = packet or bytes(16)
        if partial:
            assert both & 2
            text = bytes([text[0] | 0x80]) + text[1:]
        size = len(text)
        wanted = {
            0: -(-size // 16) * 16,
            1: next((step for step in (128, 256, 512, 1024) if size <= step), mtu),
            2: mtu,
        }[params[4]]
        text += bytes(max(min(wanted, mtu) - size, 0))
        header = b"\x10\0\0\0" + le(case["idx_" + other], 4) + le(counter, 8)
        cipher = AESGCM if both & 1 else ChaCha20Poly1305
        return header + seal(self.schedule.keys["data " + direction], counter, header, text, cipher)
