//! Costs of the store.

fn main() {
    divan::main();
}
