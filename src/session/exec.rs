//! Programs on a terminal inside a container.
