//! The network clients.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::server::{Server, free_port};
use super::{feed, outcome, program};

/// Answers each connection with one of the given texts, in order.
fn answers(texts: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for text in texts {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).expect("a request");
            seen.push(String::from_utf8_lossy(&request[..n]).into_owned());
            let _ = stream.write_all(text.as_bytes());
        }
        seen
    });
    (port, thread)
}

fn curl(args: &[&str]) -> (i32, String, String) {
    outcome(program("curl").args(args).output().expect("curl runs"))
}

#[test]
fn curl_and_wget_fetch_and_send() {
    let port = free_port();
    let server = Server::start(program("kuard").arg(format!("--address=:{port}")), port);
    let base = format!("http://localhost:{port}");
    assert_eq!(
        curl(&["-s", &format!("{base}/healthy")]),
        (0, "ok".to_owned(), String::new())
    );
    let (code, out, _) = curl(&[
        "-si",
        "-X",
        "PUT",
        "-d",
        "{\"failNext\":1}",
        &format!("{base}/ready/api"),
    ]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("HTTP/1.1 200 OK\r\n") && out.contains("\"failNext\":1"),
        "{out}"
    );
    assert_eq!(
        curl(&["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("{base}/ready")]).1,
        "500"
    );
    let (code, _, err) = curl(&["-sfS", &format!("{base}/nope")]);
    assert_eq!(
        (code, err.as_str()),
        (22, "curl: (22) The requested URL returned error: 404\n")
    );
    let (_, out, _) = curl(&["-sI", &format!("{base}/healthy")]);
    assert!(
        out.starts_with("HTTP/1.1 200 OK\r\n") && out.ends_with("\r\n\r\n"),
        "{out}"
    );
    let (_, _, err) = curl(&["-sv", &format!("{base}/healthy")]);
    assert!(
        err.contains("> GET /healthy HTTP/1.1\n") && err.contains("< HTTP/1.1 200 OK\n"),
        "{err}"
    );
    let (code, out, _) = outcome(
        program("wget")
            .args(["-qO-", &format!("{base}/healthy")])
            .output()
            .expect("wget runs"),
    );
    assert_eq!((code, out.as_str()), (0, "ok"));
    let (code, _, err) = outcome(
        program("wget")
            .args(["-q", "-O", "/dev/null", &format!("{base}/nope")])
            .output()
            .expect("wget runs"),
    );
    assert_eq!(
        (code, err.as_str()),
        (1, "wget: server returned error: HTTP/1.1 404 Not Found\n")
    );
    drop(server);
    let (code, _, err) = curl(&["-sS", &base]);
    assert_eq!(code, 7);
    assert!(
        err.starts_with(&format!("curl: (7) Failed to connect to localhost port {port} after ")),
        "{err}"
    );
}

#[test]
fn odd_servers_are_coped_with() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n";
    let (port, thread) = answers(vec![
        "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n".to_owned(),
        chunked.to_owned(),
        "HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".to_owned(),
        String::new(),
        "garbage\r\n\r\n".to_owned(),
    ]);
    let url = format!("127.0.0.1:{port}/first");
    assert_eq!(curl(&["-sL", &url]).1, "abcde");
    assert_eq!(curl(&["-s", &url]).1, "until the end");
    assert_eq!(curl(&["-s", &url]).0, 18);
    assert_eq!(curl(&["-s", &url]).0, 52);
    assert_eq!(curl(&["-s", &url]).0, 1);
    let seen = thread.join().expect("the server ends");
    assert!(seen[1].starts_with("GET /next HTTP/1.1\r\n"), "{seen:?}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its address").port();
    assert_eq!(curl(&["-s", "-m", "0.2", &format!("127.0.0.1:{port}")]).0, 28);
    assert_eq!(curl(&["-s", "https://127.0.0.1:1"]).0, 7);
    assert_eq!(curl(&["-s", "ftp://x"]).0, 1);
}

#[test]
fn https_is_trusted_only_with_the_right_authority() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (dir.path().join("kuard.crt"), dir.path().join("kuard.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let (port, secure) = (free_port(), free_port());
    let server = Server::start(
        program("kuard")
            .arg(format!("--address=:{port}"))
            .arg(format!("--tls-address=:{secure}"))
            .arg(format!("--tls-dir={}", dir.path().display())),
        port,
    );
    let url = format!("https://localhost:{secure}/healthy");
    let authority = certificate.to_str().expect("text");
    assert_eq!(
        curl(&["-s", "--cacert", authority, &url]),
        (0, "ok".to_owned(), String::new())
    );
    assert_eq!(curl(&["-sk", &url]).1, "ok");
    let (code, _, err) = curl(&["-sS", &url]);
    assert_eq!(code, 60, "{err}");
    assert!(err.starts_with("curl: (60) SSL certificate problem: "), "{err}");
    let (code, ..) = curl(&["-s", "--cacert", "/nonexistent", &url]);
    assert_eq!(code, 77);
    // The name counts, not only the authority.
    assert_eq!(
        curl(&["-s", "--cacert", authority, &format!("https://127.0.0.1:{secure}/")]).0,
        60
    );
    let output = program("curl")
        .args(["-s", &url])
        .env("CURL_CA_BUNDLE", &certificate)
        .output()
        .expect("curl runs");
    assert_eq!(outcome(output).1, "ok");
    let (code, out, _) = outcome(program("wget").args(["-qO-", &url]).output().expect("wget runs"));
    assert_eq!((code, out.as_str()), (0, "ok"));
    // Plain HTTP to the TLS port is no answer, and harms nobody.
    assert_ne!(curl(&["-s", &format!("http://localhost:{secure}/")]).0, 0);
    assert_eq!(curl(&["-sk", &url]).1, "ok");
    drop(server);

    let port = free_port();
    let config = dir.path().join("nginx.conf");
    let text = format!(
        "events {{}}\nhttp {{ access_log off; server {{ listen {port} ssl; ssl_certificate {}; ssl_certificate_key {}; \
         location / {{ return 200 \"$scheme\\n\"; }} }} }}\n",
        certificate.display(),
        key.display()
    );
    std::fs::write(&config, text).expect("written");
    let _server = Server::start(program("nginx").arg("-c").arg(&config), port);
    assert_eq!(
        curl(&["-s", "--cacert", authority, &format!("https://localhost:{port}/")]).1,
        "https\n"
    );
}

#[test]
fn nc_talks_both_ways() {
    let (port, thread) = answers(vec!["pong\n".to_owned()]);
    let (code, out, _) = feed(program("nc").args(["127.0.0.1", &port.to_string()]), b"ping\n");
    assert_eq!((code, out.as_str()), (0, "pong\n"));
    assert_eq!(thread.join().expect("the server ends"), ["ping\n"]);
    let closed = free_port().to_string();
    assert_eq!(
        outcome(
            program("nc")
                .args(["-z", "127.0.0.1", &closed])
                .output()
                .expect("nc runs")
        )
        .0,
        1
    );
}
