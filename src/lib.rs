//! Knarr.
