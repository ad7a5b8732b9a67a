//! Layouts: the tabs and panes of each context, kept between runs and brought back.

use serde_json::{Value, json};

use super::run::App;
use crate::action;
use crate::cluster::Namespaces;
use crate::keys::Line;
use crate::state::{Cx, Effect};
use crate::view::{Data, Pane, PaneId, Shape, View, Way};

/// What they are remembered under.
const FILE: &str = "layouts.json";
/// Most contexts whose layouts are kept.
const MOST: usize = 100;

fn value(shape: &Shape) -> Value {
    match shape {
        Shape::Pane(line, preview) => {
            let words: Vec<&str> = std::iter::once(&line.name)
                .chain(&line.args)
                .map(String::as_str)
                .collect();
            json!({"line": words, "preview": preview})
        }
        Shape::Split(way, share, both) => {
            let way = match way {
                Way::Rows => "rows",
                Way::Columns | Way::Fitting => "columns",
            };
            json!({"split": way, "share": share, "first": value(&both.0), "second": value(&both.1)})
        }
    }
}

fn shape(value: &Value) -> Option<Shape> {
    if let Some(words) = value["line"].as_array() {
        let mut words = words.iter().map(|word| word.as_str().map(str::to_owned));
        let name = words.next()??;
        let args = words.collect::<Option<_>>()?;
        return Some(Shape::Pane(Line { name, args }, value["preview"] == true));
    }
    let way = match value["split"].as_str()? {
        "rows" => Way::Rows,
        _ => Way::Columns,
    };
    let share = value["share"].as_u64().and_then(|share| u16::try_from(share).ok());
    let both = (shape(&value["first"])?, shape(&value["second"])?);
    Some(Shape::Split(way, share.filter(|share| *share <= 1000), Box::new(both)))
}

impl App {
    /// Reads the layouts, before anything is drawn.
    pub(super) fn load_layouts(&mut self) {
        // What is damaged is not worth a word: the layout begins anew.
        self.layouts = serde_json::from_str(&self.memory.recall(FILE)).unwrap_or_default();
    }

    /// Remembers the tabs of the cluster that is left.
    pub(super) fn remember_layout(&mut self) {
        let home = self.home.and_then(|home| self.desk.cluster_of(home));
        let Some(context) = home
            .map(|info| info.name.clone())
            .filter(|_| self.settings.state_dir.is_some())
        else {
            return;
        };
        let data: &dyn Data = &self.desk;
        let opens = |pane: &Pane| pane.views.iter().rev().find_map(|view| view.spec(data));
        let tabs: Vec<Value> = self
            .state
            .tabs
            .iter()
            .filter_map(|tab| tab.shape(&opens))
            .map(|shape| value(&shape))
            .collect();
        let layout = json!({"namespaces": self.state.namespaces.named().join(","), "tabs": tabs});
        self.layouts.shift_remove(&context);
        self.layouts.insert(context, layout);
        while self.layouts.len() > MOST {
            let oldest = self.layouts.keys().next().cloned();
            self.layouts.shift_remove(&oldest.unwrap_or_default());
        }
    }

    /// Writes the layouts: the program is about to end.
    pub(super) fn save_layouts(&self) {
        if !self.layouts.is_empty() {
            self.memory.keep(FILE, &Value::Object(self.layouts.clone()).to_string());
        }
    }

    /// Brings back the tabs of the cluster that is worked in now, where the user has not said otherwise.
    pub(super) fn restore(&mut self, effects: &mut Vec<Effect>) {
        if self.settings.namespace.is_some() || self.state.welcome {
            return;
        }
        let Some(layout) = self.layouts.get(&self.desk.cluster().name) else {
            return;
        };
        let tabs: Vec<Shape> = layout["tabs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(shape)
            .collect();
        if let Some(namespaces) = layout["namespaces"].as_str() {
            self.state.namespaces = Namespaces::parse(namespaces);
        }
        let mut cx = Cx {
            state: &mut self.state,
            data: &self.desk,
            effects,
            pinned: Vec::new(),
            started: None,
        };
        for (at, tab) in tabs.iter().enumerate() {
            if at > 0 {
                let Some(view) = first(&cx) else { break };
                cx.open_tab(view);
            }
            let without = cx.state.panes().follower(cx.state.panes().focused().id);
            if let Some(preview) = without {
                cx.close_pane(preview);
            }
            open(&mut cx, tab);
        }
        cx.state.flash = None;
        cx.go_tab(0);
    }
}

/// What a pane shows until its own view is opened.
fn first(cx: &Cx<'_>) -> Option<crate::view::Browser> {
    let pods = cx.data.discovery().find("pods").cloned()?;
    Some(crate::view::Browser::new(pods, cx.place()))
}

/// Makes the pane with the focus what the shape says.
fn open(cx: &mut Cx<'_>, shape: &Shape) {
    match shape {
        Shape::Pane(line, preview) => {
            let below = cx.state.panes().focused().views.len();
            // What cannot be opened any more is left as the table of pods.
            if action::run(cx, line).is_ok() {
                let views = &mut cx.state.panes_mut().focused_mut().views;
                if views.len() > below {
                    views.drain(..below);
                }
            }
            cx.state.panes_mut().focused_mut().behind.clear();
            if *preview {
                cx.preview();
            }
        }
        Shape::Split(way, share, both) => {
            let one: PaneId = cx.state.panes().focused().id;
            let Some(view) = first(cx) else { return };
            let other = cx.split(*way, Box::new(view) as Box<dyn View>);
            cx.state.panes_mut().share(other, *share);
            open(cx, &both.1);
            cx.state.panes_mut().focus(one);
            open(cx, &both.0);
            cx.state.panes_mut().focus(one);
        }
    }
}
