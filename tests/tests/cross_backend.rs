//! AWS-LC against independent libraries, on ten thousand random inputs each.

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, ML_KEM_768};
use libcrux_ml_kem::mlkem768;
use node::crypto::{AwsLcKem, Kem768};
use node::epoch::{Aead, AwsLcAead, Cipher, PortableAead};
use node::secret::SecretKey32;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

const TRIALS: usize = 10_000;

fn random<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut out = [0; N];
    rng.fill_bytes(&mut out);
    out
}

#[test]
fn ml_kem_768_of_aws_lc_and_libcrux_agree() {
    let mut rng = ChaCha20Rng::seed_from_u64(0x6d6c_6b65_6d37_3638);
    for trial in 0..TRIALS {
        let (secret, public) = mlkem768::generate_key_pair(random(&mut rng)).into_parts();
        let aws = DecapsulationKey::new(&ML_KEM_768, secret.as_slice()).expect("a good key");
        let aws_decapsulate = |ciphertext: &[u8]| {
            let shared = aws.decapsulate(Ciphertext::from(ciphertext)).expect("it always gives a secret");
            shared.as_ref().to_vec()
        };

        let (ciphertext, shared) = AwsLcKem.encapsulate(public.as_slice()).expect("a good key");
        assert_eq!(&mlkem768::decapsulate(&secret, &ciphertext.into()), shared.expose(), "trial {trial}");

        let (ciphertext, shared) = mlkem768::encapsulate(&public, random(&mut rng));
        let mut ciphertext = *ciphertext.as_slice();
        assert_eq!(aws_decapsulate(&ciphertext), shared, "trial {trial}");

        // Implicit rejection: the same unrelated secret on both sides.
        ciphertext[trial % 1088] ^= 1 << (trial % 8);
        let rejected = mlkem768::decapsulate(&secret, &ciphertext.into());
        assert_ne!(rejected, shared, "trial {trial}");
        assert_eq!(aws_decapsulate(&ciphertext), rejected, "trial {trial}");
    }
}

#[test]
fn chacha20_poly1305_of_aws_lc_and_rustcrypto_agree() {
    let mut rng = ChaCha20Rng::seed_from_u64(0x6368_6163_6861_3230);
    for trial in 0..TRIALS {
        let key = SecretKey32::new(random(&mut rng));
        let (aws, portable) = (AwsLcAead::new(Cipher::ChaCha20Poly1305, &key), PortableAead::new(&key));
        let header: [u8; 16] = random(&mut rng);
        let mut text = vec![0; trial % 1500];
        rng.fill_bytes(&mut text);

        let (mut by_aws, mut by_portable) = (text.clone(), text.clone());
        let tag = aws.seal(&header, &mut by_aws).expect("short");
        assert_eq!(portable.seal(&header, &mut by_portable), Ok(tag), "trial {trial}");
        assert_eq!(by_aws, by_portable, "trial {trial}");

        let sealed = [&by_aws[..], &tag].concat();
        let opens = |backend: &dyn Aead, mut sealed: Vec<u8>| {
            backend.open(&header, &mut sealed).ok().map(|()| sealed[..text.len()].to_vec())
        };
        for backend in [&aws as &dyn Aead, &portable] {
            assert_eq!(opens(backend, sealed.clone()).as_ref(), Some(&text), "trial {trial}");
            let mut changed = sealed.clone();
            let at = trial % changed.len();
            changed[at] ^= 1 << (trial % 8);
            assert_eq!(opens(backend, changed), None, "trial {trial}");
        }
    }
}
