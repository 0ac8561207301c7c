//! The one secret of an installation: it keys the hashes of bearer keys and signs links. Here only what is computed
//! with it; where it is kept is the program's business.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// 32 random bytes that never leave the process. Cheap to clone, never printed.
#[derive(Clone)]
pub struct SigningKey(Arc<[u8; 32]>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// Wraps 32 bytes that the caller made.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Arc::new(bytes))
    }

    /// HMAC-SHA-256 of `message` for one `purpose`, so that a value made for one thing can't be used for another.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        // A key of any length is accepted by HMAC, so this can't fail; an empty tag would match nothing.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else {
            return [0; 32];
        };
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// Whether `tag` is the signature, compared in constant time.
    pub fn verify(&self, purpose: &str, message: &[u8], tag: &[u8]) -> bool {
        self.sign(purpose, message).ct_eq(tag).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_purpose() {
        let key = SigningKey::from_bytes([7; 32]);
        let tag = key.sign("a", b"m");
        assert!(key.verify("a", b"m", &tag));
        assert!(!key.verify("b", b"m", &tag));
        assert!(!key.verify("a", b"n", &tag));
        assert!(!key.verify("a", b"m", b"short"));
        assert_eq!(format!("{key:?}"), "SigningKey(..)");
    }
}
