//! The subject in a path, as the OpenAPI document tells of it.

/// The path's parameter.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub struct SubjectPath {
    /// The subject, percent-encoded.
    #[param(
        example = "user:u_1",
        max_length = 647,
        pattern = "^[a-z][a-z0-9_]{0,31}:[!$()+,.0-9:;=@A-Z^_a-z|~-]{1,128}(/[a-z][a-z0-9_]{0,31}:[!$()+,.0-9:;=@A-Z^_a-z|~-]{1,128}){0,3}$"
    )]
    pub subject: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use utoipa::IntoParams;

    use super::*;
    use crate::domain::Subject;

    fn pattern() -> String {
        let parameters = SubjectPath::into_params(|| None);
        let schema = serde_json::to_value(&parameters[0]).unwrap()["schema"].take();
        assert_eq!(schema["maxLength"], Subject::BYTES_MAX);
        schema["pattern"].as_str().unwrap().to_owned()
    }

    proptest! {
        #[test]
        fn every_text_that_the_document_allows_is_a_subject(text in string_regex(pattern().trim_matches(['^', '$'])).unwrap()) {
            prop_assert!(Subject::parse(&text).is_ok());
        }
    }

    #[test]
    fn the_document_allows_an_id_all_characters_that_it_may_have() {
        let pattern = pattern();
        let class = pattern.split_once(":[").unwrap().1.split_once(']').unwrap().0;
        let mut allowed = class.replace("0-9", "").replace("A-Z", "").replace("a-z", "");
        allowed.extend(('0'..='9').chain('A'..='Z').chain('a'..='z'));
        for letter in (0..=127).map(char::from) {
            let is_subject = Subject::parse(&format!("user:{letter}")).is_ok();
            assert_eq!(allowed.contains(letter), is_subject, "{letter:?}");
        }
    }
}
