//! Tables of very many rows: no key, no news and no frame looks at all of them.

use std::cell::Cell;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Browser, ClusterInfo, Data, Labels, Look, Motion, View, ViewCommand};
use crate::cluster::{ClusterId, Discovery, LinkState, Place};
use crate::keys::Keymap;
use crate::session::{Info, LogSnapshot, SessionId};
use crate::store::{self, Health, Listing, Need, Object, ObjectId, Row, steps};
use crate::theme::Theme;

/// Rows of the table.
const MANY: usize = 150_000;
/// What one step of the UI thread may look at: a slice of what is done between keys, and some screens.
const FEW: usize = 10_000;
const SCREEN: Rect = Rect {
    x: 0,
    y: 0,
    width: 120,
    height: 40,
};

/// Pods that change all the time.
struct Busy {
    listing: Listing,
    info: ClusterInfo,
    discovery: Arc<Discovery>,
    now: Cell<Timestamp>,
}

impl Data for Busy {
    fn now(&self) -> Timestamp {
        self.now.set(self.now.get() + SignedDuration::from_secs(2));
        self.now.get()
    }
    fn listing(&self, _need: &Need) -> Arc<Listing> {
        Arc::new(self.listing.clone())
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

fn row(at: usize, columns: usize) -> Arc<Row> {
    let id = ObjectId {
        cluster: ClusterId::default(),
        namespace: "default".into(),
        name: format!("web-{at:06}").into(),
        uid: format!("{at:06}").into(),
    };
    let mut cells = vec![store::Cell::Empty; columns];
    cells[0] = store::Cell::text(&id.name);
    Arc::new(Row {
        object: Arc::new(Object::new(id.clone(), "1", "{}")),
        id,
        health: Health::Good,
        cells: cells.into(),
        labels: Arc::new([("app".into(), format!("web-{}", at % 100).into())]),
        changed: None,
        fresh: 0,
        trail: None,
    })
}

fn busy() -> Busy {
    let discovery = Arc::new(Discovery::built_in());
    let pods = discovery.find("pods").expect("built in");
    let columns = crate::kind::find(pods).columns.len();
    Busy {
        listing: (0..MANY).map(|at| row(at, columns)).collect(),
        info: ClusterInfo {
            name: "busy".into(),
            embedded: false,
            read_only: false,
            state: LinkState::Up,
            namespace: "default".into(),
            id: ClusterId::default(),
            protected: false,
            colour: None,
            user: Default::default(),
        },
        discovery,
        now: Cell::new(Timestamp::from_second(1_700_000_000).expect("a time")),
    }
}

#[test]
fn no_key_no_news_and_no_frame_looks_at_all_of_many_rows() {
    let data = busy();
    let theme = Theme::load("dark", None).expect("a theme");
    let keymap = Keymap::load("default", None).expect("a keymap");
    let pods = data.discovery.find("pods").expect("built in").clone();
    let place = Place::new(ClusterId::default(), "default");
    let views: [Box<dyn View>; 2] = [
        Box::new(Browser::new(pods.clone(), place.clone())),
        Box::new(Labels::new(pods, place)),
    ];
    let commands = [
        ViewCommand::Move(Motion::Last),
        ViewCommand::Move(Motion::First),
        ViewCommand::Move(Motion::PageDown),
        ViewCommand::Mark,
        ViewCommand::MarkAll,
        ViewCommand::Mark,
        ViewCommand::MarkClear,
        ViewCommand::MarkAll,
        ViewCommand::Filter("web-1".into()),
        ViewCommand::FilterKeep,
        ViewCommand::Sort("status".into()),
        ViewCommand::Wide,
        ViewCommand::Faults,
        ViewCommand::Label("app".into()),
    ];
    steps::taken();
    for mut view in views {
        let title = view.title();
        let check = |what: &str| {
            let steps = steps::taken();
            assert!(steps <= FEW, "{what} of {title} looks at {steps} rows");
        };
        let scopes = view.scopes();
        view.layout(SCREEN, &data);
        check("the layout");
        for command in &commands {
            // What a view has no use for it refuses.
            let _ = view.command(command, &data);
            check(&format!("{command:?}"));
            view.sync(&data);
            check("news");
            view.settle(&data);
            view.vocabulary(&data);
            view.status(&data);
            view.tick(&data);
            check("what is said of it");
            let look = Look {
                theme: &theme,
                data: &data,
                keymap: &keymap,
                scopes: &scopes,
                caret: Cell::default(),
                beside: None,
            };
            view.draw(SCREEN, &mut Buffer::empty(SCREEN), &look);
            check("a frame");
            for _ in 0..100 {
                view.work(&data);
                check("work between keys");
            }
        }
    }
}

#[test]
fn all_rows_are_marked_at_once_for_what_is_done_with_them() {
    let data = busy();
    let pods = data.discovery.find("pods").expect("built in").clone();
    let mut view = Browser::new(pods, Place::new(ClusterId::default(), "default"));
    view.layout(SCREEN, &data);
    view.command(&ViewCommand::MarkAll, &data).expect("marks");
    assert!(view.status(&data).contains("150000 marked"), "{}", view.status(&data));
    assert_eq!(view.targets(&data).len(), MANY);
    // One is not meant after all, although marking is still under way.
    view.command(&ViewCommand::Mark, &data).expect("unmarks");
    for _ in 0..100 {
        view.work(&data);
    }
    assert_eq!(view.targets(&data).len(), MANY - 1);
}
