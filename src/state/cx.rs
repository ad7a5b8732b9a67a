//! What an action may touch.

use std::sync::Arc;

use crate::cluster::{Change, ClusterId, ObjectRef, Pace, Place, Plan, Resource, Source, Write};
use crate::document::TextLine;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Line;
use crate::state::{Effect, Layer, Level, Notice, Operation, RequestId, Review, State, Then};
use crate::view::overlay::{Confirm, Guard, Overlay};
use crate::view::{Data, Pane, PaneId, Panes, Preview, Reply, Target, Text, TextSource, View, ViewCommand, Way};

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
    /// What the action has asked for: a form that ran it stays until that is answered.
    pub started: Option<RequestId>,
}

/// What a pane showed is remembered so far back.
const HISTORY: usize = 50;

/// So many objects at once are asked for by their number, not by a key.
const MANY: usize = 20;

impl Cx<'_> {
    /// What the action acts on: the pinned objects, else the view's.
    pub fn targets(&self) -> Result<Vec<Target>> {
        let targets = if self.pinned.is_empty() {
            if let Some(gone) = self.state.view().slid(self.data) {
                let now = self.state.view().targets(self.data);
                let now = now
                    .first()
                    .map_or("nothing".to_owned(), |target| target.id.name.to_string());
                return Err(Error::usage(format!("{gone} is gone: the cursor is on {now} now"))
                    .hint("press the key again if that is meant"));
            }
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
            return Err(Error::usage(format!("{} is not a pod", target.id.name)).hint("open its pods with Enter"));
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

    /// Waits for an answer from the cluster worked in; its number, for the effect that asks.
    pub fn wait(&mut self, then: Then) -> RequestId {
        self.wait_in(self.data.cluster().id, then)
    }

    /// Waits for an answer from a cluster; its number, for the effect that asks.
    pub fn wait_in(&mut self, cluster: ClusterId, then: Then) -> RequestId {
        let id = self.state.wait(cluster, then);
        self.started = Some(id);
        id
    }

    /// The namespace that objects are made in: the first of those worked in, else the context's own.
    pub fn namespace(&self) -> Arc<str> {
        let chosen = self.state.namespaces.named().first();
        chosen.unwrap_or(&self.data.cluster().namespace).clone()
    }

    /// Where views open: the clusters of the focused view, and the namespaces worked in.
    pub fn place(&self) -> Place {
        let clusters = self.state.view().place().map_or(&[][..], |place| &place.clusters);
        Place::new(self.data.cluster().id, self.state.namespaces.clone()).across(clusters)
    }

    /// The cluster of a context by its name; `embedded` and `embedded:NAME` are those inside this program.
    pub fn cluster_called(&mut self, name: &str) -> Result<ClusterId> {
        let known = (0..self.state.sources.len()).filter_map(|at| u16::try_from(at).ok().map(ClusterId));
        let called = |id: &ClusterId| self.data.cluster_of(*id).is_some_and(|info| info.name == name);
        if let Some(id) = known.into_iter().find(called) {
            return Ok(id);
        }
        let contexts = self.data.contexts();
        let source = if contexts.iter().any(|known| known == name) {
            self.state.source(self.data.cluster().id).context(name)
        } else {
            Source::embedded(name).ok_or_else(|| {
                let error = Error::usage(format!("there is no context {name:?}"));
                error.hint(match contexts.is_empty() {
                    true => "the kubeconfig has none at all; `:embedded` starts a cluster".to_owned(),
                    false => format!("there are: {}", contexts.join(", ")),
                })
            })?
        };
        Ok(self.state.cluster(&source))
    }

    /// A plan for the cluster of what it changes.
    ///
    /// # Errors
    ///
    /// When that is more than one: what is asked about one cluster is answered for no other.
    pub fn plan(
        &self,
        command: &Line,
        title: impl Into<String>,
        done: impl Into<String>,
        changes: Vec<Change>,
    ) -> Result<Plan> {
        let first = changes.first().map(|change| change.target.cluster);
        let cluster = first.unwrap_or(self.data.cluster().id);
        if let Some(other) = changes
            .iter()
            .map(|change| change.target.cluster)
            .find(|other| *other != cluster)
        {
            let error = format!("these are in {} and in {}", self.name_of(cluster), self.name_of(other));
            return Err(Error::usage(error).hint("change those of one cluster at a time"));
        }
        Ok(Plan {
            cluster,
            command: command.clone(),
            title: title.into(),
            done: done.into(),
            changes,
            pace: Pace::Together,
        })
    }

    /// What a cluster is called.
    pub fn name_of(&self, cluster: ClusterId) -> &str {
        self.data
            .cluster_of(cluster)
            .map_or("an unknown cluster", |info| &info.name)
    }

    /// Whether every change of a cluster is asked for by its name.
    pub fn is_protected(&self, cluster: ClusterId) -> bool {
        self.data.cluster_of(cluster).is_some_and(|info| info.protected)
    }

    /// A change of a target, compared with the object as it was last seen.
    pub fn change(target: &Target, request: Write) -> Change {
        Change {
            target: ObjectRef::from(target),
            before: Some(target.object.value()),
            request,
        }
    }

    /// Carries out a plan that can be taken back; anything else is asked first, as is everything on a protected cluster.
    pub fn carry_out(&mut self, plan: Plan, verb: &str, impact: Vec<TextLine>) -> Result<()> {
        self.may_change()?;
        if plan.is_undoable() && !self.is_protected(plan.cluster) {
            self.execute(plan);
            return Ok(());
        }
        let targets = self.pinned.clone();
        let question = self.question(plan, verb, targets, impact);
        self.overlay(question, Vec::new());
        Ok(())
    }

    /// The question before a plan. The more it takes away, the more must be typed.
    pub fn question(&self, plan: Plan, verb: &str, targets: Vec<Target>, mut impact: Vec<TextLine>) -> Confirm {
        let name = self.name_of(plan.cluster);
        let guard = if self.is_protected(plan.cluster) {
            impact.push(TextLine::new().with(crate::theme::Role::Danger, &format!("{name} is protected.")));
            Some(Guard::new(name))
        } else if plan.changes.len() > MANY {
            Some(Guard::new(&plan.changes.len().to_string()))
        } else {
            None
        };
        let title = format!("{}?", plan.title);
        let question = Confirm::about(title, verb, plan, targets, impact);
        match guard {
            Some(guard) => question.guarded(guard),
            None => question,
        }
    }

    /// Carries out a plan now.
    pub fn execute(&mut self, plan: Plan) -> RequestId {
        if plan.changes.len() > 1 {
            // The marks have served their purpose. Views without marks have nothing to say to this.
            let _ = self.view_command(&ViewCommand::MarkClear);
        }
        let plan = Arc::new(plan);
        self.perform(plan.clone(), Then::Report(plan))
    }

    /// Carries out a plan now, with something else to follow than a report.
    pub fn perform(&mut self, plan: Arc<Plan>, then: Then) -> RequestId {
        let id = self.state.wait(plan.cluster, then);
        self.started = Some(id);
        self.state.done = Some(plan.clone());
        self.state.operations.insert(
            id,
            Operation {
                title: plan.title.clone(),
                progress: crate::cluster::Progress {
                    total: plan.changes.len(),
                    ..Default::default()
                },
                cancelled: false,
            },
        );
        self.effects.push(Effect::Execute(id, plan));
        id
    }

    /// Shows what an answer brought: at once when the last key asked for it and nothing else has been begun since; else as a notice,
    /// which takes no keys.
    pub fn present(&mut self, keys: u64, text: String, review: Review) {
        if self.state.keys == keys && self.state.layers.is_empty() && !self.state.view().is_raw() {
            return self.review(review);
        }
        self.state.notices.push_back(Notice {
            text,
            cluster: self.data.cluster().id,
            review,
        });
    }

    /// Opens what a notice holds.
    pub fn review(&mut self, review: Review) {
        let any = !review.document.lines.is_empty();
        if any {
            let view = Text::new(
                TextSource::Fixed {
                    title: review.title,
                    document: review.document,
                },
                self.data,
            );
            self.push(view);
        }
        if let Some(question) = review.question {
            self.overlay(question, Vec::new());
            if let Some(layer) = self.state.layers.last_mut() {
                layer.over_review = any;
            }
        }
    }

    /// Keeps a line that was typed, for now and for later runs.
    pub fn remember(&mut self, line: &str) {
        self.state.history.add(line);
        self.effects
            .push(Effect::Remember("history", self.state.history.text()));
    }

    /// Says something.
    pub fn say(&mut self, text: impl Into<String>) {
        self.state.say(Level::Info, text);
    }

    /// Pushes a view onto the pane with the focus.
    pub fn push(&mut self, mut view: impl View + 'static) {
        view.sync(self.data);
        let pane = self.state.panes_mut().focused_mut();
        pane.views.push(Box::new(view));
        pane.ahead.clear();
        self.state.laid_out = false;
    }

    /// Replaces the whole stack of the pane with the focus.
    pub fn replace(&mut self, view: impl View + 'static) {
        self.replace_boxed(Box::new(view));
    }

    /// Replaces the whole stack of the pane with the focus; what it showed can be gone back to.
    pub fn replace_boxed(&mut self, mut view: Box<dyn View>) {
        view.sync(self.data);
        let before = self.opens(self.state.panes().focused());
        // What a preview shows belongs to another pane: that one is meant.
        let panes = self.state.panes_mut();
        if let Some(leader) = panes.focused().follows {
            panes.focus(leader);
        }
        let pane = panes.focused_mut();
        let old = std::mem::replace(&mut pane.views, vec![view]);
        pane.ahead.clear();
        if pane.behind.last() != before.as_ref() {
            pane.behind.extend(before);
        }
        let spare = pane.behind.len().saturating_sub(HISTORY);
        pane.behind.drain(..spare);
        self.state.laid_out = false;
        self.end(old.iter().map(|view| &**view).collect());
    }

    /// What opens again what a pane shows: its topmost view that can be.
    pub fn opens(&self, pane: &Pane) -> Option<Line> {
        pane.views.iter().rev().find_map(|view| view.spec(self.data))
    }

    /// Ends the sessions of views that are left.
    fn end(&mut self, views: Vec<&dyn View>) {
        let sessions = views.into_iter().flat_map(|view| view.sessions());
        self.effects.extend(sessions.map(Effect::Close));
    }

    /// Opens a view in a tab of its own and goes there.
    pub fn open_tab(&mut self, mut view: impl View + 'static) {
        view.sync(self.data);
        let at = self.state.tabs.len();
        let id = PaneId(self.state.fresh());
        self.state.tabs.push(Panes::new(id, Box::new(view)));
        self.go_tab(at);
    }

    /// Splits the pane with the focus; the new one shows `view` and has the focus.
    pub fn split(&mut self, way: Way, mut view: Box<dyn View>) -> PaneId {
        view.sync(self.data);
        let id = PaneId(self.state.fresh());
        let panes = self.state.panes_mut();
        if let Some(leader) = panes.focused().follows {
            panes.focus(leader);
        }
        panes.split(way, id, view, false);
        self.state.laid_out = false;
        id
    }

    /// Lets a preview follow the pane with the focus, where it can and there is none.
    pub fn preview(&mut self) {
        let panes = self.state.panes();
        if panes.focused().view().leads() && panes.follower(panes.focused().id).is_none() {
            let id = PaneId(self.state.fresh());
            self.state
                .panes_mut()
                .split(Way::Fitting, id, Box::<Preview>::default(), true);
            self.state.laid_out = false;
        }
    }

    /// Closes a pane of the tab shown; whether there was another to stay.
    pub fn close_pane(&mut self, id: PaneId) -> bool {
        let gone = self.state.panes_mut().close(id);
        self.end(gone.iter().flat_map(|pane| &pane.views).map(|view| &**view).collect());
        self.state.laid_out = false;
        !gone.is_empty()
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
        self.end(tab.views().collect());
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

    /// One step back: the view below, out of a zoom or a preview, or the tab before. Never leaves the program.
    pub fn back(&mut self) -> Result<()> {
        let data = self.data;
        let panes = self.state.panes_mut();
        if panes.focused().views.len() > 1 {
            let left = panes.focused_mut().views.pop();
            self.state.laid_out = false;
            self.state.view_mut().sync(data);
            self.end(left.iter().map(|view| &**view).collect());
            return Ok(());
        }
        if let Some(leader) = panes.focused().follows {
            panes.focus(leader);
        } else if panes.is_zoomed() {
            panes.zoom();
            self.state.laid_out = false;
        } else if self.state.tabs.len() > 1 && self.state.tab > 0 {
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
            waits: None,
            over_review: false,
        });
    }

    /// Gives a command to the focused view, and does what it replies.
    pub fn view_command(&mut self, command: &ViewCommand) -> Result<Option<Line>> {
        let data = self.data;
        let reply = self.state.view_mut().command(command, data)?;
        if matches!(command, ViewCommand::Sort(_)) {
            self.remember_sort();
        }
        Ok(self.reply(reply))
    }

    /// The next table of the kind is sorted as this one is, in later runs too.
    fn remember_sort(&mut self) {
        let view = self.state.view();
        if let (Some(resource), Some(sorted)) = (view.resource(), view.sorted()) {
            self.state.sorts.insert(resource.full_name(), sorted);
            let text = serde_json::to_string(&self.state.sorts).unwrap_or_default();
            self.effects.push(Effect::Remember("sorts.json", text));
        }
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
