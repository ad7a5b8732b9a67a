//! Costs of the store at 10,000 and 150,000 pods of about 5.8 KB: `cargo bench --bench store`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use jiff::Timestamp;
use knarr::cluster::Resource;
use knarr::store::{
    Cell, Change, Decoder, Filter, Health, Lens, Listing, Object, Order, Page, Row, Seen, Sort, row_of,
};

const SIZES: [usize; 2] = [10_000, 150_000];
const PAGE: usize = 500;
/// Listed, and never seen before.
const FIRST: Seen<'static> = Seen {
    at: Timestamp::UNIX_EPOCH,
    before: None,
    live: false,
};

const TITLES: [&str; 8] = ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "IMAGE"];

fn main() {
    divan::main();
}

fn pod(index: usize) -> String {
    // Mixed up, so that nothing is in order already but what a server would send in order.
    let mixed = index.wrapping_mul(2_654_435_761) % 99_991;
    let mut json = format!(
        r#"{{"metadata":{{"name":"web-{index:05}-{mixed:05x}","generateName":"web-","namespace":"team-{}","uid":"0b5a7c1e-{mixed:08x}-{index:08x}","resourceVersion":"{}","creationTimestamp":"2026-01-{:02}T{:02}:00:00Z","labels":{{"app":"web","tier":"t{}","pod-template-hash":"{mixed:x}"}},"managedFields":["#,
        index / 1000,
        1000 + mixed,
        1 + mixed % 28,
        mixed % 24,
        mixed % 7,
    );
    for manager in 0..4 {
        let comma = if manager > 0 { "," } else { "" };
        let _ = write!(
            json,
            r#"{comma}{{"manager":"kube-{manager}","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{{"#
        );
        for field in 0..14 {
            let comma = if field > 0 { "," } else { "" };
            let _ = write!(json, r#"{comma}"f:field-{field}":{{"f:value":{{}},"f:other":{{}}}}"#);
        }
        json.push_str("}}");
    }
    let _ = write!(
        json,
        r#"]}},"spec":{{"nodeName":"node-{}","containers":[{{"name":"web","image":"registry.local/team/web:1.{}","env":["#,
        mixed % 200,
        mixed % 50
    );
    for variable in 0..20 {
        let comma = if variable > 0 { "," } else { "" };
        let _ = write!(
            json,
            r#"{comma}{{"name":"SETTING_{variable}","value":"some value of a setting, number {variable}"}}"#
        );
    }
    let _ = write!(
        json,
        r#"]}}]}},"status":{{"phase":"{}","podIP":"10.{}.{}.{}","containerStatuses":[{{"name":"web","ready":{},"restartCount":{},"image":"registry.local/team/web:1.{}"}}]}}}}"#,
        if mixed.is_multiple_of(50) { "Failed" } else { "Running" },
        mixed % 250,
        index / 250,
        index % 250,
        !mixed.is_multiple_of(50),
        mixed % 30,
        mixed % 50,
    );
    json
}

fn pages(count: usize) -> Vec<Vec<u8>> {
    let pods: Vec<String> = (0..count).map(pod).collect();
    let page = |pods: &[String]| {
        format!(
            r#"{{"metadata":{{"resourceVersion":"7"}},"items":[{}]}}"#,
            pods.join(",")
        )
    };
    pods.chunks(PAGE).map(|pods| page(pods).into_bytes()).collect()
}

fn decoder() -> Decoder {
    Decoder::new(
        Default::default(),
        &Resource {
            version: "v1".into(),
            kind: "Pod".into(),
            plural: "pods".into(),
            ..Resource::default()
        },
    )
}

fn decode(pages: &[Vec<u8>]) -> Vec<Arc<Object>> {
    let mut decoder = decoder();
    let parsed = pages
        .iter()
        .map(|page| decoder.page(page, Timestamp::UNIX_EPOCH).expect("a list"));
    parsed.flat_map(|Page { objects, .. }| objects).collect()
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow)]
    spec: Spec<'a>,
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    creation_timestamp: &'a str,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    node_name: &'a str,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    phase: &'a str,
    #[serde(rename = "podIP")]
    pod_ip: &'a str,
    #[serde(borrow)]
    container_statuses: Vec<Container<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    ready: bool,
    restart_count: i64,
    image: &'a str,
}

fn cells(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let pod: Pod<'_> = serde_json::from_str(&json).expect("a pod");
    let health = if pod.status.phase == "Running" {
        Health::Good
    } else {
        Health::Failed
    };
    let containers = &pod.status.container_statuses;
    let ready = containers.iter().filter(|container| container.ready).count() as u32;
    let cells = vec![
        Cell::text(&object.id.name),
        Cell::Ratio(ready, containers.len() as u32),
        Cell::status(health, pod.status.phase),
        Cell::Counted(containers.iter().map(|container| container.restart_count).sum(), None),
        Cell::Age(pod.metadata.creation_timestamp.parse().expect("a time")),
        Cell::text(pod.status.pod_ip),
        Cell::text(pod.spec.node_name),
        Cell::text(containers.first().map_or("", |container| container.image)),
    ];
    (health, cells)
}

fn rows(count: usize) -> Vec<Arc<Row>> {
    let mut rows: Vec<_> = decode(&pages(count))
        .iter()
        .map(|object| Arc::new(row_of(object, FIRST, cells)))
        .collect();
    // A feed keeps its rows by UID: in no order.
    (0..count)
        .rev()
        .for_each(|at| rows.swap(at, at.wrapping_mul(2_654_435_761) / 7919 % (at + 1)));
    rows
}

fn lens(sort: Option<usize>, filter: &str) -> Lens {
    Lens::new(
        Sort {
            column: sort,
            descending: false,
        },
        Filter::parse(filter, &TITLES).expect("a filter"),
        false,
    )
}

fn order(sort: Option<usize>, rows: &[Arc<Row>]) -> Order {
    let sort = Sort {
        column: sort,
        descending: false,
    };
    Order::new(sort, rows.iter().cloned())
}

#[divan::bench(args = SIZES, max_time = 4)]
fn decode_pages(bencher: Bencher, count: usize) {
    let pages = pages(count);
    bencher.bench_local(|| decode(&pages));
}

#[divan::bench(args = SIZES, max_time = 4)]
fn make_rows(bencher: Bencher, count: usize) {
    let objects = decode(&pages(count));
    bencher.bench_local(|| {
        objects
            .iter()
            .map(|object| row_of(object, FIRST, cells))
            .collect::<Vec<_>>()
    });
}

/// One row moves, with every listing so far still on the screen: the worst case for copy-on-write.
#[divan::bench(args = SIZES, max_time = 2)]
fn move_one_row_and_publish(bencher: Bencher, count: usize) {
    let rows = rows(count);
    let moved: Vec<Arc<Row>> = rows
        .iter()
        .map(|row| {
            let mut new = row_of(&row.object, FIRST, cells);
            new.cells[3] = Cell::Int(i64::from(row.id.uid.bytes().map(u32::from).sum::<u32>() % 31));
            Arc::new(new)
        })
        .collect();
    let mut lens = lens(Some(3), "");
    lens.reset(&order(Some(3), &rows), Timestamp::UNIX_EPOCH);
    let (mut at, mut turn) = (0, false);
    bencher.bench_local(|| {
        at = (at + 7919) % count;
        if at < 7919 {
            turn = !turn;
        }
        let change = Change {
            old: Some(rows[at].clone()),
            new: Some(moved[at].clone()),
        };
        let back = Change {
            old: change.new.clone(),
            new: change.old.clone(),
        };
        lens.change(&change, Timestamp::UNIX_EPOCH);
        let shown = lens.snapshot();
        lens.change(&back, Timestamp::UNIX_EPOCH);
        (shown, lens.snapshot())
    });
}

#[divan::bench(args = SIZES, max_time = 2)]
fn sort_by_name(bencher: Bencher, count: usize) {
    let rows = rows(count);
    bencher.bench_local(|| order(None, &rows));
}

#[divan::bench(args = SIZES, max_time = 2)]
fn sort_by_restarts(bencher: Bencher, count: usize) {
    let rows = rows(count);
    bencher.bench_local(|| order(Some(3), &rows));
}

#[divan::bench(args = SIZES, max_time = 2)]
fn sort_by_ip(bencher: Bencher, count: usize) {
    let rows = rows(count);
    bencher.bench_local(|| order(Some(5), &rows));
}

#[divan::bench(args = ["nowhere", "web:1.7", "restarts>28", "/^web-.*f$/", "~wbf00"], max_time = 2)]
fn filter_150_000(bencher: Bencher, filter: &str) {
    let order = order(None, &rows(150_000));
    let mut lens = lens(None, filter);
    bencher.bench_local(|| lens.reset(&order, Timestamp::UNIX_EPOCH));
}

#[divan::bench(args = SIZES, max_time = 1)]
fn window_of_50(bencher: Bencher, count: usize) {
    let listing: Listing = rows(count).into_iter().collect();
    let mut start = 0;
    bencher.bench_local(|| {
        start = (start + 7919) % count;
        listing
            .window(start, 50)
            .map(|row| black_box(row).cells.len())
            .sum::<usize>()
    });
}

#[divan::bench(args = SIZES, max_time = 1)]
fn find_a_row_that_moved_far(bencher: Bencher, count: usize) {
    let listing: Listing = rows(count).into_iter().collect();
    let mut start = 0;
    bencher.bench_local(|| {
        start = (start + 7919) % count;
        let id = listing.get(start).map(|row| row.id.clone()).expect("a row");
        listing.position(&id, (start + count / 2) % count)
    });
}
