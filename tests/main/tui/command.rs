//! Commands by keys: what is typed, completed, chosen, remembered and refused.

use std::os::unix::fs::PermissionsExt;

use super::object::create_pod;
use super::{Setup, Tui};

#[tokio::test(start_paused = true)]
async fn a_set_based_selector_is_typed_without_quotes() {
    let mut tui = Tui::start(120, 30).await;
    create_pod(tui.client(), "inside").await;
    tui.until("inside").await;
    tui.keys(":pods app in (x, made-by-a-test),app!=y<ret>").await;
    tui.until_line(&["inside"]).await;
    tui.keys(":pods app notin (made-by-a-test)<ret>")
        .await
        .until_gone("inside")
        .await;
    tui.keys(":pods app in (x<ret>").await.shows(&["is not closed"]);
}

#[tokio::test(start_paused = true)]
async fn a_flag_that_a_command_does_not_take_is_refused_and_nothing_is_done() {
    let mut tui = Tui::start(120, 30).await;
    create_pod(tui.client(), "kept").await;
    tui.until("kept").await;
    tui.keys(":delete --forc<ret>")
        .await
        .shows(&["has no flag --forc"])
        .hides(&["keep "]);
    tui.keys(":scale many<ret>").await.shows(&["\"many\" is not a number"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_means_nothing_in_a_view_says_so() {
    let mut tui = Tui::start(120, 30).await;
    tui.keys(":help<ret>").await;
    tui.keys(":sort name<ret>").await.shows(&["does nothing here"]);
}

#[tokio::test(start_paused = true)]
async fn arguments_are_completed_by_their_type_labels_and_their_values_too() {
    let mut tui = Tui::start(120, 30).await;
    create_pod(tui.client(), "labelled").await;
    tui.until("labelled").await;
    tui.keys(":pods -l ap<tab>").await.shows(&[":pods -l app="]);
    tui.keys("made<tab>").await.shows(&[":pods -l app=made-by-a-test"]);
    tui.keys("<esc>:sort rest<tab>").await.shows(&[":sort restarts"]);
    tui.keys("<esc>:delete --ca<tab>").await.shows(&[":delete --cascade="]);
    tui.keys("or<tab>").await.shows(&[":delete --cascade=orphan"]);
    tui.keys("<esc>:theme li<tab>").await.shows(&[":theme light"]);
}

#[tokio::test(start_paused = true)]
async fn the_palette_finds_kinds_namespaces_and_what_was_typed_before() {
    let mut tui = Tui::start(120, 30).await;
    tui.keys(":nodes<ret>").await.until("Ready").await;
    tui.keys("<C-p>kube-system").await.shows(&["namespace"]);
    tui.keys("<ret>").await.shows(&["working in namespace kube-system"]);
    tui.keys("<C-p>configmaps<ret>").await.shows(&["configmaps"]);
    tui.keys("<C-p>:nodes").await.shows(&["typed before"]);
    tui.keys("<ret>").await.until("Ready").await;
}

#[tokio::test(start_paused = true)]
async fn an_alias_of_the_user_stands_for_a_whole_line() {
    let mut tui = Tui::with(Setup {
        aliases: vec![("sys".into(), "pods -n kube-system".into())],
        ..Setup::default()
    })
    .await;
    tui.keys(":sys<ret>").await.shows(&["▸ kube-system ▸ pods"]);
}

#[tokio::test]
async fn lines_typed_are_there_in_the_next_run_for_their_owner_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let setup = || Setup {
        state_dir: Some(dir.path().to_owned()),
        ..Setup::default()
    };
    tokio::time::pause();
    let mut tui = Tui::with(setup()).await;
    tui.keys(":nodes<ret>").await;
    tui.keys(":run x --image=y --env=PASSWORD=hunter2<ret>").await;
    let file = dir.path().join("history");
    tui.until_screen("the line is written", |_| {
        std::fs::read_to_string(&file).is_ok_and(|text| text == "nodes\n")
    })
    .await;
    let mode = std::fs::metadata(&file).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(tui);
    let mut tui = Tui::with(setup()).await;
    tui.keys(":<up>").await.shows(&[":nodes"]);
}

#[tokio::test(start_paused = true)]
async fn a_table_is_copied_as_csv_and_written_as_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("pods.json");
    let mut tui = Tui::start(120, 30).await;
    create_pod(tui.client(), "written").await;
    tui.until_line(&["written", "Running"]).await;
    tui.keys(":export<ret>").await.shows(&["copied"]);
    let copied = tui.copied().pop().expect("copied");
    assert!(copied.starts_with("NAMESPACE,NAME,READY,STATUS,"), "{copied}");
    assert!(copied.contains("\ndefault,written,1/1,Running,0,"), "{copied}");
    tui.keys(&format!(":export {}<ret>", file.display()))
        .await
        .until("saved to")
        .await;
    let text = std::fs::read_to_string(&file).expect("written");
    let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&rows[0]["name"], &rows[0]["restarts"]), (&"written".into(), &0.into()));
}

/// Keys that end the program, reach for the terminal's owner or start a cluster: they are not pressed here.
const LEFT_OUT: &[&str] = &[
    "app.quit",
    "app.interrupt",
    "view.close",
    "object.edit",
    "cluster.embedded",
];

#[tokio::test(start_paused = true)]
async fn every_key_of_every_keymap_does_something_in_its_view() {
    use knarr::keys::{Found, Keymap};
    let default = Keymap::load("default", None).expect("loads");
    for name in Keymap::built_in() {
        let keymap = Keymap::load(name, None).expect("loads");
        let mut tui = Tui::with(Setup {
            keymap: name,
            ..Setup::default()
        })
        .await;
        create_pod(tui.client(), "walked").await;
        for (open, scopes) in [
            ("pods default", &["pods", "objects", "table", "global"][..]),
            ("object.yaml", &["yaml", "text", "global"]),
        ] {
            let own = |scope: &&str| {
                let bindings = keymap.bindings(scope).into_iter();
                let same = default.bindings(scope);
                bindings.filter(move |binding| name == "default" || !same.contains(binding))
            };
            for binding in scopes.iter().flat_map(own).collect::<Vec<_>>() {
                let Found::Line(line) = keymap.find(scopes, &binding.chords) else {
                    continue;
                };
                if LEFT_OUT.contains(&&*line.name) {
                    continue;
                }
                for line in ["pods default", open] {
                    tui.keys(":").await.paste(line).await.keys("<ret>").await;
                }
                tui.chords(&binding.chords).await;
                let screen = tui.screen();
                let refused = [
                    "does nothing here",
                    "there is no command",
                    "is not a number",
                    "has no flag",
                ];
                assert!(
                    !refused.iter().any(|words| screen.contains(words)),
                    "{name}: {:?} = {} in {open}\n{screen}",
                    binding.chords,
                    line.name
                );
                tui.keys("<esc><esc><esc>").await;
            }
        }
    }
}
