//! What the table above promises, row by row.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::error::ErrorKind;
use crate::store::{Cell, Health, Object, ObjectId, Row};

const TITLES: [&str; 9] = [
    "NAME",
    "READY",
    "STATUS",
    "RESTARTS",
    "AGE",
    "CPU",
    "UP-TO-DATE",
    "IMAGE",
    "NOMINATED NODE",
];

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn row() -> Row {
    let id = ObjectId {
        cluster: Default::default(),
        namespace: "shop".into(),
        name: "web-2xkqz".into(),
        uid: "u".into(),
    };
    let label = |key: &str, value: &str| (key.into(), value.into());
    Row {
        object: Arc::new(Object::new(id.clone(), "1", "{}")),
        id,
        health: Health::Failed,
        cells: Box::new([
            Cell::text("web-2xkqz"),
            Cell::Ratio(1, 2),
            Cell::status(Health::Failed, "CrashLoopBackOff"),
            Cell::Counted(4, Some(now())),
            Cell::Age(now() - SignedDuration::from_mins(3)),
            Cell::quantity("250m"),
            Cell::Int(12),
            Cell::text("registry.local:5000/Größe/nginx:1.25"),
            Cell::Empty,
        ]),
        labels: Arc::new([label("app", "web"), label("example.com/tier", "front")]),
        changed: None,
        fresh: 0,
        trail: None,
    }
}

#[track_caller]
fn check(text: &str, kept: bool) {
    let filter = Filter::parse(text, &TITLES).unwrap();
    assert_eq!(filter.keeps(&row(), now()), kept, "{text}");
    // Many rows are looked through otherwise, to the same end.
    let mut picked = Vec::new();
    filter.pick(&Block::new(vec![Arc::new(row())]), now(), &mut picked);
    assert_eq!(picked.len(), usize::from(kept), "{text} in a block");
}

#[test]
fn the_guide_holds() {
    for text in [
        "",
        "  ",
        "WEB",
        "shop",
        "backoff",
        "1/2",
        "12",
        "250m",
        "web crash",
        "web | nothing",
        "nothing|web",
        "!nothing",
        "~wxz",
        "~WEBZ",
        "/^web-.*z$/",
        "/crash *loop/",
        "web-[0-9]x",
        "größe",
        "GRÖSSE|GRÖßE",
        "nginx:1.25",
        "local:5000",
        "\"web-2\"",
        "status:crash",
        "Status=crashloopbackoff",
        "status!=Running",
        "ns:sho",
        "namespace=shop",
        "name:2xk",
        "restarts>=4",
        "restarts>3",
        "restarts<5",
        "rest<=4",
        "restarts=4",
        "restarts!=3",
        "age<10m",
        "age>2m59s",
        "age=3m",
        "age>=180s",
        "cpu>200m",
        "cpu<1",
        "cpu=0.25",
        "cpu>=250m",
        "ready<2",
        "ready=1/2",
        "ready!=2/2",
        "up-to-date>11",
        "uptodate=12",
        "nominated-node!=x",
        "nominated-node=-",
        "app=web",
        "app==web",
        "app!=db",
        "missing!=x",
        "label:app",
        "label:app=web",
        "!label:missing",
        "example.com/tier=front",
        "!",
        "~",
        "web |",
        "\"",
        "/",
        "status:",
        "restarts>",
        "a[1 | web",
    ] {
        check(text, true);
    }
    for text in [
        "nothing",
        "web nothing",
        "!web",
        "!WEB",
        "~zw",
        "/^eb/",
        "3m",
        "web-[^2]",
        "status:run",
        "status=crash",
        "ns:prod",
        "restarts>4",
        "restarts!=4",
        "age>10m",
        "age<3m",
        "age!=3m",
        "cpu>250m",
        "cpu<100m",
        "ready=2/2",
        "ready>1",
        "app=db",
        "app!=web",
        "label:missing",
        "label:app=db",
        "example.com/tier!=front",
        "nominated-node:x",
        "nothing | !web",
        "\"web  2\"",
        "status>3",
        "a[1",
    ] {
        check(text, false);
    }
}

#[test]
fn nonsense_is_explained() {
    for (text, message, hint) in [
        ("/a(/", "is no regular expression", "quote it"),
        (
            "weight>3",
            "no column is called \"weight\"",
            "the columns are name, ready, status",
        ),
        ("age<soon", "\"soon\" is no number, duration or quantity", "age<10m"),
        ("/(a{9}){9}{9}{9}{9}{9}/", "is no regular expression", "quote it"),
        (&"x".repeat(2000), "longer than 1024 bytes", ""),
    ] {
        let error = Filter::parse(text, &TITLES).expect_err(text);
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.message.contains(message), "{error}");
        assert!(error.hints.concat().contains(hint), "{error}");
    }
}

#[test]
fn time_alone_turns_an_age_around_exactly_when_told() {
    for text in [
        "age<10m",
        "age<=10m",
        "age>10m",
        "!age>=10m",
        "age=10m",
        "web | age<10m x",
    ] {
        let (filter, row) = (Filter::parse(text, &TITLES).unwrap(), row());
        let mut at = now();
        let mut before = filter.keeps(&row, at);
        let mut due = filter.flip(&row, at);
        while at < now() + SignedDuration::from_mins(9) {
            at += SignedDuration::from_millis(500);
            let keeps = filter.keeps(&row, at);
            assert!(
                keeps == before || due == Some(at),
                "{text} turned at {at}, not at {due:?}"
            );
            if due.is_some_and(|due| due <= at) {
                due = filter.flip(&row, at);
            }
            before = keeps;
        }
        assert_eq!(due, None, "{text}: nothing more will change");
    }
    assert_eq!(Filter::parse("cpu<10m", &TITLES).unwrap().flip(&row(), now()), None);
}
