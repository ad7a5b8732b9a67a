//! Any sequence of lists, watch events and new lenses leaves listings as a naive sort and filter would make them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cluster::{ClusterId, Namespaces, Place};
use crate::store::{Cell, Filter, Health, ObjectId, Row, Seen, row_of};

/// An object as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Thing {
    namespace: u8,
    name: u16,
    number: Option<i8>,
    faulty: bool,
}

/// What happens to a feed.
#[derive(Clone, Debug)]
enum Step {
    /// A list of exactly these objects, in pages of this many.
    List(BTreeMap<u8, Thing>, usize),
    Set(u8, Thing),
    Gone(u8),
    /// The batch is due.
    Flush,
    /// Views want these lenses.
    Want(Vec<Spec>),
}

fn thing() -> impl Strategy<Value = Thing> {
    let number = prop_oneof![1 => Just(None), 4 => (-3..4_i8).prop_map(Some)];
    (0..3_u8, 0..30_u16, number, prop::bool::weighted(0.2)).prop_map(|(namespace, name, number, faulty)| Thing {
        namespace,
        name,
        number,
        faulty,
    })
}

fn spec() -> impl Strategy<Value = Spec> {
    let filter = prop::sample::select(vec!["", "web-1", "number>=1", "!number<2 | ns:n1", "web | web-[12]$"]);
    let column = prop::sample::select(vec![None, Some(0), Some(1), Some(9)]);
    (filter, column, any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(filter, column, descending, faults)| Spec {
        filter: filter.into(),
        sort: Sort { column, descending },
        faults,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (prop::collection::btree_map(any::<u8>(), thing(), 0..120), 1..50_usize)
            .prop_map(|(things, page)| Step::List(things, page)),
        20 => (any::<u8>(), thing()).prop_map(|(uid, thing)| Step::Set(uid, thing)),
        8 => any::<u8>().prop_map(Step::Gone),
        4 => Just(Step::Flush),
        1 => vec(spec(), 0..4).prop_map(Step::Want),
    ]
}

fn object(uid: u8, thing: &Thing) -> Arc<Object> {
    let (namespace, name) = (format!("n{}", thing.namespace), format!("web-{}", thing.name));
    let id = id(uid, namespace.into(), name.into());
    Arc::new(Object::new(id, "1", &format!("{thing:?}")))
}

fn id(uid: impl std::fmt::Display, namespace: Arc<str>, name: Arc<str>) -> ObjectId {
    ObjectId {
        cluster: ClusterId(1),
        namespace,
        name,
        uid: format!("u{uid}").into(),
    }
}

fn row(uid: u8, thing: &Thing) -> Row {
    let number = thing.number.map_or(Cell::Empty, |number| Cell::Int(number.into()));
    let health = if thing.faulty { Health::Failed } else { Health::Good };
    let object = object(uid, thing);
    let seen = Seen {
        at: Timestamp::UNIX_EPOCH,
        before: None,
        live: false,
    };
    row_of(&object, seen, |object| {
        (health, vec![Cell::text(&object.id.name), number.clone()])
    })
}

const TITLES: [&str; 2] = ["NAME", "NUMBER"];

/// Sorts and filters everything, the way one would say it.
fn naive(things: &BTreeMap<u8, Thing>, spec: &Spec, now: Timestamp) -> Vec<Row> {
    let filter = Filter::parse(&spec.filter, &TITLES).unwrap();
    let mut rows: Vec<Row> = things.iter().map(|(uid, thing)| row(*uid, thing)).collect();
    rows.retain(|row| filter.keeps(row, now) && (!spec.faults || row.health.needs_attention()));
    let number = |text: &str| {
        text.trim_start_matches(|ch: char| !ch.is_ascii_digit())
            .parse::<u16>()
            .unwrap()
    };
    let by_name = |row: &Row| (number(&row.id.namespace), number(&row.id.name), row.id.uid.to_string());
    rows.sort_by(|a, b| {
        let (x, y) = match spec.sort.column {
            // No column: the names themselves turn around.
            None if spec.sort.descending => {
                let ((an, a, au), (bn, b, bu)) = (by_name(a), by_name(b));
                return (bn, b, au).cmp(&(an, a, bu));
            }
            Some(0) => (Some(i64::from(number(&a.id.name))), Some(i64::from(number(&b.id.name)))),
            Some(1) => {
                let value = |row: &Row| {
                    if let Cell::Int(number) = row.cells[1] {
                        Some(number)
                    } else {
                        None
                    }
                };
                (value(a), value(b))
            }
            _ => (None, None),
        };
        let column = match (x, y) {
            (Some(x), Some(y)) if spec.sort.descending => y.cmp(&x),
            (Some(x), Some(y)) => x.cmp(&y),
            (x, y) => x.is_none().cmp(&y.is_none()),
        };
        column.then_with(|| by_name(a).cmp(&by_name(b)))
    });
    rows
}

fn check(keeper: &Keeper, things: &BTreeMap<u8, Thing>, near: usize) -> Result<(), TestCaseError> {
    for (spec, _, slot) in &keeper.lenses {
        let listing = slot.get();
        let expected = naive(things, spec, keeper.clock.now());
        let ids = |rows: &mut dyn Iterator<Item = &Row>| rows.map(|row| row.id.clone()).collect::<Vec<_>>();
        prop_assert_eq!(
            ids(&mut listing.iter().map(|row| &**row)),
            ids(&mut expected.iter()),
            "{:?}",
            spec
        );
        prop_assert!(
            listing
                .iter()
                .zip(&expected)
                .all(|(row, expected)| row.cells == expected.cells)
        );
        prop_assert_eq!(listing.len(), expected.len());
        prop_assert_eq!(listing.total, things.len());
        prop_assert_eq!(
            listing.tally.faults(),
            things.values().filter(|thing| thing.faulty).count()
        );
        for (at, row) in listing.iter().enumerate() {
            prop_assert_eq!(listing.position(&row.id, near), Some(at));
            prop_assert!(listing.get(at).is_some_and(|found| Arc::ptr_eq(found, row)));
        }
        for uid in 0..=u8::MAX {
            prop_assert_eq!(
                listing.find(&id(uid, "".into(), "".into())).is_some(),
                things.contains_key(&uid)
            );
        }
        prop_assert_eq!(listing.position(&id(999, "".into(), "".into()), near), None);
        prop_assert!(listing.get(listing.len()).is_none());
        let window: Vec<_> = listing.window(near, 7).map(|row| &row.id).collect();
        let slice = expected
            .iter()
            .skip(near)
            .take(7)
            .map(|row| &row.id)
            .collect::<Vec<_>>();
        prop_assert_eq!(window, slice);
    }
    Ok(())
}

fn keeper() -> Keeper {
    let make = |object: &Arc<Object>, seen: Seen<'_>| {
        let word = |key: &str| {
            let json = object.json();
            let rest = &json[json.find(key).unwrap() + key.len()..];
            rest[..rest.find([',', ' ', '}']).unwrap()].to_owned()
        };
        let number = word("number: ")
            .trim_start_matches("Some(")
            .trim_end_matches(')')
            .parse()
            .map_or(Cell::Empty, Cell::Int);
        let health = if word("faulty: ") == "true" {
            Health::Failed
        } else {
            Health::Good
        };
        row_of(object, seen, |object| {
            (health, vec![Cell::text(&object.id.name), number.clone()])
        })
    };
    let shared = Arc::new(Shared {
        wish: Mutex::default(),
        changed: Notify::new(),
        progress: Progress::default(),
    });
    let maker = RowMaker::new(TITLES.map(|title| Column::text(title, 4, 0)), false, Arc::new(make));
    let query = Query::new(Arc::default(), Place::new(ClusterId(1), Namespaces::all()));
    Keeper::new(
        shared,
        &query,
        maker,
        Clock::system(),
        Arc::new(Notifier::new(Arc::new(|| ()))),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn listings_are_what_a_naive_sort_and_filter_gives(
        lenses in vec(spec(), 1..4),
        steps in vec(step(), 1..120),
        near in 0..40_usize,
    ) {
        let mut keeper = keeper();
        let mut things: BTreeMap<u8, Thing> = BTreeMap::new();
        let want = |keeper: &mut Keeper, specs: &[Spec]| {
            lock(&keeper.shared.wish).fit(specs);
            keeper.refit();
        };
        want(&mut keeper, &lenses);
        let mut old: Vec<(Arc<Listing>, Vec<Arc<Row>>)> = Vec::new();
        for step in steps {
            match step {
                Step::List(list, page) => {
                    keeper.take(0, News::Begin);
                    let objects: Vec<_> = list.iter().map(|(uid, thing)| object(*uid, thing)).collect();
                    objects.chunks(page).for_each(|page| keeper.take(0, News::Page(page.to_vec())));
                    keeper.take(0, News::End);
                    things = list;
                    check(&keeper, &things, near)?;
                }
                Step::Set(uid, thing) => {
                    keeper.take(0, News::Set(object(uid, &thing)));
                    things.insert(uid, thing);
                }
                Step::Gone(uid) => {
                    keeper.take(0, News::Gone(id(uid, "".into(), "".into())));
                    things.remove(&uid);
                }
                Step::Flush => {
                    keeper.flush();
                    check(&keeper, &things, near)?;
                    prop_assert_eq!(keeper.taken, keeper.shared.progress.published.load(Ordering::Acquire));
                }
                Step::Want(specs) => {
                    keeper.flush();
                    want(&mut keeper, &specs);
                    check(&keeper, &things, near)?;
                }
            }
            if let Some((_, _, slot)) = keeper.lenses.first() {
                let listing = slot.get();
                let rows = listing.iter().cloned().collect();
                old.push((listing, rows));
            }
        }
        keeper.flush();
        check(&keeper, &things, near)?;
        // What was published stays as it was, and finds its rows although the feed has moved on, or says that it has.
        for (listing, rows) in old.iter().step_by(7) {
            prop_assert!(listing.iter().zip(rows).all(|(now, then)| Arc::ptr_eq(now, then)) && listing.len() == rows.len());
            for (at, row) in rows.iter().enumerate().step_by(5) {
                let found = listing.position(&row.id, near);
                prop_assert!(found == Some(at) || found.is_none() && listing.is_behind());
            }
        }
    }
}
