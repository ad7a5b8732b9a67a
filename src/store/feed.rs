//! One list and watch, and the single writer of its objects.
