//! Wycheproof's vectors on the primitives in use: every good one is computed, every bad one refused.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, ML_KEM_768};
use cryprq_tests::seams::SeededKem;
use libcrux_ml_kem::mlkem768;
use node::crypto::{AwsLcKem, Kem768, KemError, verify_strict};
use node::peer_key::PeerKey;
use wycheproof::{TestResult, aead, eddsa, hkdf, mlkem, xdh};

/// Both AEADs with the sizes of the protocol: keys of 32, nonces of 12 and tags of 16 bytes.
fn aead(name: aead::TestName, algorithm: &'static Algorithm, at_least: usize) {
    let mut tried = 0;
    for group in aead::TestSet::load(name).expect("the vectors parse").test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let key = LessSafeKey::new(UnboundKey::new(algorithm, &test.key).expect("32 bytes"));
            let nonce = || Nonce::try_assume_unique_for_key(&test.nonce).expect("12 bytes");
            let sealed = [&test.ct[..], &test.tag].concat();
            let mut buffer = sealed.clone();
            let opened = key.open_in_place(nonce(), Aad::from(&test.aad[..]), &mut buffer).map(|text| text.to_vec());
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(opened.ok().as_deref(), Some(&test.pt[..]), "open {}", test.tc_id);
                    let mut text = test.pt.to_vec();
                    key.seal_in_place_append_tag(nonce(), Aad::from(&test.aad[..]), &mut text).expect("it seals");
                    assert_eq!(text, sealed, "seal {}", test.tc_id);
                }
                TestResult::Invalid => assert!(opened.is_err(), "{}: {}", test.tc_id, test.comment),
            }
            tried += 1;
        }
    }
    println!("{name:?}: {tried} vectors");
    assert!(tried >= at_least, "only {tried}");
}

#[test]
fn chacha20_poly1305() {
    aead(aead::TestName::ChaCha20Poly1305, &CHACHA20_POLY1305, 200);
}

#[test]
fn aes_256_gcm() {
    aead(aead::TestName::AesGcm, &AES_256_GCM, 60);
}

#[test]
fn x25519() {
    let mut tried = 0;
    for group in xdh::TestSet::load(xdh::TestName::X25519).expect("the vectors parse").test_groups {
        for test in group.tests {
            let private = PrivateKey::from_private_key(&X25519, &test.private_key).expect("32 bytes");
            let shared =
                agree(
                    &private,
                    UnparsedPublicKey::new(&X25519, &test.public_key[..]),
                    (),
                    |shared| Ok(shared.to_vec()),
                );
            let zero = test.shared_secret.iter().all(|&byte| byte == 0);
            if zero || test.result.must_fail() {
                assert!(shared.is_err(), "{}: a shared secret of zeros", test.tc_id);
            } else {
                assert_eq!(shared.as_deref(), Ok(&test.shared_secret[..]), "{}: {}", test.tc_id, test.comment);
            }
            tried += 1;
        }
    }
    println!("X25519: {tried} vectors");
    assert!(tried > 500, "only {tried}");
}

#[test]
fn ed25519() {
    let (mut good, mut bad) = (0, 0);
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the vectors parse").test_groups {
        let key = <[u8; 32]>::try_from(&group.key.pk[..]).expect("32 bytes");
        let key = PeerKey::from_bytes(key).expect("the vectors hold keys of full order");
        for test in group.tests {
            // Signatures of another length have no place in M2 and M3.
            let verified = <[u8; 64]>::try_from(&test.sig[..])
                .is_ok_and(|signature| verify_strict(key, &test.msg, &signature).is_ok());
            assert_eq!(verified, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
            if verified { good += 1 } else { bad += 1 }
        }
    }
    println!("Ed25519: {good} good and {bad} bad signatures");
    assert!(good > 70 && bad > 40, "{good} {bad}");
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[test]
fn hkdf_sha256() {
    let mut tried = 0;
    for group in hkdf::TestSet::load(hkdf::TestName::HkdfSha256).expect("the vectors parse").test_groups {
        for test in group.tests {
            let prk = Salt::new(HKDF_SHA256, &test.salt).extract(&test.ikm);
            let mut out = vec![0; test.size];
            let info = [&test.info[..]];
            let done = prk.expand(&info, Length(test.size)).and_then(|okm| okm.fill(&mut out));
            if test.result.must_fail() {
                assert!(done.is_err(), "{}: {}", test.tc_id, test.comment);
            } else {
                assert_eq!(out, test.okm[..], "{}: {}", test.tc_id, test.comment);
            }
            tried += 1;
        }
    }
    println!("HKDF-SHA256: {tried} vectors");
    assert!(tried > 80, "only {tried}");
}

/// AWS-LC's shared secret, if it takes the key and the ciphertext.
fn aws_lc_decapsulate(key: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    let key = DecapsulationKey::new(&ML_KEM_768, key).ok()?;
    key.decapsulate(Ciphertext::from(ciphertext)).ok().map(|shared| shared.as_ref().to_vec())
}

fn kem_tests(name: mlkem::TestName) -> Vec<mlkem::Test> {
    mlkem::TestSet::load(name).expect("the vectors parse").test_groups.into_iter().flat_map(|g| g.tests).collect()
}

/// Keys from seeds: AWS-LC takes expanded keys, so libcrux expands, and the public half must be the vectors'.
#[test]
fn ml_kem_768_decapsulation() {
    let mut tried = 0;
    for test in kem_tests(mlkem::TestName::MlKem768) {
        let (Some(seed), Some(ciphertext)) = (&test.seed, &test.ct) else { continue };
        let Ok(seed) = <[u8; 64]>::try_from(&seed[..]) else { continue };
        let (secret, public) = mlkem768::generate_key_pair(seed).into_parts();
        if let Some(expected) = &test.encaps_key {
            assert_eq!(public.as_slice()[..], expected[..], "{}: key generation", test.tc_id);
        }
        let shared = aws_lc_decapsulate(secret.as_slice(), ciphertext);
        let expected = test.shared_secret.as_ref().filter(|_| !test.result.must_fail()).map(|k| k.to_vec());
        assert_eq!(shared, expected, "{}: {}", test.tc_id, test.comment);
        tried += 1;
    }
    println!("ML-KEM-768 decapsulation: {tried} vectors");
    assert!(tried > 20, "only {tried}");
}

#[test]
fn ml_kem_768_refuses_bad_decapsulation_keys() {
    let mut tried = 0;
    for test in kem_tests(mlkem::TestName::MlKem768SemiExpandedDecaps) {
        let (Some(key), Some(ciphertext)) = (&test.decaps_key, &test.ct) else { continue };
        let shared = aws_lc_decapsulate(key, ciphertext);
        assert_eq!(shared.is_none(), test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
        tried += 1;
    }
    println!("ML-KEM-768 decapsulation keys: {tried} vectors");
    assert!(tried > 5, "only {tried}");
}

#[test]
fn ml_kem_768_encapsulation() {
    let (mut good, mut bad) = (0, 0);
    for test in kem_tests(mlkem::TestName::MlKem768Encaps) {
        let (Some(key), Some(message)) = (&test.encaps_key, &test.msg) else { continue };
        // A key of another length does not fit into M1.
        let Ok(key) = <[u8; 1184]>::try_from(&key[..]) else { continue };
        let message = <[u8; 32]>::try_from(&message[..]).expect("m has 32 bytes");
        let seeded = SeededKem { seed: [0; 64], message }.encapsulate(&key);
        let drawn = AwsLcKem.encapsulate(&key);
        if test.result.must_fail() {
            assert!(matches!(drawn, Err(KemError::BadKey)), "{}: {}", test.tc_id, test.comment);
            assert!(matches!(seeded, Err(KemError::BadKey)), "{}: {}", test.tc_id, test.comment);
            bad += 1;
        } else {
            let (ciphertext, shared) = seeded.expect("a good key");
            assert_eq!(Some(&ciphertext[..]), test.ct.as_deref().map(|c| &c[..]), "{}", test.tc_id);
            assert_eq!(Some(&shared.expose()[..]), test.shared_secret.as_deref().map(|k| &k[..]), "{}", test.tc_id);
            assert!(drawn.is_ok(), "{}: {}", test.tc_id, test.comment);
            good += 1;
        }
    }
    println!("ML-KEM-768 encapsulation: {good} good and {bad} bad keys");
    assert!(good > 0 && bad > 0, "{good} {bad}");
}
