//! The handshake of protocol.md 6 written down a second time, straight from the text and from raw inputs: Noise by
//! hand, Ed25519 and ChaCha20-Poly1305 by other libraries than the product's. It says what every value must be.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use ed25519_dalek::{Signer, SigningKey};
use libcrux_ml_kem::mlkem768;
use node::crypto::{exp, extract, hmac_sha256, sha256};
use node::secret::SecretKey32;

/// Everything that a handshake depends on.
#[derive(Clone)]
pub struct Inputs {
    /// Ed25519 seeds.
    pub initiator_seed: [u8; 32],
    /// As above.
    pub responder_seed: [u8; 32],
    /// The pair's PSK.
    pub psk: Option<[u8; 32]>,
    /// The chain key that M1 names.
    pub chain_in: Option<[u8; 32]>,
    /// X25519 private keys.
    pub ei: [u8; 32],
    /// As above.
    pub er: [u8; 32],
    /// `d || z` of ML-KEM's key generation.
    pub kem_seed: [u8; 64],
    /// `m` of ML-KEM's encapsulation.
    pub kem_m: [u8; 32],
    /// Receiver indices.
    pub idx_i: u32,
    /// As above.
    pub idx_r: u32,
    /// PARAMS of each side as on the wire.
    pub params_i: [u8; 8],
    /// As above.
    pub params_r: [u8; 8],
    /// Extensions of each side as on the wire.
    pub tlv_i: Vec<u8>,
    /// As above.
    pub tlv_r: Vec<u8>,
    /// What I says that it speaks at most.
    pub max_version_i: u8,
    /// Overwrites the start of the encapsulation key in M1, to spoil it.
    pub ek_prefix: Vec<u8>,
    /// The seeds that sign: each side's own, unless it forges.
    pub sign_seed_i: [u8; 32],
    /// As above.
    pub sign_seed_r: [u8; 32],
}

/// `pat(a)` of Appendix B.
pub fn pat(start: u8) -> [u8; 32] {
    std::array::from_fn(|at| start.wrapping_add(at as u8))
}

impl Inputs {
    /// The inputs "fresh" of Appendix B.
    pub fn fresh() -> Self {
        let params = [0x8c, 5, 0x2c, 1, 0, 0, 0, 0];
        let mut kem_seed = [0; 64];
        kem_seed[..32].copy_from_slice(&pat(0x80));
        kem_seed[32..].copy_from_slice(&pat(0xa0));
        Self {
            initiator_seed: pat(0x10),
            responder_seed: pat(0x40),
            psk: Some(pat(0x77)),
            chain_in: None,
            ei: pat(1),
            er: pat(2),
            kem_seed,
            kem_m: pat(3),
            idx_i: 0x1122_3344,
            idx_r: 0x5566_7788,
            params_i: params,
            params_r: params,
            tlv_i: Vec::new(),
            tlv_r: Vec::new(),
            max_version_i: 1,
            ek_prefix: Vec::new(),
            sign_seed_i: pat(0x10),
            sign_seed_r: pat(0x40),
        }
    }
}

/// Everything that follows from [`Inputs`].
pub struct Values {
    /// M1 to M4.
    pub messages: [Vec<u8>; 4],
    /// ML-KEM's shared secret.
    pub ss_kem: [u8; 32],
    /// `H(M1 || M2[0..1104])`.
    pub th: [u8; 32],
    /// The psk of Noise.
    pub noise_psk: [u8; 32],
    /// The Noise handshake hash.
    pub h: [u8; 32],
    /// The root of the key schedule.
    pub prk: [u8; 32],
    /// `hs i2r`, `hs r2i`, `data i2r`, `data r2i`, `chain`, `exporter`.
    pub keys: [[u8; 32]; 6],
    /// The name of the new chain key.
    pub chain_id: [u8; 16],
}

/// The labels of [`Values::keys`].
pub const LABELS: [&str; 6] = ["hs i2r", "hs r2i", "data i2r", "data r2i", "chain", "exporter"];

/// M1 alone, which needs no answer.
pub fn first_message(inputs: &Inputs) -> Vec<u8> {
    let (_, ek) = mlkem768::generate_key_pair(inputs.kem_seed).into_parts();
    begin(inputs, &public_keys(inputs), ek.as_slice()).1
}

fn public_keys(inputs: &Inputs) -> [[u8; 32]; 2] {
    [inputs.initiator_seed, inputs.responder_seed].map(|seed| SigningKey::from_bytes(&seed).verifying_key().to_bytes())
}

/// Noise after M1, and M1.
fn begin(inputs: &Inputs, public: &[[u8; 32]; 2], ek: &[u8]) -> (Noise, Vec<u8>) {
    let header = m1_header(inputs);
    let prologue = [b"CrypRQ tunnel v1", &public[0][..], &public[1], &[0; 32], &header].concat();
    let mut noise = Noise::new(&prologue);
    let ei = public_x25519(&inputs.ei);
    noise.ephemeral(&ei);
    let sent_ek = [&inputs.ek_prefix[..], &ek[inputs.ek_prefix.len()..]].concat();
    let sealed = noise.encrypt(&[&inputs.params_i[..], &sent_ek, &inputs.tlv_i].concat());
    let m1 = [&header[..], &ei, &sealed].concat();
    (noise, m1)
}

/// Runs the handshake of 6.4.
pub fn run(inputs: &Inputs) -> Values {
    let public = public_keys(inputs);
    let signers = [inputs.sign_seed_i, inputs.sign_seed_r].map(|seed| SigningKey::from_bytes(&seed));
    let (dk, ek) = mlkem768::generate_key_pair(inputs.kem_seed).into_parts();
    let (ei, er) = (public_x25519(&inputs.ei), public_x25519(&inputs.er));
    let (mut noise, m1) = begin(inputs, &public, ek.as_slice());

    // The ciphertext for a key that a malformed case broke is of no interest: nobody gets that far.
    let (ct, ss_kem) = mlkem768::encapsulate(&ek, inputs.kem_m);
    debug_assert_eq!(mlkem768::decapsulate(&dk, &ct), ss_kem);
    let mut m2 = vec![2, 1, 1, 0];
    m2.extend(inputs.idx_r.to_le_bytes());
    m2.extend(inputs.idx_i.to_le_bytes());
    m2.extend([1, 0, 0, 0]);
    m2.extend(ct.as_slice());
    let th = sha256(&[&m1, &m2]);
    let base = extract(&inputs.chain_in.unwrap_or_default(), &inputs.psk.unwrap_or_default());
    let noise_psk = exp32(extract(base.expose(), &ss_kem).expose(), "psk", &th);
    noise.ephemeral(&er);
    noise.mix_key(&dh(&inputs.er, &ei));
    noise.mix_psk(&noise_psk);
    m2.extend(er);
    m2.extend(noise.encrypt(&[&inputs.params_r[..], &inputs.tlv_r].concat()));

    let [k1, k2, _] = hkdf3(&noise.chaining_key, &[]);
    let h = noise.hash;
    let prk = *extract(&h, &[k1, k2].concat()).expose();
    let keys = LABELS.map(|label| exp32(&prk, label, &[]));
    let signed = |side: usize, word: &str| {
        let text = [&[0x20; 64], word.as_bytes(), &[0], &h, &public[0], &public[1]].concat();
        signers[side].sign(&text).to_bytes()
    };
    m2.extend(seal(&keys[1], 0, &h, &signed(1, "CrypRQ tunnel v1 responder")));
    let mut m3 = vec![3, 1, 0, 0];
    m3.extend(inputs.idx_r.to_le_bytes());
    m3.extend(seal(&keys[0], 0, &m3.clone(), &signed(0, "CrypRQ tunnel v1 initiator")));
    let mut m4 = vec![4, 1, 0, 0];
    m4.extend(inputs.idx_i.to_le_bytes());
    m4.extend(seal(&keys[1], 1, &m4.clone(), &[]));
    Values { messages: [m1, m2, m3, m4], ss_kem, th, noise_psk, h, prk, keys, chain_id: chain_id(&keys[4]) }
}

/// `Exp(CK, "chain id", "", 16)`.
pub fn chain_id(chain: &[u8; 32]) -> [u8; 16] {
    let mut id = [0; 16];
    exp(&SecretKey32::new(*chain), "chain id", &[], &mut id);
    id
}

fn m1_header(inputs: &Inputs) -> [u8; 32] {
    let mut header = [0; 32];
    header[..4].copy_from_slice(&[1, 1, 1, 0]);
    header[4..8].copy_from_slice(&inputs.idx_i.to_le_bytes());
    header[8] = u8::from(inputs.psk.is_some()) | u8::from(inputs.chain_in.is_some()) << 1;
    header[9] = inputs.max_version_i;
    header[16..].copy_from_slice(&inputs.chain_in.as_ref().map(chain_id).unwrap_or_default());
    header
}

fn exp32(prk: &[u8; 32], label: &str, context: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    exp(&SecretKey32::new(*prk), label, &[context], &mut out);
    out
}

fn private_x25519(private: &[u8; 32]) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, private).expect("32 bytes are an X25519 key")
}

fn public_x25519(private: &[u8; 32]) -> [u8; 32] {
    let public = private_x25519(private).compute_public_key().expect("every key has a public half");
    public.as_ref().try_into().expect("32 bytes")
}

fn dh(private: &[u8; 32], public: &[u8; 32]) -> [u8; 32] {
    agree(&private_x25519(private), UnparsedPublicKey::new(&X25519, public), (), |shared| {
        shared.try_into().map_err(|_| ())
    })
    .expect("a good key")
}

/// Opens what [`seal`] makes.
pub fn open(key: &[u8; 32], counter: u64, aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
    let cipher = chacha20poly1305::ChaCha20Poly1305::new(key.into());
    cipher.decrypt(&nonce(counter).into(), Payload { msg, aad }).ok()
}

/// ChaCha20-Poly1305 with the nonce of 6.1.
pub fn seal(key: &[u8; 32], counter: u64, aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let cipher = chacha20poly1305::ChaCha20Poly1305::new(key.into());
    cipher.encrypt(&nonce(counter).into(), Payload { msg, aad }).expect("short enough")
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// Noise's HKDF with three outputs; the first two are those of the one with two.
fn hkdf3(chaining_key: &[u8; 32], ikm: &[u8]) -> [[u8; 32]; 3] {
    let root = hmac_sha256(chaining_key, &[ikm]);
    let first = hmac_sha256(&root, &[&[1]]);
    let second = hmac_sha256(&root, &[&first, &[2]]);
    [first, second, hmac_sha256(&root, &[&second, &[3]])]
}

struct Noise {
    chaining_key: [u8; 32],
    hash: [u8; 32],
    key: [u8; 32],
}

impl Noise {
    fn new(prologue: &[u8]) -> Self {
        let hash = sha256(&[b"Noise_NNpsk2_25519_ChaChaPoly_SHA256"]);
        Self { chaining_key: hash, hash: sha256(&[&hash, prologue]), key: [0; 32] }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = sha256(&[&self.hash, data]);
    }

    fn mix_key(&mut self, ikm: &[u8]) {
        [self.chaining_key, self.key, _] = hkdf3(&self.chaining_key, ikm);
    }

    /// Token `e` of a handshake with a psk.
    fn ephemeral(&mut self, public: &[u8; 32]) {
        self.mix_hash(public);
        self.mix_key(public);
    }

    fn mix_psk(&mut self, psk: &[u8; 32]) {
        let [chaining_key, hash, key] = hkdf3(&self.chaining_key, psk);
        (self.chaining_key, self.key) = (chaining_key, key);
        self.mix_hash(&hash);
    }

    /// One payload under a fresh key, so the nonce is zero.
    fn encrypt(&mut self, text: &[u8]) -> Vec<u8> {
        let sealed = seal(&self.key, 0, &self.hash, text);
        self.mix_hash(&sealed);
        sealed
    }
}
