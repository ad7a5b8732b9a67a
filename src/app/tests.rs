//! What must hold whatever the actions check beforehand.

use std::sync::Arc;
use std::sync::Mutex;

use kube::client::Body;
use serde_json::json;

use super::event::Event;
use super::run::{App, Settings};
use crate::cluster::{Change, ClusterId, Discovery, Link, ObjectRef, Pace, Plan, Write};
use crate::keys::{Keymap, Line};
use crate::session::{ExecSpec, ForwardSpec, PodTarget, SessionId, Spec, Status};
use crate::state::{Effect, Outcome};
use crate::theme::Theme;

fn settings(source: crate::cluster::Source) -> Settings {
    Settings {
        source,
        namespace: None,
        // The actions and the dialogs believe that everything is allowed.
        read_only: false,
        protected: Vec::new(),
        contexts: std::collections::BTreeMap::new(),
        impersonate: (None, Vec::new()),
        start: None,
        theme: Theme::load("dark", None).expect("a theme"),
        keymap: Keymap::load("default", None).expect("a keymap"),
        themes: None,
        keymaps: None,
        aliases: Vec::new(),
        columns: Default::default(),
        welcome: false,
        state_dir: None,
        clock: knarr_clock::Clock::system(),
        simulate: true,
        logs: None,
    }
}

#[tokio::test]
async fn read_only_mode_holds_without_any_check_of_the_actions() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        seen.lock()
            .expect("no panic")
            .push(format!("{} {}", request.method(), request.uri()));
        let answer = http::Response::new(Body::from(json!({"metadata": {"uid": "u"}}).to_string().into_bytes()));
        std::future::ready(Ok::<_, kube::Error>(answer))
    });
    let client = kube::Client::new(service, "default");
    let source = crate::cluster::Source::Given {
        name: "given".into(),
        clients: vec![("given".to_owned(), client.clone())].into(),
    };
    let mut app = App::new(settings(source));
    let link = Link::untried(client).read_only();
    app.reached(link);

    let target = ObjectRef {
        cluster: ClusterId::default(),
        resource: Discovery::built_in().find("pods").expect("known").clone(),
        namespace: Some("default".into()),
        name: "web".into(),
        uid: Some("u".into()),
    };
    let every_write = [
        Write::Create(json!({"metadata": {"name": "web"}})),
        Write::Delete {
            propagation: "Background",
            grace: Some(0),
        },
        Write::Merge {
            subresource: None,
            patch: json!({"metadata": {"labels": {"a": "b"}}}),
        },
        Write::Merge {
            subresource: Some("scale"),
            patch: json!({"spec": {"replicas": 0}}),
        },
        Write::Apply {
            body: json!({"metadata": {"name": "web"}}),
            awaited: false,
        },
        Write::Edit {
            base: json!({"a": 1}),
            edited: json!({"a": 2}),
        },
    ];
    let changes = every_write.map(|request| Change {
        target: target.clone(),
        before: Some(json!({"metadata": {"uid": "u"}})),
        request,
    });
    let plan = Plan {
        cluster: ClusterId::default(),
        command: Line::bare("object.delete"),
        title: "everything".into(),
        done: "done".into(),
        changes: changes.into(),
        pace: Pace::Together,
    };
    let pod = PodTarget {
        cluster: ClusterId::default(),
        namespace: "default".into(),
        pod: "web".into(),
        container: None,
    };
    let exec = |commands: Vec<Vec<String>>| {
        Spec::Exec(ExecSpec {
            target: pod.clone(),
            commands,
            size: (80, 24),
            tty: true,
            stdin: true,
        })
    };
    let forward = Spec::Forward(ForwardSpec {
        target: pod.clone(),
        port: 80,
        local: 0,
        selector: "".into(),
    });
    app.perform(vec![
        Effect::Execute(1, Arc::new(plan)),
        Effect::Open(SessionId(1), exec(vec![vec!["sh".into()]])),
        Effect::Open(SessionId(2), exec(Vec::new())),
        Effect::Open(SessionId(3), forward),
    ]);
    // Until every change has been answered, and every session has failed.
    let mut refused = None;
    let is_read_only = |error: &crate::error::Error| error.kind == crate::error::ErrorKind::ReadOnly;
    while refused.is_none()
        || !(1..=3).all(|id| {
            let status = app.desk.sessions.info(SessionId(id)).map(|info| info.status);
            matches!(status, Some(Status::Failed(error)) if is_read_only(&error))
        })
    {
        match app.next_event().await {
            Some(Event::Done(1, Ok(Outcome::Executed(report)))) => refused = Some(report.results),
            Some(Event::Sessions) => app.desk.sessions.take_dirty(),
            Some(_) => {}
            None => panic!("the channel is open"),
        }
    }
    let refused = refused.expect("answered");
    assert!(
        refused
            .iter()
            .all(|result| matches!(result, Err(error) if is_read_only(error))),
        "{refused:?}"
    );
    let asked = asked.lock().expect("no panic");
    assert!(asked.is_empty(), "nothing leaves, not even to compare: {asked:?}");
}
