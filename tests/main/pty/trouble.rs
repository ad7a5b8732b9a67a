//! Kubeconfigs that are wrong and servers that misbehave: a clear sentence, a hint, and keys that work at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::{Home, Terminal};

/// A kubeconfig for a server on plain HTTP.
fn kubeconfig(home: &Home, address: SocketAddr) -> String {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: far\nclusters:\n- name: far\n  cluster: {{server: \"http://{address}\"}}\n\
         users:\n- name: me\n  user: {{token: secret}}\ncontexts:\n- name: far\n  context: {{cluster: far, user: me}}\n\
         - name: other\n  context: {{cluster: far, user: me}}\n"
    );
    home.file("config.yaml", &text).display().to_string()
}

/// A server that answers every request with this, until it is dropped.
fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// Less than a request is given before the server counts as silent: who answers within it has not waited for the server. A loaded
/// machine may take its time, so nothing tighter decides.
const SERVER_PATIENCE: Duration = Duration::from_secs(15);

/// Ctrl-C ends it, and soon.
fn leaves(mut knarr: Terminal) {
    let start = Instant::now();
    knarr.keys("<C-c>");
    assert!(knarr.end().success());
    assert!(
        start.elapsed() < SERVER_PATIENCE,
        "it took {:?} to leave",
        start.elapsed()
    );
    knarr.assert_restored();
}

#[test]
fn without_a_kubeconfig_it_opens_says_so_and_offers_the_embedded_cluster() {
    let mut knarr = Terminal::knarr(&[]);
    knarr
        .until("there is no kubeconfig")
        .until("start the cluster inside this program");
    knarr.keys("E").until("live").until("kube-apiserver-knarr");
    knarr.keys("<C-q>");
    assert!(knarr.end().success());
    knarr.assert_restored();
}

/// A kubeconfig whose user is known by a program.
fn with_plugin(home: &Home, address: SocketAddr, script: &str) -> String {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: far\nclusters:\n- name: far\n  cluster: {{server: \"http://{address}\"}}\n\
         contexts:\n- name: far\n  context: {{cluster: far, user: me}}\nusers:\n- name: me\n  user:\n    exec:\n      \
         apiVersion: client.authentication.k8s.io/v1\n      interactiveMode: IfAvailable\n      command: sh\n      args: [\"-c\", {script:?}]\n"
    );
    home.file("config.yaml", &text).display().to_string()
}

#[test]
fn a_credential_plugin_neither_writes_on_the_screen_nor_takes_the_keys() {
    let address = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let home = Home::new();
    let script = "echo noise-on-the-screen >&2; head -c 1 /dev/tty >/dev/null 2>&1 && echo read-a-key >&2; echo sign in at example.com >&2; exit 3";
    let path = with_plugin(&home, address, script);
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
    knarr
        .until("the credential plugin failed")
        .until("sign in at example.com");
    assert!(!knarr.text().contains("read-a-key"), "{}", knarr.text());
    knarr
        .keys("?")
        .until("help: default")
        .keys("<esc>")
        .until_gone("help: default");
    leaves(knarr);
}

#[test]
fn a_credential_plugin_that_has_to_ask_is_lent_the_terminal() {
    let address =
        server("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 15\r\nconnection: close\r\n\r\nslow down pleas");
    let home = Home::new();
    let script = r#"[ -t 0 ] || { echo no terminal here >&2; exit 3; }; printf 'your code, please: ' >&2; read code; [ "$code" = 1234 ] || exit 4; echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}'"#;
    let path = with_plugin(&home, address, script);
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
    knarr.until("no terminal here").until(":login");
    knarr.keys(":login<ret>").until("your code, please");
    knarr.keys("99<ret>").until("exit status: 4");
    knarr.keys(":login<ret>").until("your code, please");
    // What it was given is used although it gives nothing without a terminal.
    knarr.keys("1234<ret>").until("503");
    leaves(knarr);
}

#[test]
fn a_kubeconfig_with_twenty_thousand_contexts_is_read() {
    let address =
        server("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 15\r\nconnection: close\r\n\r\nslow down pleas");
    let home = Home::new();
    let mut text = std::fs::read_to_string(kubeconfig(&home, address)).expect("written");
    for at in 0..20_000 {
        text.push_str(&format!("- name: more-{at}\n  context: {{cluster: far, user: me}}\n"));
    }
    let path = home.file("large.yaml", &text).display().to_string();
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
    knarr.until("503");
    leaves(knarr);
}

#[test]
fn a_busy_server_is_named_as_busy_and_not_as_silent() {
    let address =
        server("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 15\r\nconnection: close\r\n\r\nslow down pleas");
    let home = Home::new();
    let path = kubeconfig(&home, address);
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
    knarr.until("503").until("try again now");
    assert!(!knarr.text().contains("does not answer"), "{}", knarr.text());
    leaves(knarr);
}

#[test]
fn a_kubeconfig_that_is_no_kubeconfig_is_named() {
    for content in [
        "a: [",
        "just some text",
        "apiVersion: v1\nkind: Config\n",
        "\u{0}\u{1}\u{2}",
    ] {
        let home = Home::new();
        let path = home.file("broken.yaml", content).display().to_string();
        let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
        knarr.until("kubeconfig").until("try again now");
        leaves(knarr);
    }
}

#[test]
fn a_context_that_is_not_there_is_answered_with_those_that_are() {
    let home = Home::new();
    let path = kubeconfig(&home, "127.0.0.1:9".parse().expect("an address"));
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path, "--context", "nowhere"]);
    knarr.until("no context \"nowhere\"").until("far, other");
    leaves(knarr);
}

#[test]
fn a_server_that_refuses_is_explained_and_the_other_contexts_are_offered() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let home = Home::new();
    let path = kubeconfig(&home, address);
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
    knarr
        .until(&format!("cannot reach http://{address}"))
        .until("nothing listens there");
    knarr.keys("@").until("▌ far").keys("<esc>").until_gone("▌ far");
    let mut knarr = knarr;
    let start = Instant::now();
    knarr.keys("q");
    assert!(knarr.end().success());
    assert!(
        start.elapsed() < SERVER_PATIENCE,
        "it took {:?} to leave",
        start.elapsed()
    );
    knarr.assert_restored();
}

#[test]
fn a_server_that_hangs_keeps_nobody() {
    // Connections are taken by the kernel, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let home = Home::new();
    let path = kubeconfig(&home, silent.local_addr().expect("bound"));
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
    knarr.until("connecting");
    let start = Instant::now();
    knarr.keys("?").until("keymap");
    knarr.keys("<esc>").until_gone("keymap");
    assert!(
        start.elapsed() < SERVER_PATIENCE,
        "it took {:?} to answer two keys",
        start.elapsed()
    );
    leaves(knarr);
}

#[test]
fn a_server_that_forbids_everything_is_quoted() {
    const BODY: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"User \"me\" may do nothing here","reason":"Forbidden","code":403}"#;
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let home = Home::new();
    let path = kubeconfig(&home, server(answer.leak()));
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
    knarr
        .until("may do nothing here")
        .until("the current user may not do this");
    leaves(knarr);
}

#[test]
fn a_server_that_is_something_else_is_found_out() {
    let home = Home::new();
    let address = server(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\nConnection: close\r\n\r\n<html></html",
    );
    let path = kubeconfig(&home, address);
    let knarr = Terminal::knarr_in(home, &["--kubeconfig", &path]);
    knarr.until("something other than Kubernetes JSON");
    leaves(knarr);
}

#[test]
fn without_a_terminal_it_says_what_to_do_instead() {
    let home = Home::new();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_knarr"))
        .envs(home.variables())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("needs a terminal") && said.contains("knarr cluster start"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_settings_are_named_with_their_file() {
    let home = Home::new();
    std::fs::create_dir_all(home.path().join("config")).expect("made");
    home.file("config/config.toml", "theem = \"dark\"\n");
    let mut knarr = Terminal::knarr_in(home, &["--embedded"]);
    assert!(!knarr.end().success());
    let said = knarr.assert_restored();
    assert!(said.contains("theem") && said.contains("hint"), "{said}");
}
