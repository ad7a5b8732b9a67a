# `just` lists what there is.
default:
    @just --list

# The workstation on the embedded cluster.
run *ARGS:
    cargo run --release -- --embedded {{ARGS}}

# Everything a change must pass.
ci:
    .ci/run

# All tests, or those whose name contains FILTER.
test FILTER="":
    cargo test --workspace {{FILTER}}

# The workstation's own tests in memory: no processes, no sockets, seconds.
tui FILTER="":
    cargo test --test main tui::{{FILTER}}

# Formatting and lints.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Writes docs/reference.md from the program.
docs:
    UPDATE=1 cargo test --test main docs::

# The measurements named in ARCHITECTURE.md.
bench:
    cargo bench
