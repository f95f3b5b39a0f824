//! Values that must not be seen in logs, errors and the shown configuration.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde::Serializer;

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

/// A secret text. `Debug` and `Serialize` show `***`, or nothing when it is empty.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. The caller keeps it out of logs and errors.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> &'static str {
        if self.is_empty() { "" } else { HIDDEN }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// A store's URL. `Debug`, `Display` and `Serialize` show it with the password hidden.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL with its password. The caller keeps it out of logs and errors.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Rather hides too much than too little: everything between the first `:` and the last `@`,
    /// because an unescaped password may hold any character.
    fn shown(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return if self.is_empty() { "" } else { HIDDEN }.to_owned();
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo), place),
            None => (None, rest),
        };
        let user = user.map_or_else(String::new, |userinfo| match userinfo.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}@"),
            None => format!("{userinfo}@"),
        });
        format!("{scheme}://{user}{}", hide_parameters(place))
    }
}

/// Several stores' URLs, joined by commas. `Debug` and `Serialize` show them with the passwords hidden.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrls(String);

impl SecretUrls {
    /// Each with its password. The caller keeps them out of logs and errors.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').map(str::trim).filter(|url| !url.is_empty())
    }

    /// Whether nothing was configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// A part that is no URL may be the rest of a password.
    fn shown(&self) -> String {
        if self.iter().any(|url| !url.contains("://")) {
            return HIDDEN.to_owned();
        }
        let shown: Vec<String> = self.iter().map(|url| SecretUrl::new(url).shown()).collect();
        shown.join(",")
    }
}

impl fmt::Debug for SecretUrls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.shown())
    }
}

impl Serialize for SecretUrls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// Hides the values of parameters such as `password=` and `sslpassword=`.
fn hide_parameters(place: &str) -> String {
    let Some((path, query)) = place.split_once('?') else {
        return place.to_owned();
    };
    let shown: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("pass") => {
                format!("{name}={HIDDEN}")
            }
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{path}?{}", shown.join("&"))
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.shown())
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_shows() {
        for (url, shown) in [
            ("redis://:hunter2@h:1/", "redis://:***@h:1/"),
            ("postgres://u:hunter2@h/db", "postgres://u:***@h/db"),
            ("postgres://u:hun/te@r2@h/db", "postgres://u:***@h/db"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            ("redis://h:6379/", "redis://h:6379/"),
            ("postgres://h/db?user=u&password=hunter2", "postgres://h/db?user=u&password=***"),
            ("host=h password=hunter2", "***"),
            ("", ""),
        ] {
            assert_eq!(SecretUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", SecretUrl::new(url)), format!("{shown:?}"));
        }
    }

    #[test]
    fn the_passwords_of_a_list_never_show() {
        for (urls, shown) in [
            ("redis://:hunter2@h:1, redis://u:hunter2@i", "redis://:***@h:1,redis://u:***@i"),
            ("redis://h:1,redis://:hunter2@i", "redis://h:1,redis://:***@i"),
            ("redis://:hun,ter2@h", "***"),
            ("", ""),
        ] {
            let urls = SecretUrls(urls.to_owned());
            assert_eq!(format!("{urls:?}"), format!("{shown:?}"));
        }
    }

    #[test]
    fn a_secret_shows_only_whether_it_is_set() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "\"***\"");
        assert_eq!(format!("{:?}", Secret::new("")), "\"\"");
    }
}
