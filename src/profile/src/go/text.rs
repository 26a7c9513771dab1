//! Placeholder, filled by the owner of the parsers.
