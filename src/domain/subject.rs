//! Who is charged.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crc::CRC_16_XMODEM;
use crc::Crc;
use serde::Deserialize;
use serde::Serialize;

/// A path of 1–4 segments `scope:id` joined by `/`, such as `org:acme/user:u_1`.
///
/// Every prefix of whole segments is a level; a charge on the path touches every level that has limits. A scope is
/// 1–32 bytes of `a-z0-9_` beginning with a letter; an id is 1–128 visible ASCII characters without those that keys,
/// URLs, globs and quotes give a meaning (see [`Subject::FORBIDDEN`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    path: Box<str>,
    /// Byte offsets of the levels' ends; unused places repeat the whole length.
    ends: [u16; Self::LEVELS_MAX],
    depth: u8,
}

/// Why a text is not a subject. The message never repeats the text, which may be long or hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// No text at all.
    #[error("must not be empty")]
    Empty,
    /// More than four segments.
    #[error("must have at most 4 segments")]
    TooManySegments,
    /// A segment without `:`.
    #[error("each segment must be scope:id")]
    NoScope,
    /// A scope outside its alphabet or length.
    #[error("a scope must be 1 to 32 of a-z, 0-9 and _, beginning with a letter")]
    BadScope,
    /// An id that is empty or longer than 128 bytes.
    #[error("an id must be 1 to 128 characters")]
    BadIdLength,
    /// An id with a character that is not allowed.
    #[error(
        "an id must be visible ascii characters without any of / {{ }} [ ] * ? \" ' ` \\ < > % # &"
    )]
    BadIdCharacter,
}

impl Subject {
    /// The most segments in a path.
    pub const LEVELS_MAX: usize = 4;
    /// The longest path in bytes: four segments of 32 + 1 + 128 and three slashes.
    pub const BYTES_MAX: usize = 4 * (32 + 1 + 128) + 3;
    /// Visible characters that an id must not hold. `/` cannot occur, since it ends the segment.
    pub const FORBIDDEN: &str = "{}[]*?\"'`\\<>%#&";
    /// Who is charged when a call names nobody: an anonymous caller.
    pub const ANYONE: &str = "anonymous:anyone";
    /// The scope of callers who have not signed in.
    pub const ANONYMOUS_SCOPE: &str = "anonymous";

    /// # Errors
    ///
    /// [`SubjectError`] naming the first rule that `path` breaks.
    pub fn parse(path: &str) -> Result<Self, SubjectError> {
        if path.is_empty() {
            return Err(SubjectError::Empty);
        }
        if path.len() > Self::BYTES_MAX {
            return Err(SubjectError::BadIdLength);
        }
        let length = u16::try_from(path.len()).map_err(|_| SubjectError::BadIdLength)?;
        let mut ends = [length; Self::LEVELS_MAX];
        let mut depth = 0_u8;
        let mut end = 0_u16;
        for segment in path.split('/') {
            check_segment(segment)?;
            let place = ends.get_mut(usize::from(depth)).ok_or(SubjectError::TooManySegments)?;
            let gap = u16::from(depth > 0);
            end += gap + u16::try_from(segment.len()).map_err(|_| SubjectError::BadIdLength)?;
            *place = end;
            depth += 1;
        }
        Ok(Self { path: path.into(), ends, depth })
    }

    /// The subject of a signed-in end user, `user:<id>`.
    ///
    /// # Errors
    ///
    /// [`SubjectError`] when `id` cannot be an id.
    pub fn user(id: &str) -> Result<Self, SubjectError> {
        if id.contains('/') {
            return Err(SubjectError::BadIdCharacter);
        }
        Self::parse(&format!("user:{id}"))
    }

    /// The whole path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// How many levels the path has, 1–4.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth
    }

    /// The levels from the root to the whole path: `org:acme`, `org:acme/user:u_1`.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.ends.iter().take(usize::from(self.depth)).map(|end| &self.path[..usize::from(*end)])
    }

    /// The level at `depth` (1 is the root), or the whole path when `depth` is beyond it.
    #[must_use]
    pub fn level(&self, depth: u8) -> &str {
        let index = usize::from(depth.clamp(1, self.depth)) - 1;
        &self.path[..usize::from(self.ends[index])]
    }

    /// The scope of the level at `depth` (1 is the root): `user` of `org:acme/user:u_1` at 2.
    #[must_use]
    pub fn scope(&self, depth: u8) -> &str {
        let level = self.level(depth);
        let segment = level.rsplit('/').next().unwrap_or(level);
        segment.split_once(':').map_or(segment, |(scope, _)| scope)
    }

    /// The id of the last segment: `u_1` of `org:acme/user:u_1`.
    #[must_use]
    pub fn id(&self) -> &str {
        let last = self.path.rsplit('/').next().unwrap_or(&self.path);
        last.split_once(':').map_or(last, |(_, id)| id)
    }

    /// Whether the root is an anonymous caller.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.path.split_once(':').is_some_and(|(scope, _)| scope == Self::ANONYMOUS_SCOPE)
    }

    /// Whether this subject is `prefix` or lies below it.
    #[must_use]
    pub fn is_within(&self, prefix: &str) -> bool {
        self.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The shard that holds the whole path: CRC-16/XMODEM of the root segment, modulo `shards`.
    ///
    /// The same polynomial as Redis Cluster's slots. `shards` is at least 1.
    #[must_use]
    pub fn shard(&self, shards: u16) -> u16 {
        const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);
        CRC16.checksum(self.level(1).as_bytes()) % shards.max(1)
    }
}

/// What kind of subject a segment names: `org`, `user`, `project`. 1–32 bytes of `a-z0-9_` beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(Arc<str>);

/// A scope outside its alphabet or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope must be 1 to 32 of a-z, 0-9 and _, beginning with a letter")]
pub struct BadScope;

impl Scope {
    /// # Errors
    ///
    /// [`BadScope`] when `name` is not 1–32 bytes of `a-z0-9_` beginning with a letter.
    pub fn new(name: &str) -> Result<Self, BadScope> {
        if is_scope(name) { Ok(Self(name.into())) } else { Err(BadScope) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Scope {
    type Error = BadScope;

    fn try_from(name: String) -> Result<Self, BadScope> {
        Self::new(&name)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0.as_ref().to_owned()
    }
}

impl Borrow<str> for Scope {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_scope(name: &str) -> bool {
    let mut letters = name.bytes();
    let starts_well = letters.next().is_some_and(|b| b.is_ascii_lowercase());
    let goes_on_well = letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    starts_well && goes_on_well && name.len() <= 32
}

fn check_segment(segment: &str) -> Result<(), SubjectError> {
    let (scope, id) = segment.split_once(':').ok_or(SubjectError::NoScope)?;
    if !is_scope(scope) {
        return Err(SubjectError::BadScope);
    }
    if id.is_empty() || id.len() > 128 {
        return Err(SubjectError::BadIdLength);
    }
    let allowed = |b: u8| b.is_ascii_graphic() && !Subject::FORBIDDEN.as_bytes().contains(&b);
    if id.bytes().all(allowed) { Ok(()) } else { Err(SubjectError::BadIdCharacter) }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_knows_its_levels_root_first() {
        let subject = Subject::parse("org:acme/user:u_1/project:p_9").unwrap();
        let levels: Vec<_> = subject.levels().collect();
        assert_eq!(levels, ["org:acme", "org:acme/user:u_1", "org:acme/user:u_1/project:p_9"]);
        assert_eq!(subject.level(2), "org:acme/user:u_1");
        assert_eq!((subject.depth(), subject.id()), (3, "p_9"));
        assert_eq!([1, 2, 3].map(|depth| subject.scope(depth)), ["org", "user", "project"]);
    }

    #[test]
    fn a_whole_path_lives_in_the_shard_of_its_root() {
        let root = Subject::parse("org:acme").unwrap();
        let below = Subject::parse("org:acme/user:u_1").unwrap();
        assert_eq!(root.shard(1024), below.shard(1024));
        assert_eq!(Subject::parse("123456789:x"), Err(SubjectError::BadScope));
        // `CLUSTER KEYSLOT user:u_1` answers 11780, which is 44548 modulo 16384.
        assert_eq!(Subject::parse("user:u_1").unwrap().shard(u16::MAX), 44_548);
    }

    #[test]
    fn user_text_that_could_move_a_key_or_break_a_line_is_refused() {
        let cases = [
            ("", SubjectError::Empty),
            ("u_1", SubjectError::NoScope),
            ("User:u_1", SubjectError::BadScope),
            ("user:", SubjectError::BadIdLength),
            ("user:{x}", SubjectError::BadIdCharacter),
            ("user:a\0b", SubjectError::BadIdCharacter),
            ("user:a b", SubjectError::BadIdCharacter),
            ("user:é", SubjectError::BadIdCharacter),
            ("a:1/b:2/c:3/d:4/e:5", SubjectError::TooManySegments),
            ("a:1//b:2", SubjectError::NoScope),
        ];
        for (text, error) in cases {
            assert_eq!(Subject::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Subject::parse(&"x".repeat(10_240)), Err(SubjectError::BadIdLength));
    }

    #[test]
    fn a_prefix_fences_whole_segments_only() {
        let subject = Subject::parse("org:acme/user:u_1").unwrap();
        assert!(subject.is_within("org:acme") && subject.is_within("org:acme/user:u_1"));
        assert!(!subject.is_within("org:ac") && !subject.is_within("org:acme/user:u"));
    }

    #[test]
    fn lengths_end_where_they_are_said_to() {
        let of = |scope: usize, id: usize| {
            Subject::parse(&format!("{}:{}", "s".repeat(scope), "i".repeat(id)))
        };
        assert!(of(32, 128).is_ok());
        assert_eq!(of(33, 1).unwrap_err(), SubjectError::BadScope);
        assert_eq!(of(1, 129).unwrap_err(), SubjectError::BadIdLength);
        let level = format!("{}:{}", "s".repeat(32), "i".repeat(128));
        let longest = [level.as_str(); 4].join("/");
        assert_eq!((longest.len(), Subject::BYTES_MAX), (647, 647));
        assert!(Subject::parse(&longest).is_ok());
        assert_eq!(Subject::parse(&format!("{longest}i")).unwrap_err(), SubjectError::BadIdLength);
    }

    #[test]
    fn scopes_have_letters_digits_and_underlines() {
        assert!(Subject::parse("my_team2:t_1").is_ok());
        assert_eq!(Subject::parse("my-team:t_1").unwrap_err(), SubjectError::BadScope);
        let subject = Subject::parse("user:u_1").unwrap();
        assert_eq!((subject.as_str(), subject.to_string().as_str()), ("user:u_1", "user:u_1"));
    }
}
