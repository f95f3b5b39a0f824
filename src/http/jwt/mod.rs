//! End users' tokens (RFC 7519).

use std::fs;
use std::io;

use chrono::DateTime;
use chrono::Utc;
use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::Validation;
use jsonwebtoken::jwk::AlgorithmParameters;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;

use crate::config::JwtAlgorithm;
use crate::config::JwtConfig;
use crate::domain::Subject;
use crate::domain::SubjectError;

/// Why tokens cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// A key file that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file, as configured.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A key file without a usable key.
    #[error("{path} holds no key for the configured algorithm")]
    NoKey {
        /// The file, as configured.
        path: String,
    },
}

/// Why a token is refused. For the log: the caller only learns that it is.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token, a wrong signature, algorithm, issuer or audience, or a claim that is missing.
    #[error("not a valid token: {0}")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    /// Signed with a key that is not in the set.
    #[error("no such key")]
    UnknownKey,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// `sub` cannot be an id.
    #[error("the token's sub cannot name a subject: {0}")]
    Subject(#[source] SubjectError),
}

/// Verifies tokens with the configured keys and the one configured algorithm.
#[derive(Debug)]
pub struct JwtVerifier {
    keys: Vec<NamedKey>,
    validation: Validation,
    leeway_s: f64,
}

#[derive(Debug)]
struct NamedKey {
    /// `kid`; `None` fits every token.
    id: Option<String>,
    key: DecodingKey,
}

/// `exp` and `nbf` are `NumericDate`s, which may have a fraction.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
}

impl JwtVerifier {
    /// Reads the key file; `None` when tokens are off.
    ///
    /// # Errors
    ///
    /// [`JwtError`] when the file cannot be read or holds no key for the algorithm.
    pub fn load(config: &JwtConfig) -> Result<Option<Self>, JwtError> {
        let algorithm = match config.algorithm {
            JwtAlgorithm::Off => return Ok(None),
            JwtAlgorithm::Hs256 => Algorithm::HS256,
            JwtAlgorithm::Rs256 => Algorithm::RS256,
            JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        };
        let keys = match algorithm {
            Algorithm::HS256 => {
                vec![NamedKey {
                    id: None,
                    key: DecodingKey::from_secret(config.secret.expose().as_bytes()),
                }]
            }
            _ if config.jwks_file.is_empty() => vec![pem(algorithm, &config.public_key_file)?],
            _ => jwks(algorithm, &config.jwks_file)?,
        };
        let validation = validation(algorithm, config);
        #[expect(clippy::cast_precision_loss, reason = "at most 600")]
        let leeway_s = config.leeway_s as f64;
        Ok(Some(Self { keys, validation, leeway_s }))
    }

    /// The end user that a token names.
    ///
    /// # Errors
    ///
    /// [`TokenError`] naming the first check that fails.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Subject, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(TokenError::Invalid)?;
        let key = self.key(header.kid.as_deref()).ok_or(TokenError::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(TokenError::Invalid)?
            .claims;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds fit for 285,000 years")]
        let now_s = now.timestamp_millis() as f64 / 1_000.0;
        if now_s >= claims.exp + self.leeway_s {
            return Err(TokenError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now_s + self.leeway_s < nbf) {
            return Err(TokenError::NotYet);
        }
        Subject::user(&claims.sub).map_err(TokenError::Subject)
    }

    /// The key called `id`. A single key is also taken for a token that names none.
    fn key(&self, id: Option<&str>) -> Option<&DecodingKey> {
        let fits = |named: &&NamedKey| match (&named.id, id) {
            (None, _) => true,
            (Some(_), None) => self.keys.len() == 1,
            (Some(known), Some(id)) => known == id,
        };
        self.keys.iter().find(fits).map(|named| &named.key)
    }
}

/// The library checks the signature, the algorithm, `iss` and `aud`; [`JwtVerifier::verify`] checks the times, by the
/// service's clock.
fn validation(algorithm: Algorithm, config: &JwtConfig) -> Validation {
    let mut validation = Validation::new(algorithm);
    let mut required = vec!["exp", "sub"];
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = !config.audience.is_empty();
    if !config.audience.is_empty() {
        validation.set_audience(&[&config.audience]);
        required.push("aud");
    }
    if !config.issuer.is_empty() {
        validation.set_issuer(&[&config.issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn pem(algorithm: Algorithm, path: &str) -> Result<NamedKey, JwtError> {
    let text = read(path)?;
    let key = match algorithm {
        Algorithm::RS256 => DecodingKey::from_rsa_pem(text.as_bytes()),
        _ => DecodingKey::from_ed_pem(text.as_bytes()),
    };
    let key = key.map_err(|_| JwtError::NoKey { path: path.to_owned() })?;
    Ok(NamedKey { id: None, key })
}

/// Keys of other algorithms are passed over, so that one set may serve several services.
fn jwks(algorithm: Algorithm, path: &str) -> Result<Vec<NamedKey>, JwtError> {
    let no_key = || JwtError::NoKey { path: path.to_owned() };
    let set: JwkSet = serde_json::from_str(&read(path)?).map_err(|_| no_key())?;
    let keys: Vec<_> = set
        .keys
        .iter()
        .filter(|jwk| is_for(jwk, algorithm))
        .filter_map(|jwk| {
            let key = DecodingKey::from_jwk(jwk).ok()?;
            Some(NamedKey { id: jwk.common.key_id.clone(), key })
        })
        .collect();
    if keys.is_empty() { Err(no_key()) } else { Ok(keys) }
}

fn is_for(jwk: &Jwk, algorithm: Algorithm) -> bool {
    let has_type = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => algorithm == Algorithm::RS256,
        AlgorithmParameters::OctetKeyPair(_) => algorithm == Algorithm::EdDSA,
        _ => false,
    };
    let declared = jwk.common.key_algorithm.as_ref().map(ToString::to_string);
    has_type && declared.is_none_or(|declared| declared == format!("{algorithm:?}"))
}

fn read(path: &str) -> Result<String, JwtError> {
    fs::read_to_string(path).map_err(|source| JwtError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
