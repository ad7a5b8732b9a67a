//! The toolbox alone, without the rest of knarr: for its tests and for trying a program by hand.

fn main() {
    match knarr_toolbox::dispatch() {
        Some(code) => std::process::exit(code),
        None => {
            eprintln!("usage: knarr-toolbox __box PROGRAM [ARGUMENT]...");
            std::process::exit(2);
        }
    }
}
