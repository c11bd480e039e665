//! An error with its causes on one line.

use std::error::Error;

/// The error and its causes, each said once: many a library repeats the text of its cause.
pub fn with_causes(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.ends_with(&text) {
            told.push_str(": ");
            told.push_str(&text);
        }
        next = cause.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Nested {
        #[error("the disk is full")]
        Disk,
        #[error("the file could not be written: {0}")]
        Repeats(#[source] Box<Nested>),
        #[error("make the hub")]
        Adds(#[source] Box<Nested>),
    }

    #[test]
    fn each_cause_is_told_once() {
        let repeated = Nested::Repeats(Box::new(Nested::Disk));
        assert_eq!(with_causes(&repeated), "the file could not be written: the disk is full");
        let added = Nested::Adds(Box::new(repeated));
        assert_eq!(with_causes(&added), "make the hub: the file could not be written: the disk is full");
        assert_eq!(with_causes(&Nested::Disk), "the disk is full");
    }
}
