//! What follows from a value and is made of it once.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;

/// A place beside values that many decisions share, where a layer above keeps what it makes of them.
///
/// What is kept must follow from those values alone. Two memos are equal whatever they hold, since it adds nothing.
#[derive(Default)]
pub struct Memo(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Memo {
    /// What was made first. Of another type nothing is kept: that is made each time.
    pub fn get_or_make<T: Any + Send + Sync>(&self, make: impl Fn() -> T) -> Arc<T> {
        let kept = self.0.get_or_init(|| Arc::new(make()));
        kept.clone().downcast().unwrap_or_else(|_| Arc::new(make()))
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_made_first_is_kept() {
        let memo = Memo::default();
        assert_eq!(*memo.get_or_make(|| 1), 1);
        assert_eq!(*memo.get_or_make(|| 2), 1);
        assert_eq!(*memo.get_or_make(|| "another type"), "another type");
        assert_eq!(*memo.get_or_make(|| 3), 1);
    }

    #[test]
    fn memos_are_equal_whatever_they_hold() {
        let (full, empty) = (Memo::default(), Memo::default());
        full.get_or_make(|| 1);
        assert_eq!(full, empty);
        assert_eq!(format!("{full:?}"), "Memo");
    }
}
