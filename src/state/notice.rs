//! Questions and results that came when the user was doing something else. They take no keys: they wait.

use crate::cluster::ClusterId;
use crate::document::Document;
use crate::view::overlay::Confirm;

/// Something that waits until the user turns to it.
#[derive(Debug)]
pub struct Notice {
    /// What it is about, in one line.
    pub text: String,
    /// The cluster it is about.
    pub cluster: ClusterId,
    /// What opens.
    pub review: Review,
}

/// A text to read, and maybe a question about it.
#[derive(Debug)]
pub struct Review {
    /// Title of the text.
    pub title: String,
    /// The text.
    pub document: Document,
    /// The question.
    pub question: Option<Confirm>,
}
