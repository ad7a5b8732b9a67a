//! Panes: the views of a tab side by side, in a tree of splits. Each has a stack of views; one has the focus; a preview follows another
//! pane's cursor.

use ratatui::layout::Rect;

use super::View;
use crate::keys::Line;

/// Names a pane for as long as the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaneId(pub u64);

/// How two panes share their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Side by side.
    Columns,
    /// One above the other.
    Rows,
    /// Side by side where it is wide, else one above the other where it is tall.
    Fitting,
}

/// Where a pane is from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Left of it.
    Left,
    /// Below it.
    Down,
    /// Above it.
    Up,
    /// Right of it.
    Right,
}

/// One pane.
#[derive(Debug)]
pub struct Pane {
    /// Its name.
    pub id: PaneId,
    /// Its views, the last on top; never empty.
    pub views: Vec<Box<dyn View>>,
    /// The pane whose cursor it follows.
    pub follows: Option<PaneId>,
    /// What it showed before, and what was left by going back, the nearest last.
    pub behind: Vec<Line>,
    /// See `behind`.
    pub ahead: Vec<Line>,
    /// Its place on the screen as last laid out; empty while it is hidden.
    pub area: Rect,
}

impl Pane {
    fn new(id: PaneId, view: Box<dyn View>, follows: Option<PaneId>) -> Self {
        Self {
            id,
            views: vec![view],
            follows,
            behind: Vec::new(),
            ahead: Vec::new(),
            area: Rect::default(),
        }
    }

    /// The view on top.
    pub fn view(&self) -> &dyn View {
        &**self.views.last().expect("a pane has a view")
    }

    /// The view on top.
    pub fn view_mut(&mut self) -> &mut Box<dyn View> {
        self.views.last_mut().expect("a pane has a view")
    }
}

#[derive(Debug)]
enum Node {
    Pane(PaneId),
    Split(Box<Split>),
}

#[derive(Debug)]
struct Split {
    way: Way,
    /// What the first has of the place, in thousandths; `None` is as it fits.
    share: Option<u16>,
    first: Node,
    second: Node,
}

/// A pane on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Which.
    pub id: PaneId,
    /// The line that says what it is, when there are several.
    pub title: Option<Rect>,
    /// The place of its view.
    pub area: Rect,
}

/// What separates two panes, and can be dragged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Border {
    /// Its cells.
    pub area: Rect,
    /// The place that it divides.
    whole: Rect,
    /// How it divides that.
    pub way: Way,
    /// Which split: first or second at each fork from the root.
    path: Vec<bool>,
}

/// Panes and borders on the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrangement {
    /// The visible panes.
    pub panes: Vec<Placed>,
    /// What separates them.
    pub borders: Vec<Border>,
}

/// A tree of panes as it is kept between runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A pane: what opens its view again, and whether a preview follows it.
    Pane(Line, bool),
    /// Two that share their place.
    Split(Way, Option<u16>, Box<(Shape, Shape)>),
}

/// Least width and height of a pane: where two have no room, the one with the focus has it all.
const LEAST: (u16, u16) = (34, 5);
/// From so wide on a preview stands beside what it follows, and from so tall on below it.
const BESIDE: u16 = 110;
const BELOW: u16 = 34;

/// The panes of a tab.
#[derive(Debug)]
pub struct Panes {
    root: Node,
    all: Vec<Pane>,
    focus: PaneId,
    zoomed: bool,
    /// Their place on the screen as last laid out.
    place: Rect,
}

impl Panes {
    /// One pane with one view.
    pub fn new(id: PaneId, view: Box<dyn View>) -> Self {
        Self {
            root: Node::Pane(id),
            all: vec![Pane::new(id, view, None)],
            focus: id,
            zoomed: false,
            place: Rect::default(),
        }
    }

    /// The pane with the focus.
    pub fn focused(&self) -> &Pane {
        self.get(self.focus).expect("the focus is on a pane")
    }

    /// The pane with the focus.
    pub fn focused_mut(&mut self) -> &mut Pane {
        let focus = self.focus;
        self.all
            .iter_mut()
            .find(|pane| pane.id == focus)
            .expect("the focus is on a pane")
    }

    /// A pane by its name.
    pub fn get(&self, id: PaneId) -> Option<&Pane> {
        self.all.iter().find(|pane| pane.id == id)
    }

    /// All panes, the oldest first.
    pub fn all(&self) -> &[Pane] {
        &self.all
    }

    /// All panes, the oldest first.
    pub fn all_mut(&mut self) -> &mut [Pane] {
        &mut self.all
    }

    /// The views of all panes.
    pub fn views(&self) -> impl Iterator<Item = &dyn View> {
        self.all.iter().flat_map(|pane| &pane.views).map(|view| &**view)
    }

    /// The panes on the screen, as last laid out.
    pub fn visible_mut(&mut self) -> impl Iterator<Item = &mut Pane> {
        self.all.iter_mut().filter(|pane| !pane.area.is_empty())
    }

    /// The panes on the screen, as last laid out.
    pub fn visible(&self) -> impl Iterator<Item = &Pane> {
        self.all.iter().filter(|pane| !pane.area.is_empty())
    }

    /// Gives the focus to a pane.
    pub fn focus(&mut self, id: PaneId) {
        if self.get(id).is_some() {
            self.focus = id;
        }
    }

    /// Whether the pane with the focus has all the place.
    pub fn is_zoomed(&self) -> bool {
        self.zoomed
    }

    /// Gives the pane with the focus all the place, or shows the others again.
    pub fn zoom(&mut self) {
        self.zoomed = !self.zoomed;
    }

    /// The pane that follows another.
    pub fn follower(&self, leader: PaneId) -> Option<PaneId> {
        let follower = self.all.iter().find(|pane| pane.follows == Some(leader));
        follower.map(|pane| pane.id)
    }

    /// Splits the pane with the focus; the new one has the focus, unless it follows the other.
    pub fn split(&mut self, way: Way, id: PaneId, view: Box<dyn View>, follows: bool) {
        let old = self.focus;
        self.all.push(Pane::new(id, view, follows.then_some(old)));
        self.root.replace(old, |pane| {
            Node::Split(Box::new(Split {
                way,
                share: None,
                first: pane,
                second: Node::Pane(id),
            }))
        });
        if !follows {
            self.zoomed = false;
            self.focus = id;
        }
    }

    /// Takes a pane away, and what follows it; the last one stays. What is taken away is given back.
    pub fn close(&mut self, id: PaneId) -> Vec<Pane> {
        let stays = |pane: &Pane| pane.id != id && pane.follows != Some(id);
        if !self.all.iter().any(|pane| stays(pane) && pane.follows.is_none()) {
            return Vec::new();
        }
        let (kept, gone): (Vec<Pane>, Vec<Pane>) = std::mem::take(&mut self.all).into_iter().partition(stays);
        self.all = kept;
        for pane in &gone {
            self.root.remove(pane.id);
        }
        if self.get(self.focus).is_none() {
            let leader = gone
                .iter()
                .find(|pane| pane.id == self.focus)
                .and_then(|pane| pane.follows);
            let leader = leader.filter(|leader| self.get(*leader).is_some());
            let first = self.all.iter().find(|pane| pane.follows.is_none()).map(|pane| pane.id);
            self.focus = leader.or(first).unwrap_or(self.focus);
        }
        if self.all.iter().filter(|pane| pane.follows.is_none()).count() < 2 {
            self.zoomed = false;
        }
        gone
    }

    /// Gives the focus to the nearest pane in a direction; whether there is one.
    pub fn go(&mut self, direction: Direction) -> bool {
        let from = self.focused().area;
        let overlap = |a: (u16, u16), b: (u16, u16)| a.1.min(b.1).saturating_sub(a.0.max(b.0));
        let nearest = self
            .visible()
            .filter_map(|pane| {
                let to = pane.area;
                let (gap, shared) = match direction {
                    Direction::Left | Direction::Right => (
                        if direction == Direction::Left {
                            from.x.checked_sub(to.right())
                        } else {
                            to.x.checked_sub(from.right())
                        },
                        overlap((from.y, from.bottom()), (to.y, to.bottom())),
                    ),
                    Direction::Up | Direction::Down => (
                        if direction == Direction::Up {
                            from.y.checked_sub(to.bottom())
                        } else {
                            to.y.checked_sub(from.bottom())
                        },
                        overlap((from.x, from.right()), (to.x, to.right())),
                    ),
                };
                gap.filter(|_| shared > 0).map(|gap| (gap, u16::MAX - shared, pane.id))
            })
            .min();
        if let Some((.., id)) = nearest {
            self.focus = id;
        }
        nearest.is_some()
    }

    /// Gives the focus to the next pane in reading order; whether there is another.
    pub fn focus_next(&mut self) -> bool {
        let mut order = Vec::new();
        self.root.leaves(&mut order);
        order.retain(|id| *id == self.focus || self.shows(*id));
        let at = order.iter().position(|id| *id == self.focus).unwrap_or(0);
        let next = order[(at + 1) % order.len()];
        std::mem::replace(&mut self.focus, next) != next
    }

    /// Changes places with the next pane; whether there is another.
    pub fn swap(&mut self) -> bool {
        let mut order = Vec::new();
        self.root.leaves(&mut order);
        order.retain(|id| self.get(*id).is_some_and(|pane| pane.follows.is_none()));
        let Some(at) = order.iter().position(|id| *id == self.focus) else {
            return false;
        };
        let (one, other) = (self.focus, order[(at + 1) % order.len()]);
        self.root.exchange(one, other);
        one != other
    }

    /// Gives every pane of a split as much as the other.
    pub fn even(&mut self) {
        self.root.even();
    }

    /// Whether a pane has something to show: a preview has nothing beside a view without a cursor.
    fn shows(&self, id: PaneId) -> bool {
        let leader = self.get(id).and_then(|pane| pane.follows);
        leader.is_none_or(|leader| self.get(leader).is_some_and(|pane| pane.view().leads()))
    }

    fn shown(&self, node: &Node) -> bool {
        match node {
            Node::Pane(id) => self.shows(*id),
            Node::Split(split) => self.shown(&split.first) || self.shown(&split.second),
        }
    }

    /// Gives each pane its part of a place.
    pub fn lay_out(&mut self, place: Rect) {
        self.place = place;
        let placed = self.arranged().panes;
        for pane in &mut self.all {
            let found = placed.iter().find(|placed| placed.id == pane.id);
            pane.area = found.map_or(Rect::default(), |placed| placed.area);
        }
    }

    /// Whether a pane would be seen.
    pub fn has_room(&self, id: PaneId) -> bool {
        self.arranged().panes.iter().any(|placed| placed.id == id)
    }

    /// Where the panes are in their place.
    pub fn arranged(&self) -> Arrangement {
        let place = self.place;
        let mut arranged = Arrangement::default();
        let (focus, leader) = (self.focus, self.focused().follows);
        let titled = self.all.iter().filter(|pane| pane.follows.is_none()).count() > 1;
        match self.zoomed {
            true => arranged.put(focus, place, titled && leader.is_none()),
            false => self.arrange_node(&self.root, place, titled, &mut Vec::new(), &mut arranged),
        }
        arranged
    }

    fn arrange_node(&self, node: &Node, place: Rect, titled: bool, path: &mut Vec<bool>, out: &mut Arrangement) {
        let split = match node {
            Node::Pane(id) => {
                let follows = self.get(*id).is_some_and(|pane| pane.follows.is_some());
                return out.put(*id, place, titled && !follows);
            }
            Node::Split(split) => split,
        };
        let mut descend = |node: &Node, place: Rect, side: bool, out: &mut Arrangement| {
            path.push(side);
            self.arrange_node(node, place, titled, path, out);
            path.pop();
        };
        match (self.shown(&split.first), self.shown(&split.second)) {
            (_, false) => return descend(&split.first, place, false, out),
            (false, true) => return descend(&split.second, place, true, out),
            (true, true) => {}
        }
        let preview = match &split.second {
            Node::Pane(id) => self.get(*id).is_some_and(|pane| pane.follows.is_some()),
            Node::Split(_) => false,
        };
        let Some(way) = split.fits(place, preview) else {
            // The one with the focus has it all.
            let second = split.second.holds(self.focus);
            let node = if second { &split.second } else { &split.first };
            return descend(node, place, second, out);
        };
        let (first, border, second) = split.divide(way, place, preview);
        descend(&split.first, first, false, out);
        descend(&split.second, second, true, out);
        out.borders.push(Border {
            area: border,
            whole: place,
            way,
            path: path.clone(),
        });
    }

    /// Makes the pane with the focus wider or taller by some cells, narrower or less tall by as many below zero.
    pub fn resize(&mut self, way: Way, by: i16) -> bool {
        let arranged = self.arranged();
        let own = |border: &&Border| {
            border.way == way && self.root.at(&border.path).is_some_and(|node| node.holds(self.focus))
        };
        // The nearest border is that of the deepest split.
        let Some(border) = arranged
            .borders
            .iter()
            .filter(own)
            .max_by_key(|border| border.path.len())
        else {
            return false;
        };
        let second = matches!(self.root.at(&border.path), Some(Node::Split(split)) if split.second.holds(self.focus));
        let by = if second { -by } else { by };
        let at = match way {
            Way::Rows => border.area.y,
            _ => border.area.x,
        };
        self.move_border(&border.clone(), at.saturating_add_signed(by));
        true
    }

    /// The border at a cell.
    pub fn border_at(&self, column: u16, row: u16) -> Option<Border> {
        let arranged = self.arranged();
        let on = |border: &Border| border.area.contains((column, row).into());
        arranged.borders.into_iter().find(on)
    }

    /// Moves a border to a cell.
    pub fn drag(&mut self, border: &Border, column: u16, row: u16) {
        let at = match border.way {
            Way::Rows => row,
            _ => column,
        };
        self.move_border(border, at);
    }

    fn move_border(&mut self, border: &Border, at: u16) {
        let (start, size, least) = match border.way {
            Way::Rows => (border.whole.y, border.whole.height, LEAST.1),
            _ => (border.whole.x, border.whole.width, LEAST.0),
        };
        let first = at
            .saturating_sub(start)
            .clamp(least, size.saturating_sub(least + 1).max(least));
        if let Some(Node::Split(split)) = self.root.at_mut(&border.path) {
            split.share = u16::try_from((u32::from(first) * 1000).div_ceil(u32::from(size.max(1)))).ok();
        }
    }

    /// The pane at a cell.
    pub fn at(&self, column: u16, row: u16) -> Option<PaneId> {
        let pane = self.visible().find(|pane| pane.area.contains((column, row).into()));
        pane.map(|pane| pane.id)
    }

    /// How it can be made again: `line` says how a pane is. Panes that nothing can open again are left out.
    pub fn shape(&self, line: &dyn Fn(&Pane) -> Option<Line>) -> Option<Shape> {
        self.shape_of(&self.root, line)
    }

    fn shape_of(&self, node: &Node, line: &dyn Fn(&Pane) -> Option<Line>) -> Option<Shape> {
        match node {
            Node::Pane(id) => {
                let pane = self.get(*id).filter(|pane| pane.follows.is_none())?;
                Some(Shape::Pane(line(pane)?, self.follower(*id).is_some()))
            }
            Node::Split(split) => match (self.shape_of(&split.first, line), self.shape_of(&split.second, line)) {
                (Some(first), Some(second)) => Some(Shape::Split(split.way, split.share, Box::new((first, second)))),
                (first, second) => first.or(second),
            },
        }
    }

    /// Gives the split that holds both panes, and was made last, its share.
    pub fn share(&mut self, second: PaneId, share: Option<u16>) {
        self.root.share(second, share);
    }
}

impl Arrangement {
    fn put(&mut self, id: PaneId, place: Rect, titled: bool) {
        let titled = titled && place.height > 2;
        let down = u16::from(titled);
        self.panes.push(Placed {
            id,
            title: titled.then_some(Rect { height: 1, ..place }),
            area: Rect {
                y: place.y + down,
                height: place.height.saturating_sub(down),
                ..place
            },
        });
    }
}

impl Split {
    /// How the two fit into a place, if they do.
    fn fits(&self, place: Rect, preview: bool) -> Option<Way> {
        let columns = place.width > 2 * LEAST.0 + 2;
        let rows = place.height > 2 * LEAST.1 + 1;
        match self.way {
            _ if preview && place.height < 6 => None,
            Way::Columns if columns => Some(Way::Columns),
            Way::Rows if rows => Some(Way::Rows),
            Way::Fitting if place.width >= BESIDE => Some(Way::Columns),
            Way::Fitting if place.height >= BELOW => Some(Way::Rows),
            _ => None,
        }
    }

    /// The first, what separates them, and the second.
    fn divide(&self, way: Way, place: Rect, preview: bool) -> (Rect, Rect, Rect) {
        let of = |size: u16, least: u16, natural: u16| match self.share {
            Some(share) => {
                let first = u32::from(size) * u32::from(share) / 1000;
                (first as u16).clamp(least, size.saturating_sub(least + 1).max(least))
            }
            None => size - natural,
        };
        match way {
            Way::Rows => {
                let natural = if preview {
                    (place.height / 3).max(8)
                } else {
                    place.height / 2
                };
                let height = of(place.height, LEAST.1, natural);
                let first = Rect { height, ..place };
                let border = Rect {
                    y: first.bottom(),
                    height: 1,
                    ..place
                };
                let below = Rect {
                    y: border.bottom(),
                    height: place.bottom().saturating_sub(border.bottom()),
                    ..place
                };
                (first, border, below)
            }
            Way::Columns | Way::Fitting => {
                let natural = if preview {
                    (place.width / 3).clamp(38, 90)
                } else {
                    place.width / 2
                };
                let width = of(place.width, LEAST.0, natural);
                let first = Rect { width, ..place };
                let border = Rect {
                    x: first.right(),
                    width: 1,
                    ..place
                };
                let beside = Rect {
                    x: border.right() + 1,
                    width: place.right().saturating_sub(border.right() + 1),
                    ..place
                };
                (first, border, beside)
            }
        }
    }
}

impl Node {
    fn holds(&self, id: PaneId) -> bool {
        match self {
            Node::Pane(own) => *own == id,
            Node::Split(split) => split.first.holds(id) || split.second.holds(id),
        }
    }

    fn leaves(&self, out: &mut Vec<PaneId>) {
        match self {
            Node::Pane(id) => out.push(*id),
            Node::Split(split) => {
                split.first.leaves(out);
                split.second.leaves(out);
            }
        }
    }

    /// Puts something else where a pane is.
    fn replace(&mut self, id: PaneId, with: impl FnOnce(Node) -> Node) {
        match self {
            Node::Pane(own) if *own == id => {
                let pane = std::mem::replace(self, Node::Pane(id));
                *self = with(pane);
            }
            Node::Pane(_) => {}
            Node::Split(split) if split.first.holds(id) => split.first.replace(id, with),
            Node::Split(split) => split.second.replace(id, with),
        }
    }

    /// Takes a pane away; what it shared its place with has all of it.
    fn remove(&mut self, id: PaneId) {
        let Node::Split(split) = self else { return };
        let is = |node: &Node| matches!(node, Node::Pane(own) if *own == id);
        let rest = match (is(&split.first), is(&split.second)) {
            (true, _) => &mut split.second,
            (_, true) => &mut split.first,
            (false, false) => {
                split.first.remove(id);
                return split.second.remove(id);
            }
        };
        *self = std::mem::replace(rest, Node::Pane(id));
    }

    fn exchange(&mut self, one: PaneId, other: PaneId) {
        match self {
            Node::Pane(id) if *id == one => *id = other,
            Node::Pane(id) if *id == other => *id = one,
            Node::Pane(_) => {}
            Node::Split(split) => {
                split.first.exchange(one, other);
                split.second.exchange(one, other);
            }
        }
    }

    fn even(&mut self) {
        if let Node::Split(split) = self {
            split.share = None;
            split.first.even();
            split.second.even();
        }
    }

    fn at(&self, path: &[bool]) -> Option<&Node> {
        match (path.split_first(), self) {
            (None, _) => Some(self),
            (Some((second, rest)), Node::Split(split)) => {
                let next = if *second { &split.second } else { &split.first };
                next.at(rest)
            }
            (Some(_), Node::Pane(_)) => None,
        }
    }

    fn at_mut(&mut self, path: &[bool]) -> Option<&mut Node> {
        match (path.split_first(), self) {
            (None, node) => Some(node),
            (Some((second, rest)), Node::Split(split)) => {
                let next = if *second { &mut split.second } else { &mut split.first };
                next.at_mut(rest)
            }
            (Some(_), Node::Pane(_)) => None,
        }
    }

    fn share(&mut self, second: PaneId, share: Option<u16>) {
        if let Node::Split(split) = self {
            if matches!(split.second, Node::Pane(id) if id == second) {
                split.share = share;
            }
            split.first.share(second, share);
            split.second.share(second, share);
        }
    }
}
