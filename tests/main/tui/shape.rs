//! What every screen has in common: it fits, it has whole chrome, it is harmless.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use ratatui::style::Modifier;
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use super::Tui;
use super::harness::Setup;
use super::object::create_pod;

/// Keys from the table of pods to each view, and a text that tells that it is there.
const VIEWS: [(&str, &str, &str); 22] = [
    ("pods", "", "READY"),
    ("wide pods", "W", "READY"),
    ("all pods", "0", "NAMESPACE"),
    ("nodes", "gn<esc>go", "VERSION"),
    ("namespaces", "gn", "kube-system"),
    ("deployments", "gd", "no deployments"),
    ("events", "ge", "▸ events"),
    ("services", "gs", "kubernetes"),
    ("config maps", "gc", "kube-root-ca.crt"),
    ("labels", "gl", "VALUE"),
    ("describe", "d", "Name"),
    ("yaml", "y", "apiVersion"),
    ("logs", "l", "▸ logs"),
    ("forwards", "gf", "no sessions"),
    ("help", "?", "help:"),
    ("messages", "gm", "messages"),
    ("namespace picker", "#", "all namespaces"),
    ("run form", "r", "image"),
    ("palette", "<C-p>", "commands"),
    ("delete dialog", "<C-x>", "delete pod"),
    ("command prompt", ":po", ":po"),
    ("which-key", "g", "go to"),
];

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

async fn with_pods() -> Tui {
    let mut tui = Tui::start(120, 40).await;
    for name in [
        "web",
        "a-rather-long-name-of-a-pod-that-somebody-generated-6d4c7b9f5-2xkqz",
    ] {
        create_pod(tui.client(), name).await;
    }
    tui.until_screen("both run", |screen| screen.matches("Running").count() >= 2)
        .await;
    tui
}

/// Every line fits, the top line is whole, and the bottom line offers whole words.
fn check_chrome(tui: &Tui, what: &str, (columns, rows): (u16, u16)) {
    let screen = tui.screen();
    assert_eq!(screen.lines().count(), usize::from(rows), "{what}");
    for line in screen.lines() {
        assert!(line.width() <= usize::from(columns), "{what}: {line:?} is too wide");
    }
    let top = tui.line(0);
    assert!(
        top.starts_with(" rehearsal"),
        "{what}: the top line says where\n{screen}"
    );
    assert!(
        top.ends_with("live"),
        "{what}: the top line says whether it is live\n{screen}"
    );
    let state = tui.app.state();
    if state.layers.is_empty() && state.pending.is_empty() {
        let bottom = tui.line(-1);
        let words: Vec<&str> = state.view().hints().iter().map(|(_, word)| *word).collect();
        let last = words.iter().filter(|word| bottom.trim_end().ends_with(*word)).count();
        assert!(
            last > 0 || words.is_empty(),
            "{what}: the bottom line ends with a whole hint\n{screen}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_view_fits_every_size() {
    let mut tui = with_pods().await;
    for (what, keys, shown) in VIEWS {
        tui.resize(120, 40).await;
        tui.keys(":pods default<ret>")
            .await
            .until_line(&["web", "Running"])
            .await;
        tui.keys(keys).await.until(shown).await;
        for size in SIZES {
            tui.resize(size.0, size.1).await;
            check_chrome(&tui, &format!("{what} at {}x{}", size.0, size.1), size);
            tui.shows(&[shown]);
        }
        // Smaller than anything can be shown in: it must live, and come back.
        for (columns, rows) in [(20, 5), (40, 10), (1, 1), (3, 2), (200, 1), (1, 60), (9, 3)] {
            tui.resize(columns, rows).await;
        }
        tui.resize(80, 24).await.shows(&[shown]);
        tui.keys("<esc><esc><esc>").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_terminal_that_grows_shows_what_was_scrolled_away() {
    let mut tui = with_pods().await;
    let patch = json!({"metadata": {"labels": {"a": "first", "z": "last"}}});
    let pods = super::object::pods(tui.client());
    pods.patch("web", &Default::default(), &kube::api::Patch::Merge(patch))
        .await
        .expect("patched");
    for (keys, first, last) in [
        (":pods<ret>", "a-rather", "web"),
        (":configmaps<ret>", "kube-root-ca.crt", "kube-root-ca.crt"),
        (":pods<ret>gl", "first", "last"),
        ("gn", "default", "kube-system"),
    ] {
        tui.keys(keys).await.until(last).await;
        tui.keys("G").await;
        tui.resize(120, 4).await;
        tui.resize(120, 40).await.shows(&[first, last]);
        assert!(tui.cursor_line().contains(last), "{}", tui.screen());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tiny_terminal_still_moves_runs_and_leaves() {
    let mut tui = Tui::start(20, 5).await;
    create_pod(tui.client(), "web").await;
    tui.until("web").await;
    for keys in [
        "j",
        "d",
        "<esc>",
        "y",
        "<esc>",
        "l",
        "<esc>",
        "?",
        "<esc>",
        "r",
        "<esc>",
        "<C-x>",
        "<esc>",
        ":nodes<ret>",
        "gl",
        "<esc>",
        "#",
        "<esc>",
    ] {
        tui.keys(keys).await;
    }
    tui.keys("<C-c>").await;
    assert!(tui.has_quit());
}

#[tokio::test(start_paused = true)]
async fn the_help_is_the_keymap() {
    let mut tui = Tui::start(200, 200).await;
    tui.keys("?").await;
    let screen = tui.screen();
    let keymap = tui.app.state().keymap.clone();
    for scope in ["pods", "table", "global"] {
        for binding in keymap.bindings(scope) {
            let label = match &*binding.line.name {
                "tab.go" => "tab by number".to_owned(),
                _ => knarr::action::label(&binding.line),
            };
            let keys = binding.chords.last().expect("a key").label();
            let shown = screen.lines().any(|line| line.contains(&label));
            assert!(shown, "{keys} is {label:?} in {scope}\n{screen}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_key_shows_what_may_follow() {
    let mut tui = Tui::start(120, 40).await;
    tui.keys("g").await.shows(&["go to", "deployments", "labels"]);
    tui.keys("<esc>").await.hides(&["go to"]);
    tui.keys("gz").await.hides(&["go to"]);
    tui.keys("go").await.until_line(&["knarr", "Ready"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_is_completed_and_a_wrong_one_gets_advice() {
    let mut tui = Tui::start(120, 40).await;
    tui.keys(":depl").await.shows(&["deployments", "Deployment"]);
    tui.keys("<tab><ret>").await.until("no deployments").await;
    tui.keys(":pod.lgs<ret>").await.shows(&["did you mean pod.logs?"]);
    tui.keys(":<up><up><ret>").await.until("no deployments").await;
}

#[tokio::test(start_paused = true)]
async fn names_and_values_from_outside_never_reach_the_terminal_as_controls() {
    let mut tui = Tui::start(200, 60).await;
    let nasty = "\u{1b}[31mred\u{1b}]52;c;aGk=\u{7} \u{202e}txt.exe \u{200b}zero\r\nnext\ttab \u{9b}2J \u{0}nul";
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "nasty", "annotations": {"note": nasty}},
        "data": {"value": nasty},
    });
    let maps: Api<ConfigMap> = Api::namespaced(tui.client(), "default");
    maps.create(
        &PostParams::default(),
        &serde_json::from_value(map).expect("a config map"),
    )
    .await
    .expect("created");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "nasty", "annotations": {"note": nasty}},
        "spec": {"containers": [{"name": "main", "image": "busybox", "args": [nasty], "env": [{"name": "X", "value": nasty}]}]},
    });
    let pods = super::object::pods(tui.client());
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod"))
        .await
        .expect("created");
    tui.until("nasty").await;
    for keys in [
        "d", "G", "<esc>y", "G", "<esc>l", "<esc>gc", "d", "G", "<esc>y", "G", "<esc>gl", "<esc>ge",
    ] {
        tui.keys(keys).await;
        tui.wait(Duration::from_millis(300)).await;
        for symbol in tui.symbols() {
            let bad = symbol.chars().find(|ch| {
                ch.is_control()
                    || "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".contains(*ch)
            });
            assert_eq!(bad, None, "after {keys}: {symbol:?}\n{}", tui.screen());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wide_letters_keep_the_columns_straight() {
    let mut tui = Tui::start(120, 40).await;
    for (name, note) in [
        ("plain", "plain text"),
        ("wide", "한국어 日本語 é 👩‍👩‍👧"),
        ("mixed", "a한b日c"),
    ] {
        let map = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": name, "namespace": "default"}, "reason": note, "message": note, "type": "Warning",
        });
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(tui.client(), "default");
        events
            .create(&PostParams::default(), &serde_json::from_value(map).expect("an event"))
            .await
            .expect("created");
    }
    tui.keys("pge").await.until("plain text").await;
    let places: Vec<usize> = tui
        .screen()
        .lines()
        .filter_map(|line| {
            ["plain", "wide", "mixed"]
                .iter()
                .find_map(|name| line.find(&format!("/{name}")).map(|at| line[..at].width()))
        })
        .collect();
    assert_eq!(places.len(), 3, "{}", tui.screen());
    assert!(
        places.iter().all(|place| *place == places[0]),
        "the column begins at {places:?}\n{}",
        tui.screen()
    );
}

#[tokio::test(start_paused = true)]
async fn meaning_never_hangs_on_colour_alone() {
    let mut tui = Tui::with(Setup {
        colour: false,
        ..Setup::default()
    })
    .await;
    create_pod(tui.client(), "web").await;
    let stuck = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stuck"},
        "spec": {"nodeSelector": {"no": "such-node"}, "containers": [{"name": "main", "image": "busybox"}]},
    });
    super::object::pods(tui.client())
        .create(&PostParams::default(), &serde_json::from_value(stuck).expect("a pod"))
        .await
        .expect("created");
    tui.until_line(&["web", "Running"])
        .await
        .until_line(&["stuck", "Pending"])
        .await;
    let colours: Vec<_> = tui.colours();
    assert_eq!(colours, [ratatui::style::Color::Reset], "nothing is coloured");
    let sign = |tui: &Tui, name: &str, word: &str| {
        let screen = tui.screen();
        let line = screen
            .lines()
            .find(|line| line.contains(name) && line.contains(word))
            .expect("a row")
            .to_owned();
        let before = line[..line.find(name).expect("its name")].trim_end().to_owned();
        before.chars().last()
    };
    let (good, waits) = (sign(&tui, "web", "Running"), sign(&tui, "stuck", "Pending"));
    assert_ne!(good, waits, "the state has a sign of its own\n{}", tui.screen());
    // The cursor and a mark have theirs.
    let before = tui.cursor_line();
    tui.keys("<space>k").await;
    let marked = tui.cursor_line();
    assert_ne!(before, marked, "a mark is seen");
    assert!(!marked.is_empty(), "the cursor is seen");
}

#[tokio::test(start_paused = true)]
async fn the_row_under_the_cursor_keeps_its_colours() {
    let tui = with_pods().await;
    let bar = tui.cursor_line();
    assert!(!bar.is_empty(), "the cursor is marked by a sign\n{}", tui.screen());
    assert!(
        !tui.style(bar.split_whitespace().nth(1).expect("a name"))
            .add_modifier
            .contains(Modifier::REVERSED)
    );
}

#[tokio::test(start_paused = true)]
async fn the_welcome_names_three_keys_and_goes_for_good() {
    let mut tui = Tui::embedded(Setup {
        welcome: true,
        ..Setup::default()
    });
    tui.until("Three keys to try").await;
    tui.keys("gm").await.hides(&["Three keys to try"]);
    tui.keys("<esc>").await.until("Three keys to try").await;
    tui.keys("?").await;
    tui.keys("<esc>").await.hides(&["Three keys to try"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_state_is_cut_before_a_name() {
    // Too narrow for the name beside the longest state, wide enough beside "Running".
    let whole = "a-pod-with-a-name-of-28-cells";
    let mut tui = Tui::start(60, 20).await;
    create_pod(tui.client(), whole).await;
    tui.until_line(&[whole, "Running"]).await;
    let mut broken = create_pod(tui.client(), "broken").await;
    super::object::kill_pod(tui.client(), "broken").await;
    broken.metadata.resource_version = None;
    if let Some(spec) = &mut broken.spec {
        spec.node_name = None;
        spec.containers[0].image = Some("nowhere.example.com/none:1".into());
    }
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(tui.client());
    pods.create(&PostParams::default(), &broken).await.expect("created");
    tui.until_line(&["broken", "✗", "Image"]).await;
    tui.shows(&[whole]).hides(&["ImagePullBackOff"]);
    super::object::kill_pod(tui.client(), "broken").await;
    tui.until_gone("broken").await.until_line(&[whole, "Running"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_command_opens_there() {
    let mut tui = Tui::with(Setup {
        start: Some("nodes".into()),
        ..Setup::default()
    })
    .await;
    tui.until_line(&["knarr", "Ready"]).await;
    let mut tui = Tui::with(Setup {
        start: Some("pods -A".into()),
        namespace: Some(Some("kube-system".into())),
        ..Setup::default()
    })
    .await;
    tui.until("NAMESPACE").await;
}

#[tokio::test(start_paused = true)]
async fn tabs_are_opened_switched_and_closed_by_key_and_by_click() {
    let mut tui = with_pods().await;
    tui.keys("s").await.until("2 sh:").await;
    tui.keys("<C-]>").await.until_line(&["web", "Running"]).await;
    tui.click("2 sh:").await;
    assert_eq!(tui.app.state().tab, 1);
    tui.keys("<C-\\>")
        .await
        .until_line(&["web", "Running"])
        .await
        .hides(&["2 sh:"]);
    tui.keys("<C-w>c").await.shows(&["this is the last tab"]);
}

#[tokio::test(start_paused = true)]
async fn copying_reaches_the_clipboard() {
    let mut tui = with_pods().await;
    tui.keys("gg").await;
    tui.keys("c").await.shows(&["copied"]);
    assert_eq!(tui.copied().len(), 1);
    tui.keys("*c").await;
    assert_eq!(tui.copied()[1].lines().count(), 2, "both names, one on each line");
}

#[tokio::test(start_paused = true)]
async fn typing_faster_than_the_cluster_answers_loses_no_key() {
    let mut tui = with_pods().await;
    tui.burst(":nodes<ret>:pods<ret>/web<ret>")
        .await
        .until_line(&["web", "Running"])
        .await;
    tui.shows(&["1 of 2"]);
    tui.paste("").await;
}
