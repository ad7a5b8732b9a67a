//! One way to change a cluster: asked where it matters, done where it was asked, told object by object, taken back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use knarr_cluster::{Cluster, Options};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::Tui;
use super::harness::{Setup, clock};
use super::object::{create_map, create_pod, maps, pods};
use super::server::{Meddle, between, status};

async fn cluster() -> (Cluster, knarr_clock::Clock) {
    let clock = clock();
    let options = Options {
        clock: clock.clone(),
        ..Options::memory()
    };
    let cluster = Cluster::start(options).await.expect("starts");
    cluster.ready().await.expect("ready");
    (cluster, clock)
}

/// What was asked of the server, as `METHOD path?query`.
type Asked = Arc<Mutex<Vec<String>>>;

/// A client whose dry runs come late, and what was asked through it.
fn with_late_dry_runs(client: kube::Client) -> (kube::Client, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let client = between(client, move |request| {
        let uri = request.uri().to_string();
        seen.lock()
            .expect("no panic")
            .push(format!("{} {uri}", request.method()));
        match uri.contains("dryRun=All") {
            true => Meddle::Late(Duration::from_secs(3)),
            false => Meddle::Pass,
        }
    });
    (client, asked)
}

fn manifest() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("map.yaml");
    std::fs::write(
        &path,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late}\ndata: {key: value}\n",
    )
    .expect("written");
    let path = path.display().to_string();
    (directory, path)
}

/// A deployment in the default namespace.
pub(super) async fn create_deployment(client: kube::Client, name: &str) -> Api<Deployment> {
    let all: Api<Deployment> = Api::namespaced(client, "default");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}},
        },
    });
    let deployment = serde_json::from_value(deployment).expect("a deployment");
    all.create(&PostParams::default(), &deployment).await.expect("created");
    all
}

#[tokio::test(start_paused = true)]
async fn a_question_that_comes_late_takes_no_keys_and_is_about_where_it_was_asked() {
    let (cluster, clock) = cluster().await;
    let spaces: Api<Namespace> = Api::all(cluster.client());
    let space = serde_json::from_value(json!({"metadata": {"name": "team-1"}})).expect("a namespace");
    spaces.create(&PostParams::default(), &space).await.expect("created");
    let (client, asked) = with_late_dry_runs(cluster.client());
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("no pods in namespace default").await;
    let (_directory, path) = manifest();
    tui.press(&format!(":apply {path}<ret>")).await;
    tui.press(":ns team-1<ret>").await;
    tui.press(":po").await;
    tui.until("waits for your answer").await.shows(&[":po", "! opens it"]);
    tui.keys("<ret>").await.until("no pods in namespace team-1").await;
    let writes = |asked: &Asked| {
        let asked = asked.lock().expect("no panic");
        asked
            .iter()
            .filter(|line| line.starts_with("PATCH") && !line.contains("dryRun"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        writes(&asked),
        Vec::<String>::new(),
        "nothing was applied by a key that was meant for something else"
    );
    // Turned to, the safe answer is the default, and yes acts where it was asked.
    tui.keys("!").await.shows(&["apply", "1 created", "namespace default"]);
    tui.keys("<ret>").await.hides(&["1 created, 0 changed"]);
    assert_eq!(writes(&asked), Vec::<String>::new(), "Enter keeps");
    tui.keys("<esc>").await;
    tui.keys(&format!(":apply {path}<ret>"))
        .await
        .until("1 created")
        .await
        .shows(&["team-1"]);
    tui.keys("<esc><esc>").await;
    tui.press(&format!(":ns default<ret>:apply {path}<ret>")).await;
    tui.press(":ns team-1<ret>").await;
    tui.until("waits for your answer").await;
    tui.keys("!y").await.until("applied").await;
    assert_eq!(writes(&asked).len(), 1);
    assert!(
        writes(&asked)[0].contains("/namespaces/default/configmaps/late"),
        "{:?}",
        writes(&asked)
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_in_one_cluster_is_not_finished_in_another() {
    let (cluster, clock) = cluster().await;
    let (client, asked) = with_late_dry_runs(cluster.client());
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("no pods in namespace default").await;
    let (_directory, path) = manifest();
    tui.press(&format!(":apply {path}<ret>")).await;
    tui.press(":embedded<ret>").await;
    tui.until_screen("the other cluster is there", |screen| {
        screen.contains("embedded ") && screen.contains("live")
    })
    .await;
    tui.until("another cluster was chosen meanwhile")
        .await
        .hides(&["apply?", "created"]);
    let asked = asked.lock().expect("no panic");
    assert!(
        !asked
            .iter()
            .any(|line| line.starts_with("PATCH") && !line.contains("dryRun")),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_deleted_by_its_name_and_says_how_much_goes_with_it() {
    let mut tui = Tui::start(120, 40).await;
    for name in ["one", "two", "three"] {
        create_map(tui.client(), name).await;
    }
    create_pod(tui.client(), "web").await;
    tui.keys(":namespaces<ret>").await.until("kube-system").await;
    tui.keys("<C-x>")
        .await
        .until("5 objects go with it, 1 pod among them")
        .await
        .shows(&["delete namespace default?", "Type default to delete"]);
    tui.keys("y<ret>").await.shows(&["Type default to delete"]);
    tui.keys("<esc>").await.hides(&["delete namespace default?"]);
    // One that holds nothing needs no word.
    tui.keys("+empty<ret>").await.until_line(&["empty", "Active"]).await;
    assert!(
        tui.cursor_line().contains("empty"),
        "the cursor is on what was made\n{}",
        tui.screen()
    );
    tui.keys("<C-x>")
        .await
        .until("There is nothing in it")
        .await
        .hides(&["Type empty"]);
    tui.keys("y").await.until_gone("empty").await;
}

#[tokio::test(start_paused = true)]
async fn many_objects_are_deleted_by_their_number_and_eight_at_a_time() {
    let (cluster, clock) = cluster().await;
    for at in 0..30 {
        create_map(cluster.client(), &format!("map-{at:02}")).await;
    }
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (now.clone(), most.clone());
    let client = between(cluster.client(), move |request| {
        if request.method() != http::Method::DELETE {
            return Meddle::Pass;
        }
        if request.uri().path().ends_with("map-07") {
            return status(
                403,
                "Forbidden",
                "configmaps \"map-07\" is forbidden: a policy keeps it",
            );
        }
        // Each takes a second, so those that are begun within one are under way together.
        let count = running.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(count, Ordering::SeqCst);
        let running = running.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
        });
        Meddle::Late(Duration::from_secs(1))
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("live").await;
    tui.keys(":configmaps<ret>").await.until("map-29").await;
    tui.keys("/map-<ret>*").await.shows(&["30 marked"]);
    tui.keys("<C-x>")
        .await
        .shows(&["delete 30 configmaps?", "Type 30 to delete"]);
    tui.press("30<ret>").await;
    tui.until("/30").await.shows(&["C-c stops"]);
    tui.until("29 deleted, 1 not").await;
    assert!(
        most.load(Ordering::SeqCst) <= 8,
        "{} at once",
        most.load(Ordering::SeqCst)
    );
    tui.until("failed  default/map-07").await.shows(&["a policy keeps it"]);
    tui.keys("<esc>").await.until("1 of 2").await;
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_stopped_and_says_what_it_left() {
    let (cluster, clock) = cluster().await;
    for at in 0..20 {
        create_map(cluster.client(), &format!("map-{at:02}")).await;
    }
    let client = between(cluster.client(), |request| {
        match *request.method() == http::Method::DELETE {
            true => Meddle::Late(Duration::from_secs(5)),
            false => Meddle::Pass,
        }
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("live").await;
    tui.keys(":configmaps<ret>").await.until("map-19").await;
    tui.keys("/map-<ret>*<C-x>").await.shows(&["delete 20 configmaps?"]);
    tui.press("y").await;
    tui.press("<C-c>").await;
    assert!(!tui.has_quit());
    tui.until("8 deleted, 12 not").await;
    assert_eq!(
        maps(tui.client())
            .list(&Default::default())
            .await
            .expect("listed")
            .items
            .len(),
        13
    );
}

#[tokio::test(start_paused = true)]
async fn a_protected_context_asks_for_its_name_before_anything_changes() {
    let (cluster, clock) = cluster().await;
    create_pod(cluster.client(), "web").await;
    let setup = Setup {
        protected: vec!["rehears*".into()],
        ..Setup::default()
    };
    let mut tui = Tui::on(cluster.client(), clock, setup);
    tui.until_line(&["web", "Running"]).await;
    tui.keys("bcolour=blue<ret>")
        .await
        .shows(&["rehearsal is protected", "Type rehearsal to label"]);
    tui.keys("y<ret><esc>").await;
    let labels = pods(tui.client())
        .get("web")
        .await
        .expect("there")
        .metadata
        .labels
        .expect("labels");
    assert!(!labels.contains_key("colour"));
    tui.keys("bcolour=blue<ret>").await;
    tui.keys("rehearsal<ret>").await.until("labeled").await;
    let labels = pods(tui.client())
        .get("web")
        .await
        .expect("there")
        .metadata
        .labels
        .expect("labels");
    assert_eq!(labels["colour"], "blue");
}

#[tokio::test(start_paused = true)]
async fn labels_scales_runs_and_deletes_are_taken_back() {
    let mut tui = Tui::start(120, 40).await;
    let deployments = create_deployment(tui.client(), "web").await;
    tui.keys("gd").await.until_line(&["web", "3/3"]).await;
    let replicas = async |deployments: &Api<Deployment>| deployments.get("web").await.expect("there").spec.replicas;
    // What is typed replaces the number that is offered.
    tui.keys("S").await.shows(&["scale deployment web"]);
    tui.keys("5<ret>").await.until("scaled to 5, from 3").await;
    assert_eq!(replicas(&deployments).await, Some(5));
    tui.keys("u").await.until("no longer scaled to 5").await;
    assert_eq!(replicas(&deployments).await, Some(3));
    tui.keys("U").await.until("scaled to 5").await;
    assert_eq!(replicas(&deployments).await, Some(5));

    tui.keys("A").await.shows(&["annotate deployment web"]);
    tui.keys("note/x=\"a b\"<ret>").await.until("annotated").await;
    let annotations = deployments
        .get("web")
        .await
        .expect("there")
        .metadata
        .annotations
        .expect("some");
    assert_eq!(annotations["note/x"], "a b");
    tui.keys("u").await.until("no longer annotated").await;
    let annotations = deployments
        .get("web")
        .await
        .expect("there")
        .metadata
        .annotations
        .unwrap_or_default();
    assert!(!annotations.contains_key("note/x"));

    create_map(tui.client(), "kept").await;
    tui.keys("gc/kept<ret>").await.until_line(&["kept"]).await;
    tui.keys("<C-x>y").await.until("deleted").await;
    assert!(maps(tui.client()).get_opt("kept").await.expect("asked").is_none());
    tui.keys("u").await.until("no longer deleted").await;
    let again = maps(tui.client()).get("kept").await.expect("made again");
    assert_eq!(again.data.expect("data")["key"], "kept");

    tui.keys(":pods<ret>:run solo --image=nginx<ret>")
        .await
        .until_line(&["solo", "Running"])
        .await;
    assert!(
        tui.cursor_line().contains("solo"),
        "the cursor is on what was made\n{}",
        tui.screen()
    );
    tui.keys("u").await.shows(&["What was made is deleted again"]);
    tui.keys("y").await.until_gone("solo").await;
}

#[tokio::test(start_paused = true)]
async fn undo_does_not_overwrite_what_somebody_else_has_changed_since() {
    let mut tui = Tui::start(120, 40).await;
    create_pod(tui.client(), "web").await;
    tui.until_line(&["web", "Running"]).await;
    tui.keys("bcolour=blue<ret>").await.until("labeled").await;
    let patch = json!({"metadata": {"labels": {"colour": "red"}}});
    pods(tui.client())
        .patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("patched");
    tui.keys("u")
        .await
        .until("has changed meanwhile where you change it")
        .await
        .shows(&["metadata.labels.colour"]);
    let labels = pods(tui.client())
        .get("web")
        .await
        .expect("there")
        .metadata
        .labels
        .expect("labels");
    assert_eq!(labels["colour"], "red");
}

#[tokio::test(start_paused = true)]
async fn an_edit_wins_against_a_busy_object() {
    let (cluster, clock) = cluster().await;
    let deployments = create_deployment(cluster.client(), "web").await;
    let busy = cluster.client();
    let client = between(cluster.client(), move |request| {
        // Whenever it is written, its status has just changed.
        if request.method() == http::Method::PATCH && request.uri().path().ends_with("/deployments/web") {
            return Meddle::Late(Duration::from_millis(500));
        }
        if request.method() == http::Method::GET && request.uri().path().ends_with("/deployments/web") {
            let busy = busy.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let deployments: Api<Deployment> = Api::namespaced(busy, "default");
                let patch = json!({"metadata": {"annotations": {"beat": tokio::time::Instant::now().elapsed().as_nanos().to_string()}}});
                let _ = deployments
                    .patch("web", &PatchParams::default(), &Patch::Merge(patch))
                    .await;
            });
        }
        Meddle::Pass
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("live").await;
    tui.keys("gd").await.until_line(&["web", "3/3"]).await;
    tui.edits(|text| text.replace("replicas: 3", "replicas: 4"));
    tui.keys("e").await.until("edited").await;
    assert_eq!(deployments.get("web").await.expect("there").spec.replicas, Some(4));
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_what_somebody_else_has_changed_says_so_and_opens_on_both() {
    let (cluster, clock) = cluster().await;
    let deployments = create_deployment(cluster.client(), "web").await;
    let other = cluster.client();
    let client = between(cluster.client(), move |request| {
        // Somebody is faster than the editor, once.
        if request.method() == http::Method::GET && request.uri().path().ends_with("/deployments/web") {
            return Meddle::Late(Duration::from_millis(300));
        }
        Meddle::Pass
    });
    let mut tui = Tui::on(client, clock, Setup::default());
    tui.until("live").await;
    tui.keys("gd").await.until_line(&["web", "3/3"]).await;
    tui.edits(|text| text.replace("replicas: 3", "replicas: 4"))
        .edits(|text| {
            assert!(
                text.starts_with("# not saved: deployment web has changed meanwhile"),
                "{text}"
            );
            assert!(text.contains("spec.replicas was 3, is 7 now, and you want 4"), "{text}");
            assert!(text.contains("replicas: 4"), "{text}");
            text.replace("replicas: 4", "replicas: 5")
        });
    tui.press("e").await;
    let patch = json!({"spec": {"replicas": 7}});
    let all: Api<Deployment> = Api::namespaced(other, "default");
    all.patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("patched");
    tui.until("deployment web edited").await;
    assert_eq!(deployments.get("web").await.expect("there").spec.replicas, Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_form_that_is_refused_stays_with_its_input_and_the_whole_reason() {
    let mut tui = Tui::start(100, 40).await;
    tui.keys("rBad_Name<tab>nginx<ret>").await;
    tui.until("Bad_Name")
        .await
        .shows(&["nginx", "(e.g. 'my-name',", "run an image in namespace default"]);
    tui.hides(&["…"]);
    tui.keys("<S-tab><home>").await;
    tui.keys("<C-u><C-d><C-d><C-d><C-d><C-d><C-d><C-d><C-d>good<ret>").await;
    tui.until_line(&["good", "Running"]).await.hides(&["run an image in"]);
}

#[tokio::test(start_paused = true)]
async fn the_journal_has_every_change_and_no_secret() {
    let directory = tempfile::tempdir().expect("a directory");
    let (cluster, clock) = cluster().await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), "default");
    let secret = json!({"metadata": {"name": "login", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "aHVudGVyMg=="}}, "data": {"password": "aHVudGVyMg=="}});
    secrets
        .create(
            &PostParams::default(),
            &serde_json::from_value(secret).expect("a secret"),
        )
        .await
        .expect("created");
    let setup = Setup {
        state_dir: Some(directory.path().into()),
        ..Setup::default()
    };
    let mut tui = Tui::on(cluster.client(), clock, setup);
    tui.until("live").await;
    tui.keys("gx").await.until("login").await;
    // Neither the form nor its choices show what an annotation holds of the secret.
    tui.keys("A")
        .await
        .shows(&["annotate secret login"])
        .hides(&["aHVudGVyMg"]);
    tui.keys("<down>").await.hides(&["aHVudGVyMg"]);
    tui.keys("<esc>btier=gold<ret>").await.until("labeled").await;
    tui.keys(":namespace.create Bad_Name<ret>")
        .await
        .until("Bad_Name")
        .await;
    let text = std::fs::read_to_string(directory.path().join("journal.jsonl")).expect("a journal");
    assert!(!text.contains("aHVudGVyMg"), "{text}");
    let entries: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["kind"], "Secret");
    assert_eq!(entries[0]["result"], "done");
    assert_eq!(entries[0]["command"], "object.label --set=tier=gold");
    assert_eq!(entries[0]["after"]["metadata"]["labels"]["tier"], "gold");
    assert_eq!(
        (&entries[1]["verb"], &entries[1]["result"]),
        (&json!("create"), &json!("failed"))
    );
    tui.keys(":journal<ret>")
        .await
        .shows(&["journal.jsonl", "label secret login"]);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(directory.path().join("journal.jsonl"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "nobody else may read it");
}

#[tokio::test(start_paused = true)]
async fn a_bulk_label_tells_how_many_and_takes_all_of_them_back() {
    let mut tui = Tui::start(120, 40).await;
    for name in ["one", "two", "three"] {
        create_map(tui.client(), name).await;
    }
    tui.keys("gc").await.until("two").await;
    tui.keys("*btier=gold<ret>").await.until("4 configmaps labeled").await;
    let gold = async |tui: &Tui| -> usize {
        let all: Vec<ConfigMap> = maps(tui.client())
            .list(&Default::default())
            .await
            .expect("listed")
            .items;
        all.iter()
            .filter(|map| map.metadata.labels.iter().flatten().any(|(key, _)| key == "tier"))
            .count()
    };
    assert_eq!(gold(&tui).await, 4);
    tui.keys("u").await.until("4 configmaps no longer labeled").await;
    assert_eq!(gold(&tui).await, 0);
}
