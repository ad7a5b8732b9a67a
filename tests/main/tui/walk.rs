//! The first hour of a user, by keys alone: run, watch, describe, logs, shell, port-forward, labels, namespaces, delete.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Tui;
use super::harness::Setup;
use super::object::{create_pod, pods};

/// Runs kuard by the form, as a newcomer does.
async fn with_kuard(keymap: &'static str) -> Tui {
    let mut tui = Tui::with(Setup {
        keymap,
        ..Setup::default()
    })
    .await;
    tui.keys("r").await.shows(&["run an image", "image", "port"]);
    tui.keys("kuard<tab>gcr.io/kuar-demo/kuard-amd64:blue<tab>8080<ret>")
        .await;
    tui.until_line(&["kuard", "1/1", "Running"]).await;
    tui
}

/// Asks a server on this machine, and gives its answer.
async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let path = path.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    asked.await.expect("the asking thread ends well")
}

#[tokio::test(start_paused = true)]
async fn run_an_image_by_the_form_and_watch_it_start() {
    let mut tui = Tui::start(120, 40).await;
    tui.keys("r").await;
    tui.keys("kuard<tab><down>")
        .await
        .shows(&["gcr.io/kuar-demo/kuard-amd64:blue"]);
    tui.keys("<ret>").await;
    tui.until_line(&["kuard", "1/1", "Running"]).await;
    assert!(tui.cursor_line().contains("kuard"), "{}", tui.screen());
    let seen = tui.seen();
    assert!(
        seen.iter().any(|screen| screen
            .lines()
            .any(|line| line.contains("kuard") && (line.contains("Pending") || line.contains("ContainerCreating")))),
        "it was seen before it ran\n{}",
        seen.join("\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_form_names_what_is_missing_and_keeps_what_was_typed() {
    let mut tui = Tui::start(120, 40).await;
    tui.keys("rkuard<ret>").await.shows(&["image is needed", "kuard"]);
    tui.keys("<esc>").await.hides(&["image is needed"]);
    tui.keys(":run Bad_Name --image=nginx<ret>").await;
    tui.shows(&["Bad_Name"]);
}

#[tokio::test(start_paused = true)]
async fn describe_a_pod_as_kubectl_does_and_live() {
    let mut tui = with_kuard("default").await;
    tui.keys("d").await.until("Name:").await;
    tui.shows(&[
        "kuard",
        "Namespace:",
        "default",
        "Node:",
        "Labels:",
        "run=kuard",
        "Image:",
        "Containers:",
    ]);
    tui.keys("G")
        .await
        .until("Events")
        .await
        .until("Successfully assigned default/kuard")
        .await
        .shows(&["Started"]);
    tui.keys("gg").await;
    let patch = serde_json::json!({"metadata": {"annotations": {"note": "while-you-look"}}});
    let pods = pods(tui.client());
    pods.patch("kuard", &Default::default(), &kube::api::Patch::Merge(patch))
        .await
        .expect("patched");
    tui.until("while-you-look").await;
    tui.keys("<esc>").await.until_line(&["kuard", "Running"]).await;
}

#[tokio::test(start_paused = true)]
async fn yaml_shows_the_object_without_the_noise() {
    let mut tui = with_kuard("default").await;
    tui.keys("y")
        .await
        .until("apiVersion: v1")
        .await
        .shows(&["kind: Pod", "name: kuard"])
        .hides(&["managedFields"]);
    tui.keys("/containerPort<ret>").await.shows(&["containerPort: 8080"]);
    tui.keys("<esc><esc>").await.shows(&["READY"]);
}

#[tokio::test(start_paused = true)]
async fn logs_follow_pause_and_filter() {
    let mut tui = with_kuard("default").await;
    tui.keys("l").await.until("following").await.shows(&["logs", "kuard"]);
    tui.until_screen("a line of the log is counted", |screen| {
        let counts = regex::Regex::new(r"(\d+) lines?").expect("a pattern");
        counts.captures(screen).is_some_and(|found| &found[1] != "0")
    })
    .await;
    tui.keys("P").await.shows(&["paused"]);
    tui.keys("P").await.shows(&["following"]);
    tui.keys("/no-such-text<ret>")
        .await
        .shows(&["no line matches no-such-text", "0 of "]);
    tui.keys("<esc>").await.hides(&["no line matches", "0 of "]);
    tui.keys("<esc>").await.until_line(&["kuard", "Running"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_shell_in_a_tab_takes_every_key_until_it_is_left() {
    let mut tui = with_kuard("default").await;
    tui.keys("s").await.until("sh:kuard").await;
    tui.until_screen("a prompt is shown", |screen| {
        screen.contains('$') || screen.contains('#')
    })
    .await;
    tui.keys("echo q?:1<ret>")
        .await
        .until_screen("the echo is shown", |screen| {
            screen.lines().any(|line| line.trim() == "q?:1")
        })
        .await;
    tui.keys("<C-]>")
        .await
        .until_line(&["kuard", "Running"])
        .await
        .shows(&["2 sh:kuard"]);
    tui.keys("2").await.shows(&["q?:1"]);
    tui.keys("exit 3<ret>").await.until("ended with exit code 3").await;
    tui.keys("<esc>")
        .await
        .until_line(&["kuard", "Running"])
        .await
        .hides(&["2 sh:kuard"]);
}

#[tokio::test(start_paused = true)]
async fn a_shell_outlives_a_change_of_context_and_is_listed_with_its_own() {
    let mut tui = with_kuard("default").await;
    tui.keys("s").await.until("sh:kuard").await;
    tui.keys("echo first<ret>").await.until("first").await;
    tui.keys("<C-]>").await.until_line(&["kuard", "Running"]).await;
    tui.keys(":embedded<ret>").await;
    tui.until_screen("the other cluster is there", |screen| {
        screen.starts_with(" embedded") && screen.contains("live")
    })
    .await
    .shows(&["2 sh:kuard"]);
    tui.keys("gf")
        .await
        .until_line(&["shell", "rehearsal", "kuard", "running"])
        .await;
    tui.keys("<ret>").await.until("in rehearsal").await;
    tui.keys("echo sec''ond<ret>").await.until("second").await;
    // Leaving by Ctrl-C asks, too: something would be lost.
    tui.keys("<C-]><C-c>")
        .await
        .shows(&["1 running session ends with the program"]);
    tui.keys("<esc>").await;
    assert!(!tui.has_quit());
}

#[tokio::test(start_paused = true)]
async fn another_log_is_of_the_pod_whose_log_is_shown() {
    let mut tui = Tui::start(120, 40).await;
    create_pod(tui.client(), "alpha").await;
    create_pod(tui.client(), "beta").await;
    tui.until_line(&["alpha", "Running"])
        .await
        .until_line(&["beta", "Running"])
        .await;
    assert!(tui.cursor_line().contains("alpha"));
    tui.keys("l").await.until("alpha/main").await;
    super::object::kill_pod(tui.client(), "alpha").await;
    tui.wait(Duration::from_secs(5)).await;
    tui.keys("L").await.shows(&["alpha/main"]).hides(&["beta"]);
    tui.keys("C").await.shows(&["has one container only"]);
}

#[tokio::test(start_paused = true)]
async fn a_port_forward_answers_and_is_listed_and_stopped() {
    let mut tui = with_kuard("default").await;
    tui.keys("f").await.shows(&["forward to kuard", "8080"]);
    // The port in the pod is known; the local one is any that is free.
    tui.keys("<tab>0<ret>").await;
    tui.keys("gf").await.until("127.0.0.1:").await;
    let screen = tui.screen();
    let local = screen.split("127.0.0.1:").nth(1).expect("an address");
    let port: String = local.chars().take_while(char::is_ascii_digit).collect();
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let mut asked = Box::pin(ask(address, "/healthy"));
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut asked => break answer.expect("the forward answers"),
            _ = tui.wait(Duration::from_millis(1)) => {}
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    tui.until_screen("bytes are counted", |screen| {
        screen
            .lines()
            .any(|line| line.contains(&format!("127.0.0.1:{port}")) && line.contains('B'))
    })
    .await;
    tui.keys("xd").await.shows(&["end the port-forward to kuard?", "keep"]);
    tui.keys("y").await.until_gone(&format!("127.0.0.1:{port}")).await;
    let refused =
        tokio::task::spawn_blocking(move || TcpStream::connect_timeout(&address, Duration::from_secs(5))).await;
    assert!(
        refused.expect("the asking thread ends well").is_err(),
        "nothing listens there any more"
    );
}

#[tokio::test(start_paused = true)]
async fn label_group_by_label_and_filter_by_it() {
    let mut tui = with_kuard("default").await;
    create_pod(tui.client(), "other").await;
    tui.until_line(&["other", "Running"]).await;
    while !tui.cursor_line().contains("kuard") {
        tui.keys("j").await;
    }
    tui.keys("b").await.shows(&["label pod kuard", "run"]);
    tui.keys("colour=blue<ret>").await.until("labeled").await;
    tui.keys("gl")
        .await
        .until_line(&["colour", "blue", "1"])
        .await
        .shows(&["KEY", "VALUE"]);
    tui.keys("/colour=blue<ret>").await;
    tui.keys("<ret>").await.until_line(&["kuard", "Running"]).await;
    tui.shows(&["colour=blue"]).hides(&["other"]);
    tui.keys("<esc>").await.until("KEY").await;
    tui.keys(":pods -l colour=blue<ret>")
        .await
        .until_line(&["kuard", "Running"])
        .await
        .hides(&["other"]);
    tui.keys("bcolour-<ret>").await.until("no pods").await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_narrows_while_it_is_typed_and_escape_undoes_it() {
    let mut tui = with_kuard("default").await;
    create_pod(tui.client(), "web").await;
    tui.until_line(&["web", "Running"]).await;
    tui.keys("/kua").await.shows(&["kuard", "1 of 2"]);
    assert!(
        !tui.screen()
            .lines()
            .any(|line| line.contains("web") && line.contains("Running")),
        "{}",
        tui.screen()
    );
    tui.keys("<esc>").await.until_line(&["web", "Running"]).await;
    tui.keys("/web<ret>").await.shows(&["1 of 2"]);
    tui.keys("<esc>").await.until_line(&["kuard", "Running"]).await;
}

#[tokio::test(start_paused = true)]
async fn make_a_namespace_switch_to_it_and_back() {
    let mut tui = with_kuard("default").await;
    tui.keys("gn").await.until("kube-system").await;
    tui.keys("+").await.shows(&["create namespace"]);
    tui.keys("shop<ret>").await.until_line(&["shop", "Active"]).await;
    tui.keys("gp").await;
    tui.keys("#").await.shows(&["namespace", "shop"]);
    tui.keys("shop<ret>").await.until("no pods in namespace shop").await;
    tui.keys(":run web --image=nginx<ret>")
        .await
        .until_line(&["web", "Running"])
        .await;
    tui.keys("0")
        .await
        .until_line(&["default", "kuard"])
        .await
        .until_line(&["shop", "web"])
        .await;
    tui.keys(":ns default<ret>")
        .await
        .until_line(&["kuard", "Running"])
        .await;
    assert!(
        !tui.screen()
            .lines()
            .any(|line| line.contains("web") && line.contains("Running")),
        "{}",
        tui.screen()
    );
}

#[tokio::test(start_paused = true)]
async fn deleting_asks_first_and_keeps_unless_told() {
    let mut tui = with_kuard("default").await;
    for keep in ["<esc>", "<ret>", "n", "q", "<C-c>"] {
        tui.keys("<C-x>").await.shows(&["delete pod kuard?", "keep"]);
        tui.keys(keep).await.hides(&["delete pod kuard?"]);
        assert!(!tui.has_quit());
        let pod = pods(tui.client()).get("kuard").await.expect("kept");
        assert_eq!(pod.metadata.deletion_timestamp, None, "{keep} keeps");
    }
    tui.keys("<C-x>y").await.until_gone("Running").await;
    tui.until("no pods in namespace default").await;
    assert!(pods(tui.client()).get_opt("kuard").await.expect("asked").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_sent_and_a_refused_one_is_not_lost() {
    let mut tui = with_kuard("default").await;
    tui.edits(|text| text.replace("run: kuard", "run: kuard\n    edited: by-hand"));
    tui.keys("e").await;
    tui.keys("d").await.until("edited=by-hand").await;
    tui.keys("<esc>").await;
    // The second time the editor opens on what was written, with the reason above it.
    tui.edits(|text| text.replace("containerPort: 8080", "containerPort: 99999"))
        .edits(|text| {
            assert!(text.starts_with("# not saved:"), "{text}");
            assert!(text.contains("99999"), "{text}");
            text.to_owned()
        });
    tui.keys("e").await;
    let pod = pods(tui.client()).get("kuard").await.expect("asked");
    let ports = pod
        .spec
        .and_then(|spec| spec.containers[0].ports.clone())
        .expect("ports");
    assert_eq!(ports[0].container_port, 8080);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_is_shown_before_it_is_applied_and_a_typo_is_named() {
    let mut tui = Tui::start(120, 40).await;
    let directory = tempfile::tempdir().expect("a directory");
    let good = directory.path().join("web.yaml");
    let manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 2\n  selector: {matchLabels: {app: web}}\n  \
                    template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - {name: web, image: nginx}\n";
    std::fs::write(&good, manifest).expect("written");
    let bad = directory.path().join("typo.yaml");
    std::fs::write(&bad, manifest.replace("containers:", "contatiners:")).expect("written");
    tui.keys(&format!(":apply {}<ret>", bad.display()))
        .await
        .until("contatiners")
        .await;
    tui.keys("<esc>").await;
    tui.keys(&format!(":apply {}<ret>", good.display()))
        .await
        .until("1 created")
        .await;
    tui.keys("y").await;
    tui.keys("gd").await.until_line(&["web", "2/2"]).await;
    tui.keys("<ret>")
        .await
        .until_screen("its pods are listed", |screen| screen.matches("Running").count() >= 2)
        .await;
    tui.keys("<esc>").await;
    tui.keys("S").await.shows(&["replicas"]);
    tui.keys("<C-u>3<ret>").await.until_line(&["web", "3/3"]).await;
}

#[tokio::test(start_paused = true)]
async fn every_shipped_keymap_walks_the_first_steps() {
    for name in knarr::keys::Keymap::built_in() {
        let mut tui = with_kuard(name).await;
        tui.keys("?").await.shows(&[&format!("{name} keymap")]);
        tui.keys("<esc>").await;
        tui.keys(":describe<ret>").await;
        tui.keys(":pods<ret>").await.until_line(&["kuard", "Running"]).await;
        let scopes = ["pods", "objects", "table", "global"];
        for (action, shown) in [
            ("object.describe", "Name:"),
            ("object.yaml", "apiVersion"),
            ("pod.logs", "▸ logs"),
        ] {
            let keymap = knarr::keys::Keymap::load(name, None).expect("loads");
            let chords = keymap
                .key_for(&scopes, action)
                .unwrap_or_else(|| panic!("{name} binds {action}"));
            tui.chords(&chords).await.until(shown).await;
            tui.keys("<esc>").await.until_line(&["kuard", "Running"]).await;
        }
        let keymap = knarr::keys::Keymap::load(name, None).expect("loads");
        let delete = keymap
            .key_for(&scopes, "object.delete")
            .unwrap_or_else(|| panic!("{name} deletes"));
        tui.chords(&delete).await.shows(&["delete pod kuard?"]);
        tui.keys("y").await.until("no pods in namespace default").await;
    }
}

/// Keys from the table of pods to a view, and the scope whose keys it has.
const SCOPES: [(&str, &str); 6] = [
    ("table", ":pods<ret>"),
    ("labels", "gl"),
    ("text", "d"),
    ("yaml", "y"),
    ("logs", "l"),
    ("forwards", "gf"),
];

#[tokio::test(start_paused = true)]
async fn every_key_of_a_scope_is_taken_by_its_view() {
    let mut tui = with_kuard("default").await;
    let of_views = [
        "cursor.",
        "mark.",
        "filter.set",
        "search.next",
        "search.previous",
        "table.",
        "text.",
        "yaml.",
        "logs.",
        "preview.",
    ];
    let keymaps: Vec<_> = knarr::keys::Keymap::built_in()
        .map(|name| knarr::keys::Keymap::load(name, None).expect("loads"))
        .collect();
    for (scope, way) in SCOPES {
        let mut lines: Vec<String> = keymaps
            .iter()
            .flat_map(|keymap| keymap.bindings(scope))
            .filter(|binding| of_views.iter().any(|action| binding.line.name.starts_with(action)))
            // Writes a file.
            .filter(|binding| binding.line.name != "logs.save")
            .map(|binding| format!("{} {}", binding.line.name, binding.line.args.join(" ")))
            .collect();
        lines.sort();
        lines.dedup();
        assert!(
            scope == "forwards" || scope == "labels" || !lines.is_empty(),
            "{scope} has keys"
        );
        tui.keys("<esc><esc>:pods<ret>")
            .await
            .until_line(&["kuard", "Running"])
            .await;
        tui.keys(way).await;
        for line in lines {
            tui.press(":").await.paste(line.trim()).await;
            tui.press("<ret>").await.hides(&["does nothing here"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn vim_counts_motions_and_emacs_leaves_as_emacs_does() {
    let mut tui = with_kuard("vim").await;
    for at in 0..6 {
        create_pod(tui.client(), &format!("pod-{at}")).await;
    }
    tui.until("pod-5").await;
    tui.keys("gg3j").await;
    assert!(tui.cursor_line().contains("pod-2"), "{}", tui.screen());
    tui.keys("2k").await;
    assert!(tui.cursor_line().contains("pod-0"), "{}", tui.screen());
    // What is begun and left does not count for the next key.
    tui.keys("4<esc>j").await;
    assert!(tui.cursor_line().contains("pod-1"), "{}", tui.screen());
    let mut tui = with_kuard("emacs").await;
    tui.keys("<C-x><C-c>").await;
    assert!(tui.has_quit());
}

#[tokio::test(start_paused = true)]
async fn a_filter_puts_the_cursor_on_its_first_row_and_leaves_it_there() {
    let mut tui = Tui::start(120, 40).await;
    for name in ["a-one", "b-two", "web-1", "web-2", "web-3"] {
        create_pod(tui.client(), name).await;
    }
    tui.until("web-3").await;
    tui.keys("ggj").await;
    assert!(tui.cursor_line().contains("b-two"));
    tui.keys("/web-<ret>").await;
    assert!(tui.cursor_line().contains("web-1"), "{}", tui.screen());
    // Taken back while typing, it is where it was; kept, it stays where the filter has put it.
    tui.keys("<esc>").await.until("b-two").await;
    assert!(tui.cursor_line().contains("web-1"), "{}", tui.screen());
    tui.keys("ggj/web-<esc>").await;
    assert!(tui.cursor_line().contains("b-two"), "{}", tui.screen());
}

#[tokio::test(start_paused = true)]
async fn a_set_based_selector_needs_no_quotes_and_a_slip_is_no_namespace() {
    let mut tui = with_kuard("default").await;
    create_pod(tui.client(), "other").await;
    tui.until_line(&["other", "Running"]).await;
    tui.keys(":pods -l run in (kuard,nginx)<ret>")
        .await
        .until_line(&["kuard", "Running"])
        .await
        .hides(&["other"]);
    tui.keys(":po web<ret>").await.shows(&["there is no namespace", "web"]);
}

#[tokio::test(start_paused = true)]
async fn a_hint_names_the_key_that_does_just_that() {
    let mut tui = with_kuard("k9s").await;
    // What was just done is told in the place of the hints, until the next key.
    tui.keys("j").await;
    tui.shows(&[" delete"]).hides(&["C-k delete"]);
}
