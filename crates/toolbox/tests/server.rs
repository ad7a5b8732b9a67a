//! The example servers, over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{outcome, program};

/// A server that is stopped when the test ends.
pub(crate) struct Server {
    pub child: Child,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port()
}

impl Server {
    /// Starts a server and waits until it accepts connections.
    pub(crate) fn start(command: &mut Command, port: u16) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut server = Self { child, port };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < end && server.child.try_wait().expect("its state").is_none(),
                "the server does not come up"
            );
            std::thread::yield_now();
        }
        server
    }

    /// One request; the result is the whole answer.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ))
    }

    fn send(&self, method: &str, path: &str, body: &str) -> String {
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Sends a signal, waits, and returns status, output and errors.
    fn stop(mut self, signal: nix::sys::signal::Signal) -> (i32, String, String) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("signalled");
        let (mut out, mut err) = (String::new(), String::new());
        self.child
            .stdout
            .take()
            .expect("output")
            .read_to_string(&mut out)
            .expect("text");
        self.child
            .stderr
            .take()
            .expect("errors")
            .read_to_string(&mut err)
            .expect("text");
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().expect("it ends");
        (
            status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            out,
            err,
        )
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn status(answer: &str) -> &str {
    answer.lines().next().unwrap_or("")
}

#[test]
fn kuard_fails_its_probes_on_request() {
    let port = free_port();
    let server = Server::start(
        program("kuard")
            .arg(format!("--address=:{port}"))
            .env("GREETING", "hello"),
        port,
    );
    assert!(server.get("/").contains("KUAR Demo"));
    assert!(server.get("/-/liveness").contains("KUAR Demo"));
    for probe in ["/healthy", "/ready"] {
        assert_eq!(
            (status(&server.get(probe)), body(&server.get(probe))),
            ("HTTP/1.1 200 OK", "ok")
        );
        let answer = server.send("PUT", &format!("{probe}/api"), "{\"failNext\": 2}");
        let state: serde_json::Value = serde_json::from_str(body(&answer)).expect("JSON");
        assert_eq!(
            (state["failNext"].as_i64(), state["probePath"].as_str()),
            (Some(2), Some(probe))
        );
        assert_eq!(state["history"].as_array().map(Vec::len), Some(2));
        let first = server.get(probe);
        assert_eq!(
            (status(&first), body(&first)),
            ("HTTP/1.1 500 Internal Server Error", "fail, 1 left")
        );
        assert_eq!(body(&server.get(probe)), "fail, 0 left");
        assert_eq!(body(&server.get(probe)), "ok");
        server.send("PUT", &format!("{probe}/api"), "{\"failNext\": -1}");
        assert_eq!(body(&server.get(probe)), "fail, permanent");
        assert_eq!(body(&server.get(probe)), "fail, permanent");
        server.send("PUT", &format!("{probe}/api"), "{\"failNext\": 0}");
        assert_eq!(body(&server.get(probe)), "ok");
        assert_eq!(
            status(&server.send("PUT", &format!("{probe}/api"), "no json")),
            "HTTP/1.1 400 Bad Request"
        );
    }
    let env: serde_json::Value = serde_json::from_str(body(&server.get("/env/api"))).expect("JSON");
    assert_eq!(env["env"]["GREETING"], "hello");
    assert!(body(&server.get("/fs/etc/")).contains("passwd"));
    assert_eq!(
        status(&server.get("/fs/%2e%2e/%2e%2e/etc/passwd")),
        "HTTP/1.1 404 Not Found"
    );
    assert_eq!(status(&server.get("/fs/dev/zero")), "HTTP/1.1 403 Forbidden");
    server.send("POST", "/mem/api/alloc?size=1000000", "");
    assert!(server.get("/mem/api").contains("\"Alloc\":1000000"));
    assert_eq!(
        status(&server.send("POST", "/mem/api/alloc?size=99999999999999999", "")),
        "HTTP/1.1 500 Internal Server Error"
    );
    server.send("PUT", "/memq/server/queues/q", "");
    server.send("POST", "/memq/server/queues/q/enqueue", "work");
    assert!(
        server
            .send("POST", "/memq/server/queues/q/dequeue", "")
            .contains("\"body\":\"work\"")
    );
    assert_eq!(
        status(&server.send("POST", "/memq/server/queues/q/dequeue", "")),
        "HTTP/1.1 204 No Content"
    );
    assert_eq!(status(&server.get("/nope")), "HTTP/1.1 404 Not Found");
    let (code, _, log) = server.stop(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(code, 2);
    // Without the dates, which are 20 characters.
    let lines: Vec<&str> = log
        .lines()
        .map(|l| if l.starts_with("20") { &l[20..] } else { l })
        .collect();
    assert_eq!(lines[0], "Starting kuard version: v0.10.0-blue");
    assert_eq!(lines[1], "*".repeat(70));
    assert_eq!(lines[2], "* WARNING: This server may expose sensitive");
    assert_eq!(lines[3], "* and secret information. Be careful.");
    assert_eq!(lines[5], "Config: ");
    assert_eq!(
        lines[6..9],
        ["{", &format!("  \"address\": \":{port}\","), "  \"debug\": false,"]
    );
    assert!(lines.contains(&"Could not find certificates to serve TLS"));
    assert!(lines.contains(&format!("Serving on HTTP on :{port}").as_str()));
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("127.0.0.1:") && l.ends_with(" GET /healthy"))
    );
}

#[test]
fn kuard_works_through_a_queue_and_exits() {
    let args = [
        "--keygen-enable",
        "--keygen-exit-on-complete",
        "--keygen-exit-code=3",
        "--keygen-num-to-gen=2",
        "--address=127.0.0.1:0",
    ];
    let (code, _, log) = outcome(program("kuard").args(args).output().expect("kuard runs"));
    assert_eq!(code, 3, "{log}");
    assert!(
        log.contains("(ID 0) Workload starting") && log.contains("(ID 0 2/2) Item done: SHA256:"),
        "{log}"
    );
    let (code, _, log) = outcome(program("kuard").arg("--nonsense").output().expect("kuard runs"));
    assert_eq!((code, log.as_str()), (2, "kuard: unknown flag: --nonsense\n"));
}

#[test]
fn a_taken_port_is_an_error() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = holder.local_addr().expect("its address").port();
    let (code, _, log) = outcome(
        program("kuard")
            .arg(format!("--address=127.0.0.1:{port}"))
            .output()
            .expect("kuard runs"),
    );
    assert_eq!(code, 1);
    assert!(
        log.ends_with(&format!("listen tcp 127.0.0.1:{port}: bind: address already in use\n")),
        "{log}"
    );
}

#[test]
fn kubia_answers_with_its_host_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("app.js");
    let host = outcome(program("hostname").output().expect("hostname runs")).1;
    let host = host.trim();
    for (name, answers) in [
        ("kubia", vec![(200, format!("You've hit {host}\n"))]),
        ("kubia-v2", vec![(200, format!("This is v2 running in pod {host}\n"))]),
        (
            "kubia-unhealthy",
            [
                vec![(200, format!("You've hit {host}\n")); 5],
                vec![(500, "I'm not well. Please restart me!".to_owned()); 2],
            ]
            .concat(),
        ),
    ] {
        let port = free_port();
        std::fs::write(&script, format!("// application: {name}\n// port: {port}\n")).expect("written");
        let server = Server::start(program("node").arg(&script), port);
        for (code, expected) in answers {
            let answer = server.get("/");
            assert!(status(&answer).starts_with(&format!("HTTP/1.1 {code}")), "{answer}");
            assert_eq!(body(&answer), expected);
        }
        let mut server = server;
        let mut lines = BufReader::new(server.child.stdout.take().expect("output")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "Kubia server starting...");
        assert_eq!(
            lines.next().expect("a line").expect("text"),
            "Received request from ::ffff:127.0.0.1"
        );
    }
}

#[test]
fn nginx_serves_files_as_configured() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    std::fs::create_dir_all(root.join("html/sub")).expect("directories");
    std::fs::write(root.join("html/index.html"), "<h1>welcome</h1>").expect("written");
    std::fs::write(root.join("html/big.txt"), "0123456789".repeat(100)).expect("written");
    std::fs::write(root.join("html/oops.html"), "custom").expect("written");
    std::fs::write(root.join("secret"), "secret").expect("written");
    let port = free_port();
    let config = format!(
        "events {{}}\nhttp {{\n access_log /dev/stdout;\n types {{ text/html html; text/plain txt; }}\n default_type application/octet-stream;\n server {{\n\
         listen {port};\n root {0}/html;\n gzip on; gzip_types text/plain;\n location /old {{ return 301 /new; }}\n location = /hello {{ return 200 \"hello $host\\n\"; }}\n\
         location /list/ {{ alias {0}/html/; autoindex on; index none; }}\n location /spa {{ try_files $uri /index.html; }}\n location /deny {{ deny all; }}\n\
         location /api/ {{ proxy_pass http://127.0.0.1:{port}/; }}\n error_page 403 /oops.html;\n }}\n}}\n",
        root.display()
    );
    let path = root.join("nginx.conf");
    std::fs::write(&path, config).expect("written");
    let server = Server::start(
        program("nginx")
            .arg("-c")
            .arg(&path)
            .args(["-g", "daemon off;"])
            .env("NGINX_VERSION", "1.14.2"),
        port,
    );
    let answer = server.get("/");
    assert_eq!(
        (status(&answer), body(&answer)),
        ("HTTP/1.1 200 OK", "<h1>welcome</h1>")
    );
    assert!(
        answer.contains("Server: nginx/1.14.2\r\n") && answer.contains("Content-Type: text/html\r\n"),
        "{answer}"
    );
    let missing = server.get("/nope");
    assert_eq!(status(&missing), "HTTP/1.1 404 Not Found");
    assert!(body(&missing).contains("<center>nginx/1.14.2</center>"));
    assert!(server.get("/old").contains("Location: http://test/new"));
    assert_eq!(body(&server.get("/hello")), "hello test\n");
    assert_eq!(body(&server.get("/api/hello")), "hello 127.0.0.1\n");
    assert!(body(&server.get("/list/")).contains("<a href=\"big.txt\">"));
    assert_eq!(body(&server.get("/spa/route")), "<h1>welcome</h1>");
    let denied = server.get("/deny");
    assert_eq!((status(&denied), body(&denied)), ("HTTP/1.1 403 Forbidden", "custom"));
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/list../secret",
        "/list/%2e%2e/secret",
        "/list/..%2fsecret",
    ] {
        assert!(
            !server.get(path).contains("secret\n") && !body(&server.get(path)).eq("secret"),
            "{path}"
        );
    }
    let part = server.raw("GET /big.txt HTTP/1.1\r\nHost: t\r\nConnection: close\r\nRange: bytes=5-9\r\n\r\n");
    assert_eq!((status(&part), body(&part)), ("HTTP/1.1 206 Partial Content", "56789"));
    assert!(
        server
            .raw("GET /big.txt HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n")
            .to_lowercase()
            .contains("content-encoding: gzip")
    );
    let tag = answer
        .lines()
        .find_map(|l| l.strip_prefix("Etag: ").or(l.strip_prefix("ETag: ")))
        .expect("a tag")
        .trim()
        .to_owned();
    let same = server.raw(&format!(
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
    ));
    assert_eq!(status(&same), "HTTP/1.1 304 Not Modified");
    assert_eq!(
        status(&server.send("POST", "/", "x")),
        "HTTP/1.1 405 Method Not Allowed"
    );
    let (code, log, errors) = server.stop(nix::sys::signal::Signal::SIGQUIT);
    assert_eq!(code, 0);
    assert!(
        log.lines()
            .any(|l| l.starts_with("127.0.0.1 - - [") && l.contains("\"GET / HTTP/1.1\" 200 16 \"-\" \"-\" \"-\"")),
        "{log}"
    );
    assert!(errors.contains("failed (2: No such file or directory)"), "{errors}");
}

#[test]
fn nginx_refuses_a_bad_configuration() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("nginx.conf");
    for (text, expected) in [
        (
            "events {}\nhttp { server { lisen 80; } }",
            "unknown directive \"lisen\"",
        ),
        ("events {}\nhttp { server { listen 80 }", "unexpected \"}\""),
        ("http {}", "no \"events\" section in configuration"),
    ] {
        std::fs::write(&path, text).expect("written");
        let (code, _, err) = outcome(
            program("nginx")
                .arg("-t")
                .arg("-c")
                .arg(&path)
                .output()
                .expect("nginx runs"),
        );
        assert_eq!(code, 1);
        assert!(err.contains("[emerg]") && err.contains(expected), "{err}");
    }
    let (code, _, err) = outcome(
        program("nginx")
            .args(["-c", "/nonexistent.conf"])
            .output()
            .expect("nginx runs"),
    );
    assert_eq!(code, 1);
    assert!(
        err.contains("open() \"/nonexistent.conf\" failed (2: No such file or directory)"),
        "{err}"
    );
}
