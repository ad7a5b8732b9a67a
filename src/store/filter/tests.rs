//! What the guide promises, row by row.
