//! The reference page of the configuration, made from the default file.

use std::fmt::Write;

use super::DEFAULT_TOML;
use super::bounds;
use super::env::variable_of;
use super::layer::Schema;

const TABLE_HEAD: &str =
    "| key | default | environment | bounds | meaning |\n|---|---|---|---|---|\n";

const RULES: &str = "\
Four variables set the stores: `DATABASE_URL` is `postgres.url`, `REDIS_URL` is `redis.url`, `REDIS_PASSWORD` is `redis.password`, \
`ANALYTICS_DATABASE_URL` is `postgres.analytics_url`. \
The other variables are `HEADROOM_<SECTION>_<KEY>`. An empty variable counts as absent, an unknown `HEADROOM_` variable \
stops the start (the variables that Kubernetes adds for a service called `headroom` are passed over).

A secret can also come from a file: `<VARIABLE>_FILE` names it, and white space around the content is dropped. \
Setting a key twice, for example by `DATABASE_URL` and `DATABASE_URL_FILE`, is an error.

`headroom check-config` prints the configuration in force with secrets hidden.
";

/// `docs/CONFIG.md`. A test compares the file with this.
#[must_use]
pub fn markdown() -> String {
    let mut page = Page::default();
    for line in DEFAULT_TOML.lines() {
        page.take(line);
    }
    page.text
}

/// The page as far as the default file has been read.
#[derive(Default)]
struct Page {
    text: String,
    /// The comment lines that stand right above.
    comment: Vec<String>,
    section: String,
    has_table: bool,
}

impl Page {
    fn take(&mut self, line: &str) {
        if let Some(comment) = line.strip_prefix('#') {
            self.comment.push(comment.trim().to_owned());
        } else if let Some(section) = line.strip_prefix('[') {
            section.trim_end_matches(']').clone_into(&mut self.section);
            self.has_table = false;
            let intro = self.take_comment();
            self.push(format_args!("\n## `[{}]`\n\n{intro}\n", self.section.clone()));
        } else if let Some((key, default)) = line.split_once(" = ") {
            self.row(key, default);
        } else if self.text.is_empty() {
            let intro = self.take_comment();
            self.push(format_args!("# Configuration\n\n{intro}\n\n{RULES}"));
        }
    }

    fn row(&mut self, name: &str, default: &str) {
        if !self.has_table {
            self.has_table = true;
            self.push(format_args!("\n{TABLE_HEAD}"));
        }
        let key = if self.section.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.section)
        };
        let meaning = self.take_comment().replace('|', "\\|");
        let variable = variables(&key);
        let bounds = bounds_of(&key);
        self.push(format_args!("| `{key}` | `{default}` | {variable} | {bounds} | {meaning} |\n"));
    }

    fn take_comment(&mut self) -> String {
        let lines = std::mem::take(&mut self.comment);
        let paragraphs: Vec<String> =
            lines.split(String::is_empty).map(|paragraph| paragraph.join(" ")).collect();
        paragraphs.join("\n\n")
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to a string cannot fail");
    }
}

fn variables(key: &str) -> String {
    let variable = variable_of(key);
    if Schema::is_secret(key) {
        format!("`{variable}`, `{variable}_FILE`")
    } else {
        format!("`{variable}`")
    }
}

fn bounds_of(key: &str) -> String {
    bounds::all()
        .find(|bound| bound.key == key)
        .map_or_else(String::new, |bound| format!("{} to {}", bound.min, bound.max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIG.md");

        let page = std::fs::read_to_string(path).unwrap_or_default();

        assert!(page == markdown(), "docs/CONFIG.md is out of date, it should be:\n{}", markdown());
    }

    #[test]
    fn every_key_has_a_meaning() {
        let page = markdown();

        assert!(!page.contains("|  |\n"), "{page}");
    }
}
