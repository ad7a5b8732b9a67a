//! What an action may touch.

use std::sync::Arc;

use crate::cluster::{Request, Resource};
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Line;
use crate::state::{Effect, Layer, Level, State, Tab, Then};
use crate::view::overlay::Overlay;
use crate::view::{Data, Reply, Target, View};

/// The state to change, the world to read, and the effects to ask for.
pub struct Cx<'a> {
    /// The state.
    pub state: &'a mut State,
    /// The world, as last seen.
    pub data: &'a dyn Data,
    /// What is asked of the world.
    pub effects: &'a mut Vec<Effect>,
    /// Objects pinned by the overlay the action comes from.
    pub pinned: Vec<Target>,
}

impl Cx<'_> {
    /// What the action acts on: the pinned objects, else the view's.
    pub fn targets(&self) -> Result<Vec<Target>> {
        let targets = if self.pinned.is_empty() {
            self.state.view().targets(self.data)
        } else {
            self.pinned.clone()
        };
        if targets.is_empty() {
            return Err(Error::usage("nothing is selected here"));
        }
        Ok(targets)
    }

    /// The one object the action acts on.
    pub fn target(&self) -> Result<Target> {
        let mut targets = self.targets()?;
        if targets.len() > 1 {
            return Err(Error::usage("this works on one object at a time").hint("clear the marks first"));
        }
        Ok(targets.remove(0))
    }

    /// The one pod the action acts on.
    pub fn pod(&self) -> Result<Target> {
        let target = self.target()?;
        if &*target.resource.plural != "pods" {
            return Err(Error::usage(format!("{} is no pod", target.id.name)).hint("open its pods with Enter"));
        }
        Ok(target)
    }

    /// A resource of the cluster by any of its names.
    pub fn resource(&self, name: &str) -> Result<Arc<Resource>> {
        self.data.discovery().find(name).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the cluster has no resource {name:?}"))
                .hint("`:` and Tab list what there is")
        })
    }

    /// Refuses in read-only mode, before anything is asked of the user.
    pub fn may_change(&self) -> Result<()> {
        if self.data.cluster().read_only {
            return Err(
                Error::new(ErrorKind::ReadOnly, "this is read-only mode: nothing is changed")
                    .hint("start without --read-only to make changes"),
            );
        }
        Ok(())
    }

    /// Asks for an effect.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Sends a request, and says what happens then.
    pub fn send(&mut self, request: Request, then: Then) {
        let id = self.state.fresh();
        self.state.waiting.insert(id, then);
        self.effects.push(Effect::Send(id, request));
    }

    /// Says something.
    pub fn say(&mut self, text: impl Into<String>) {
        self.state.say(Level::Info, text);
    }

    /// Pushes a view onto the current tab.
    pub fn push(&mut self, mut view: impl View + 'static) {
        view.sync(self.data);
        self.state.tabs[self.state.tab].views.push(Box::new(view));
        self.state.laid_out = false;
    }

    /// Replaces the whole stack of the current tab.
    pub fn replace(&mut self, mut view: impl View + 'static) {
        view.sync(self.data);
        let old = std::mem::replace(&mut self.state.tabs[self.state.tab].views, vec![Box::new(view)]);
        self.state.laid_out = false;
        for view in &old {
            self.effects.extend(view.sessions().into_iter().map(Effect::Close));
        }
    }

    /// Opens a view in a tab of its own and goes there.
    pub fn open_tab(&mut self, mut view: impl View + 'static) {
        view.sync(self.data);
        let at = self.state.tabs.len();
        self.state.tabs.push(Tab {
            views: vec![Box::new(view)],
        });
        self.go_tab(at);
    }

    /// Goes to a tab.
    pub fn go_tab(&mut self, tab: usize) {
        if tab < self.state.tabs.len() && tab != self.state.tab {
            self.state.last_tab = self.state.tab;
            self.state.tab = tab;
            self.state.laid_out = false;
            let data = self.data;
            self.state.view_mut().sync(data);
        }
    }

    /// Closes the current tab; the last one stays.
    pub fn close_tab(&mut self) -> Result<()> {
        if self.state.tabs.len() == 1 {
            return Err(Error::usage("this is the last tab").hint("`:quit` leaves the program"));
        }
        let tab = self.state.tabs.remove(self.state.tab);
        for view in &tab.views {
            self.effects.extend(view.sessions().into_iter().map(Effect::Close));
        }
        let count = self.state.tabs.len();
        self.state.tab = match self.state.last_tab {
            last if last > self.state.tab => last - 1,
            last => last,
        }
        .min(count - 1);
        self.state.last_tab = 0;
        self.state.laid_out = false;
        let data = self.data;
        self.state.view_mut().sync(data);
        Ok(())
    }

    /// One step back: the view below, or the tab before. Never leaves the program.
    pub fn back(&mut self) -> Result<()> {
        if self.state.tabs[self.state.tab].views.len() > 1 {
            if let Some(view) = self.state.tabs[self.state.tab].views.pop() {
                self.effects.extend(view.sessions().into_iter().map(Effect::Close));
            }
            self.state.laid_out = false;
            let data = self.data;
            self.state.view_mut().sync(data);
            return Ok(());
        }
        if self.state.tabs.len() > 1 && self.state.tab > 0 {
            return self.close_tab();
        }
        Ok(())
    }

    /// Puts an overlay on top, pinned to `pinned`.
    pub fn overlay(&mut self, mut overlay: impl Overlay + 'static, pinned: Vec<Target>) {
        overlay.sync(self.data);
        self.state.layers.push(Layer {
            overlay: Box::new(overlay),
            pinned,
        });
    }

    /// Gives a command to the focused view, and does what it replies.
    pub fn view_command(&mut self, line: &Line) -> Result<Option<Line>> {
        let data = self.data;
        let reply = self.state.view_mut().command(line, data)?;
        Ok(self.reply(reply))
    }

    /// Does what a view replies; a line it wants run is given back.
    pub fn reply(&mut self, reply: Reply) -> Option<Line> {
        match reply {
            Reply::Ignored | Reply::Done => None,
            Reply::Run(line) => Some(line),
            Reply::Send(id, bytes) => {
                self.effects.push(Effect::Input(id, bytes));
                None
            }
            Reply::Resize(id, columns, rows) => {
                self.effects.push(Effect::Resize(id, columns, rows));
                None
            }
        }
    }
}
