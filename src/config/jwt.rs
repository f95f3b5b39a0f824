//! `[jwt]`: tokens of end users.

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::error::ConfigError;
use super::secret::Secret;

/// Which tokens are accepted.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The one algorithm accepted, never taken from the token itself.
    pub algorithm: JwtAlgorithm,
    /// The shared secret of HS256, at least 32 bytes.
    pub secret: Secret,
    /// Path of the PEM public key of RS256 or `EdDSA`; empty means none.
    pub public_key_file: String,
    /// Path of a JSON Web Key Set, instead of `public_key_file`; empty means none.
    pub jwks_file: String,
    /// The `iss` that tokens must carry; empty accepts any.
    pub issuer: String,
    /// The `aud` that tokens must carry; empty accepts any.
    pub audience: String,
    /// Clock difference forgiven in `exp` and `nbf`, in seconds; 0 to 600.
    pub leeway_s: u64,
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum JwtAlgorithm {
    /// Tokens are refused.
    #[serde(rename = "")]
    Off,
    /// HMAC with SHA-256 and a shared secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

pub(super) const BOUNDS: &[Bound] = &[Bound::new("jwt.leeway_s", 0, 600)];

/// RFC 7518 section 3.2 asks for a key as long as the hash, in bytes.
const SECRET_BYTES_MIN: usize = 32;

impl JwtConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.algorithm {
            JwtAlgorithm::Off => Ok(()),
            JwtAlgorithm::Hs256 => self.check_secret(),
            JwtAlgorithm::Rs256 | JwtAlgorithm::EdDsa => self.check_key(),
        }
    }

    fn check_secret(&self) -> Result<(), ConfigError> {
        if self.secret.expose().len() >= SECRET_BYTES_MIN {
            return Ok(());
        }
        let reason = format!("must be at least {SECRET_BYTES_MIN} bytes for HS256");
        Err(ConfigError::invalid("jwt.secret", reason))
    }

    fn check_key(&self) -> Result<(), ConfigError> {
        if self.public_key_file.is_empty() != self.jwks_file.is_empty() {
            return Ok(());
        }
        let reason = "set exactly one of jwt.public_key_file and jwt.jwks_file for this algorithm";
        Err(ConfigError::invalid("jwt.algorithm", reason))
    }
}
