//! The walk of a newcomer on the real thing: real processes, on the best runtime that the host allows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{Home, Terminal};

/// GET over one connection; the whole answer.
fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_walk_of_a_newcomer_by_keys_alone() {
    // High enough for all of describe: events come when they come.
    let mut knarr = Terminal::knarr_sized(Home::new(), &["--embedded", "--ephemeral"], (100, 80));
    // The welcome, beside a living cluster.
    knarr.until("Three keys to try").until("live");

    // In one namespace, run kuard by the form.
    knarr.keys(":ns default<ret>").until("no pods in namespace default");
    knarr
        .keys("r")
        .until("run an image")
        .keys("kuard\t")
        .keys("gcr.io/kuar-demo/kuard-amd64:blue\t8080<ret>");
    knarr.until_line(&["kuard", "1/1", "Running"]);

    // Describe it.
    knarr
        .keys("d")
        .until("Name:")
        .until("Successfully assigned default/kuard")
        .until("Started");
    knarr.keys("<esc>").until("READY");

    // Its logs.
    knarr.keys("l").until("following").until("Serving on");
    knarr.keys("<esc>").until("READY");

    // A shell in it, with a program that takes the whole screen.
    knarr.keys("s").until_screen("a prompt is shown", |screen| {
        screen.lines().any(|line| line.trim_end().ends_with(['#', '$']))
    });
    knarr.keys("echo $((40+2)) in $HOSTNAME<ret>").until("42 in kuard");
    knarr.keys("stty size<ret>").until("77 100");
    knarr.keys("top<ret>").until("PID").keys("q");
    knarr
        .keys("clear; echo top has ended<ret>")
        .until_screen("top has ended", |screen| {
            screen.lines().any(|line| line.trim() == "top has ended")
        });
    knarr
        .keys("<C-]>")
        .until_line(&["kuard", "Running"])
        .until("2 sh:kuard");

    // A port-forward, answered by the pod.
    knarr
        .keys("f")
        .until("forward to kuard")
        .keys("<tab>0<ret>")
        .until("forwarding");
    knarr.keys("gf").until("127.0.0.1:");
    let screen = knarr.text();
    let port: String = screen
        .split("127.0.0.1:")
        .nth(1)
        .expect("an address")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let answer = ask(address, "/healthy").expect("the pod answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let page = ask(address, "/").expect("the pod answers");
    assert!(page.contains("kuard"), "{page}");
    // A local port that is taken is named, with a way out.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    knarr.keys("<esc>").until_line(&["kuard", "Running"]);
    knarr
        .keys(&format!(":forward {port}:8080<ret>gf"))
        .until("1 sessions")
        .until(&format!("local port {port} is in use"));
    knarr.keys("<esc>").until_line(&["kuard", "Running"]);

    // Label it, group by label, filter by the label.
    knarr
        .keys("b")
        .until("label pod kuard")
        .keys("colour=blue<ret>")
        .until("labeled");
    knarr.keys("gl").until_line(&["colour", "blue"]);
    knarr
        .keys("/colour=blue<ret>")
        .keys("<ret>")
        .until("colour=blue")
        .until_line(&["kuard", "Running"]);

    // Namespaces.
    knarr
        .keys("gn")
        .until("kube-system")
        .keys("+")
        .until("create namespace")
        .keys("shop<ret>")
        .until_line(&["shop", "Active"]);
    knarr.keys(":pods shop<ret>").until("no pods in namespace shop");
    knarr.keys(":ns shop<ret>").until("working in namespace shop");
    knarr.keys(":ns default<ret>").until_line(&["kuard", "Running"]);

    // Delete it: asked first, kept by Escape, gone by y.
    knarr
        .keys("<C-x>")
        .until("delete pod kuard?")
        .keys("<esc>")
        .until_gone("delete pod kuard");
    knarr.until_line(&["kuard", "Running"]);
    knarr
        .keys("<C-x>")
        .until("delete pod kuard?")
        .keys("y")
        .until("no pods in namespace default");

    // Leaving ends the port-forward: it says so first.
    knarr.keys("<C-q>").until("leave knarr?").keys("y");
    assert!(knarr.end().success());
    knarr.assert_restored();
}

#[test]
fn the_screen_follows_the_terminals_size() {
    let mut knarr = Terminal::knarr(&["--embedded", "--ephemeral", "-A"]);
    knarr.until("live");
    knarr
        .resize(160, 45)
        .until_screen("the bottom line is at the bottom", |screen| {
            screen.lines().count() == 45 && screen.lines().last().is_some_and(|line| line.contains("help"))
        });
    knarr.resize(20, 5).until_screen("it fits", |screen| {
        screen.lines().count() <= 5 && screen.contains("embedded")
    });
    knarr.resize(80, 24).until("live");
    knarr.keys("<C-c>");
    assert!(knarr.end().success());
    knarr.assert_restored();
}

#[test]
fn the_welcome_is_gone_for_good_after_its_first_use() {
    let mut first = Terminal::knarr(&["--embedded", "--ephemeral"]);
    first.until("Three keys to try").keys("?").until("keymap");
    first.keys("<C-q>");
    assert!(first.end().success());
    first.assert_restored();
    let home = std::mem::replace(&mut first.home, Home::new());
    let mut second = Terminal::knarr_in(home, &["--embedded", "--ephemeral", "nodes"]);
    second.until_line(&["knarr", "Ready"]);
    assert!(!second.text().contains("Three keys to try"));
    second.keys("<C-q>");
    assert!(second.end().success());
}

#[test]
fn a_key_pressed_while_the_terminal_is_resized_is_not_lost() {
    let mut knarr = Terminal::knarr(&["--embedded", "--ephemeral"]);
    knarr.until("live");
    for round in 0..20 {
        knarr.resize(80 + round, 24 + round % 3).keys("?").until("keymap");
        knarr.resize(90 + round, 25).keys("<esc>").until_gone("keymap");
    }
    knarr.resize(80, 24).keys("<C-c>");
    assert!(knarr.end().success());
}
