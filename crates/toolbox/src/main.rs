//! The toolbox alone, without the rest of knarr: for its tests and for trying a program by hand.

fn main() {
    match knarr_toolbox::dispatch() {
        Some(code) => std::process::exit(code),
        None => {
            let usage = "usage: knarr-toolbox __box PROGRAM [ARGUMENT]...\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), usage.as_bytes());
            std::process::exit(2);
        }
    }
}
