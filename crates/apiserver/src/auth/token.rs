//! Service account tokens: JSON Web Tokens signed with ES256 by a key that lives in the store.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

use crate::error::Error;

/// Who issues the tokens.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The key that signs and verifies tokens.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    id: String,
    random: SystemRandom,
}

impl Signer {
    /// A new private key, as base64 of PKCS#8.
    pub(crate) fn generate() -> Result<String, Error> {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map(|document| STANDARD.encode(document.as_ref()))
            .map_err(|_| Error::Options("no random numbers for a signing key".into()))
    }

    /// A key that [`Signer::generate`] made.
    pub(crate) fn load(encoded: &str) -> Result<Self, Error> {
        let bad = |_| Error::Options("the stored token signing key is not usable".into());
        let pkcs8 = STANDARD.decode(encoded).map_err(|error| bad(error.to_string()))?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
            .map_err(|error| bad(error.to_string()))?;
        let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key().as_ref());
        let id = URL_SAFE_NO_PAD.encode(digest);
        Ok(Self { key, id, random })
    }

    pub(crate) fn sign(&self, claims: &Value) -> Result<String, String> {
        let header = json!({"alg": "ES256", "kid": self.id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self
            .key
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| "the token could not be signed".to_owned())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this key signed and that holds at `now` (seconds since 1970).
    pub(crate) fn verify(&self, token: &str, now: i64) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
        // The algorithm is fixed: a token does not get to choose how it is checked.
        if json(header)?["alg"] != "ES256" {
            return None;
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .ok()?;
        let claims = json(claims)?;
        let valid = claims["iss"] == ISSUER
            && claims["exp"].as_i64().is_some_and(|exp| now < exp)
            && claims["nbf"].as_i64().is_none_or(|nbf| nbf <= now + 1);
        valid.then_some(claims)
    }

    /// The public key as a JSON Web Key Set, for those who verify tokens themselves.
    pub(crate) fn jwks(&self) -> Value {
        // An uncompressed point: 0x04, then 32 bytes each of x and y.
        let point = self.key.public_key().as_ref();
        let half = |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": half(1), "y": half(33),
        }]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_until_it_expires_and_only_unchanged() {
        let signer = Signer::load(&Signer::generate().unwrap()).unwrap();
        let token = signer
            .sign(&json!({"iss": ISSUER, "sub": "a", "exp": 100, "nbf": 0}))
            .unwrap();
        assert_eq!(signer.verify(&token, 99).unwrap()["sub"], "a");
        assert_eq!(signer.verify(&token, 100), None);
        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(json!({"iss": ISSUER, "sub": "b", "exp": 100}).to_string());
        parts[1] = &forged;
        assert_eq!(signer.verify(&parts.join("."), 50), None);
        let other = Signer::load(&Signer::generate().unwrap()).unwrap();
        assert_eq!(other.verify(&token, 50), None);
        for garbage in ["", ".", "..", "a.b.c", "\u{0}"] {
            assert_eq!(signer.verify(garbage, 50), None);
        }
    }

    #[test]
    fn an_unsigned_token_is_no_token() {
        let signer = Signer::load(&Signer::generate().unwrap()).unwrap();
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = part(json!({"iss": ISSUER, "sub": "a", "exp": 100}));
        assert_eq!(
            signer.verify(&format!("{}.{claims}.", part(json!({"alg": "none"}))), 1),
            None
        );
    }
}
