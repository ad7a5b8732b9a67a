use std::sync::Arc;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};

use super::message::respond;
use crate::view::View;

fn slice(service: &str, ports: Value, endpoints: Value) -> Value {
    json!({
        "metadata": { "name": format!("{service}-x"), "namespace": "shop", "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    })
}

fn service(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec })
}

fn view() -> View {
    let ports = json!([{ "name": "http", "port": 80, "protocol": "TCP" }, { "name": "admin", "port": 9000, "protocol": "TCP" }]);
    let peers = json!([{ "name": "peer", "port": 8080, "protocol": "TCP" }]);
    let sick = json!({ "addresses": ["10.244.0.9"], "conditions": { "ready": false }, "hostname": "db-2" });
    let services = [
        service(
            "web",
            json!({ "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": ports }),
        ),
        service("db", json!({ "clusterIP": "None", "ports": peers })),
        service("all", json!({ "clusterIP": "None", "publishNotReadyAddresses": true })),
        service("none", json!({ "clusterIP": "None" })),
        service("out", json!({ "type": "ExternalName", "externalName": "example.com" })),
        service(
            "alias",
            json!({ "type": "ExternalName", "externalName": "web.shop.svc.cluster.local" }),
        ),
        service(
            "loop",
            json!({ "type": "ExternalName", "externalName": "loop.shop.svc.cluster.local" }),
        ),
    ];
    let slices = [
        slice("web", ports, json!([{ "addresses": ["10.244.0.3"] }])),
        slice(
            "db",
            peers,
            json!([
                { "addresses": ["10.244.0.4"], "hostname": "db-0" },
                { "addresses": ["10.244.0.5"] },
                sick,
            ]),
        ),
        slice("all", json!([]), json!([sick])),
        slice("none", json!([]), json!([sick])),
    ];
    View::new(
        services
            .map(|value| Arc::new(serde_json::from_value(value).unwrap()))
            .to_vec(),
        slices
            .map(|value| Arc::new(serde_json::from_value(value).unwrap()))
            .to_vec(),
        1,
    )
}

fn exchange(view: &View, request: &Message, datagram: bool) -> Message {
    let bytes = respond(view, "cluster.local", &request.to_vec().unwrap(), datagram).unwrap();
    Message::from_vec(&bytes).unwrap()
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut request = Message::query();
    request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    request
}

/// The answer's code and what its records hold, sorted.
fn ask(view: &View, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let response = exchange(view, &question(name, kind), true);
    assert_eq!(
        response.queries[0].name().to_ascii(),
        name,
        "the question is repeated as it was asked"
    );
    let answers = response.answers.iter();
    let mut answers: Vec<String> = answers
        .map(|record| format!("{} {}", record.record_type(), record.data))
        .collect();
    answers.sort();
    (response.metadata.response_code, answers)
}

#[test]
fn names_of_services_and_pods_resolve() {
    use RecordType::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
    let view = view();
    let web = "web.shop.svc.cluster.local.";
    for (name, kind, expected) in [
        (web, A, vec!["A 10.96.0.7"]),
        ("WEB.Shop.svc.Cluster.local.", A, vec!["A 10.96.0.7"]),
        (web, AAAA, vec![]),
        (
            web,
            SRV,
            vec![
                "SRV 0 50 80 web.shop.svc.cluster.local.",
                "SRV 0 50 9000 web.shop.svc.cluster.local.",
            ],
        ),
        (
            "_http._tcp.web.shop.svc.cluster.local.",
            SRV,
            vec!["SRV 0 100 80 web.shop.svc.cluster.local."],
        ),
        ("10-244-0-3.web.shop.svc.cluster.local.", A, vec!["A 10.244.0.3"]),
        ("db.shop.svc.cluster.local.", A, vec!["A 10.244.0.4", "A 10.244.0.5"]),
        (
            "db.shop.svc.cluster.local.",
            SRV,
            vec![
                "SRV 0 50 8080 10-244-0-5.db.shop.svc.cluster.local.",
                "SRV 0 50 8080 db-0.db.shop.svc.cluster.local.",
            ],
        ),
        ("db-0.db.shop.svc.cluster.local.", A, vec!["A 10.244.0.4"]),
        ("all.shop.svc.cluster.local.", A, vec!["A 10.244.0.9"]),
        ("10-244-0-77.shop.pod.cluster.local.", A, vec!["A 10.244.0.77"]),
        ("out.shop.svc.cluster.local.", A, vec!["CNAME example.com."]),
        ("out.shop.svc.cluster.local.", CNAME, vec!["CNAME example.com."]),
        (
            "alias.shop.svc.cluster.local.",
            A,
            vec!["A 10.96.0.7", "CNAME web.shop.svc.cluster.local."],
        ),
        ("7.0.96.10.in-addr.arpa.", PTR, vec!["PTR web.shop.svc.cluster.local."]),
        (
            "4.0.244.10.in-addr.arpa.",
            PTR,
            vec!["PTR db-0.db.shop.svc.cluster.local."],
        ),
        (
            "5.0.244.10.in-addr.arpa.",
            PTR,
            vec!["PTR 10-244-0-5.db.shop.svc.cluster.local."],
        ),
        ("dns-version.cluster.local.", TXT, vec!["TXT 1.1.0"]),
        ("cluster.local.", NS, vec!["NS kube-dns.kube-system.svc.cluster.local."]),
        (
            "cluster.local.",
            SOA,
            vec!["SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 30"],
        ),
        ("shop.svc.cluster.local.", A, vec![]),
        ("svc.cluster.local.", A, vec![]),
    ] {
        let expected = expected.into_iter().map(str::to_string).collect();
        assert_eq!(
            ask(&view, name, kind),
            (ResponseCode::NoError, expected),
            "{name} {kind}"
        );
    }
}

#[test]
fn names_that_do_not_exist_are_denied_and_those_of_others_refused() {
    let view = view();
    for (name, expected) in [
        ("nope.shop.svc.cluster.local.", ResponseCode::NXDomain),
        ("none.shop.svc.cluster.local.", ResponseCode::NXDomain),
        ("db-2.db.shop.svc.cluster.local.", ResponseCode::NXDomain),
        ("_nope._tcp.web.shop.svc.cluster.local.", ResponseCode::NXDomain),
        ("_http._udp.web.shop.svc.cluster.local.", ResponseCode::NXDomain),
        ("a.b.c.web.shop.svc.cluster.local.", ResponseCode::NXDomain),
        ("web.shop.cluster.local.", ResponseCode::NXDomain),
        ("nope.svc.cluster.local.", ResponseCode::NXDomain),
        ("10-244-0-3.nope.pod.cluster.local.", ResponseCode::NXDomain),
        ("10-244-0.shop.pod.cluster.local.", ResponseCode::NXDomain),
        ("1.2.3.4.in-addr.arpa.", ResponseCode::NXDomain),
        ("96.10.in-addr.arpa.", ResponseCode::NXDomain),
        ("example.com.", ResponseCode::Refused),
        ("a.local.", ResponseCode::Refused),
        ("nope.", ResponseCode::NXDomain),
        (".", ResponseCode::Refused),
    ] {
        assert_eq!(ask(&view, name, RecordType::A), (expected, Vec::new()), "{name}");
    }
    let response = exchange(&view, &question("nope.shop.svc.cluster.local.", RecordType::A), true);
    assert_eq!(
        response.authorities[0].record_type(),
        RecordType::SOA,
        "how long to remember it"
    );
    let looped = ask(&view, "loop.shop.svc.cluster.local.", RecordType::A).1;
    assert_eq!(looped.len(), 8, "an alias of itself ends");
}

#[test]
fn answers_that_do_not_fit_into_a_datagram_are_cut_and_marked_so() {
    let endpoints: Vec<Value> = (0..200_u8)
        .map(|n| json!({ "addresses": [format!("10.244.1.{n}")] }))
        .collect();
    let big = service("big", json!({ "clusterIP": "None" }));
    let view = View::new(
        vec![Arc::new(serde_json::from_value(big).unwrap())],
        vec![Arc::new(
            serde_json::from_value(slice("big", json!([]), json!(endpoints))).unwrap(),
        )],
        1,
    );
    let mut request = question("big.shop.svc.cluster.local.", RecordType::A);
    let cut = exchange(&view, &request, true);
    assert!(cut.metadata.truncation && cut.answers.len() < 40 && cut.to_vec().unwrap().len() <= 512);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    request.set_edns(edns);
    let more = exchange(&view, &request, true);
    assert!(more.metadata.truncation && more.answers.len() > cut.answers.len());
    let whole = exchange(&view, &request, false);
    assert!(!whole.metadata.truncation && whole.edns.is_some());
    assert_eq!(whole.answers.len(), 200);
}

#[test]
fn a_service_record_comes_with_the_addresses_of_its_targets() {
    let response = exchange(&view(), &question("db.shop.svc.cluster.local.", RecordType::SRV), true);
    let mut known: Vec<String> = response
        .additionals
        .iter()
        .map(|r| format!("{} {}", r.name, r.data))
        .collect();
    known.sort();
    let expected = [
        "10-244-0-5.db.shop.svc.cluster.local. 10.244.0.5",
        "db-0.db.shop.svc.cluster.local. 10.244.0.4",
    ];
    assert_eq!(known, expected);
}

#[test]
fn nonsense_is_answered_with_an_error_or_not_at_all() {
    let view = view();
    let ask = |bytes: &[u8]| respond(&view, "cluster.local", bytes, true);
    assert_eq!(ask(&[]), None);
    assert_eq!(ask(&[1, 2, 3]), None);
    let mut garbage = [0xff; 40];
    garbage[2] = 0;
    let response = Message::from_vec(&ask(&garbage).unwrap()).unwrap();
    assert_eq!(
        (response.metadata.id, response.metadata.response_code),
        (0xffff, ResponseCode::FormErr)
    );
    garbage[2] = 0x80;
    assert_eq!(ask(&garbage), None, "two servers must not talk each other to death");
    let mut answered = question("web.shop.svc.cluster.local.", RecordType::A);
    answered.metadata.message_type = hickory_proto::op::MessageType::Response;
    assert_eq!(ask(&answered.to_vec().unwrap()), None);
    let two = [
        question("a.", RecordType::A).queries,
        question("b.", RecordType::A).queries,
    ]
    .concat();
    let mut request = Message::query();
    request.add_queries(two);
    assert_eq!(
        exchange(&view, &request, true).metadata.response_code,
        ResponseCode::FormErr
    );
}
