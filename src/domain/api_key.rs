//! API keys: `hr_live_<id>_<secret><crc>`.

use std::fmt;

use crc::CRC_32_ISO_HDLC;
use crc::Crc;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;
use subtle::ConstantTimeEq;

const PREFIX: &str = "hr_live_";
const ID_CHARS: usize = 12;
const SECRET_CHARS: usize = 32;
const CRC_CHARS: usize = 6;
const SECRET_AT: usize = PREFIX.len() + ID_CHARS + 1;
const CRC_AT: usize = SECRET_AT + SECRET_CHARS;
const KEY_CHARS: usize = CRC_AT + CRC_CHARS;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key as its holder presents it, borrowed from the request.
///
/// The check digits only tell a typing error from a wrong key before any look-up; they protect nothing.
#[derive(Clone, Copy)]
pub struct ApiKey<'a> {
    text: &'a str,
}

/// Why a text is not an API key. The message never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Another form than `hr_live_<12>_<38>` of base62.
    #[error("not of the form hr_live_<id>_<secret>")]
    BadForm,
    /// The check digits do not fit the rest: the key was mistyped or cut.
    #[error("the check digits do not fit")]
    BadCheckDigits,
}

impl<'a> ApiKey<'a> {
    /// # Errors
    ///
    /// [`ApiKeyError`] when `text` has another form, or check digits that do not fit.
    pub fn parse(text: &'a str) -> Result<Self, ApiKeyError> {
        let bytes = text.as_bytes();
        let has_form = bytes.len() == KEY_CHARS
            && text.starts_with(PREFIX)
            && bytes[SECRET_AT - 1] == b'_'
            && bytes[PREFIX.len()..SECRET_AT - 1].iter().all(u8::is_ascii_alphanumeric)
            && bytes[SECRET_AT..].iter().all(u8::is_ascii_alphanumeric);
        if !has_form {
            return Err(ApiKeyError::BadForm);
        }
        if !bool::from(check_digits(&bytes[..CRC_AT]).ct_eq(&bytes[CRC_AT..])) {
            return Err(ApiKeyError::BadCheckDigits);
        }
        Ok(Self { text })
    }

    /// The public part, 12 base62 characters, under which the key is stored.
    #[must_use]
    pub fn id(&self) -> &'a str {
        &self.text[PREFIX.len()..SECRET_AT - 1]
    }

    /// SHA-256 of the secret part, which is all that is stored of it.
    ///
    /// A fast hash is enough: 32 random base62 characters (190 bits) cannot be guessed.
    #[must_use]
    pub fn secret_digest(&self) -> SecretDigest {
        SecretDigest::of(&self.text[SECRET_AT..CRC_AT])
    }
}

impl fmt::Debug for ApiKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({PREFIX}{}_…)", self.id())
    }
}

/// A key that was just made. Its text is shown once and stored nowhere.
pub struct NewApiKey {
    text: String,
}

impl NewApiKey {
    /// Makes a key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// [`getrandom::Error`] when the operating system has none to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut text = String::with_capacity(KEY_CHARS);
        text.push_str(PREFIX);
        push_random(&mut text, ID_CHARS)?;
        text.push('_');
        push_random(&mut text, SECRET_CHARS)?;
        let digits = check_digits(text.as_bytes());
        text.extend(digits.map(char::from));
        Ok(Self { text })
    }

    /// The whole key, to be shown to its holder.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The key as it will be presented.
    #[must_use]
    pub fn as_key(&self) -> ApiKey<'_> {
        ApiKey { text: &self.text }
    }
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_key().fmt(f)
    }
}

/// SHA-256 of a secret. Equality takes the same time wherever two digests differ.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Hashes a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// A digest read back from where it was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes, to be stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are digests of one secret, compared in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Ask for decisions without charging.
    Check,
    /// Ask for decisions and charge.
    Consume,
    /// Read usage and logs.
    Read,
    /// Everything, including resets and other keys.
    Admin,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 4] = [Self::Check, Self::Consume, Self::Read, Self::Admin];

    /// The name in tables, answers and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Consume => "consume",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The permission called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Check => 1,
            Self::Consume => 2,
            Self::Read => 4,
            Self::Admin => 8,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions. [`Permission::Admin`] implies the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    /// Whether the set allows what `permission` names.
    #[must_use]
    pub const fn allow(self, permission: Permission) -> bool {
        self.0 & (permission.bit() | Permission::Admin.bit()) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The permissions that were given by name, without the implied ones.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.0 & permission.bit() != 0)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | permission.bit()))
    }
}

/// CRC-32 (ISO-HDLC) of `bytes` as six base62 digits, the highest first.
fn check_digits(bytes: &[u8]) -> [u8; CRC_CHARS] {
    const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut rest = CRC32.checksum(bytes);
    let mut digits = [b'0'; CRC_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Appends `count` random base62 characters. Bytes from 248 on are drawn again: 256 is no multiple of 62, and taking
/// them modulo 62 would favour the first eight characters.
fn push_random(text: &mut String, count: usize) -> Result<(), getrandom::Error> {
    let end = text.len() + count;
    while text.len() < end {
        let mut drawn = [0_u8; 64];
        getrandom::fill(&mut drawn)?;
        let fair = drawn.iter().filter(|byte| **byte < 248);
        let letters = fair.map(|byte| char::from(BASE62[usize::from(byte % 62)]));
        text.extend(letters.take(end - text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_reads_back_and_shows_its_secret_to_nobody() {
        let new = NewApiKey::generate().unwrap();
        let key = ApiKey::parse(new.reveal()).unwrap();
        assert_eq!(new.reveal().len(), 59);
        assert_eq!(format!("hr_live_{}_", key.id()), new.reveal()[..SECRET_AT]);
        assert!(key.secret_digest().matches(&new.as_key().secret_digest()));
        let secret = &new.reveal()[SECRET_AT..CRC_AT];
        let shown = format!("{new:?} {key:?} {:?}", key.secret_digest());
        assert!(!shown.contains(secret) && shown.contains(key.id()), "{shown}");
        assert_ne!(NewApiKey::generate().unwrap().reveal(), new.reveal());
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let new = NewApiKey::generate().unwrap();
        for at in 0..KEY_CHARS {
            let mut bytes = new.reveal().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert!(ApiKey::parse(std::str::from_utf8(&bytes).unwrap()).is_err(), "{at}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let new = NewApiKey::generate().unwrap();
        let long = format!("{}0", new.reveal());
        for text in ["", "hr_live_", &new.reveal()[1..], &long, &"é".repeat(30)] {
            assert_eq!(ApiKey::parse(text).unwrap_err(), ApiKeyError::BadForm, "{text}");
        }
    }

    #[test]
    fn the_check_digits_are_those_of_crc_32() {
        // The check value of CRC-32/ISO-HDLC is 0xCBF43926.
        assert_eq!(&check_digits(b"123456789"), b"3jZRME");
    }

    #[test]
    fn admin_implies_the_other_permissions() {
        let admin: Permissions = [Permission::Admin].into_iter().collect();
        let reader: Permissions = [Permission::Read].into_iter().collect();
        assert!(Permission::ALL.into_iter().all(|permission| admin.allow(permission)));
        assert!(reader.allow(Permission::Read) && !reader.allow(Permission::Admin));
        assert!(!Permissions::default().allow(Permission::Check));
        assert_eq!(Permission::named("consume"), Some(Permission::Consume));
    }

    #[test]
    fn what_is_shown_of_a_key_says_which_it_is() {
        let new = NewApiKey::generate().unwrap();
        assert!(format!("{new:?}").contains(new.as_key().id()));
        assert_eq!(format!("{:?}", SecretDigest::of("secret")), "SecretDigest(…)");
    }

    #[test]
    fn a_digest_is_that_of_sha_256_and_reads_back() {
        let digest = SecretDigest::of("abc");
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest.as_bytes()[..4], [0xBA, 0x78, 0x16, 0xBF]);
        assert!(SecretDigest::from_bytes(*digest.as_bytes()).matches(&digest));
        assert!(!SecretDigest::of("abd").matches(&digest));
    }

    #[test]
    fn random_parts_use_all_letters() {
        let mut text = String::new();
        push_random(&mut text, 4_096).unwrap();
        assert_eq!(text.len(), 4_096);
        // That one of 62 letters is missing among 4,096 has a chance of 62 × (61 / 62)^4096, less than 10^-26.
        assert!(BASE62.iter().all(|letter| text.contains(char::from(*letter))));
    }

    #[test]
    fn permissions_are_those_that_were_named() {
        let named = [Permission::Read, Permission::Consume, Permission::Read];
        let permissions: Permissions = named.into_iter().collect();
        let shown: Vec<_> = permissions.iter().map(|it| it.to_string()).collect();
        assert_eq!(shown, ["consume", "read"]);
        assert!(!permissions.is_empty() && Permissions::default().is_empty());
    }
}
