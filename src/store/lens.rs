//! One sort and filter over a feed.
