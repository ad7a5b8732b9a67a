//! However the program ends, the terminal is given back.

use nix::sys::signal::Signal;
use pty_process::blocking::Command;

use super::{Home, Terminal};

#[test]
fn signals_end_it_in_good_order() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut knarr = Terminal::knarr(&["--embedded", "--ephemeral"]);
        knarr.until("live").signal(signal);
        assert!(knarr.end().success(), "{signal}");
        knarr.assert_restored();
    }
}

#[test]
fn a_signal_ends_it_with_a_dialog_and_a_shell_open() {
    let mut knarr = Terminal::knarr(&["--embedded", "--ephemeral"]);
    knarr
        .until("live")
        .keys(":ns default<ret>")
        .until("no pods in namespace default")
        .keys(":run web --image=busybox --command='sleep 1000'<ret>")
        .until_line(&["web", "Running"]);
    knarr
        .keys("s")
        .until("2 sh:web")
        .keys("<C-]>")
        .until_line(&["web", "Running"]);
    knarr.keys("<C-x>").until("delete pod web").signal(Signal::SIGTERM);
    assert!(knarr.end().success());
    knarr.assert_restored();
}

#[test]
fn quit_from_outside_gives_the_terminal_back() {
    let mut knarr = Terminal::knarr(&["--embedded", "--ephemeral"]);
    knarr.until("live").signal(Signal::SIGQUIT);
    assert!(knarr.end().success());
    knarr.assert_restored();
}

#[test]
fn a_stop_gives_the_terminal_back_and_a_continue_takes_it_again() {
    let mut knarr = Terminal::knarr(&["--embedded", "--ephemeral"]);
    knarr.until("live").signal(Signal::SIGTSTP);
    // The alternate screen is left, and with it what stood on it.
    knarr.until_gone("live").until_stopped().signal(Signal::SIGCONT);
    knarr.until("live").keys("?").until("help");
    knarr.keys("<C-q>");
    assert!(knarr.end().success());
    knarr.assert_restored();
}

#[test]
fn a_terminal_that_is_lost_ends_it_without_a_panic() {
    let status = Terminal::lost(&["--embedded", "--ephemeral"]);
    // What it notices first is chance: that there are no more keys, or that it cannot draw.
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
}

/// Runs one of the programs below on a terminal.
fn stage(name: &str) -> Terminal {
    let test = std::env::current_exe().expect("this program has a path");
    let command = Command::new(test).args([
        "--exact",
        &format!("pty::end::{name}"),
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    Terminal::run(command, Home::new(), (100, 30))
}

#[test]
fn a_panic_in_a_task_is_a_message_and_the_screen_stays() {
    let mut program = stage("a_program_whose_task_panics");
    program.until("inside knarr").until("try again now");
    program.keys("?").until("keymap").keys("<esc>").until_gone("keymap");
    program.keys("<C-c>");
    assert!(program.end().success());
    let left = program.assert_restored();
    assert!(!left.contains("panicked"), "{left}");
}

#[test]
fn a_panic_of_the_program_itself_is_shown_on_a_terminal_that_works() {
    let mut program = stage("a_program_that_panics");
    assert!(!program.end().success());
    let left = program.assert_restored();
    assert!(left.contains("the program itself"), "{left}");
}

fn settings(client: kube::Client) -> knarr::app::Settings {
    let source = knarr::cluster::Source::Given {
        name: "rehearsal".into(),
        clients: vec![("rehearsal".to_owned(), client)].into(),
    };
    crate::tui::Setup::default().settings(source, knarr_clock::Clock::system())
}

/// What runs on the terminal in the tests above: the production loop and the production screen.
fn on_the_screen(client: fn() -> kube::Client) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    knarr::app::install_panic_hook();
    runtime.block_on(async {
        let mut app = knarr::app::App::new(settings(client()));
        let mut screen = knarr::app::Screen::take().expect("a terminal");
        let mut input = crossterm::event::EventStream::new();
        let mut keys = futures::StreamExt::filter_map(&mut input, |event| {
            std::future::ready(match event {
                Ok(crossterm::event::Event::Key(key)) => {
                    Some(knarr::app::Event::Input(knarr::view::Input::Key(key.into())))
                }
                _ => None,
            })
        });
        app.run(&mut screen.terminal, &mut keys, crate::tui::Desk::default())
            .await
            .expect("the loop ends well");
    });
}

#[test]
#[ignore = "runs on the terminal of another test"]
fn a_program_whose_task_panics() {
    on_the_screen(|| {
        let answer = |request: http::Request<kube::client::Body>| async move {
            assert!(request.uri().path().is_empty(), "a panic in a task");
            Ok::<_, tower::BoxError>(http::Response::new(kube::client::Body::empty()))
        };
        kube::Client::new(tower::service_fn(answer), "default")
    });
}

#[test]
#[ignore = "runs on the terminal of another test"]
fn a_program_that_panics() {
    knarr::app::install_panic_hook();
    let _screen = knarr::app::Screen::take().expect("a terminal");
    panic!("a panic in the program itself");
}
