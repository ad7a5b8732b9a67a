//! Lines in bounded memory.
