//! Costs of a key press and a frame over a table of 10,000 and 50,000 pods: `cargo bench --bench frame`.

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use jiff::Timestamp;
use knarr::cluster::{ClusterId, Discovery, LinkState, Place, Resource};
use knarr::keys::Keymap;
use knarr::session::{Info, LogSnapshot, SessionId};
use knarr::store::{Listing, Need, Object, ObjectId, Row, Seen};
use knarr::theme::Theme;
use knarr::view::{Browser, ClusterInfo, Data, Look, Motion, View, ViewCommand};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const SIZES: [usize; 2] = [10_000, 50_000];
const SCREEN: Rect = Rect {
    x: 0,
    y: 0,
    width: 200,
    height: 50,
};

fn main() {
    divan::main();
}

/// A cluster that never changes.
struct Still {
    listing: Arc<Listing>,
    info: ClusterInfo,
    discovery: Arc<Discovery>,
    now: Timestamp,
}

impl Data for Still {
    fn now(&self) -> Timestamp {
        self.now
    }
    fn listing(&self, _need: &Need) -> Arc<Listing> {
        self.listing.clone()
    }
    fn cluster(&self) -> &ClusterInfo {
        &self.info
    }
    fn cluster_of(&self, _id: ClusterId) -> Option<&ClusterInfo> {
        Some(&self.info)
    }
    fn discovery_of(&self, _id: ClusterId) -> Arc<Discovery> {
        self.discovery.clone()
    }
    fn contexts(&self) -> &[String] {
        &[]
    }
    fn session(&self, _id: SessionId) -> Option<Info> {
        None
    }
    fn sessions(&self) -> Vec<Info> {
        Vec::new()
    }
    fn log(&self, _id: SessionId) -> Option<Arc<LogSnapshot>> {
        None
    }
    fn screen(&self, _id: SessionId) -> Option<Arc<vt100::Screen>> {
        None
    }
}

fn row(pods: &Resource, index: usize) -> Arc<Row> {
    let json = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web-{index:05}","namespace":"default","uid":"u{index}","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"web"}}}},"spec":{{"nodeName":"n","containers":[{{"name":"web","image":"web:1"}}]}},"status":{{"phase":"Running","podIP":"10.0.0.1","containerStatuses":[{{"name":"web","ready":true,"restartCount":{},"state":{{"running":{{}}}}}}]}}}}"#,
        index % 5
    );
    let id = ObjectId {
        cluster: Default::default(),
        namespace: "default".into(),
        name: format!("web-{index:05}").into(),
        uid: format!("u{index}").into(),
    };
    let object = Arc::new(Object::new(id, "1", &json));
    let first = Seen {
        at: Timestamp::UNIX_EPOCH,
        before: None,
        live: false,
    };
    Arc::new(knarr::kind::row_maker(pods).row(&object, first))
}

fn still(size: usize) -> (Still, Browser) {
    let discovery = Arc::new(Discovery::built_in());
    let pods = discovery.find("pods").expect("built in").clone();
    let listing: Listing = (0..size).map(|index| row(&pods, index)).collect();
    let info = ClusterInfo {
        name: "bench".into(),
        colour: None,
        embedded: false,
        read_only: false,
        state: LinkState::Up,
        namespace: "default".into(),
        id: Default::default(),
        protected: false,
        user: Default::default(),
    };
    let now = "2026-01-02T00:00:00Z".parse().expect("a time");
    let data = Still {
        listing: Arc::new(listing),
        info,
        discovery,
        now,
    };
    let mut view = Browser::new(pods, Place::new(ClusterId::default(), "default"));
    let _ = view.layout(SCREEN, &data);
    (data, view)
}

#[divan::bench(args = SIZES)]
fn draw_a_frame(bencher: Bencher, size: usize) {
    let (data, view) = still(size);
    let (theme, keymap) = (
        Theme::load("dark", None).expect("theme"),
        Keymap::load("default", None).expect("keymap"),
    );
    let scopes = view.scopes();
    let look = Look {
        theme: &theme,
        data: &data,
        keymap: &keymap,
        scopes: &scopes,
        caret: std::cell::Cell::default(),
        beside: None,
    };
    let mut buffer = Buffer::empty(SCREEN);
    bencher.bench_local(|| view.draw(black_box(SCREEN), &mut buffer, &look));
}

#[divan::bench(args = SIZES)]
fn move_the_cursor_and_draw(bencher: Bencher, size: usize) {
    let (data, mut view) = still(size);
    let (theme, keymap) = (
        Theme::load("dark", None).expect("theme"),
        Keymap::load("default", None).expect("keymap"),
    );
    let scopes = view.scopes();
    let mut buffer = Buffer::empty(SCREEN);
    let keys = [
        ViewCommand::Move(Motion::PageDown),
        ViewCommand::Move(Motion::Last),
        ViewCommand::Move(Motion::First),
    ];
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % keys.len();
        let _ = view.command(&keys[at], &data);
        let look = Look {
            theme: &theme,
            data: &data,
            keymap: &keymap,
            scopes: &scopes,
            caret: std::cell::Cell::default(),
            beside: None,
        };
        view.draw(black_box(SCREEN), &mut buffer, &look);
    });
}

#[divan::bench(args = SIZES)]
fn follow_a_changed_listing(bencher: Bencher, size: usize) {
    let (data, mut view) = still(size);
    let _ = view.command(&ViewCommand::Move(Motion::Last), &data);
    bencher.bench_local(|| view.sync(black_box(&data)));
}
